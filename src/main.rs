//! The `nfban` command.

fn main() {}
