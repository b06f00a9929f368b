//! Children: how they end, and what the shim gets when its own parent does.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::libc::{self, c_int, c_ulong};
use nix::unistd::Pid;

/// Reaps any child that has ended, or tells of one that was stopped, if there is one; waitpid(2). No
/// other part of the program can wait for a child of its own: this takes the status of each.
///
/// The raw call, since nix answers EINVAL for a death by real-time signal after the kernel has
/// already forgotten the child.
pub fn reap_any() -> nix::Result<Option<(Pid, ExitStatus)>> {
    wait(Pid::from_raw(-1), libc::WNOHANG | libc::WUNTRACED)
}

/// Any child that has ended or was stopped, and whether it has ended; it stays to be reaped; waitid(2).
///
/// The raw call, for the same reason as above.
pub fn peek_any() -> nix::Result<Option<(Pid, bool)>> {
    let flags = libc::WEXITED | libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: all zeroes are a valid siginfo_t, which says that there is none.
    let mut info = unsafe { std::mem::zeroed::<libc::siginfo_t>() };
    // SAFETY: the place is valid for the call's duration.
    Errno::result(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) })?;
    // SAFETY: waitid(2) fills in a pid, or leaves the zero.
    let pid = unsafe { info.si_pid() };
    Ok((pid != 0).then(|| (Pid::from_raw(pid), info.si_code != libc::CLD_STOPPED)))
}

/// Reaps this child, or tells that it was stopped; waitpid(2).
pub fn reap(pid: Pid) -> nix::Result<Option<(Pid, ExitStatus)>> {
    wait(pid, libc::WNOHANG | libc::WUNTRACED)
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
