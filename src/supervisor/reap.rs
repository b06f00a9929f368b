//! Reaping: every child that has ended, the worker and orphans alike.

use std::process::ExitStatus;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::kernel;

/// Reaps all children that have ended and returns the worker's status if it is among them.
///
/// All of them each time: one SIGCHLD can stand for many deaths (signal(7)). Children that the shim
/// had before it became the shim, and orphans that became its own, are buried without a word.
pub fn drain(worker: Pid) -> Option<ExitStatus> {
    let mut ended = None;
    loop {
        match kernel::reap() {
            Ok(Some((pid, status))) if pid == worker => ended = Some(status),
            Ok(Some(_)) | Err(Errno::EINTR) => {}
            // None is left that has ended, or none at all.
            Ok(None) | Err(_) => return ended,
        }
    }
}
