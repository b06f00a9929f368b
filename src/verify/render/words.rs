//! What all renderings say in the same words.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use crate::registry::EscapedText;
use crate::verify::verdict::{Report, Status};

/// The word for a status.
pub fn word(status: Status) -> &'static str {
    match status {
        Status::Ok => "OK",
        Status::Diverged => "DIVERGED",
        Status::Stale => "STALE",
        Status::Missing => "MISSING",
        Status::Dead => "DEAD",
    }
}

/// Which of these words is coloured how, on a terminal.
#[derive(Debug, Clone, Copy)]
pub struct Paint(pub bool);

impl Paint {
    /// The word for a status, coloured.
    pub fn status(self, status: Status) -> String {
        self.word(word(status), status == Status::Ok)
    }

    /// A word, coloured as good or bad.
    pub fn word(self, word: &str, good: bool) -> String {
        match (self.0, good) {
            (false, _) => word.to_owned(),
            (true, true) => format!("\x1b[32m{word}\x1b[0m"),
            (true, false) => format!("\x1b[31m{word}\x1b[0m"),
        }
    }
}

/// What is wrong, in one line.
pub fn summary(report: &Report) -> String {
    match (report.workers(), report.failing()) {
        (0, _) => "No workers registered".into(),
        (_, 0) if report.complaints.is_empty() => "All workers running expected version".into(),
        (_, 0) => "Not all of the registry could be read".into(),
        (all, failing) => format!("{failing} of {all} workers not running expected version"),
    }
}

/// What is waited for, in one line: the summary and each type's share of it.
pub fn progress(report: &Report) -> String {
    let mut line = summary(report);
    let failing = report.blocks.iter().filter(|block| block.status != Status::Ok);
    for (place, block) in failing.enumerate() {
        let status = word(block.status).to_lowercase();
        let separator = if place == 0 { ": " } else { ", " };
        let _ = write!(line, "{separator}{} {status}", block.worker_type.as_str());
        if block.instances.len() > 1 {
            let _ = write!(line, " ×{}", block.instances.len());
        }
    }
    line
}

/// The text, or `unknown` where there is none.
pub fn or_unknown(text: Option<&EscapedText>) -> &str {
    text.map_or("unknown", EscapedText::as_str)
}

/// RFC 3339 of a unix time in ms; the last moment that it can express, when it is later.
pub fn time(ms: u64) -> humantime::Rfc3339Timestamp {
    /// 9999-12-31T23:59:59.999Z
    const LAST: u64 = 253_402_300_799_999;
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms.min(LAST)))
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn no_time_is_too_late_to_be_written() {
        assert_eq!(time(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }
}
