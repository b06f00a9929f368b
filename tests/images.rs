//! What the images promise, tried in real Docker: built by the Dockerfiles and scripts that users have.
// The lints that keep PID 1 alive are of no use in a test, which has to fail loudly.
#![allow(clippy::disallowed_macros, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(dead_code, unused_imports)]

mod common;
#[path = "images/docker.rs"]
mod docker;
#[path = "images/guard.rs"]
mod guard;
#[path = "images/incident.rs"]
mod incident;
#[path = "images/languages.rs"]
mod languages;
#[path = "images/places.rs"]
mod places;
#[path = "images/policy.rs"]
mod policy;
#[path = "images/script.rs"]
mod script;
#[path = "images/seal.rs"]
mod seal;
#[path = "images/worker.rs"]
mod worker;
