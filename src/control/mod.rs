//! The control socket: how the command line talks to the running daemon.
//!
//! One connection carries one request and one reply, each a JSON object on one line ([`protocol`]). [`server`] runs in a
//! thread of its own and never touches the engine's state: requests wait in an [`inbox`] whose file descriptor wakes the
//! engine, and a client that is slow, greedy or gone costs the engine nothing. Who is on the other end the kernel says
//! ([`peer`]); what they may do follows from that alone.

pub mod archive;
pub mod client;
pub mod inbox;
pub mod listener;
pub mod peer;
pub mod protocol;
pub mod server;
