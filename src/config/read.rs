//! Taking YAML values for what they are meant to be, and telling everything that is wrong on the way.
//!
//! A reader returns what it could make sense of and goes on; whether the whole is good is asked once, at the end
//! ([`Report::finish`]).

use std::ops::RangeInclusive;

use super::problem::{Place, Problem, Problems, Severity};
use super::values::{self, Wrong};
use super::yaml::{Entry, Node, Source, Value};

/// A wrong word is compared with the right ones only up to this length.
const LONGEST_WORD: usize = 64;

/// The sources being read as one, and what is wrong with them so far.
#[derive(Debug)]
pub struct Report<'s> {
    sources: &'s [Source],
    /// Which of them is being parsed.
    file: usize,
    problems: Problems,
    /// What to write instead of the value that is being read, if it is wrong: better than what its grammar says.
    instead: Option<String>,
}

impl<'s> Report<'s> {
    /// Nothing is wrong yet.
    #[must_use]
    pub fn new(source: &'s Source) -> Self {
        Self::of_all(std::slice::from_ref(source))
    }

    /// The same of several sources, of which the first is to be parsed first.
    #[must_use]
    pub fn of_all(sources: &'s [Source]) -> Self {
        Self { sources, file: 0, problems: Problems::default(), instead: None }
    }

    /// What is being parsed, and its number; none behind the last one.
    #[must_use]
    pub fn source(&self) -> Option<(&'s Source, usize)> {
        Some((self.sources.get(self.file)?, self.file))
    }

    /// Goes on with the next source.
    pub const fn next_source(&mut self) {
        self.file += 1;
    }

    /// Whether an error was told.
    #[must_use]
    pub fn any_error(&self) -> bool {
        self.problems.any_error()
    }

    /// What is wrong, in the order of the lines.
    #[must_use]
    pub fn finish(mut self) -> Problems {
        self.problems.sort();
        self.problems
    }

    /// The file is refused.
    pub fn error(&mut self, place: Place, message: &str, hint: &str) {
        self.push(Severity::Error, place, message, Some(hint.to_owned()));
    }

    /// The file is used, but somebody should look at it.
    pub fn warn(&mut self, place: Place, message: &str, hint: &str) {
        self.push(Severity::Warning, place, message, Some(hint.to_owned()));
    }

    /// Reports a value that does not read as it should.
    pub fn wrong(&mut self, place: Place, wrong: Wrong) {
        let hint = self.instead.clone().or(wrong.hint);
        self.push(Severity::Error, place, &wrong.message, hint);
    }

    fn push(&mut self, severity: Severity, place: Place, message: &str, hint: Option<String>) {
        if self.problems.only_counts(severity) {
            return;
        }
        let problem = Problem { message: message.to_owned(), hint, ..self.at(severity, place) };
        self.problems.push(problem);
    }

    /// A problem at a place that does not say yet what is wrong.
    #[must_use]
    pub fn at(&self, severity: Severity, place: Place) -> Problem {
        let source = self.sources.get(place.file);
        Problem {
            file: source.map(Source::name).unwrap_or_default().to_owned(),
            place: Some(place),
            severity,
            message: String::new(),
            hint: None,
            snippet: source.and_then(|source| source.line(place.line)).map(str::to_owned),
        }
    }

    /// The text of a word, number or quoted text; `expected` says in the message what should stand here.
    pub fn text<'n>(&mut self, node: &'n Node, expected: &str) -> Option<&'n str> {
        let (found, hint) = match &node.value {
            Value::Scalar { text, .. } => return Some(text),
            Value::Null => ("nothing", "write the value, or leave the key out"),
            Value::List(_) => ("a list", "write one value, without `[`, `]` and `- `"),
            // `[fe80::]` reads as a mapping with the key `fe80:`.
            Value::Map(entries) if entries.iter().any(|entry| entry.key.contains(':')) => {
                ("a mapping", "quote an IPv6 address: `\"2001:db8::1\"`")
            }
            Value::Map(_) => ("a mapping", "write one value; quote a text that holds `: `"),
        };
        self.error(node.place, &format!("expected {expected}, found {found}"), hint);
        None
    }

    /// A value of a grammar of its own (see [`super::values`]).
    pub fn parse<T>(
        &mut self,
        node: &Node,
        expected: &str,
        grammar: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        grammar(self.text(node, expected)?).map_err(|wrong| self.wrong(node.place, wrong)).ok()
    }

    /// A whole number; one in quotes is a text.
    pub fn integer(&mut self, node: &Node, range: RangeInclusive<u64>) -> Option<u64> {
        let text = self.text(node, "a whole number")?;
        if matches!(node.value, Value::Scalar { plain: false, .. }) {
            self.error(node.place, "expected a whole number, found a text", "leave the quotes out");
            return None;
        }
        self.parse(node, "a whole number", |_| values::integer(text, range))
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, node: &Node) -> Option<bool> {
        if matches!(node.value, Value::Scalar { plain: false, .. }) {
            self.error(node.place, "expected true or false, found a text", "leave the quotes out");
            return None;
        }
        self.word(node, &[("true", true), ("false", false)])
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, node: &Node, words: &[(&str, T)]) -> Option<T> {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let text = self.text(node, &choices(&known))?;
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Some(*meaning),
            None => {
                self.wrong(node.place, Wrong::unknown("word", text, &known));
                None
            }
        }
    }

    /// The items of a list; a lone value is a list of one.
    pub fn items<'n>(&mut self, node: &'n Node) -> &'n [Node] {
        match &node.value {
            Value::List(items) => items,
            Value::Null => &[],
            _ => std::slice::from_ref(node),
        }
    }

    /// Reads every item of a list.
    pub fn list<T>(&mut self, node: &Node, mut item: impl FnMut(&Node, &mut Self) -> Option<T>) -> Vec<T> {
        let items = self.items(node);
        let read = |node: &Node| {
            self.instead = unbracketed(node);
            let read = item(node, self);
            self.instead = None;
            read
        };
        items.iter().filter_map(read).collect()
    }

    /// The keys of a mapping; `what` names it in messages. `None` if it is no mapping, which is reported.
    pub fn keys<'n>(&mut self, node: &'n Node, what: &'static str) -> Option<Keys<'n>> {
        let entries: &[Entry] = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            Value::Scalar { .. } | Value::List(_) => {
                let message = format!("{what} is a mapping (`key: value`)");
                self.error(node.place, &message, "write `{key: value}`, or one key a line below, indented");
                return None;
            }
        };
        Some(Keys { what, place: node.place, entries: entries.iter().collect(), asked: Vec::new() })
    }
}

