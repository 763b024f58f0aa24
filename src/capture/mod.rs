//! Where packets come from. Every source ends in [`crate::packet::Observation`]s.

pub mod follow;
pub mod input;
pub mod kmsg;
pub mod log_text;
pub mod nflog;
pub mod pcap;
