//! A YAML file as a tree of values that know where they stand, so that everything wrong with it can be told at once.
//!
//! Plain `Deserialize` stops at the first error; here the parser's events become [`Node`]s, and the readers above
//! go on past what is wrong. Nesting and the values that aliases copy are bounded.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle, Span, options};

use super::problem::{Place, Problem, Problems};
use super::read::Report;
use super::trust::{self, Trust};

/// No configuration or rules file is larger.
const LARGEST_FILE: u64 = 1 << 20;
/// Lists and mappings inside one another, those that aliases bring included.
const DEEPEST: usize = 32;
/// Values that all anchors and aliases of a file may copy ("billion laughs").
const MOST_COPIES: usize = 100_000;

/// The text of a file, and the name it goes by in problems.
#[derive(Debug, Clone)]
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// Text that is already here.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is larger than 1 MiB, is not UTF-8, or is not to be trusted.
    pub fn open(path: &Path, trust: Trust) -> Result<Self, Problems> {
        let name = path.display().to_string();
        let cannot = |error: &io::Error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => "check the path; an empty file is a good configuration",
                io::ErrorKind::PermissionDenied => "run as root, or as a user who may read it",
                _ => "check the path and the file system",
            };
            Problems::from(Problem::of_file(&name, format!("cannot be read: {error}"), hint))
        };
        trust::check_path(path, trust)?;
        // To open a pipe waits for somebody who writes to it, and the daemon with it.
        if trust == Trust::OwnOrRoots
            && std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
        {
            return Err(Problem::of_file(name, "is a pipe", "write it into a file").into());
        }
        let file = File::open(path).map_err(|error| cannot(&error))?;
        let metadata = file.metadata().map_err(|error| cannot(&error))?;
        if metadata.is_dir() {
            return Err(Problem::of_file(name, "is a directory", "name the file in it").into());
        }
        // Asked of the open file besides the path, so that what is judged is what is read.
        trust::check(&name, &metadata, trust)?;
        let mut octets = Vec::new();
        file.take(LARGEST_FILE + 1).read_to_end(&mut octets).map_err(|error| cannot(&error))?;
        if octets.len() as u64 > LARGEST_FILE {
            let hint = "check the path: this is no file of nfban's; long lists of addresses belong into sets of your own";
            return Err(Problem::of_file(name, "larger than 1 MiB", hint).into());
        }
        match String::from_utf8(octets) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => Err(not_utf8(&name, &error).into()),
        }
    }

    /// The name it goes by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A line, the first is 1, broken where YAML breaks lines (YAML 1.2.2 section 5.4).
    pub(super) fn line(&self, number: usize) -> Option<&str> {
        let mut rest = self.text.as_str();
        for _ in 1..number {
            let (_, after) = split_line(rest)?;
            rest = after;
        }
        Some(split_line(rest).map_or(rest, |(line, _)| line))
    }
}

/// The first line and what follows its break: CR LF, LF, or CR.
fn split_line(text: &str) -> Option<(&str, &str)> {
    let (line, rest) = text.split_at_checked(text.find(['\r', '\n'])?)?;
    Some((line, rest.strip_prefix("\r\n").or_else(|| rest.get(1..)).unwrap_or("")))
}

