//! Country and autonomous system of an address, where the administrator has installed a database in MaxMind's format
//! (Debian's geoipupdate puts GeoLite2 into /var/lib/GeoIP).

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use maxminddb::{Reader, geoip2};

use super::tame;

/// Where databases are, unless said otherwise.
const DIRECTORIES: [&str; 2] = ["/var/lib/GeoIP", "/usr/share/GeoIP"];

/// Those that tell the country, the smaller first.
const COUNTRY: [&str; 5] = [
    "GeoLite2-Country.mmdb",
    "GeoIP2-Country.mmdb",
    "dbip-country-lite.mmdb",
    "GeoLite2-City.mmdb",
    "GeoIP2-City.mmdb",
];

/// Those that tell the autonomous system.
const NETWORK: [&str; 3] = ["GeoLite2-ASN.mmdb", "GeoIP2-ISP.mmdb", "dbip-asn-lite.mmdb"];

/// A database is read whole, and none is this large.
const LARGEST: u64 = 512 << 20;

/// The databases.
#[derive(Debug, Default)]
pub(super) struct Origins {
    country: Option<Reader<Vec<u8>>>,
    network: Option<Reader<Vec<u8>>>,
}

impl Origins {
    /// Opens those of `directory`, or of the usual places. One that cannot be read is noted and left away; that there is
    /// none is worth a note only where somebody said that there is.
    pub(super) fn open(directory: Option<&Path>, notes: &mut Vec<String>) -> Self {
        let usual = DIRECTORIES.map(PathBuf::from);
        let own = directory.map(Path::to_owned);
        let directories = own.as_ref().map_or(&usual[..], std::slice::from_ref);
        let mut open = |names: &[&str]| {
            let paths = directories.iter().flat_map(|at| names.iter().map(move |name| at.join(name)));
            paths.filter(|path| path.exists()).find_map(|path| {
                read(&path).map_err(|why| notes.push(format!("{}: {why}; left away", path.display()))).ok()
            })
        };
        let origins = Self { country: open(&COUNTRY), network: open(&NETWORK) };
        if let (Some(directory), None, None) = (directory, &origins.country, &origins.network) {
            let (country, network) = (COUNTRY.join(", "), NETWORK.join(", "));
            let place = directory.display();
            notes.push(format!("{place} has no database that can be read: {country} or {network}"));
        }
        origins
    }

    /// What is known of an address.
    pub(super) fn of(&self, address: IpAddr) -> Option<Origin> {
        let country = self.country.as_ref().and_then(|reader| {
            let found: geoip2::Country<'_> = reader.lookup(address).ok()?.decode().ok()??;
            found.country.iso_code.or(found.registered_country.iso_code).map(tame)
        });
        let network = self.network.as_ref().and_then(|reader| {
            let found: geoip2::Asn<'_> = reader.lookup(address).ok()?.decode().ok()??;
            Some((found.autonomous_system_number?, found.autonomous_system_organization.map(tame)))
        });
        (country.is_some() || network.is_some()).then_some(Origin { country, network })
    }

    pub(super) const fn are_unknown(&self) -> bool {
        self.country.is_none() && self.network.is_none()
    }
}

/// Where an address belongs: one of the two at least. Text is harmless already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Two letters of ISO 3166.
    country: Option<String>,
    /// The autonomous system's number and whose it is.
    network: Option<(u32, Option<String>)>,
}

impl Origin {
    /// `DE AS64500`, where there is no room for more.
    #[must_use]
    pub fn short(&self) -> String {
        let network = self.network.as_ref().map(|(number, _)| format!("AS{number}"));
        self.country.iter().cloned().chain(network).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for Origin {
    /// `DE, AS64500 Example`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = self.network.as_ref().map(|(number, name)| match name {
            Some(name) => format!("AS{number} {name}"),
            None => format!("AS{number}"),
        });
        f.write_str(&self.country.iter().cloned().chain(network).collect::<Vec<_>>().join(", "))
    }
}

fn read(path: &Path) -> Result<Reader<Vec<u8>>, String> {
    let about = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !about.is_file() || about.len() > LARGEST {
        return Err(io::Error::other("this is no database").to_string());
    }
    Reader::open_readfile(path).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_origin_is_one() {
        let network = Some((64_500, Some("Example Ltd".to_owned())));
        let whole = Origin { country: Some("DE".into()), network: network.clone() };
        assert_eq!(
            (whole.to_string(), whole.short()),
            ("DE, AS64500 Example Ltd".into(), "DE AS64500".into())
        );
        let half = Origin { country: None, network };
        assert_eq!((half.to_string(), half.short()), ("AS64500 Example Ltd".into(), "AS64500".into()));
    }
}
