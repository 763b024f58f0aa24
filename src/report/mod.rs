//! What happened, told to programs and to people.
//!
//! [`json`] writes an event as one object a line and [`text`] as one sentence a line; [`table`] and [`screen`] lay out
//! what the command line shows. Whatever came from outside passes [`escape`] on its way to a terminal or a log.

#![forbid(unsafe_code)]

pub mod escape;
pub mod firing;
#[cfg(test)]
pub(crate) mod golden;
pub mod json;
pub mod listing;
pub mod moment;
pub mod page;
pub mod picture;
pub mod ports;
pub mod rate;
pub mod screen;
pub mod table;
pub mod target;
pub mod text;
