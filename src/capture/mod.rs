//! Where packets come from.

pub mod nflog;
pub mod input;
pub mod pcap;
//! Where packets come from. Every source ends in [`crate::packet::Observation`]s.

pub mod log_text;
