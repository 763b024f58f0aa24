//! nfban bans port scanners and floods from the packets a Linux firewall refuses.

pub mod cli;
pub mod control;
pub mod decide;
pub mod detect;
pub mod enforce;
pub mod event;
pub mod filter;
pub mod netlink;
pub mod packet;
pub mod report;
pub mod time;
