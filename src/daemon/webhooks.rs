//! Whether webhooks can be posted, as far as that can be known before there is one to post.

use std::io;

use rustix::net::{AddressFamily, SocketType, socket};

use super::StartError;
use crate::hooks::{Hook, Way};

/// Asks for a socket such as curl will. What a program of the administrator needs, he must know himself.
pub(super) fn can_be_posted(hooks: &[Hook]) -> Result<(), StartError> {
    if !hooks.iter().any(|hook| matches!(hook.way, Way::Webhook(_))) {
        return Ok(());
    }
    let families = [AddressFamily::INET, AddressFamily::INET6];
    let refusals = families.map(|family| socket(family, SocketType::DGRAM, None).err().map(io::Error::from));
    match refusals {
        [Some(error), Some(other)] if [&error, &other].into_iter().all(StartError::is_sandbox) => {
            Err(StartError::no_internet_sockets("post webhooks", error))
        }
        _ => Ok(()),
    }
}
