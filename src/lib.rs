//! nfban bans port scanners and floods from the packets a Linux firewall refuses.

pub mod address;
pub mod capture;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod decide;
pub mod decode;
pub mod demo;
pub mod detect;
pub mod enforce;
pub mod engine;
pub mod event;
pub mod filter;
pub mod host;
pub mod netlink;
pub mod packet;
pub mod replay;
pub mod report;
pub mod setup;
pub mod time;
