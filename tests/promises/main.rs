//! What version-guard promises, family by family, tried from outside on the real binary.
// The lints that keep PID 1 alive are of no use in a test, which has to fail loudly.
#![allow(clippy::disallowed_macros, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::too_many_lines)]
#![allow(dead_code, unused_imports)]

mod access;
mod check_command;
mod common;
mod drift;
mod eviction;
mod exit_codes;
mod faults;
mod gate;
mod guards;
mod health;
mod heartbeats;
mod hostile_files;
mod image_identity;
mod kubernetes;
mod left_behind;
mod load;
mod logs;
mod old_servers;
mod parity;
mod peers;
mod prometheus;
mod reaping;
mod redis_faults;
mod registration;
mod reshard;
mod runner_watch;
mod runners;
mod seal_command;
mod seal_policy;
mod sealed_code;
mod signals;
mod soak;
mod supervision_options;
mod suspension;
mod terminal;
mod termination_log;
mod usage;
mod values;
mod verify_command;
mod wall;
mod worker_start;
