//! The terminal: whose process group stands in its foreground; tty_ioctl(4), credentials(7).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::libc;
use nix::sys::signal::{self, SigSet};
use nix::sys::stat::fstat;
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

use super::options::Scope;
use super::signal::Signal;
use super::spawn::Worker;
use crate::system::descriptors::standard_streams;
use crate::system::signals::{is_pending, kill};

/// The terminal that controls the shim's session. The shim hands its foreground on to the worker, as a
/// shell does to a job, and takes part in the shell's own job control above it.
///
/// The terminal may be gone or another session's at any time (ENOTTY, ENXIO, EBADF, EPERM, EIO): no
/// error here is fatal.
#[derive(Debug)]
pub struct Terminal {
    descriptor: OwnedFd,
    /// The shim's own process group.
    own: Pid,
}

impl Terminal {
    /// The controlling terminal, on whichever standard stream it is; `None` where it is on none.
    ///
    /// A process group from outside of the shim's PID namespace is 0 here and can't be given the
    /// foreground back: an interactive shell takes it by itself.
    pub fn controlling() -> Option<Self> {
        let terminal = standard_streams().into_iter().find(|stream| tcgetpgrp(stream).is_ok())?;
        let descriptor = terminal.try_clone_to_owned().ok()?;
        Some(Self { descriptor, own: getpgrp() })
    }

    /// Whether the worker is to have the foreground from the start: the shim has it, and hands the
    /// keyboard on as standard input. In a pipeline another process of the shim's own job may want it,
    /// such as a pager, and the worker gets it when it reaches for it.
    pub fn worker_starts_in_foreground(&self) -> bool {
        let [input, output, _] = standard_streams();
        tcgetpgrp(input) == Ok(self.own) && !is_piped(output)
    }

    /// Puts this process group into the foreground.
    pub fn give_foreground_to(&self, group: Pid) {
        let _ = tcsetpgrp(&self.descriptor, group);
    }

    /// Whether this process group has the foreground.
    pub fn has_foreground(&self, group: Pid) -> bool {
        tcgetpgrp(&self.descriptor) == Ok(group)
    }

    /// Whether the shim's own group has the foreground.
    pub fn is_in_foreground(&self) -> bool {
        self.has_foreground(self.own)
    }

    /// Puts the shim's own group into the foreground, and continues those of its processes that have been
    /// stopped for reaching for the terminal.
    pub fn take_foreground(&self) {
        self.give_foreground_to(self.own);
        if [libc::SIGTTIN, libc::SIGTTOU].into_iter().any(is_pending) {
            signal_own_group(Signal::CONT);
        }
    }

    /// Takes the foreground back from a worker that has ended, unless another process has it by now.
    pub fn take_back(&self, worker: &Worker, status: ExitStatus, last_forwarded: Option<Signal>) {
        if !self.has_foreground(worker.pid()) {
            return;
        }
        self.take_foreground();
        let by = status.signal().and_then(Signal::new);
        if let Some(key) = by.filter(|by| by.is_an_interrupting_key())
            && last_forwarded != Some(key)
        {
            // It was for all processes in the foreground, which the rest of the job lent to the worker.
            signal_own_group(key);
        }
    }

    /// The worker was stopped: lets the shell above see its job stop, or the worker go on where it would
    /// have without the shim.
    pub fn stop_as_well(&self, by: Signal, worker: &Worker) {
        if by == Signal::STOP {
            // By no key, which can't send it: whoever stopped the worker alone continues it alone.
            return;
        }
        if by.is_about_the_foreground() && self.is_in_foreground() {
            // It reached for the terminal, which is the job's.
            self.give_foreground_to(worker.pid());
        } else if suspend(by) || by != Signal::TSTP {
            return;
        }
        // With no shell above, no other process would continue what Ctrl-Z has stopped: had the worker been
        // in the shim's place, the kernel would not have stopped it.
        worker.forward(Signal::CONT, Scope::Group);
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// A shell makes pipelines of pipes, or of sockets.
fn is_piped(end: BorrowedFd) -> bool {
    fstat(end).is_ok_and(|stat| {
        let kind = stat.st_mode & libc::S_IFMT;
        kind == libc::S_IFIFO || kind == libc::S_IFSOCK
    })
}

/// Stops the shim, and with it all of its process group, until they are continued: the worker was
/// stopped, and the shell above, or another shim, has to see its own job stop before it gives the worker
/// what that waits for: the terminal, or to be continued after Ctrl-Z. Tells whether a SIGCONT waits to
/// be read afterwards; it does, too, when it came first.
///
/// One signal for all of them at once: were the shim to stop a moment after the others, the shell
/// could continue the job in between, and the shim would sleep on. The kernel does not stop a process
/// that no shell could continue: PID 1 and orphaned process groups go on, with no SIGCONT. To try it all
/// the same would lose a SIGCONT that waits, since a stop signal takes it out of the queue (signal(7)).
fn suspend(by: Signal) -> bool {
    let stop = match by.number() {
        libc::SIGTTIN => signal::Signal::SIGTTIN,
        libc::SIGTTOU => signal::Signal::SIGTTOU,
        _ => signal::Signal::SIGTSTP,
    };
    let alone = SigSet::from(stop);
    if std::process::id() == 1 || is_pending(libc::SIGCONT) {
        return is_pending(libc::SIGCONT);
    }
    if alone.thread_unblock().is_ok() {
        let _ = signal::kill(Pid::from_raw(0), stop);
        let _ = alone.thread_block();
    }
    is_pending(libc::SIGCONT)
}

/// Sends a signal to the shim's own process group: the job that the shell above knows.
pub fn signal_own_group(signal: Signal) {
    let _: nix::Result<()> = kill(Pid::from_raw(0), signal.number());
}
