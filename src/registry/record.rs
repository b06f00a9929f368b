//! Keys and records: what stands in Redis, under which name and for how long. Pure.
//! It follows "Redis Registration (Monitoring Only)" of the deployment integrity document.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use redis::cmd;

use super::session::Question;
use crate::config::KeyPrefix;
use crate::image::ImageIdentity;

/// How long a version key lives without being renewed, and an index entry after it was last seen.
pub const DAY: Duration = Duration::from_hours(24);

/// How many heartbeats an instance key lives without being renewed.
const HEARTBEATS: u32 = 3;

/// Names the worker in the registry: `[A-Za-z0-9._-]{1,64}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerType(String);

impl WorkerType {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WorkerType {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        fits.then(|| Self(text.into()))
            .ok_or("expected 1 to 64 letters, digits, dots, underscores or hyphens")
    }
}

/// `<prefix>s`, the index: a sorted set of all instances, scored by when they were last seen.
pub fn index_key(prefix: &KeyPrefix) -> Vec<u8> {
    [prefix.as_str().as_bytes(), b"s"].concat()
}

/// `<prefix>:<type>:version`, the hash of a worker type.
pub fn version_key(prefix: &KeyPrefix, worker_type: &[u8]) -> Vec<u8> {
    [prefix.as_str().as_bytes(), b":", worker_type, b":version"].concat()
}

/// `<prefix>:<type>:left`, there since a shim of this type last said goodbye.
///
/// It lives as long as a version key. So a version key that expires before it was written before it:
/// a leftover, and not the word of a worker without a shim.
pub fn left_key(prefix: &KeyPrefix, worker_type: &[u8]) -> Vec<u8> {
    [prefix.as_str().as_bytes(), b":", worker_type, b":left"].concat()
}

/// `<prefix>:<type>:instance:<id>`, the hash of an instance.
pub fn instance_key(prefix: &KeyPrefix, worker_type: &[u8], id: &[u8]) -> Vec<u8> {
    [prefix.as_str().as_bytes(), b":", worker_type, b":instance:", id].concat()
}

/// The worker type in a key that `version_key` could have made.
pub fn type_in_version_key<'a>(prefix: &KeyPrefix, key: &'a [u8]) -> Option<&'a [u8]> {
    key.strip_prefix(prefix.as_str().as_bytes())?.strip_prefix(b":")?.strip_suffix(b":version")
}

/// Type and id of a member of the index.
pub fn type_and_id(member: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = member.rsplitn(2, |byte| *byte == b'/');
    let last = parts.next().unwrap_or_default();
    parts.next().map_or((member, b"".as_slice()), |worker_type| (worker_type, last))
}

/// How a record is told from another: random and made once per start. Pid and host name repeat when a
/// container is started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceId(String);

impl InstanceId {
    /// By the keys that the kernel's random numbers make for Rust's hash maps; getrandom(2), which
    /// needs no /dev.
    pub fn random() -> Self {
        Self(format!("{:016x}", RandomState::new().hash_one(std::process::id())))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a running shim says of itself: the four fields of the deployment integrity document, and the
/// host for its instance key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub git_sha: String,
    pub build_date: String,
    pub started_at: String,
    pub pid: String,
    pub hostname: String,
}

impl Record {
    /// The record of the shim with this pid that started at this time on this host.
    pub fn new(
        identity: &ImageIdentity,
        started_at: SystemTime,
        pid: u32,
        hostname: String,
    ) -> Self {
        Self {
            git_sha: identity.git_sha.to_string(),
            build_date: identity.build_date.clone(),
            started_at: humantime::format_rfc3339_millis(started_at).to_string(),
            pid: pid.to_string(),
            hostname,
        }
    }

    /// Field names and values, as they stand in the hash of the worker type.
    pub fn version_fields(&self) -> [(&'static str, &str); 4] {
        [
            ("gitSha", &self.git_sha),
            ("buildDate", &self.build_date),
            ("startedAt", &self.started_at),
            ("pid", &self.pid),
        ]
    }
}

/// One instance's share of the registry, as commands. None of them touches two keys, since those may
/// be on two nodes of a cluster; and none lets a key stand without its expiry, not for a moment.
#[derive(Debug, Clone)]
pub struct Entry {
    pub version_key: Vec<u8>,
    pub record: Record,
    left_key: Vec<u8>,
    instance_key: Vec<u8>,
    instance_ttl: Duration,
    index_key: Vec<u8>,
    member: String,
}

impl Entry {
    pub fn new(
        prefix: &KeyPrefix,
        worker_type: &WorkerType,
        id: &InstanceId,
        heartbeat: Duration,
        record: Record,
    ) -> Self {
        let name = worker_type.as_str().as_bytes();
        Self {
            version_key: version_key(prefix, name),
            left_key: left_key(prefix, name),
            instance_key: instance_key(prefix, name, id.to_string().as_bytes()),
            instance_ttl: heartbeat * HEARTBEATS,
            index_key: index_key(prefix),
            member: format!("{}/{id}", worker_type.as_str()),
            record,
        }
    }

    pub fn write_version(&self) -> Question {
        write(&self.version_key, &self.record.version_fields(), DAY)
    }

    /// Answers 1, or 0 where there is no version key to renew: this writes nothing.
    pub fn renew_version(&self) -> Question {
        vec![pexpire(&self.version_key, DAY)]
    }

