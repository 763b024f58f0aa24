//! nfban bans port scanners and floods from the packets a Linux firewall refuses.
//!
//! The flow has three parts.
//!
//! 1. **Packets come in.** [`capture`] takes octets and LOG text from the kernel and from files, [`decode`] makes
//!    [`packet`]s of octets. What cannot be decoded is a counted reason.
//! 2. **The core judges them.** It is pure, (state, packet, now) → actions: [`detect`] says what a packet is evidence of
//!    and when it is enough, [`decide`] against whom something may be done, what, and for how long, and [`engine`]
//!    holds the two together. It reads no clock and does no I/O.
//! 3. **Decisions go out.** [`enforce`] puts them into nftables sets, where the kernel ends them by itself; what the
//!    kernel made of them comes back into the engine. [`event`]s are told by [`report`] and written by [`log`]; [`hooks`] tell
//!    others of them.
//!
//! Two shells drive the core: [`daemon`] with the kernel's packets and clocks, [`replay`] with recorded ones and a dry
//! run. [`setup`] makes the same engine for both of [`config`]uration and [`host`] facts; [`filter`] is shared by rules
//! and configuration, [`address`] and [`time`] by all. [`cli`] is the command line, which talks to the daemon over
//! [`control`]; [`netlink`] is how sockets to the kernel are read and written; [`demo`] shows the whole. [`import`] makes
//! configurations of those of other programs. [`instance`] is what a daemon beside another one goes by.
//!
//! `ARCHITECTURE.md` tells the life of a packet with the names of its functions, `docs/detection.md` what is evidence.

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
pub mod hooks;
pub mod host;
pub mod import;
pub mod instance;
pub mod log;
pub mod metrics;
pub mod netlink;
pub mod packet;
pub mod replay;
pub mod report;
pub mod setup;
pub mod store;
pub mod time;
pub mod web;
