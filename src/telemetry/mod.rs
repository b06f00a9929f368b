//! The shim's own words: `[version]` lines or JSON objects on standard error, nothing else anywhere.

mod printable;
mod verdict;

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::str::FromStr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::MakeVisitor;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{self, DefaultFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

pub use printable::Printable;
pub use verdict::{announce, sealed};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `[version] …`, without a timestamp: the engine adds one.
    #[default]
    Text,
    /// One object a line with the same facts.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("expected text or json"),
        }
    }
}

/// Sends the events of this program, and of no library, to standard error.
pub fn init(format: LogFormat) {
    let events =
        tracing_subscriber::fmt::layer().with_writer(|| StandardError).log_internal_errors(false);
    let ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), Level::INFO);
    let registry = tracing_subscriber::registry().with(ours);
    let _ = match format {
        LogFormat::Text => registry.with(events.event_format(Prefixed)).try_init(),
        LogFormat::Json => {
            registry.with(events.json().flatten_event(true).with_target(false)).try_init()
        }
    };
}

/// An error with its whole cause chain, in one line. A cause that the text already quotes, as many
/// libraries do, is not said again.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// Each line of an event's message behind `[version]`, and nothing of its other fields: the message
/// of a text log already says them.
struct Prefixed;

impl<S: Subscriber + for<'a> LookupSpan<'a>> FormatEvent<S, DefaultFields> for Prefixed {
    fn format_event(
        &self,
        _: &FmtContext<S, DefaultFields>,
        mut writer: Writer,
        event: &Event,
    ) -> fmt::Result {
        let mut message = String::new();
        let only_message = format::debug_fn(|writer, field, value| match field.name() {
            "message" => write!(writer, "{value:?}"),
            _ => Ok(()),
        });
        event.record(&mut only_message.make_visitor(Writer::new(&mut message)));
        message.lines().try_for_each(|line| writeln!(writer, "[version] {line}"))
    }
}

/// Standard error, written to without a lock and only while it takes what is written.
///
/// A log pipe whose reader has stopped reading would otherwise hold up the supervisor for ever; a
/// line that finds no taker within the patience is given up, and those after it at once, until one is
/// taken again.
struct StandardError;

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
                    // Closed, broken or full: there is nobody left to tell.
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
