//! Every shipped rule by itself, and all of them together against an oracle that keeps every packet and counts anew.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test states its expectations by panicking, and its numbers are small"
)]
#![expect(unreachable_pub, reason = "the modules of one test program")]

#[path = "rules/bed.rs"]
mod bed;
#[path = "rules/each.rs"]
mod each;
#[path = "rules/oracle.rs"]
mod oracle;
