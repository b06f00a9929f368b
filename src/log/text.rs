//! Events as `[version]` lines.
//!
//! A subscriber of its own: the library's layers keep spans, of which this program has none, and prepare
//! for them at each start what takes longer than to write its one line.

use std::fmt::Write as _;
use std::io::Write as _;

use tracing::metadata::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::message::message_of;
use super::stderr::StandardError;
use super::termination::hear;

/// Each line of an event's message behind `[version]`, and nothing of its other fields: the message
/// of a text log already says them.
#[derive(Debug)]
pub struct Lines(pub Level);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata) -> bool {
        is_ours(metadata, self.0)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.0))
    }

    fn event(&self, event: &Event) {
        let mut lines = String::new();
        for line in message_of(event).lines() {
            let _ = writeln!(lines, "[version] {line}");
        }
        let _ = StandardError.write_all(lines.as_bytes());
        hear(event);
    }

    fn new_span(&self, _: &Attributes) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Whether an event is this program's own, and serious enough.
pub fn is_ours(metadata: &Metadata, level: Level) -> bool {
    *metadata.level() <= level && metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
}
