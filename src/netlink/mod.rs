//! Netlink messages, read and written (man 7 netlink; linux/netlink.h).
//!
//! Octets in, octets out: sockets live with their users. Reading copies nothing and trusts no length; writing goes
//! into one growing buffer, so that a batch of messages is one `sendmsg`.

mod read;
mod write;

pub use read::{Attribute, Attributes, Message, Messages};
pub use write::{Batch, Header};
