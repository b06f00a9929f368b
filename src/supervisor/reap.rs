//! Reaping: every child that has ended, the worker and orphans alike.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::unistd::Pid;
use tracing::warn;

use super::options::Scope;
use super::signal::Signal;
use super::spawn::end_group;
use crate::system::children::{peek_any, reap, reap_any};

/// What became of the shim's children.
#[derive(Debug, Default)]
pub struct Reaped {
    /// The worker's status, if it has ended.
    pub ended: Option<ExitStatus>,
    /// What stopped the worker, a key or any process's signal; it has not ended.
    pub stopped: Option<Signal>,
    /// No child is left.
    pub childless: bool,
    /// More may have ended than were reaped, of which no signal tells any more.
    pub is_unfinished: bool,
}

/// So many at once: no storm of orphans that end faster than they are reaped holds up a signal.
const AT_ONCE: usize = 64;

/// Reaps the children that have ended; waitpid(2).
///
/// All of them, as far as they are no more than at once: one SIGCHLD can stand for many deaths
/// (signal(7)). Children that the shim had before it became the shim, and orphans that became its own,
/// are reaped silently unless `warn_on_reap`.
///
/// In group scope the worker's end ends its group as well.
pub fn drain(worker: Pid, scope: Scope, warn_on_reap: bool) -> Reaped {
    let mut reaped = Reaped::default();
    for _ in 0..AT_ONCE {
        let next = match scope {
            Scope::Worker => reap_any(),
            Scope::Group => reap_next_in_group_scope(worker),
        };
        match next {
            Ok(Some((pid, status))) if pid == worker => {
                reaped.stopped = status.stopped_signal().and_then(Signal::new);
                if reaped.stopped.is_none() {
                    reaped.ended = Some(status);
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
            Err(Errno::ECHILD) => return Reaped { childless: true, ..reaped },
            Ok(None) | Err(_) => return reaped,
        }
    }
    Reaped { is_unfinished: true, ..reaped }
}

/// Ends the worker's group once the worker has ended and before it is reaped: as long as it is not, its
/// group can't be another's.
fn reap_next_in_group_scope(worker: Pid) -> nix::Result<Option<(Pid, ExitStatus)>> {
    let Some((pid, has_ended)) = peek_any()? else { return Ok(None) };
    if pid == worker && has_ended {
        end_group(worker);
    }
    reap(pid)
}
