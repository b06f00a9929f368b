//! `health`: whether the worker of this container runs.

use nix::unistd::Pid;

use crate::cli;
use crate::exit::Exit;
use crate::health::{Asked, health as look};
use crate::output;
use crate::system::signals;

/// Looks once, and prints the verdict. The exit code is the answer, also where nobody reads the line.
#[inline(never)]
pub fn health(options: &cli::Health) -> Exit {
    signals::let_signals_end_it();
    let asked = Asked { registered: options.registered, started_for: options.started_for };
    let (line, exit) = match look(options.pid.map(Pid::from_raw), &asked) {
        Ok(healthy) => (format!("[OK] {healthy}\n"), Exit::Done),
        Err(unhealthy) => (format!("[FAIL] {unhealthy}\n"), Exit::Unhealthy),
    };
    let _ = output::print(&line);
    exit
}