/// Shows where a file stops being text.
fn not_utf8(name: &str, error: &std::string::FromUtf8Error) -> Problem {
    let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
    let line_start = good.iter().rposition(|&octet| octet == b'\n').map_or(0, |index| index + 1);
    let line_octets = error.as_bytes().get(line_start..).unwrap_or_default();
    let line_end = line_octets.iter().position(|&octet| octet == b'\n').unwrap_or(line_octets.len());
    let place = Place {
        file: 0,
        line: 1 + good.iter().filter(|&&octet| octet == b'\n').count(),
        column: 1 + String::from_utf8_lossy(good.get(line_start..).unwrap_or_default()).chars().count(),
        length: 1,
    };
    Problem {
        place: Some(place),
        snippet: Some(String::from_utf8_lossy(line_octets.get(..line_end).unwrap_or_default()).into_owned()),
        ..Problem::of_file(name, "not UTF-8", "save the file as UTF-8: `iconv -f LATIN1 -t UTF-8`")
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where.
    pub place: Place,
    /// What.
    pub value: Value,
}

/// A value of YAML, not yet taken for anything: that `22` is a port or a number of days is for the reader to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing: `key:` with nothing behind it, or `~`. Not `null`, which is the name of a class of packets.
    Null,
    /// A word, number or text.
    Scalar {
        /// As it stands, quotes and escapes resolved.
        text: String,
        /// Without quotes; only then can it be a number or a truth value.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file.
    Map(Vec<Entry>),
}

/// A key of a mapping and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// The value.
    pub node: Node,
}

/// Parses the one document of a source; an empty one is [`Value::Null`]. `None` if it is not YAML, which is reported.
pub fn parse(report: &mut Report<'_>) -> Option<Node> {
    let (source, file) = report.source()?;
    let parser = Parser::new_from_str_with_options(
        &source.text,
        options! {
            emit_comments: false,
            emit_unresolved_aliases: true,
            flow_nesting_limit: DEEPEST,
            block_nesting_limit: DEEPEST,
        },
    );
    let mut builder = Builder { file, ..Builder::default() };
    let mut documents = 0;
    for event in parser {
        match event {
            Ok((Event::DocumentStart(..), span)) => {
                documents += 1;
                if documents > 1 {
                    report.error(place(span, file), "a second YAML document", "one file holds one document");
                    return None;
                }
            }
            Ok((event, span)) => builder.event(event, span, report)?,
            Err(error) => {
                report.error(point(*error.marker(), file), &format!("not YAML: {}", error.info()), REMEDY);
                return None;
            }
        }
    }
    let nothing = Node { place: Place { file, line: 1, column: 1, length: 1 }, value: Value::Null };
    Some(builder.root.unwrap_or(nothing))
}

/// What most broken YAML needs.
const REMEDY: &str = "check brackets and quotes here and in the line above; indent with spaces, not tabs";

/// Where an event stands, as far as its first line.
fn place(span: Span, file: usize) -> Place {
    let length = if span.end.line() == span.start.line() {
        span.end.col().saturating_sub(span.start.col())
    } else {
        // The excerpt ends with its line.
        usize::MAX
    };
    Place { length: length.max(1), ..point(span.start, file) }
}

/// One character; the parser counts columns from 0.
fn point(mark: Marker, file: usize) -> Place {
    Place { file, line: mark.line().max(1), column: mark.col() + 1, length: 1 }
}

/// A list or mapping that is still open.
struct Open {
    place: Place,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, lines: HashMap<String, usize>, awaits: Awaits },
}

/// What a mapping needs next.
enum Awaits {
    Key,
    /// The value of this key; of none if the key was no word and has been reported.
    Value(Option<(String, Place)>),
}

/// Makes a tree of the parser's events. It keeps its own stack: the depth of a file is not the depth of ours.
#[derive(Default)]
struct Builder {
    /// Which of the sources it is.
    file: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchor>,
    copies: usize,
    root: Option<Node>,
}

/// A value that aliases may repeat.
struct Anchor {
    node: Node,
    values: usize,
    depth: usize,
}

