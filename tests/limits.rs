//! What can be filled, and what overlaps: caps, escalation and prefixes on the running kernel.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

#[path = "limits/overlap.rs"]
mod overlap;
