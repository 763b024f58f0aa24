//! Where packets come from. Every source ends in [`crate::packet::Observation`]s.

pub mod input;
pub mod log_text;
pub mod nflog;
pub mod pcap;
pub mod trap;
