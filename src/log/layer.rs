//! What the code traces, as lines of the log.

use std::fmt::{Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::Log;
use crate::report::escape::disarm;

/// A longer line is cut: it quotes something that has no end.
const LONGEST: usize = 4096;

/// Leaves every traced event in the log.
pub(super) struct ToLog(pub(super) Log);

impl<S: Subscriber> Layer<S> for ToLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let Words { mut message, fields } = words;
        message.push_str(&fields);
        if message.len() > LONGEST {
            message.truncate(message.floor_char_boundary(LONGEST));
            message.push('…');
        }
        // Metadata are static: their address stands for the place.
        let place = std::ptr::from_ref(event.metadata()).addr();
        self.0.say(place, *event.metadata().level(), disarm(&message).into_owned());
    }
}

/// The message, and other fields as ` name=value`.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
