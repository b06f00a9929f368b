//! Children: how they end, and what the shim gets when its own parent does.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::libc::{self, c_int, c_ulong};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// Reaps any child that has ended, or tells of one that was stopped, if there is one; waitpid(2). No
/// other part of the program can wait for a child of its own: this takes the status of each.
///
/// The raw call, since nix answers EINVAL for a death by real-time signal after the kernel has
/// already forgotten the child.
pub fn reap_any() -> nix::Result<Option<(Pid, ExitStatus)>> {
    wait(Pid::from_raw(-1), libc::WNOHANG | libc::WUNTRACED)
}

/// Whether a child has ended and waits to be reaped; waitid(2).
pub fn has_ended(pid: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::Pid(pid), flags) {
        Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => false,
        // nix can't tell of a death by real-time signal, but answers only where there is one.
        Ok(_) | Err(Errno::EINVAL) => true,
        Err(_) => false,
    }
}

pub(super) fn wait(pid: Pid, flags: c_int) -> nix::Result<Option<(Pid, ExitStatus)>> {
    let mut status = 0;
    // SAFETY: status is a valid place for the call's duration.
    let pid = Errno::result(unsafe { libc::waitpid(pid.as_raw(), &raw mut status, flags) })?;
    Ok((pid != 0).then(|| (Pid::from_raw(pid), ExitStatus::from_raw(status))))
}

/// Asks for this signal when the shim's parent dies; PR_SET_PDEATHSIG(2const).
///
/// # Errors
/// The kernel's.
pub fn set_parent_death_signal(signal: c_int) -> nix::Result<()> {
    // The kernel reads an unsigned long, all of it.
    let signal = c_ulong::try_from(signal).map_err(|_| Errno::EINVAL)?;
    // SAFETY: no memory is passed.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) }).map(drop)
}
