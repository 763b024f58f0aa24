//! `nfban forget`: in memory at once, and then in the state database, whose thread gives the answer.

use std::path::PathBuf;

use ipnet::IpNet;

use super::Daemon;
use crate::control::inbox::Responder;
use crate::control::protocol::{Refusal, Reply};
use crate::report::target::Target;
use crate::store::forget::Forgotten;

impl Daemon {
    pub(super) fn forget(&mut self, target: IpNet, copies: bool, responder: Responder) {
        let net = self.engine.known_as(target);
        // What is told of them is told before.
        self.carry_out();
        if let Err(why) = self.engine.forget(net) {
            return responder.send(Reply::refused(Refusal::No, why.to_string()));
        }
        self.latest.forget(net);
        self.offenders.forget(net);
        if let Some(history) = &mut self.history {
            history.forget(net);
        }
        if let Some(saving) = &mut self.saving {
            saving.forget(net);
        }
        let target = Target(net);
        let Some(memory) = &mut self.memory else {
            return responder.send(Reply::Forgotten {
                target,
                incidents: 0,
                bans: 0,
                copies: Vec::new(),
                removed: Vec::new(),
            });
        };
        let told = Box::new(move |forgotten: Result<Forgotten, _>| {
            responder.send(match forgotten {
                Ok(Forgotten { incidents, bans, copies, removed }) => {
                    let names =
                        |paths: Vec<PathBuf>| paths.iter().map(|path| path.display().to_string()).collect();
                    Reply::Forgotten {
                        target,
                        incidents,
                        bans,
                        copies: names(copies),
                        removed: names(removed),
                    }
                }
                Err(error) => Reply::refused(
                    Refusal::Busy,
                    format!(
                        "{target} is forgotten in memory, and may be left in the state database: {error}"
                    ),
                ),
            });
        });
        // Where it is not taken, the responder is dropped, and says so.
        let _ = memory.forget(net, copies, told);
    }
}
