//! Standard error, written to in such a way that no reader of it holds up the shim.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc::{S_IFCHR, S_IFIFO, S_IFMT, S_IFSOCK, mode_t};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::fstat;
use tracing_subscriber::fmt::MakeWriter;

use crate::system::descriptors::{open, splice_without_waiting, write_without_waiting};
use crate::system::kernel::is_answered_by_linux;
use crate::system::signals::any_is_pending;

/// Standard error, written to without a lock and only while it takes what is written.
///
/// A log pipe whose reader has stopped reading, or that a busy worker fills, would otherwise hold up
/// the supervisor for ever. All lines together wait for the patience at most, until one is taken at
/// once again; a line that finds no reader within it is given up.
#[derive(Debug)]
pub struct StandardError;

const PATIENCE_MS: u32 = 1000;
const A_MOMENT: Duration = Duration::from_millis(1);

/// How long lines may still wait, in ms.
static PATIENCE_LEFT: AtomicU32 = AtomicU32::new(PATIENCE_MS);

/// Whether the last line was given up half-way, and the next one has to end it first.
static HALF_A_LINE: AtomicBool = AtomicBool::new(false);

/// Whether a signal that waits to be read is more urgent than a line.
static SIGNALS_INTERRUPT: AtomicBool = AtomicBool::new(false);

/// From now on no line waits while a signal does: there is a worker to forward it to.
pub fn let_signals_interrupt() {
    SIGNALS_INTERRUPT.store(true, Relaxed);
}

impl io::Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let ended;
        let mut rest = bytes;
        let half = HALF_A_LINE.swap(false, Relaxed);
        if half {
            ended = [b"\n", bytes].concat();
            rest = &ended;
        }
        let whole = rest.len();
        let stderr = io::stderr();
        let mut end = End::new(stderr.as_fd());
        let started = Instant::now();
        let patience = Duration::from_millis(PATIENCE_LEFT.load(Relaxed).into());
        let mut waited = false;
        while !rest.is_empty() {
            match end.write(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if started.elapsed() < patience && !is_interrupted() => {
                    waited = true;
                    end.wait(patience.saturating_sub(started.elapsed()));
                }
                // Closed, broken or full: there is no reader left to tell.
                Err(_) => {
                    HALF_A_LINE.store(half || rest.len() < whole, Relaxed);
                    break;
                }
            }
        }
        if waited || !rest.is_empty() {
            let left = patience.saturating_sub(started.elapsed()).as_millis();
            PATIENCE_LEFT.store(left.try_into().unwrap_or(0), Relaxed);
        } else {
            PATIENCE_LEFT.store(PATIENCE_MS, Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_interrupted() -> bool {
    SIGNALS_INTERRUPT.load(Relaxed) && any_is_pending()
}

/// How standard error is written to.
enum End<'a> {
    /// A pipe or terminal, as it is: its file description is the worker's, too, and may block. Where the
    /// kernel writes to it without waiting all the same, it takes a line as a whole, into which no other
    /// writer can get, as long as there is room for it.
    Shared(BorrowedFd<'a>),
    /// The same through a file description of the shim's own, which does not block.
    Own(OwnedFd),
    /// A pipe that may not be opened anew, such as a log pipe of another user's: by way of a pipe of the shim's
    /// own. Each line takes a page of it, and a pipe that nobody reads is full after sixteen.
    Spliced(BorrowedFd<'a>),
    /// A terminal like that, to which splice(2) would wait; or a pipe where there is no splicing.
    Polled(BorrowedFd<'a>),
    Socket(BorrowedFd<'a>),
    /// A file, which never makes anybody wait.
    File(BorrowedFd<'a>),
}

impl<'a> End<'a> {
    fn new(stderr: BorrowedFd<'a>) -> Self {
        match kind_of(stderr) {
            S_IFIFO | S_IFCHR if is_answered_by_linux() => Self::Shared(stderr),
            S_IFIFO | S_IFCHR => Self::opened_anew(stderr),
            S_IFSOCK => Self::Socket(stderr),
            _ => Self::File(stderr),
        }
    }

    /// # Errors
    /// EAGAIN where there is no room, and what write(2) says else.
    fn write(&mut self, bytes: &[u8]) -> nix::Result<usize> {
        let (shared, written, next): (_, _, fn(_) -> Self) = match self {
            // Not for a terminal, a FIFO, any pipe before Linux 6.4, or behind a filter of system calls.
            Self::Shared(shared) => {
                (*shared, write_without_waiting(*shared, bytes), Self::opened_anew)
            }
            // Not behind such a filter, or without a descriptor for a pipe.
            Self::Spliced(shared) => {
                (*shared, splice_without_waiting(*shared, bytes), Self::Polled)
            }
            Self::Own(own) => return nix::unistd::write(own, bytes),
            Self::Polled(shared) => return write_when_writable(*shared, bytes),
            Self::File(file) => return nix::unistd::write(file, bytes),
            Self::Socket(socket) => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                return send(socket.as_raw_fd(), bytes, flags);
            }
        };
        match written {
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR | Errno::EPIPE) => written,
            Err(_) => {
                *self = next(shared);
                self.write(bytes)
            }
        }
    }

    fn opened_anew(stderr: BorrowedFd<'a>) -> Self {
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        match open(c"/proc/self/fd/2", flags) {
            Ok(own) => Self::Own(own),
            Err(_) if kind_of(stderr) == S_IFIFO => Self::Spliced(stderr),
            Err(_) => Self::Polled(stderr),
        }
    }

    /// Waits for room a moment, and no longer than this.
    fn wait(&self, limit: Duration) {
        let room = PollFd::new(self.descriptor(), PollFlags::POLLOUT);
        let _ = poll(&mut [room], timeout(limit.min(A_MOMENT * 10)));
        // Called writable all the same, such as with room for half a line end.
        sleep(A_MOMENT.min(limit));
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(own) => own.as_fd(),
            Self::Shared(fd)
            | Self::Spliced(fd)
            | Self::Polled(fd)
            | Self::Socket(fd)
            | Self::File(fd) => *fd,
        }
    }
}

fn kind_of(file: BorrowedFd) -> mode_t {
    fstat(file).map_or(0, |stat| stat.st_mode & S_IFMT)
}

/// As much at once as a pipe or terminal takes without blocking, once poll(2) has called it writable:
/// of a terminal that is a byte, of a pipe a page, as long as no other writer is faster (pipe(7)).
fn write_when_writable(fd: BorrowedFd, bytes: &[u8]) -> nix::Result<usize> {
    const PAGE: usize = 4096;
    let most = if nix::unistd::isatty(fd) == Ok(true) { 1 } else { PAGE };
    match poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], PollTimeout::ZERO)? {
        0 => Err(Errno::EAGAIN),
        _ => nix::unistd::write(fd, bytes.get(..most).unwrap_or(bytes)),
    }
}

fn timeout(limit: Duration) -> PollTimeout {
    PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO)
}

impl<'a> MakeWriter<'a> for StandardError {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}
