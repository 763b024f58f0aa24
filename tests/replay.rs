//! `nfban replay`: captures and LOG text in, incidents and bans out, through the built command.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test states its expectations by panicking"
)]
#![expect(unreachable_pub, reason = "the modules of one test program")]

#[path = "replay/bed.rs"]
mod bed;
#[path = "replay/captures.rs"]
mod captures;
#[path = "replay/command.rs"]
mod command;
#[path = "replay/fragments.rs"]
mod fragments;
#[path = "replay/golden.rs"]
mod golden;
#[path = "replay/judged.rs"]
mod judged;
#[path = "replay/output.rs"]
mod output;
#[path = "replay/text.rs"]
mod text;
#[path = "replay/tools.rs"]
mod tools;
#[path = "replay/wire.rs"]
mod wire;
