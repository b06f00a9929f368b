//! The terminal: whose process group stands in its foreground; tty_ioctl(4), credentials(7).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

/// The terminal on standard input in whose foreground the shim was started. It is the worker's while
/// the worker runs, as a shell lends it to a job.
///
/// The terminal may be gone or somebody else's at any time (ENOTTY, ENXIO, EBADF, EPERM, EIO): no
/// error here is fatal.
#[derive(Debug)]
pub struct Terminal {
    stdin: io::Stdin,
}

impl Terminal {
    pub fn foreground() -> Option<Self> {
        let terminal = Self { stdin: io::stdin() };
        terminal.is_lent_to(getpgrp()).then_some(terminal)
    }

    /// Puts this process group into the foreground.
    pub fn lend_to(&self, group: Pid) {
        let _ = tcsetpgrp(&self.stdin, group);
    }

    pub fn is_lent_to(&self, group: Pid) -> bool {
        tcgetpgrp(&self.stdin) == Ok(group)
    }

    /// Puts the shim's group into the foreground again, unless a third has it by now.
    pub fn take_back(&self, from: Pid) {
        if self.is_lent_to(from) {
            self.lend_to(getpgrp());
        }
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stdin.as_fd()
    }
}

/// Stops the shim, and with it all of its process group, until they are continued: the worker was
/// stopped, and the shell above waits to hear that from its own job, as after Ctrl-Z.
///
/// One signal for all of them at once: were the shim to stop a moment after the others, the shell
/// could continue the job in between, and the shim would sleep on. The kernel lets nobody stop whom no
/// shell could continue: PID 1 and orphaned process groups go on.
pub fn suspend() {
    let stop = SigSet::from(Signal::SIGTSTP);
    if stop.thread_unblock().is_ok() {
        let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
        let _ = stop.thread_block();
    }
}
