//! Questions about the past: answered by the thread of the control socket, from the state database, beside the engine.

#![forbid(unsafe_code)]

use std::io;
use std::path::PathBuf;

use super::protocol::{Refusal, Reply, Request};
use crate::store::StoreError;
use crate::store::reader::{Page, Reader};

/// Where the past is kept; a daemon that remembers nothing has none.
#[derive(Debug, Clone, Default)]
pub struct Archive(pub Option<PathBuf>);

impl Archive {
    /// The answer, if it is a question about the past.
    pub(super) fn answer(&self, request: &Request) -> Option<Reply> {
        match request {
            Request::Incidents(sought) => Some(self.read(|reader| {
                let Page { incidents, next } = reader.incidents(sought)?;
                Ok(Reply::Incidents { incidents, next })
            })),
            Request::Record { address } => {
                Some(self.read(|reader| Ok(Reply::Record(Box::new(reader.of(*address)?)))))
            }
            _ => None,
        }
    }

    fn read(&self, answer: impl FnOnce(&Reader) -> Result<Reply, StoreError>) -> Reply {
        let Some(path) = &self.0 else {
            return Reply::refused(Refusal::No, "a dry run keeps no history of incidents");
        };
        let answered = Reader::open(path).and_then(|reader| answer(&reader));
        answered.unwrap_or_else(|error| {
            let is_missing = std::fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            let path = path.display();
            if is_missing {
                Reply::refused(
                    Refusal::No,
                    format!("there is no history: nfban could not write {path} when it started, and its log says why"),
                )
            } else {
                Reply::refused(Refusal::Busy, format!("cannot read the history in {path}: {error}"))
            }
        })
    }
}
