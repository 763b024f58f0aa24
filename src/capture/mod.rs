//! Where packets come from.

pub mod nflog;
