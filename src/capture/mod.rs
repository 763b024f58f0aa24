//! Where packets come from.

pub mod nflog;
pub mod input;
pub mod pcap;
