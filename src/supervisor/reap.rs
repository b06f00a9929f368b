//! Reaping: every child that has ended, the worker and orphans alike.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::unistd::Pid;
use tracing::warn;

use super::signal::Signal;
use crate::kernel;

/// What a look at the shim's children found.
#[derive(Debug, Default)]
pub struct Found {
    /// The worker's status, if it has ended.
    pub ended: Option<ExitStatus>,
    /// What stopped the worker, a key or anybody's signal; it has not ended.
    pub stopped: Option<Signal>,
    /// No child is left.
    pub childless: bool,
}

/// Reaps all children that have ended; waitpid(2).
///
/// All of them each time: one SIGCHLD can stand for many deaths (signal(7)). Children that the shim
/// had before it became the shim, and orphans that became its own, are buried with no word unless
/// `warn_on_reap`.
pub fn drain(worker: Pid, warn_on_reap: bool) -> Found {
    let mut found = Found::default();
    loop {
        match kernel::reap() {
            Ok(Some((pid, status))) if pid == worker => {
                found.stopped = status.stopped_signal().and_then(Signal::new);
                if found.stopped.is_none() {
                    found.ended = Some(status);
                }
            }
            Ok(Some((pid, status))) => {
                if warn_on_reap && status.stopped_signal().is_none() {
                    warn!(
                        pid = pid.as_raw(),
                        "Reaped process {pid}, which the worker left behind: {status}"
                    );
                }
            }
            Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Found { childless: true, ..found },
            Ok(None) | Err(_) => return found,
        }
    }
}
