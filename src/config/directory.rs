//! Directories whose files are read together: `conf.d` and `rules.d`.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::problem::{Problem, Problems};
use super::trust::{self, Trust};

/// The `*.yaml` of a directory in the order of the octets of their names; there need be no such directory. What editors
/// hide (`.#local.yaml`) is none of them.
///
/// # Errors
/// It cannot be read, or is not to be trusted.
pub(super) fn yaml_files(directory: &Path, trust: Trust) -> Result<Vec<PathBuf>, Problems> {
    let listing = std::fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
    let mut paths: Vec<PathBuf> = match listing {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let (name, message) = (directory.display().to_string(), format!("cannot be read: {error}"));
            return Err(Problem::of_file(name, message, "check the directory and its permissions").into());
        }
        Ok(paths) => paths,
    };
    trust::check_path(directory, trust)?;
    let is_hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
    paths.retain(|path| path.extension() == Some(OsStr::new("yaml")) && !is_hidden(path));
    paths.sort();
    Ok(paths)
}

/// Where the files stand that add to a configuration: `conf.d` beside `nfban.yaml`, `NAME.d` beside any other `NAME.yaml`,
/// so that two instances do not share one.
#[must_use]
pub fn drop_ins(config: &Path) -> PathBuf {
    if config.file_name() == Some(OsStr::new("nfban.yaml")) {
        config.with_file_name("conf.d")
    } else {
        config.with_extension("d")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_configuration_has_a_directory_of_its_own() {
        for (config, directory) in [
            ("/etc/nfban/nfban.yaml", "/etc/nfban/conf.d"),
            ("/etc/nfban/dmz.yaml", "/etc/nfban/dmz.d"),
            ("nfban.yaml", "conf.d"),
            ("x/test", "x/test.d"),
        ] {
            assert_eq!(drop_ins(Path::new(config)), Path::new(directory), "{config}");
        }
    }
}
