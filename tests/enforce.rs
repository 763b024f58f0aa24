//! The enforcer against the real kernel, each test in network namespaces of its own.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test states its expectations by panicking"
)]

mod support;

use support::{HOME4, HOME6, PEER4, PEER6, Pair};

#[test]
fn without_any_rule_the_peer_is_answered() {
    let pair = Pair::new();
    assert!(pair.answers(PEER4, HOME4, 7000, 3));
    assert!(pair.answers(PEER6, HOME6, 7000, 3));
    pair.peer_has("198.51.100.7");
    assert!(pair.answers("198.51.100.7", HOME4, 7000, 3));
    pair.peer_has("2001:db8:bad::7");
    assert!(pair.answers("2001:db8:bad::7", HOME6, 7000, 3));
}
