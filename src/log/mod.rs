//! The shim's own words: `[version]` lines or JSON objects on standard error, nothing else anywhere.

mod stderr;

use std::error::Error;
use std::fmt;

use clap::ValueEnum;
use tracing::{Event, Level, Subscriber, error};
use tracing_subscriber::field::MakeVisitor;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{self, DefaultFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::escape::Escape;

pub use stderr::let_signals_interrupt;

use stderr::StandardError;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
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

/// Sends the events of this program, and of no library, to standard error. A panic becomes one, too.
pub fn init(format: LogFormat, level: LogLevel) {
    let events =
        tracing_subscriber::fmt::layer().with_writer(|| StandardError).log_internal_errors(false);
    let ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), Level::from(level));
    let registry = tracing_subscriber::registry().with(ours);
    let _ = match format {
        LogFormat::Text => registry.with(events.event_format(Prefixed)).try_init(),
        LogFormat::Json => {
            registry.with(events.json().flatten_event(true).with_target(false)).try_init()
        }
    };
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        error!(
            "The thread {} panicked at {place}: {}",
            thread.name().unwrap_or("without a name"),
            Escape(message),
        );
    }));
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
