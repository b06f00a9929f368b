//! What the images promise, tried in real Docker: built by the Dockerfiles and scripts that users have.
// The lints that keep PID 1 alive are of no use in a test, which has to fail loudly.
#![allow(clippy::disallowed_macros, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::too_many_lines)]
#![allow(dead_code, unused_imports)]

mod code;
mod deployment;
mod docker;
mod document;
mod fleet;
mod guard;
mod health;
mod incident;
mod languages;
mod places;
mod policy;
mod readme;
mod release;
mod script;
mod seal;
mod templates;
mod worker;