/// What to write for several values that stand there as one text: `22, 80` or `22 80` as other programs have lists, or lines
/// of a list that are not indented alike.
fn unbracketed(node: &Node) -> Option<String> {
    let Value::Scalar { text, plain: true } = &node.value else { return None };
    let words: Vec<&str> = text.split([',', ' ', '\t']).filter(|word| !["", "-"].contains(word)).collect();
    (words.len() > 1).then(|| format!("write a list: `[{}]`", words.join(", ")))
}

/// A mapping whose keys are asked for one after the other; what nobody asked for is unknown.
#[derive(Debug)]
pub struct Keys<'n> {
    what: &'static str,
    place: Place,
    entries: Vec<&'n Entry>,
    asked: Vec<&'static str>,
}

impl<'n> Keys<'n> {
    /// Where the mapping stands.
    #[must_use]
    pub const fn place(&self) -> Place {
        self.place
    }

    /// The value of a key; none where the key is absent or has nothing behind it.
    pub fn take(&mut self, key: &'static str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The value of a key that must be there.
    pub fn require(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<&'n Node> {
        let node = self.take(key);
        if node.is_none() {
            report.error(self.place, &format!("{} has no `{key}`", self.what), &format!("add `{key}: ...`"));
        }
        node
    }

    /// As [`Keys::take`], with the key itself.
    pub fn entry(&mut self, key: &'static str) -> Option<&'n Entry> {
        self.present(key).filter(|entry| entry.node.value != Value::Null)
    }

    /// As [`Keys::entry`], also where nothing stands behind the key.
    pub fn present(&mut self, key: &'static str) -> Option<&'n Entry> {
        self.asked.push(key);
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.swap_remove(index))
    }

    /// Whether any key is left that nobody asked for yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(self, report: &mut Report<'_>) {
        for entry in self.entries {
            // Each is compared with all that are known: of a file of nothing else that takes a while.
            if report.problems.only_counts(Severity::Error) {
                continue;
            }
            let mut wrong = Wrong::unknown("key", &entry.key, &self.asked);
            if entry.key.contains(['/', ':']) && entry.node.value == Value::Null {
                wrong.hint = Some("a value that holds `,` or ends in `:` must be quoted".to_owned());
            }
            report.wrong(entry.place, wrong);
        }
    }
}

impl Wrong {
    /// A word that is none of the known ones, with the nearest of them or all.
    #[must_use]
    pub fn unknown(what: &str, word: &str, known: &[&str]) -> Self {
        let hint = nearest(word, known).map_or_else(
            || format!("it is one of {}", choices(known)),
            |near| format!("did you mean `{near}`?"),
        );
        Self { message: format!("unknown {what} `{word}`"), hint: Some(hint) }
    }
}

/// The known word that was most likely meant: a different case, or at most a third of its letters wrong.
fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    if word.len() > LONGEST_WORD {
        return None;
    }
    let word = word.to_lowercase().replace('_', "-");
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&word, known), *known))
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(1))
        // The first letter is seldom the wrong one: `htps` is rather `https` than `ftps`.
        .min_by_key(|(distance, known)| (*distance, known.chars().next() != word.chars().next()))
        .map(|(_, known)| known)
}

/// "a, b or c".
fn choices(words: &[&str]) -> String {
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_one_that_could_be_meant() {
        let known = ["enforce", "watch", "queue-threshold"];
        assert_eq!(nearest("Watch", &known), Some("watch"));
        assert_eq!(nearest("enfroce", &known), Some("enforce"));
        assert_eq!(nearest("queue_treshold", &known), Some("queue-threshold"));
        assert_eq!(nearest("ban", &known), None);
        assert_eq!(nearest(&"w".repeat(1000), &known), None);
    }

    #[test]
    fn a_list_may_be_a_lone_value() {
        let source = Source::new("f", "a");
        let mut report = Report::new(&source);
        let node = super::super::yaml::parse(&mut report).unwrap();
        assert_eq!(report.items(&node).len(), 1);
    }
}
