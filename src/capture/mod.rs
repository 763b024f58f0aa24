//! Where packets come from.

pub mod input;
pub mod pcap;
