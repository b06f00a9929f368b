//! The fleet: which instances run what, as values. Pure.

use std::time::Duration;

use redis::Value;
use serde::Serialize;

use super::departure::{Departure, WorkerEnd};
use super::record::{DRAINING, STARTING};
use super::timestamp::ms_of;
use crate::escape::Escape;

/// The whole fleet, at one time of Redis's clock.
#[derive(Debug, Default)]
pub struct Fleet {
    /// Unix time in ms, by Redis's clock.
    pub read_at: u64,
    pub instances: Vec<Instance>,
    /// How workers ended, the last ones of each type.
    pub departures: Vec<Departed>,
    pub complaints: Vec<Complaint>,
}

/// What could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The type whose workers it is about; `None` for all.
    pub worker_type: Option<EscapedText>,
    pub sentence: String,
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
    /// What is still known of such a one.
    pub last: Option<StoredRecord>,
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
    /// In Kubernetes.
    pub pod: Option<EscapedText>,
    pub namespace: Option<EscapedText>,
    /// The sealed code's digest.
    pub code_sha256: Option<EscapedText>,
    pub registered_at: Option<EscapedText>,
    pub state: Option<EscapedText>,
    /// The time between two signs of life, in ms.
    pub heartbeat: Option<u64>,
}

/// Fields of the hashes, in the order in which they are asked for.
pub const FIELDS: [&str; 11] = [
    "gitSha",
    "buildDate",
    "startedAt",
    "pid",
    "hostname",
    "pod",
    "namespace",
    "codeSha256",
    "registeredAt",
    "state",
    "heartbeat",
];

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
            pod: next(),
            namespace: next(),
            code_sha256: next(),
            registered_at: next(),
            state: next(),
            heartbeat: next().and_then(|heartbeat| heartbeat.as_str().parse().ok()),
        };
        (record != Self::default()).then_some(record)
    }

    /// Whether its worker has not been executed yet, and may never be.
    pub fn is_starting(&self) -> bool {
        self.says(STARTING)
    }

    fn says(&self, state: &str) -> bool {
        self.state.as_ref().is_some_and(|said| said.as_str() == state)
    }
}

impl Instance {
    /// Its record, or what is left of it.
    pub fn known(&self) -> Option<&StoredRecord> {
        self.record.as_ref().or(self.last.as_ref())
    }

    /// Since when it has been registered: unix time in ms by Redis's clock; `None` where it does not say.
    pub fn registered_at(&self) -> Option<u64> {
        ms_of(self.record.as_ref()?.registered_at.as_ref()?.as_str())
    }

    /// Since when it has been there at the latest: by its registration or, where it has no shim or one of
    /// before, by what the worker's own clock said at its start.
    pub fn there_since(&self) -> Option<u64> {
        let started = || ms_of(self.record.as_ref()?.started_at.as_ref()?.as_str());
        self.registered_at().or_else(started)
    }

    /// Whether its worker was asked to stop and has not ended yet.
    pub fn is_draining(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.says(DRAINING))
    }
}

/// How a worker ended, as its goodbye has left it behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departed {
    pub worker_type: EscapedText,
    pub id: EscapedText,
    pub git_sha: EscapedText,
    pub end: WorkerEnd,
    /// Whether it was asked to stop, and did not end by itself.
    pub was_asked: bool,
    /// Unix time in ms, by Redis's clock.
    pub at: u64,
}

impl Departed {
    /// From the JSON of a goodbye; `None` for what is none.
    pub fn new(worker_type: &[u8], json: &[u8]) -> Option<Self> {
        /// Far more than a goodbye is long.
        const MAX_BYTES: usize = 4096;
        let departure: Departure =
            serde_json::from_slice(json.get(..MAX_BYTES).unwrap_or(json)).ok()?;
        let end = match (departure.code, departure.signal) {
            (_, Some(signal)) => WorkerEnd::Killed(signal),
            (Some(code), None) => WorkerEnd::Exited(code),
            (None, None) => return None,
        };
        Some(Self {
            worker_type: EscapedText::new(worker_type),
            id: EscapedText::new(departure.id.as_bytes()),
            git_sha: EscapedText::new(departure.git_sha.as_bytes()),
            end,
            was_asked: departure.was_asked,
            at: ms_of(&departure.at)?,
        })
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

    use super::{Departed, EscapedText, StoredRecord, WorkerEnd};

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

    #[test]
    fn a_goodbye_is_read_back_and_nonsense_is_none() {
        let json =
            br#"{"id":"1f","hostname":"h","gitSha":"a1","code":1,"at":"2026-01-08T12:00:00.042Z"}"#;
        let departed = Departed::new(b"ocr", json).unwrap();
        assert_eq!((departed.end, departed.was_asked), (WorkerEnd::Exited(1), false));
        assert_eq!(departed.at, 1_767_873_600_042);
        for odd in [&b""[..], b"1", b"{}", b"[]", &b"x".repeat(1_000_000)] {
            assert_eq!(Departed::new(b"ocr", odd), None);
        }
        let text = String::from_utf8(json.to_vec()).unwrap();
        for (from, to) in [("\"code\":1,", ""), ("\"code\":1", "\"code\":999"), ("2026-", "x")] {
            assert_eq!(Departed::new(b"ocr", text.replace(from, to).as_bytes()), None, "{to}");
        }
    }
}
