//! What version-guard promises, family by family, tried from outside on the real binary.
// The lints that keep PID 1 alive are of no use in a test, which has to fail loudly.
#![allow(clippy::disallowed_macros, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(dead_code, unused_imports)]

mod check;
mod common;
mod exit;
mod fleet;
mod guards;
mod identity;
mod logs;
mod monitoring;
mod options;
mod peers;
mod policy;
mod reap;
mod registration;
mod seal;
mod signals;
mod start;
mod storms;
mod terminal;
mod verify;
