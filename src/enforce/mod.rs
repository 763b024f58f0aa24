//! Putting decisions into effect: the element that stands in a kernel set until its timeout.
//!
//! [`Enforcer`] is the boundary. What it is asked for comes back as an [`Outcome`] for each change, so that the
//! engine's ledger never claims a ban that the kernel does not hold.

mod apply;
mod arrange;
mod asked;
pub mod conntrack;
mod counted;
mod covered;
mod dry_run;
mod expression;
mod found;
mod given;
mod kernel;
mod layout;
mod lists;
mod message;
mod owner;
mod reading;
mod restore;
mod sets;
mod socket;
mod stretches;
mod table;
mod transaction;
mod trap;
mod uapi;
mod watch;

use std::time::Duration;

use ipnet::IpNet;

pub use self::counted::Dropped;
pub use self::dry_run::DryRun;
pub use self::expression::Counts;
pub use self::kernel::{InstallError, Kernel, Settings};
pub use self::reading::Lister;
pub use self::restore::Half;
pub use self::sets::Given;
pub use self::trap::{Redirected, Trap};
pub use self::watch::{Interference, Noticed, Watch};
use crate::decide::Measure;

/// One change to what is enforced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Hold `target` for `timeout` from now on, whatever time is left of an earlier one; its dropped counts carry over.
    Put {
        /// Drop everything, or all but what is published.
        measure: Measure,
        /// An address (full-length prefix) or a prefix.
        target: IpNet,
        /// How long; `None` is until it is lifted.
        timeout: Option<Duration>,
        /// The comment the element carries: the rule's id.
        comment: String,
    },
    /// Lift it. Lifting what is not held (or has just expired) is no error.
    Lift {
        /// Which of the two.
        measure: Measure,
        /// As it was put.
        target: IpNet,
    },
}

/// What became of one [`Change`].
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel has committed it.
    Done,
    /// The kernel refused it; the errno is kept. It may be tried again.
    Refused(i32),
}

/// What the kernel holds for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// In which of the two ways.
    pub measure: Measure,
    /// The target.
    pub target: IpNet,
    /// Time left; `None` is until it is lifted.
    pub expires: Option<Duration>,
    /// Packets dropped so far.
    pub packets: u64,
    /// Octets dropped so far.
    pub bytes: u64,
    /// The element's comment.
    pub comment: String,
}

/// Somebody who can put decisions into effect.
pub trait Enforcer {
    /// Makes the changes, in as few transactions as can be, and tells for each what became of it (same order, same length).
    fn apply(&mut self, changes: &[Change]) -> Vec<Outcome>;

    /// What is held now, as the kernel tells it.
    ///
    /// # Errors
    /// When the kernel cannot be asked. ENOENT when the table, a set or a rule of it is gone: then nothing can be told to
    /// be held, and nobody has lifted what was.
    fn held(&mut self) -> std::io::Result<Vec<Held>>;

    /// Replaces the addresses that must never be dropped.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn protect(&mut self, protected: &[IpNet]) -> std::io::Result<()>;
}
