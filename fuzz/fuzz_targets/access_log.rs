//! Any octets as lines of an access log, through the shipped probes: no panic, and one line has one meaning.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nfban::capture::access_log::Decoder;
use nfban::config::Trust;
use nfban::config::rules::{SHIPPED, load_from};
use nfban::web::probe::Probes;

static PROBES: LazyLock<Probes> = LazyLock::new(|| {
    let rules = load_from(SHIPPED, Path::new("/nonexistent"), Trust::Anybody).unwrap();
    Probes::new(&rules.web.probes)
});

fuzz_target!(|input: &[u8]| {
    let (mut decoder, mut fresh) = (Decoder::new(), Decoder::new());
    for line in input.split(|&octet| octet == b'\n') {
        let Ok(request) = decoder.decode(line) else { continue };
        assert_eq!(fresh.decode(line), Ok(request));
        assert!(request.status < 1000);
        if let Some(kind) = PROBES.of(&request) {
            assert!(PROBES.name(kind).is_some());
        }
    }
});