impl Builder {
    /// `None` stops the reading.
    fn event(&mut self, event: Event<'_>, span: Span, report: &mut Report<'_>) -> Option<()> {
        let file = self.file;
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.is_some(), place(span, file), report);
                let plain = style == ScalarStyle::Plain;
                let value = match text.as_ref() {
                    "" | "~" if plain => Value::Null,
                    _ => Value::Scalar { text: text.into_owned(), plain },
                };
                self.close(Node { place: place(span, file), value }, anchor, report)
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.is_some(), place(span, file), report);
                self.open.push(Open { place: place(span, file), anchor, content: Content::List(Vec::new()) });
                Some(())
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.is_some(), place(span, file), report);
                let content =
                    Content::Map { entries: Vec::new(), lines: HashMap::new(), awaits: Awaits::Key };
                self.open.push(Open { place: place(span, file), anchor, content });
                Some(())
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Open { place, anchor, content } = self.open.pop()?;
                let value = match content {
                    Content::List(items) => Value::List(items),
                    Content::Map { entries, .. } => Value::Map(entries),
                };
                self.close(Node { place, value }, anchor, report)
            }
            Event::Alias(anchor) => {
                let node = self.alias(anchor, place(span, file), report)?;
                self.close(node, 0, report)
            }
            Event::UnresolvedAlias(name) => {
                let message = format!("`*{name}` repeats a value that nothing before it names");
                report.error(
                    place(span, file),
                    &message,
                    "name it with `&NAME`; quote a text that begins with `*`",
                );
                self.close(Node { place: place(span, file), value: Value::Null }, 0, report)
            }
            _ => Some(()),
        }
    }

    /// The copy that an alias stands for.
    fn alias(&mut self, anchor: usize, place: Place, report: &mut Report<'_>) -> Option<Node> {
        let Some(anchor) = self.anchors.get(&anchor) else {
            report.error(place, "an alias inside the value that it repeats", "write the value out");
            return None;
        };
        self.copies += anchor.values;
        if self.copies > MOST_COPIES {
            report.error(place, &format!("aliases copy more than {MOST_COPIES} values"), "write fewer");
            return None;
        }
        if self.open.len() + anchor.depth > DEEPEST {
            report.error(place, "aliases nest too deeply", "write the value out");
            return None;
        }
        Some(anchor.node.clone())
    }

    /// Puts a finished value where it belongs.
    fn close(&mut self, node: Node, anchor: usize, report: &mut Report<'_>) -> Option<()> {
        if anchor != 0 {
            let (values, depth) = measure(&node);
            self.copies += values;
            if self.copies > MOST_COPIES {
                report.error(
                    node.place,
                    &format!("anchors hold more than {MOST_COPIES} values"),
                    "use fewer",
                );
                return None;
            }
            self.anchors.insert(anchor, Anchor { node: node.clone(), values, depth });
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, lines, awaits }) => {
                *awaits = match std::mem::replace(awaits, Awaits::Key) {
                    Awaits::Key => Awaits::Value(key(node, report)),
                    Awaits::Value(None) => Awaits::Key,
                    Awaits::Value(Some((key, place))) => {
                        if let Some(line) = lines.get(&key) {
                            let hint = format!("it stands in line {line} already: keep one of them");
                            report.error(place, &format!("the key `{key}` is given twice"), &hint);
                        } else {
                            lines.insert(key.clone(), place.line);
                            entries.push(Entry { key, place, node });
                        }
                        Awaits::Key
                    }
                };
            }
        }
        Some(())
    }
}

/// The word that a key is.
fn key(node: Node, report: &mut Report<'_>) -> Option<(String, Place)> {
    if let Value::Scalar { text, .. } = node.value {
        return Some((text, node.place));
    }
    report.error(node.place, "a key must be a word", "write `key: value`; quote what holds `: ` or brackets");
    None
}

/// How many values a value holds, itself included, and how many lists and mappings are inside one another.
fn measure(node: &Node) -> (usize, usize) {
    let add =
        |(values, depth): (usize, usize), (more, deep): (usize, usize)| (values + more, depth.max(deep + 1));
    match &node.value {
        Value::Null | Value::Scalar { .. } => (1, 0),
        Value::List(items) => items.iter().map(measure).fold((1, 1), add),
        Value::Map(entries) => entries.iter().map(|entry| measure(&entry.node)).fold((1, 1), add),
    }
}

fn refuse_tag(tagged: bool, place: Place, report: &mut Report<'_>) {
    if tagged {
        report.error(place, "a tag (`!...`) means nothing here", "leave it out");
    }
}
