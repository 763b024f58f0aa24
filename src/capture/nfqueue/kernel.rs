//! What the kernel itself counts of a queue.

use std::fs;
use std::io;

/// Every queue of the calling thread's network namespace.
const FILE: &str = "/proc/thread-self/net/netfilter/nfnetlink_queue";

/// Packets of `queue` that the kernel dropped, because the queue (`queue_dropped`) or the socket's buffer
/// (`queue_user_dropped`) was full. With fail-open it drops none, so anything but 0 is a surprise. `None` where the queue
/// is not there.
///
/// # Errors
/// When the file cannot be read: it is root's alone, so the packaged service, which is not root, cannot.
pub fn dropped(queue: u16) -> io::Result<Option<u64>> {
    Ok(read(&fs::read_to_string(FILE)?, queue))
}

/// Columns: queue, port of its owner, packets that wait, copy mode, copy range, dropped of the queue, dropped of the
/// socket, last number, 1 (`seq_show` in net/netfilter/nfnetlink_queue.c).
fn read(text: &str, queue: u16) -> Option<u64> {
    text.lines().find_map(|line| {
        let columns: Vec<u64> = line.split_whitespace().map_while(|column| column.parse().ok()).collect();
        match columns[..] {
            [number, _, _, _, _, by_queue, by_socket, ..] if number == u64::from(queue) => {
                Some(by_queue.saturating_add(by_socket))
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_reasons_are_added_up() {
        let text = "    7   4711     0 2   128     1     0       12  1\n  100   4711     3 2   128     5     6      900  1\n";
        assert_eq!(super::read(text, 100), Some(11));
        assert_eq!(super::read(text, 7), Some(1));
        assert_eq!(super::read(text, 8), None);
        assert_eq!(super::read("100 x", 100), None);
    }
}
