//! Where packets come from. Every source ends in [`crate::packet::Observation`]s.

pub mod log_text;
