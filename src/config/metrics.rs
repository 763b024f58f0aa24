//! `metrics`: where Prometheus may ask.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::capture::absolute;
use super::read::Report;
use super::values::Wrong;
use super::yaml::Node;
use crate::metrics::Listen;

/// Where metrics are to be had; nowhere unless it is said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metrics {
    /// An address of the loopback interface, or a path.
    pub listen: Option<Listen>,
}

pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Metrics {
    let mut metrics = Metrics::default();
    let Some(mut keys) = report.keys(node, "`metrics`") else { return metrics };
    if let Some(node) = keys.take("listen") {
        metrics.listen = report.parse(node, "an address such as 127.0.0.1:9876, or a path", listen);
    }
    keys.finish(report);
    metrics
}

fn listen(text: &str) -> Result<Listen, Wrong> {
    if text.starts_with('/') {
        if text.len() > 100 {
            return Err(Wrong::new("the path is too long for a socket", "100 octets are the most"));
        }
        return absolute(text).map(|path: PathBuf| Listen::Unix(path));
    }
    let Ok(address) = text.parse::<SocketAddr>() else {
        return Err(Wrong::new(
            format!("`{text}` is neither an address with a port nor a path"),
            "write 127.0.0.1:9876, \"[::1]:9876\" or /run/nfban/metrics.sock",
        ));
    };
    if !address.ip().is_loopback() {
        return Err(Wrong::new(
            format!("{} can be reached by others, and metrics are nobody else's business", address.ip()),
            "write 127.0.0.1 or \"[::1]\", and have a proxy with authentication in front where others are to ask",
        ));
    }
    if address.port() == 0 {
        return Err(Wrong::new("there is no port 0", "write a port such as 9876"));
    }
    Ok(Listen::Tcp(address))
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::yaml::Source;
    use super::*;

    #[test]
    fn only_this_host_may_ask() {
        let read = |text: &str| {
            let source = Source::new("nfban.yaml", format!("metrics: {{listen: '{text}'}}\n"));
            Config::read(&source).map(|(config, _)| config.metrics.listen).map_err(|error| error.to_string())
        };
        assert_eq!(read("127.0.0.1:9876"), Ok(Some(Listen::Tcp("127.0.0.1:9876".parse().unwrap()))));
        assert_eq!(read("[::1]:9876"), Ok(Some(Listen::Tcp("[::1]:9876".parse().unwrap()))));
        assert_eq!(read("/run/nfban/metrics.sock"), Ok(Some(Listen::Unix("/run/nfban/metrics.sock".into()))));
        for text in ["0.0.0.0:9876", "192.0.2.1:9876", "[::]:9876"] {
            assert!(read(text).unwrap_err().contains("can be reached by others"), "{text}");
        }
        for text in ["9876", "localhost:9876", "metrics.sock", "127.0.0.1:0"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
