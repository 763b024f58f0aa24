//! The journal's JSON, one entry a line (`journalctl -o json`, systemd.journal-fields(7)).

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Reason;
use super::carrier::{self, Carried};
use super::time::LineTime;

/// Reads an entry. A message that JSON had to escape is put into `buffer`; every other is borrowed from the line.
///
/// `_TRANSPORT` is set by journald itself and cannot be forged; the identifier counts where it is left out.
pub(super) fn split<'a>(line: &'a [u8], buffer: &'a mut Vec<u8>) -> Result<Carried<'a>, Reason> {
    let entry: Entry<'a> = serde_json::from_slice(line).map_err(|_| Reason::Json)?;
    let origin = match (&entry.transport, &entry.identifier) {
        (Field::Absent, identifier) => identifier,
        (transport, _) => transport,
    };
    if !matches!(origin, Field::Absent) && origin.octets() != b"kernel" {
        return Ok(Carried::OtherProgram);
    }
    let time = std::str::from_utf8(entry.realtime.octets())
        .ok()
        .and_then(|digits| digits.parse::<u64>().ok())
        .and_then(|microseconds| i64::try_from(microseconds).ok())
        .map(LineTime::Instant);
    let message = match entry.message {
        Field::Text(Cow::Borrowed(text)) => text.as_bytes(),
        owned => {
            buffer.clear();
            buffer.extend_from_slice(owned.octets());
            buffer
        }
    };
    Ok(carrier::of_kernel(time, message))
}

#[derive(serde::Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default, rename = "MESSAGE")]
    message: Field<'a>,
    /// Microseconds since 1970.
    #[serde(borrow, default, rename = "__REALTIME_TIMESTAMP")]
    realtime: Field<'a>,
    #[serde(borrow, default, rename = "SYSLOG_IDENTIFIER")]
    identifier: Field<'a>,
    #[serde(borrow, default, rename = "_TRANSPORT")]
    transport: Field<'a>,
}

/// A field is a string, an array of octets where it is no UTF-8, null where it was too large, or an array of these
/// where it was given more than once.
#[derive(Default)]
enum Field<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Octets(Vec<u8>),
    /// Of another form.
    Unusable,
}

impl Field<'_> {
    fn octets(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Octets(octets) => octets,
            Self::Absent | Self::Unusable => &[],
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Field<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyForm)
    }
}

/// Takes whatever stands there: one odd field must not cost the entry.
struct AnyForm;

impl<'de> Visitor<'de> for AnyForm {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a journal field")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Owned(number.to_string())))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Field<'de>, E> {
        Ok(Field::Unusable)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field<'de>, E> {
        Ok(Field::Unusable)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field<'de>, E> {
        Ok(Field::Unusable)
    }

    fn visit_unit<E>(self) -> Result<Field<'de>, E> {
        Ok(Field::Unusable)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Field<'de>, A::Error> {
        let mut octets = Vec::new();
        let mut is_octets = true;
        while let Some(element) = elements.next_element::<Octet>()? {
            match element {
                Octet(Some(octet)) => octets.push(octet),
                Octet(None) => is_octets = false,
            }
        }
        Ok(if is_octets { Field::Octets(octets) } else { Field::Unusable })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Unusable)
    }
}

/// An element of an array, if it is an octet.
struct Octet(Option<u8>);

impl<'de> Deserialize<'de> for Octet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let octet = match Field::deserialize(deserializer)? {
            Field::Text(Cow::Owned(text)) => text.parse().ok(),
            _ => None,
        };
        Ok(Self(octet))
    }
}
