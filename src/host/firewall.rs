//! What the firewall of this network namespace logs, whoever owns its rules (linux/netfilter/nf_tables.h).

use std::collections::BTreeSet;
use std::io;

use super::dump;
use crate::netlink::{Attribute, Attributes, Message, Socket};

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE`.
const GET_RULE: u16 = 10 << 8 | 7;
/// `struct nfgenmsg`: rules of every family.
const ALL_FAMILIES: [u8; 4] = [0; 4];
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_LOG_GROUP: u16 = 1;
const NFTA_TARGET_NAME: u16 = 1;
const NFTA_TARGET_INFO: u16 = 3;
/// Where `group` is in `struct xt_nflog_info` (linux/netfilter/xt_NFLOG.h), in the host's byte order.
const XT_NFLOG_GROUP: usize = 4;

/// Tables of iptables-legacy, which nf_tables knows nothing of: one name a line while there are any.
const LEGACY: [&str; 2] = ["/proc/self/net/ip_tables_names", "/proc/self/net/ip6_tables_names"];

/// The NFLOG groups that some rule logs to, in nftables or iptables; none where that cannot be seen, as with rules of
/// iptables-legacy.
///
/// # Errors
/// When the kernel does not answer: `EPERM` without `CAP_NET_ADMIN`.
pub fn logged_groups() -> io::Result<Option<BTreeSet<u16>>> {
    if LEGACY.iter().any(|path| std::fs::read_to_string(path).is_ok_and(|names| !names.is_empty())) {
        return Ok(None);
    }
    let netlink = Socket::open(mnl::Bus::Netfilter, 0)?;
    let mut groups = BTreeSet::new();
    dump(&netlink, GET_RULE, &ALL_FAMILIES, |message| groups.extend(groups_of(message)))?;
    Ok(Some(groups))
}

/// The groups that one rule logs to.
fn groups_of(rule: Message<'_>) -> impl Iterator<Item = u16> {
    let expressions = find(rule.attributes(ALL_FAMILIES.len()), NFTA_RULE_EXPRESSIONS);
    expressions.into_iter().flat_map(|list| list.nested()).filter_map(|expression| {
        let data = find(expression.nested(), NFTA_EXPR_DATA)?.nested();
        match find(expression.nested(), NFTA_EXPR_NAME)?.text() {
            b"log" => find(data, NFTA_LOG_GROUP)?.value.first_chunk().copied().map(u16::from_be_bytes),
            b"target" if find(data.clone(), NFTA_TARGET_NAME)?.text() == b"NFLOG" => {
                let info = find(data, NFTA_TARGET_INFO)?.value;
                info.get(XT_NFLOG_GROUP..)?.first_chunk().copied().map(u16::from_ne_bytes)
            }
            _ => None,
        }
    })
}

fn find(mut attributes: Attributes<'_>, kind: u16) -> Option<Attribute<'_>> {
    attributes.find(|attribute| attribute.kind == kind)
}
