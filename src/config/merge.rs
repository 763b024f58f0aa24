//! Several files as one configuration.
//!
//! What a later file says stands beside what earlier ones say, key by key; where both say the same key, the lists of
//! [`APPENDED`] are joined, and of anything else the later one is taken. A list cannot be shortened by a later file: nobody
//! would look there for why a port is a service no more.

use super::yaml::{Entry, Node, Value};

/// The keys whose lists are joined. Lists within other keys (`ban.times`) are one value.
pub(super) const APPENDED: [&str; 7] = ["capture", "home", "services", "traps", "allow", "ignore", "hooks"];

/// Puts what `later` says on top of `base`. Both are mappings, or nothing; what is wrong with others was told.
pub(super) fn merge(base: &mut Node, later: Node) {
    match (&mut base.value, later.value) {
        (Value::Map(entries), Value::Map(added)) => {
            for entry in added {
                put(entries, entry, true);
            }
        }
        (Value::Null, value @ Value::Map(_)) => *base = Node { place: later.place, value },
        _ => {}
    }
}

fn put(entries: &mut Vec<Entry>, entry: Entry, top: bool) {
    let Some(known) = entries.iter_mut().find(|known| known.key == entry.key) else {
        return entries.push(entry);
    };
    match (&mut known.node.value, entry.node.value) {
        // Nothing behind a key says nothing, in any file.
        (_, Value::Null) => {}
        (Value::Map(inner), Value::Map(added)) => {
            added.into_iter().for_each(|entry| put(inner, entry, false));
        }
        (old, value) if top && *old != Value::Null && APPENDED.contains(&&*entry.key) => {
            let mut items = items(std::mem::replace(old, Value::Null), known.node.place);
            items.extend(self::items(value, entry.node.place));
            known.node.value = Value::List(items);
        }
        (_, value) => {
            let place = entry.node.place;
            *known = Entry { node: Node { place, value }, ..entry };
        }
    }
}

/// A lone value is a list of one.
fn items(value: Value, place: super::Place) -> Vec<Node> {
    match value {
        Value::List(items) => items,
        value => vec![Node { place, value }],
    }
}
