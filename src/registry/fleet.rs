//! The fleet: which instances run what, as values. Pure.

use std::time::Duration;

use redis::Value;
use serde::Serialize;

use crate::escape::Escape;

/// The whole fleet, at one time of Redis's clock.
#[derive(Debug, Default)]
pub struct Fleet {
    /// Unix time in ms, by Redis's clock.
    pub read_at: u64,
    pub instances: Vec<Instance>,
    /// What could not be read, one sentence each.
    pub complaints: Vec<String>,
}

/// One running shim and its worker; or a worker without a shim, of which there is only the
/// registration of its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub worker_type: EscapedText,
    /// `None` for a worker without a shim.
    pub id: Option<EscapedText>,
    /// `None` for one that has stopped reporting without a goodbye.
    pub record: Option<StoredRecord>,
    /// Unix time in ms, by Redis's clock; `None` for a worker without a shim.
    pub last_seen: Option<u64>,
}

/// What stands in a hash, field by field; what is not there or no text is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredRecord {
    pub git_sha: Option<EscapedText>,
    pub build_date: Option<EscapedText>,
    pub started_at: Option<EscapedText>,
    pub pid: Option<EscapedText>,
    pub hostname: Option<EscapedText>,
    /// The sealed code's digest.
    pub code_sha256: Option<EscapedText>,
}

/// Fields of the hashes, in the order in which they are asked for.
pub const FIELDS: [&str; 6] = ["gitSha", "buildDate", "startedAt", "pid", "hostname", "codeSha256"];

impl StoredRecord {
    /// From HMGET's reply; `None` for a key that is not there, of which there is nothing but nils.
    pub fn new(fields: Option<&Value>) -> Option<Self> {
        let Some(Value::Array(fields)) = fields else { return None };
        let mut fields = fields.iter().map(|field| match field {
            Value::BulkString(bytes) => Some(EscapedText::new(bytes)),
            _ => None,
        });
        let mut next = || fields.next().flatten();
        let record = Self {
            git_sha: next(),
            build_date: next(),
            started_at: next(),
            pid: next(),
            hostname: next(),
            code_sha256: next(),
        };
        (record != Self::default()).then_some(record)
    }
}

/// Text that came out of Redis, and so is untrusted input: trimmed, escaped and cut, once and here,
/// so that no reader has to think of it later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct EscapedText(Box<str>);

/// In characters, before escaping; a SHA-256 has 64.
const MAX_CHARACTERS: usize = 128;

impl EscapedText {
    pub fn new(bytes: &[u8]) -> Self {
        // Four bytes a character at most; a megabyte is not decoded to be thrown away.
        let start = bytes.get(..MAX_CHARACTERS * 4 + 4).unwrap_or(bytes);
        let text = String::from_utf8_lossy(start);
        let text = text.trim();
        let whole = text.chars().count() <= MAX_CHARACTERS && start.len() == bytes.len();
        let cut: String = text.chars().take(MAX_CHARACTERS).collect();
        Self(format!("{}{}", Escape(&cut), if whole { "" } else { "…" }).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The age of something last seen then, in whole seconds.
pub fn age(now: u64, then: u64) -> Duration {
    Duration::from_secs(now.saturating_sub(then) / 1000)
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::{EscapedText, StoredRecord};

    #[test]
    fn text_is_trimmed_escaped_and_cut() {
        assert_eq!(EscapedText::new(b" a1b2c3d\r\n").as_str(), "a1b2c3d");
        assert_eq!(EscapedText::new(b"\x1b]0;x\x07").as_str(), r"\u{1b}]0;x\u{7}");
        assert_eq!(EscapedText::new(b"\xff").as_str(), "\u{fffd}");
        for long in ["x".repeat(1_000_000), "é".repeat(1_000_000), "x".repeat(129)] {
            let escaped = EscapedText::new(long.as_bytes());
            assert_eq!(escaped.as_str().chars().count(), 129);
            assert!(escaped.as_str().ends_with('…'));
        }
        assert_eq!(EscapedText::new("x".repeat(128).as_bytes()).as_str(), "x".repeat(128));
    }

    #[test]
    fn a_hash_without_any_of_the_fields_is_not_there() {
        assert_eq!(StoredRecord::new(Some(&Value::Array(vec![Value::Nil; 5]))), None);
        let odd = Value::Array(vec![Value::Nil, Value::Int(1), Value::BulkString(b"x".into())]);
        let record = StoredRecord::new(Some(&odd)).unwrap();
        assert_eq!((record.git_sha, record.started_at), (None, Some(EscapedText::new(b"x"))));
    }
}
