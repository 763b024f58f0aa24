//! What the service may read: as far as owner, group and mode of a file say, and those alone.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Where units and what adds to them stand.
const UNITS: [&str; 3] = ["etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system"];

/// The user that the service runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// Its name.
    pub name: String,
    uid: u32,
    groups: Vec<u32>,
    /// Whether it may read the kernel's messages (CAP_SYSLOG).
    pub reads_kernel_log: bool,
    /// Whether it may open internet sockets (RestrictAddressFamilies=).
    pub opens_internet_sockets: bool,
}

impl Reader {
    /// The user `name` of the system under `root`, with the groups and capabilities that the unit `nfban.service` and
    /// its drop-ins give it; none where there is no such user. Other name services are not asked.
    #[must_use]
    pub fn of_service(root: &Path, name: &str) -> Option<Self> {
        let passwd = std::fs::read_to_string(root.join("etc/passwd")).ok()?;
        let groups_file = std::fs::read_to_string(root.join("etc/group")).unwrap_or_default();
        let mut user = passwd
            .lines()
            .map(|line| line.split(':'))
            .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
        let uid = user.nth(1)?.parse().ok()?;
        let mut groups: Vec<u32> = user.next()?.parse().into_iter().collect();
        let units = units(root);
        let supplementary: Vec<&str> = settings(&units, "SupplementaryGroups").collect();
        for line in groups_file.lines() {
            let mut fields = line.split(':');
            let (Some(group), Some(Ok(gid))) = (fields.next(), fields.nth(1).map(str::parse)) else {
                continue;
            };
            let is_member =
                fields.next().is_some_and(|members| members.split(',').any(|member| member == name));
            if is_member || supplementary.contains(&group) {
                groups.push(gid);
            }
        }
        let reads_kernel_log = settings(&units, "AmbientCapabilities").any(|word| word == "CAP_SYSLOG");
        let mut families = settings(&units, "RestrictAddressFamilies").peekable();
        let opens_internet_sockets = families.peek().is_none() || families.any(|word| word == "AF_INET");
        Some(Self { name: name.to_owned(), uid, groups, reads_kernel_log, opens_internet_sockets })
    }

    /// Whether it may open `path` for reading, as far as can be told from outside.
    ///
    /// # Errors
    /// Where a part of the path cannot be looked at; one that is not there, for instance.
    pub fn may_read(&self, path: &Path) -> io::Result<bool> {
        if self.uid == 0 {
            return Ok(true);
        }
        let may = |path: &Path, bit: u32| {
            let metadata = path.metadata()?;
            let shift = match metadata.uid() == self.uid {
                true => 6,
                false if self.groups.contains(&metadata.gid()) => 3,
                false => 0,
            };
            Ok::<_, io::Error>(metadata.mode() >> shift & bit != 0)
        };
        for directory in path.ancestors().skip(1) {
            if !may(directory, 0o1)? {
                return Ok(false);
            }
        }
        may(path, 0o4)
    }
}

/// The texts of the unit and its drop-ins.
fn units(root: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for directory in UNITS {
        let unit = root.join(directory).join("nfban.service");
        texts.extend(std::fs::read_to_string(&unit));
        let drop_ins = std::fs::read_dir(unit.with_extension("service.d")).into_iter().flatten().flatten();
        let drop_ins = drop_ins.map(|entry| entry.path());
        texts.extend(
            drop_ins
                .filter(|path| path.extension().is_some_and(|is| is == "conf"))
                .filter_map(|path| std::fs::read_to_string(path).ok()),
        );
    }
    texts
}

/// The words of a setting, wherever it stands.
fn settings<'u>(units: &'u [String], key: &'static str) -> impl Iterator<Item = &'u str> {
    let lines = units.iter().flat_map(|text| text.lines());
    lines
        .filter_map(move |line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='))
        .flat_map(str::split_whitespace)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn what_the_service_may_read_follows_its_groups_and_its_drop_ins() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for directory in ["etc/systemd/system/nfban.service.d", "var/log"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        fs::write(at("etc/passwd"), "root:x:0:0::/:/bin/sh\nnfban:x:4999:4998::/:/usr/sbin/nologin\n")
            .unwrap();
        let own = fs::metadata(root.path()).unwrap().gid();
        fs::write(at("etc/group"), format!("root:x:0:\nadm:x:{own}:\nnfban:x:4998:\n")).unwrap();
        let log = at("var/log/kern.log");
        fs::write(&log, "").unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&log, fs::Permissions::from_mode(0o640)).unwrap();
        let _ = chown(&log, None, Some(own));
        let reader = || Reader::of_service(root.path(), "nfban").unwrap();
        assert_eq!(Reader::of_service(root.path(), "nobody"), None);
        assert!(!reader().may_read(&log).unwrap() && !reader().reads_kernel_log);
        assert!(reader().opens_internet_sockets, "nothing forbids it");
        let unit = "[Service]\nRestrictAddressFamilies=AF_NETLINK AF_UNIX\n";
        fs::write(at("etc/systemd/system/nfban.service"), unit).unwrap();
        assert!(!reader().opens_internet_sockets);
        let drop_in = "[Service]\nRestrictAddressFamilies=AF_INET AF_INET6\n";
        fs::write(at("etc/systemd/system/nfban.service.d/network.conf"), drop_in).unwrap();
        assert!(reader().opens_internet_sockets);
        let drop_in =
            "[Service]\nSupplementaryGroups=systemd-journal adm\nAmbientCapabilities = CAP_SYSLOG\n";
        fs::write(at("etc/systemd/system/nfban.service.d/logs.conf"), drop_in).unwrap();
        assert!(reader().may_read(&log).unwrap() && reader().reads_kernel_log);
        fs::set_permissions(at("var/log"), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!reader().may_read(&log).unwrap(), "a directory on the way is closed");
        fs::set_permissions(at("var/log"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(reader().may_read(&at("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
