//! /etc/services: which port is registered for what (services(5); Debian's netbase has it).

use std::collections::HashMap;
use std::path::Path;

use crate::report::escape::escape;

const FILE: &str = "/etc/services";

/// No services database is this large.
const LARGEST: u64 = 1 << 20;

/// Names by port and protocol.
#[derive(Debug, Default)]
pub(super) struct Services {
    names: HashMap<(u16, String), String>,
}

impl Services {
    /// Reads the system's; without it there are no names, and a note.
    pub(super) fn read(notes: &mut Vec<String>) -> Self {
        read(Path::new(FILE)).map_or_else(
            |why| {
                notes.push(format!("{FILE}: {why}; services have no names"));
                Self::default()
            },
            |text| Self::parse(&text),
        )
    }

    /// What is no line of a service is passed over, as the C library does. The first name of a port counts.
    pub(super) fn parse(text: &str) -> Self {
        let mut names = HashMap::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let (Some(name), Some(place)) = (words.next(), words.next()) else { continue };
            let Some((port, protocol)) = place.split_once('/') else { continue };
            let Ok(port) = port.parse() else { continue };
            names.entry((port, protocol.to_owned())).or_insert_with(|| escape(name).into_owned());
        }
        Self { names }
    }

    pub(super) fn name(&self, protocol: &str, port: u16) -> Option<&str> {
        self.names.get(&(port, protocol.to_owned())).map(String::as_str)
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let size = std::fs::metadata(path)?.len();
    if size > LARGEST {
        return Err(std::io::Error::other("too large"));
    }
    Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_the_first_name_of_its_protocol() {
        let services = Services::parse(
            "# comment\nssh\t\t22/tcp\t# Secure\ndomain 53/tcp\ndomain 53/udp\nother 53/udp\nbad\nworse x/tcp\nhuge 70000/tcp\n\
             e\u{1b}vil 7/tcp alias\n",
        );
        assert_eq!(services.name("tcp", 22), Some("ssh"));
        assert_eq!(services.name("udp", 22), None);
        assert_eq!(services.name("udp", 53), Some("domain"));
        assert_eq!(services.name("tcp", 7), Some(r"e\u{1b}vil"));
        assert_eq!(services.names.len(), 4);
    }

    #[test]
    fn without_the_file_there_is_a_note() {
        assert!(read(Path::new("/nonexistent")).is_err());
    }
}
