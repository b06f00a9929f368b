//! The shim's own words: `[version]` lines or JSON objects on standard error, nothing else
//! anywhere but a container's last words.

mod message;
mod stderr;
mod termination;
mod text;

use std::error::Error;

use clap::ValueEnum;
use tracing::subscriber::set_global_default;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{fmt, registry};

pub use stderr::let_signals_interrupt;
pub use termination::{TerminationLog, leave_out_this_thread};

use stderr::StandardError;
use termination::Hearing;
use text::{Lines, is_ours};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// `[version] …`, without a timestamp: the engine adds one.
    #[default]
    Text,
    /// One object a line with the same facts.
    Json,
}

/// Which log lines there are: these and the more serious ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
        }
    }
}

/// Sends the events of this program, and of no library, to standard error.
pub fn init(format: LogFormat, level: LogLevel) {
    let level = Level::from(level);
    let _ = match format {
        LogFormat::Text => set_global_default(Lines(level)),
        LogFormat::Json => set_global_default(json(level)),
    };
}

fn json(level: Level) -> impl Subscriber + Send + Sync {
    let events = fmt::layer().with_writer(|| StandardError).log_internal_errors(false);
    let ours = filter_fn(move |metadata| is_ours(metadata, level));
    let events = events.json().flatten_event(true).with_target(false);
    registry().with(ours).with(events).with(Hearing)
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
