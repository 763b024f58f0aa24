//! Netlink messages, read and written (man 7 netlink; linux/netlink.h).
//!
//! Reading copies nothing and trusts no length; writing goes into one growing buffer, so that a batch of messages is
//! one `sendmsg`.

mod read;
mod socket;
mod write;

pub use read::{Attribute, Attributes, Message, Messages};
pub use socket::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN, Socket,
};
pub use write::{Batch, Header};
