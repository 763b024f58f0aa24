//! Internet sockets: the packaged service opens none until a drop-in lets it, and what needs some is refused with its name.

use std::io;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};

use super::StartError;
use crate::hooks::{Hook, Way};

/// Whether there are no internet sockets at all: RestrictAddressFamilies= of the unit. No kernel that filters packets lacks
/// the family itself.
pub(super) fn is_forbidden(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
}

/// Why it cannot be started to do `what`.
pub(super) fn forbidden(
    what: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StartError {
    let what = format!(
        "{what} (the service may open no internet sockets until \
         /usr/share/doc/nfban/examples/systemd/network.conf lets it)"
    );
    StartError::NoPermission { what, source: source.into() }
}

/// Whether webhooks can be posted, as far as that can be known before there is one to post. What a program of the
/// administrator needs it must know itself.
pub(super) fn is_there_for(hooks: &[Hook]) -> Result<(), StartError> {
    if !hooks.iter().any(|hook| matches!(hook.way, Way::Webhook(_))) {
        return Ok(());
    }
    let families = [AddressFamily::INET, AddressFamily::INET6];
    let refusals = families.map(|family| socket(family, SocketType::DGRAM, None).err().map(io::Error::from));
    match refusals {
        [Some(error), Some(other)] if is_forbidden(&error) && is_forbidden(&other) => {
            Err(forbidden("post webhooks", error))
        }
        _ => Ok(()),
    }
}
