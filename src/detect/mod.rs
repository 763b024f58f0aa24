//! Counting: which packet is evidence of what, and when it is enough.

pub mod rule;
