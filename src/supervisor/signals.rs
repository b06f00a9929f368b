//! Signals: how they are received, and what each would do to a process that doesn't handle it.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;

use crate::kernel;

/// Everything that was and will be sent to the shim. All signals are blocked from the shim's first
/// instruction on and are read from here: none can interrupt, none is lost but what the kernel
/// itself merges, and real-time ones stay in order.
#[derive(Debug)]
pub struct Signals {
    waiting: SignalFd,
}

/// Why a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    Signal,
    Ready,
    TimedOut,
}

impl Signals {
    pub fn open() -> nix::Result<Self> {
        Ok(Self { waiting: kernel::signal_fd()? })
    }

    /// The next signal that waits, or `None`. What the shim has caused itself, such as SIGPIPE on a
    /// broken log pipe, is nobody's business and left out.
    pub fn next(&mut self) -> Option<i32> {
        loop {
            match self.waiting.read_signal() {
                Ok(Some(info)) if info.ssi_pid == std::process::id() => {}
                Ok(Some(info)) => return i32::try_from(info.ssi_signo).ok(),
                Err(Errno::EINTR) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// Sleeps until a signal waits, the other descriptor is readable, or the deadline has come.
    pub fn wait(&self, other: Option<BorrowedFd>, deadline: Option<Instant>) -> Wake {
        let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let signal = PollFd::new(self.waiting.as_fd(), PollFlags::POLLIN);
        let mut both =
            [signal, PollFd::new(other.unwrap_or(self.waiting.as_fd()), PollFlags::POLLIN)];
        match poll(&mut both, timeout) {
            Ok(0) => Wake::TimedOut,
            Ok(_) if both[0].any() == Some(true) => Wake::Signal,
            Ok(_) => Wake::Ready,
            Err(_) => Wake::Signal,
        }
    }
}

/// Whether this signal would end the shim if the shim were any process: its default action is to
/// terminate (signal(7)), and the shim was not started with it ignored.
pub fn ends_a_process(signal: i32) -> bool {
    let terminates = !matches!(
        signal,
        libc::SIGCHLD
            | libc::SIGURG
            | libc::SIGWINCH
            | libc::SIGCONT
            | libc::SIGTSTP
            | libc::SIGTTIN
            | libc::SIGTTOU
    );
    terminates && !kernel::ignored_on_entry(signal)
}

#[cfg(test)]
mod tests {
    use super::ends_a_process;

    /// signal(7), "Standard signals": every action but Ign, Cont and Stop ends a process.
    #[test]
    fn the_default_actions_are_those_of_the_manual_page() {
        let not_ending = [17, 18, 20, 21, 22, 23, 28];
        for signal in 1..=64 {
            assert_eq!(ends_a_process(signal), !not_ending.contains(&signal), "{signal}");
        }
    }
}
