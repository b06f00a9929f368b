//! The termination log: where Kubernetes looks for what a container says last, and `kubectl describe pod`
//! shows it.
//!
//! What `run` logs as an error on its main thread is why there is no worker, or no longer one: that is
//! written there, too. At a start that passes nothing is even opened.

use std::borrow::Cow;
use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;

use nix::libc::{O_NOCTTY, O_NOFOLLOW, O_NONBLOCK};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::message::message_of;

/// What Kubernetes reads of it, in bytes.
const MAX_BYTES: u64 = 4096;

const DEFAULT: &str = "/dev/termination-log";

/// The word for none.
const NONE: &str = "none";

/// Where this process's is.
static ATTACHED: OnceLock<TerminationLog> = OnceLock::new();

thread_local! {
    static IS_LEFT_OUT: Cell<bool> = const { Cell::new(false) };
}

/// A file for a container's last words, if there is to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TerminationLog(Option<Cow<'static, Path>>);

impl Default for TerminationLog {
    fn default() -> Self {
        Self(Some(Cow::Borrowed(Path::new(DEFAULT))))
    }
}

impl FromStr for TerminationLog {
    type Err = &'static str;

    /// # Errors
    /// What would be right.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = Path::new(text);
        if text.is_empty() || text == NONE {
            Ok(Self(None))
        } else if path.is_absolute() {
            Ok(Self(Some(Cow::Owned(path.to_owned()))))
        } else {
            Err("expected an absolute path such as /dev/termination-log, or none")
        }
    }
}

impl TerminationLog {
    /// From now on errors are written there, too.
    pub fn attach(self) {
        let _ = ATTACHED.set(self);
    }

    /// Whatever is wrong with the file, nothing comes of it: the same stands on standard error.
    fn append(&self, text: &str) {
        if let Some(path) = &self.0 {
            let _ = append(path, text);
        }
    }
}

/// Adds to a regular file that is there, behind what it holds, as much as has room in what is read of it.
///
/// A link, a FIFO or a device is not even opened: that alone may do something, or take for ever.
fn append(path: &Path, text: &str) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(());
    }
    let flags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    let mut file: File = OpenOptions::new().append(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    let room = MAX_BYTES.saturating_sub(metadata.len());
    if metadata.is_file() {
        file.write_all(cut(text, usize::try_from(room).unwrap_or_default()).as_bytes())?;
    }
    Ok(())
}

/// The beginning of a text, in so many bytes at most, and no character in halves.
fn cut(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes)).unwrap_or_default()
}

/// From now on no error of the thread that calls this is written there: it ends no worker.
pub fn leave_out_this_thread() {
    IS_LEFT_OUT.set(true);
}

/// Writes an event there, if it is an error.
pub fn hear(event: &Event) {
    let is_error = *event.metadata().level() == Level::ERROR;
    if let Some(log) = ATTACHED.get().filter(|_| is_error && !IS_LEFT_OUT.get()) {
        log.append(&(message_of(event) + "\n"));
    }
}

/// The same for a log of layers.
#[derive(Debug)]
pub struct Hearing;

impl<S: Subscriber> Layer<S> for Hearing {
    fn on_event(&self, event: &Event, _: Context<S>) {
        hear(event);
    }
}

#[cfg(test)]
mod tests {
    use super::{TerminationLog, cut};

    #[test]
    fn a_path_is_absolute_or_none() {
        for (text, expected) in [
            ("/dev/termination-log", Ok(TerminationLog::default())),
            ("", Ok(TerminationLog(None))),
            ("none", Ok(TerminationLog(None))),
        ] {
            assert_eq!(text.parse(), expected);
        }
        assert!("termination-log".parse::<TerminationLog>().is_err());
    }

    #[test]
    fn no_character_is_cut_in_two() {
        assert_eq!(cut("aé", 1), "a");
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("aé", 99), "aé");
        assert_eq!(cut("aé", 0), "");
    }
}
