//! The sets of `inet nfban`, as the `nft` program lists them: the kernel's word, not nfban's.

#![forbid(unsafe_code)]

use super::DemoError;
use super::program::{self, Input};

/// An element as `nft` writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) text: String,
    /// Packets the kernel has dropped because of it.
    pub(super) packets: u64,
}

/// The one element that a set holds, if it holds any.
pub(super) fn element(set: &str) -> Result<Option<Element>, DemoError> {
    let listing = program::run("nft", &["list", "set", "inet", "nfban", set], Input::Nothing)
        .map_err(|error| DemoError::step(format!("list the set {set}"), error))?;
    Ok(read(&listing))
}

fn read(listing: &str) -> Option<Element> {
    let (_, rest) = listing.split_once("elements = {")?;
    let (elements, _) = rest.split_once('}')?;
    let text = elements.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, counted) = text.split_once("counter packets ")?;
    let packets = counted.split(' ').next()?.parse().ok()?;
    Some(Element { text, packets })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "table inet nfban {\n\tset restrict4 {\n\t\ttype ipv4_addr\n\t\tsize 65536\n\
        \t\tflags timeout\n\t\tcounter\n%\t}\n}\n";

    #[test]
    fn an_element_is_read_with_its_counter_and_otherwise_left_as_it_is() {
        let text =
            r#"198.51.100.7 counter packets 13 bytes 520 timeout 4s expires 3s996ms comment "tcp-syn-scan""#;
        let listing = LISTING.replace('%', &format!("\t\telements = {{ {text} }}\n"));
        assert_eq!(read(&listing), Some(Element { text: text.to_owned(), packets: 13 }));
    }

    #[test]
    fn an_empty_set_holds_none() {
        assert_eq!(read(&LISTING.replace('%', "")), None);
    }
}
