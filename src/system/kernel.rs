//! Who answers system calls.

use nix::errno::Errno;
use nix::libc;

/// Whether it is Linux itself, and nothing that stands in for it and takes a vfork for a fork, or a write that must
/// not wait for one that may: qemu, valgrind, gVisor.
///
/// By rseq(2), which those do not know, and of which a kernel from Linux 4.18 on refuses a structure of no length.
/// Where a filter of system calls or an older kernel says something else, the answer is no, too.
pub fn is_answered_by_linux() -> bool {
    // SAFETY: nothing is registered where there is no structure.
    let refused = unsafe { libc::syscall(libc::SYS_rseq, 0_usize, 0, 0, 0) };
    Errno::result(refused) == Err(Errno::EINVAL)
}
