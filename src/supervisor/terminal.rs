//! The terminal: whose process group stands in its foreground; tty_ioctl(4), credentials(7).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgrp, getppid, getsid, tcgetpgrp, tcsetpgrp};

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

/// Stops the shim, and with it everything in its process group, until it is continued: the worker was
/// stopped, and the shell above waits to hear of that from its own job.
///
/// Does nothing where no shell above could continue it, as for PID 1.
pub fn suspend() {
    let session = getsid(None);
    let has_a_shell_above = session != Ok(Pid::this()) && getsid(Some(getppid())) == session;
    if has_a_shell_above {
        // The others, such as a script around the shim, as Ctrl-Z would; the shim itself for certain.
        let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
        let _ = kill(Pid::this(), Signal::SIGSTOP);
    }
}
