//! Everything that was and will be sent to the shim.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;

use super::signal::Signal;
use crate::system::signals::{AllBlocked, Deadline, all_blocked_since_entry, descriptor, take};

/// The signals that wait. All are blocked from the shim's first instruction on and read from here:
/// none can interrupt, none is lost but what the kernel itself merges, and real-time ones stay in
/// order. The descriptor is for waiting for something else at the same time.
///
/// sigtimedwait(2), and not signal-hook's iterator: that one merges real-time signals, sorts them by number,
/// can't have those that libc keeps for itself, and its handlers would come too late for PID 1.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    blocked: AllBlocked,
    own_pid: Pid,
}

/// A signal that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    pub signal: Signal,
    /// The kernel sent it and no process did, such as for a key or a lost terminal; sigaction(2).
    pub by_kernel: bool,
}

/// Why a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    Signal,
    Ready,
    TimedOut,
}

impl Signals {
    /// Every signal that the shim has received since its first instruction, and will receive.
    ///
    /// # Errors
    /// The kernel's, when it grants no descriptor for them.
    pub fn since_entry() -> nix::Result<Self> {
        let blocked = all_blocked_since_entry();
        Ok(Self { fd: descriptor(&blocked)?, blocked, own_pid: Pid::this() })
    }

    /// Whether they are those of PID 1.
    pub fn is_of_pid_1(&self) -> bool {
        self.own_pid == Pid::from_raw(1)
    }

    /// What they are read from.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// That none of them can interrupt the thread that reads them.
    pub fn blocked(&self) -> &AllBlocked {
        &self.blocked
    }

    /// The next signal that waits, or `None`.
    pub fn waiting(&mut self) -> Option<Received> {
        self.next_but(None, Deadline::Now)
    }

    /// The next signal, for which it sleeps; `None` when the deadline comes first.
    ///
    /// What the shim has caused itself, such as SIGPIPE on a broken log pipe, is left out; a
    /// SIGPIPE or SIGSEGV that another process sends is a signal like any other.
    pub fn next(&mut self, deadline: Option<Instant>) -> Option<Received> {
        self.next_but(None, deadline.into())
    }

    /// The next signal that waits, or `None`: none that tells of a death.
    pub fn waiting_among_deaths(&mut self) -> Option<Received> {
        self.next_but(Some(Signal::CHLD), Deadline::Now)
    }

    fn next_but(&self, but: Option<Signal>, deadline: Deadline) -> Option<Received> {
        loop {
            let sent = take(&self.blocked, but.map(Signal::number), deadline)?;
            if sent.by != Some(self.own_pid) {
                let signal = Signal::new(sent.signal)?;
                return Some(Received { signal, by_kernel: sent.by_kernel });
            }
        }
    }

    /// Sleeps until a signal waits, the other descriptor is readable, or the deadline has come.
    pub fn wait(&self, other: Option<BorrowedFd>, deadline: Option<Instant>) -> Wake {
        let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
            // Rounded up to the next millisecond, or the last of them would be spent in a busy loop.
            let left =
                deadline.saturating_duration_since(Instant::now()).as_nanos().div_ceil(1_000_000);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let signal = PollFd::new(self.fd.as_fd(), PollFlags::POLLIN);
        let other = PollFd::new(other.unwrap_or(self.fd.as_fd()), PollFlags::POLLIN);
        let mut both = [signal, other];
        match poll(&mut both, timeout) {
            Ok(0) => Wake::TimedOut,
            Ok(_) if both[0].any() != Some(true) => Wake::Ready,
            Ok(_) | Err(_) => Wake::Signal,
        }
    }
}