    /// The whole record, each time: renewing the expiry of a key that is already gone does nothing,
    /// and of one that has just been made anew by somebody else it would complete nothing.
    pub fn write_instance(&self) -> Question {
        let mut question =
            write(&self.instance_key, &self.record.version_fields(), self.instance_ttl);
        // By itself: of a client that has not logged in, Redis takes no command of more than ten words
        // and closes the connection instead of saying why.
        let hostname =
            cmd("HSET").arg(&self.instance_key).arg("hostname").arg(&self.record.hostname).clone();
        question.insert(question.len() - 1, hostname);
        question
    }

    /// Answers what the index says and the time, in seconds and microseconds, of the node that holds
    /// it: an instance's ages are all told by that clock.
    pub fn ask_last_seen(&self) -> Question {
        vec![cmd("ZSCORE").arg(&self.index_key).arg(&self.member).clone(), cmd("TIME")]
    }

    /// Last seen at this unix time in ms; who hasn't been for a day is forgotten.
    pub fn write_last_seen(&self, now: u64) -> Question {
        let forgotten = now.saturating_sub(in_ms(DAY));
        vec![
            cmd("MULTI"),
            cmd("ZADD").arg(&self.index_key).arg(now).arg(&self.member).clone(),
            cmd("ZREMRANGEBYSCORE").arg(&self.index_key).arg("-inf").arg(forgotten).clone(),
            pexpire(&self.index_key, DAY),
            cmd("EXEC"),
        ]
    }

    pub fn write_left(&self) -> Question {
        vec![cmd("SET").arg(&self.left_key).arg(1).arg("PX").arg(in_ms(DAY)).clone()]
    }

    pub fn delete_last_seen(&self) -> Question {
        vec![cmd("ZREM").arg(&self.index_key).arg(&self.member).clone()]
    }

    pub fn delete_instance(&self) -> Question {
        vec![cmd("DEL").arg(&self.instance_key).clone()]
    }

    pub fn delete_version(&self) -> Question {
        vec![cmd("MULTI"), cmd("DEL").arg(&self.version_key).clone(), cmd("EXEC")]
    }

    /// Answers the version key's fields, in the record's order. What is written next is written only
    /// if nobody else has written in between.
    pub fn watch_version(&self) -> Question {
        let names = self.record.version_fields().map(|(name, _)| name);
        vec![
            cmd("WATCH").arg(&self.version_key).clone(),
            cmd("HMGET").arg(&self.version_key).arg(&names).clone(),
        ]
    }
}

/// One transaction on one key: whatever stood there goes, the fields and their expiry come. At no
/// moment is there a key without an expiry, or one with a field of somebody else's.
fn write(key: &[u8], fields: &[(&str, &str)], ttl: Duration) -> Question {
    vec![
        cmd("MULTI"),
        cmd("DEL").arg(key).clone(),
        cmd("HSET").arg(key).arg(fields).clone(),
        pexpire(key, ttl),
        cmd("EXEC"),
    ]
}

fn pexpire(key: &[u8], ttl: Duration) -> redis::Cmd {
    cmd("PEXPIRE").arg(key).arg(in_ms(ttl)).clone()
}

/// Saturates at the end of time.
pub fn in_ms(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{
        InstanceId, Record, WorkerType, index_key, instance_key, type_and_id, type_in_version_key,
        version_key,
    };
    use crate::config::KeyPrefix;
    use crate::image::{GitSha, ImageIdentity, Source};

    #[test]
    fn a_worker_type_is_a_name_of_at_most_64_characters() {
        for text in ["orchestrator", "a", "ocr-2.b_C", &"x".repeat(64)] {
            assert!(text.parse::<WorkerType>().is_ok(), "{text}");
        }
        for text in ["", "a b", "a:b", "ä", "a\n", "*", &"x".repeat(65)] {
            assert!(text.parse::<WorkerType>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_keys_are_the_documents() {
        let prefix = KeyPrefix::default();
        let key = version_key(&prefix, b"extractor");
        assert_eq!(key, b"fiskai:worker:extractor:version");
        assert_eq!(type_in_version_key(&prefix, &key), Some(&b"extractor"[..]));
        assert_eq!(type_in_version_key(&prefix, b"fiskai:worker:version"), None);
        assert_eq!(
            instance_key(&prefix, b"extractor", b"1f"),
            b"fiskai:worker:extractor:instance:1f"
        );
        assert_eq!(index_key(&prefix), b"fiskai:workers");
    }

    #[test]
    fn a_member_of_the_index_is_type_and_id() {
        assert_eq!(type_and_id(b"extractor/1f"), (&b"extractor"[..], &b"1f"[..]));
        assert_eq!(type_and_id(b"a/b/1f"), (&b"a/b"[..], &b"1f"[..]));
        assert_eq!(type_and_id(b"/"), (&b""[..], &b""[..]));
        assert_eq!(type_and_id(b"extractor"), (&b"extractor"[..], &b""[..]));
    }

    #[test]
    fn ids_differ() {
        assert_ne!(InstanceId::random(), InstanceId::random());
    }

    #[test]
    fn a_record_has_the_documents_four_fields() {
        let identity = ImageIdentity {
            git_sha: GitSha::Known("a1b2c3d".into()),
            build_date: "2026-01-08T11:00:00Z".into(),
            source: Source::Sealed,
            overridden: None,
            policy: crate::image::Policy::default(),
        };
        let started_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_873_600_042);
        assert_eq!(
            Record::new(&identity, started_at, 1, "host".into()).version_fields(),
            [
                ("gitSha", "a1b2c3d"),
                ("buildDate", "2026-01-08T11:00:00Z"),
                ("startedAt", "2026-01-08T12:00:00.042Z"),
                ("pid", "1"),
            ]
        );
    }
}
