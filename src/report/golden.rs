//! Screens that tests compare with what they are to look like.

use std::path::Path;

/// Compares `shown` with the file `name` of tests/data/screens; `UPDATE_GOLDEN=1 cargo test --lib` writes it anew.
pub(crate) fn golden(name: &str, shown: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/screens").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, shown).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(shown, expected, "UPDATE_GOLDEN=1 cargo test --lib writes {name} anew");
}
