//! Standard error, written to in such a way that no reader of it holds up the shim.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use tracing_subscriber::fmt::MakeWriter;

/// Standard error, written to without a lock and only while it takes what is written.
///
/// A log pipe whose reader has stopped reading would otherwise hold up the supervisor for ever; a
/// line that finds no taker within the patience is given up, and those after it at once, until one is
/// taken again.
#[derive(Debug)]
pub struct StandardError;

const PATIENCE: Duration = Duration::from_secs(1);
const A_MOMENT: Duration = Duration::from_millis(1);

/// Whether the last line found no taker.
static NOBODY_READS: AtomicBool = AtomicBool::new(false);

/// As much as a pipe takes at once without blocking, once poll(2) has called it writable; pipe(7).
const PIPE_CHUNK: usize = 4096;
/// A terminal is called writable when it takes one byte, and would block for the others.
const TERMINAL_CHUNK: usize = 1;
/// Where it does not block it takes a line as a whole, into which no other writer can get.
const UNBLOCKED_CHUNK: usize = usize::MAX;

impl io::Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let patience = if NOBODY_READS.load(Relaxed) { Duration::ZERO } else { PATIENCE };
        let deadline = Instant::now() + patience;
        let stderr = io::stderr();
        let is_terminal = stderr.is_terminal();
        let unblocked = is_terminal.then(unblocked_terminal).flatten();
        let (end, chunk) = match &unblocked {
            Some(terminal) => (terminal.as_fd(), UNBLOCKED_CHUNK),
            None if is_terminal => (stderr.as_fd(), TERMINAL_CHUNK),
            None => (stderr.as_fd(), PIPE_CHUNK),
        };
        for mut rest in bytes.chunks(chunk) {
            while !rest.is_empty() {
                let written =
                    wait_until_writable(end, deadline).and_then(|()| nix::unistd::write(end, rest));
                match written {
                    Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                    Err(Errno::EINTR) => {}
                    // Called writable all the same, such as with room for half a line end.
                    Err(Errno::EAGAIN) if Instant::now() < deadline => sleep(A_MOMENT),
                    // Closed, broken or full: there is no reader left to tell.
                    Err(errno) => {
                        let unread = matches!(errno, Errno::ETIMEDOUT | Errno::EAGAIN);
                        NOBODY_READS.store(unread, Relaxed);
                        return Ok(bytes.len());
                    }
                }
            }
        }
        NOBODY_READS.store(false, Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The terminal once more, through a file description of the shim's own that does not block: that of
/// standard error is the worker's, too. `None` without a /proc, or where it may not be opened.
fn unblocked_terminal() -> Option<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    open("/proc/self/fd/2", flags, Mode::empty()).ok()
}

fn wait_until_writable(end: BorrowedFd, deadline: Instant) -> nix::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
    match poll(&mut [PollFd::new(end, PollFlags::POLLOUT)], timeout)? {
        0 => Err(Errno::ETIMEDOUT),
        _ => Ok(()),
    }
}

impl<'a> MakeWriter<'a> for StandardError {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}
