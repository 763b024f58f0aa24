//! Where packets and requests come from. Every source ends in [`crate::packet::Observation`]s, but for access logs,
//! which end in [`crate::web::Request`]s.

pub mod access_log;
mod datagram;
pub mod follow;
pub mod input;
pub mod kmsg;
pub mod log_text;
pub mod nflog;
pub mod nfqueue;
pub mod pcap;
pub mod trap;
