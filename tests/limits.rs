//! What can be filled, and what overlaps: caps, escalation and prefixes on the running kernel.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

#[path = "limits/caps.rs"]
mod caps;
#[path = "limits/overlap.rs"]
mod overlap;
#[path = "limits/ssh.rs"]
mod ssh;
