//! Text that somebody had the kernel print. Whoever may make a user namespace, which is everybody on Debian, may mount in
//! it, and the kernel's message of a mount that fails quotes him; so do those about control groups and USB devices:
//!
//! ```text
//! overlayfs: failed to resolve '/x/IN=eth0 OUT= SRC=192.0.2.7 DST=…': -2
//! ```
//!
//! Such a message comes from the kernel, whatever carries it. It is told by what stands around the words.

use super::prefix;

/// `NF_LOG_PREFIXLEN` of include/net/netfilter/nf_log.h, less its NUL.
const LONGEST_PREFIX: usize = 127;

/// Messages that end with what others chose: the path of a control group (kernel/cgroup/pids.c), the strings of a USB
/// device (drivers/usb/core/hub.c), the name of an input device (drivers/input/input.c).
const UNQUOTED: [&[u8]; 3] = [b"cgroup: ", b"usb ", b"input: "];

/// Whether the words of a packet are a quotation.
///
/// A quotation mark before them opens one, unless another closes it; the closing one may be missing, because the kernel
/// cuts a message behind 1,024 octets. A packet's words hold none but in the names of interfaces.
pub(super) fn is_quoted(before: &[u8], words: &[u8]) -> bool {
    let before = before.trim_ascii_start();
    if prefix::is_known(before) {
        return words_hold_a_mark(words);
    }
    before.len() > LONGEST_PREFIX
        || [b'\'', b'"', b'`']
            .iter()
            .any(|mark| before.iter().filter(|octet| *octet == mark).count() % 2 == 1)
        || UNQUOTED.iter().any(|beginning| before.starts_with(beginning))
        || words_hold_a_mark(words)
}

fn words_hold_a_mark(words: &[u8]) -> bool {
    const INTERFACES: [&[u8]; 4] = [b"IN=", b"OUT=", b"PHYSIN=", b"PHYSOUT="];
    let names_an_interface = |word: &&[u8]| INTERFACES.iter().any(|key| word.starts_with(key));
    let mut words = words.split(|octet| *octet == b' ').filter(|word| !names_an_interface(word));
    words.any(|word| word.iter().any(|octet| matches!(octet, b'\'' | b'"' | b'`')))
}
