//! Records: what a shim says of itself, and the batches that write it. Pure.
//! It follows "Redis Registration (Monitoring Only)" of the deployment integrity document.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use super::batch::{Batch, command};
use super::departure::{Departure, MAX_DEPARTURES, WorkerEnd};
use super::key::{
    DAY, KeyPrefix, WorkerType, in_ms, index_key, instance_key, last_key, left_key, version_key,
};
use super::place::Place;
use super::timestamp::rfc3339;
use crate::image::ImageIdentity;

/// How many heartbeats an instance key lives without being renewed.
pub const HEARTBEATS: u32 = 3;

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
/// place for its instance key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub git_sha: String,
    pub build_date: String,
    pub started_at: String,
    pub pid: String,
    pub place: Place,
    /// The sealed code's digest, where code is sealed: 64 hex digits.
    pub code_sha256: Option<String>,
}

impl Record {
    /// The record of the shim with this pid that started at this time in this place.
    pub fn new(identity: &ImageIdentity, started_at: SystemTime, pid: u32, place: Place) -> Self {
        Self {
            git_sha: identity.git_sha.to_string(),
            build_date: identity.build_date.clone(),
            started_at: humantime::format_rfc3339_millis(started_at).to_string(),
            pid: pid.to_string(),
            place,
            code_sha256: identity.code.as_ref().map(|code| code.sha256.clone()),
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

/// What an instance says beside its record: it changes while it lives.
#[derive(Debug, Clone, Copy, Default)]
pub struct Life {
    /// Since when it has been registered: unix time in ms by Redis's clock; `None` until that was heard.
    pub registered_at: Option<u64>,
    /// Whether its worker has been executed.
    pub is_executed: bool,
    /// Whether its worker was asked to stop.
    pub is_draining: bool,
}

impl Life {
    fn state(&self) -> &'static str {
        match self {
            Self { is_draining: true, .. } => DRAINING,
            Self { is_executed: true, .. } => RUNNING,
            _ => STARTING,
        }
    }
}

/// The values of an instance's `state`.
pub const STARTING: &str = "starting";
pub const RUNNING: &str = "running";
pub const DRAINING: &str = "draining";

/// One instance's share of the registry, as commands. None of them touches two keys, since those may
/// be on two nodes of a cluster; and none lets a key stand without its expiry, not for a moment.
#[derive(Debug, Clone)]
pub struct Entry {
    pub version_key: Vec<u8>,
    pub record: Record,
    left_key: Vec<u8>,
    instance_key: Vec<u8>,
    last_key: Vec<u8>,
    instance_ttl: Duration,
    index_key: Vec<u8>,
    member: String,
    id: String,
    heartbeat: Duration,
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
            last_key: last_key(prefix, name, id.to_string().as_bytes()),
            instance_ttl: heartbeat * HEARTBEATS,
            index_key: index_key(prefix),
            member: format!("{}/{id}", worker_type.as_str()),
            id: id.to_string(),
            heartbeat,
            record,
        }
    }

    pub fn write_version(&self) -> Batch {
        write(&self.version_key, &self.record.version_fields(), DAY)
    }

    /// Replies 1, or 0 where there is no version key to renew: this writes nothing.
    pub fn renew_version(&self) -> Batch {
        vec![pexpire(&self.version_key, DAY)]
    }

    /// The whole record, each time: renewing the expiry of a key that is already gone does nothing,
    /// and of one that another client has just made anew it would complete nothing.
    pub fn write_instance(&self, life: &Life) -> Batch {
        let registered_at = life.registered_at.map(rfc3339).unwrap_or_default();
        let heartbeat = in_ms(self.heartbeat).to_string();
        let mut more = vec![("heartbeat", heartbeat.as_str()), ("state", life.state())];
        if life.registered_at.is_some() {
            more.push(("registeredAt", &registered_at));
        }
        if let Some(code) = &self.record.code_sha256 {
            more.push(("codeSha256", code));
        }
        let fields =
            [&self.record.version_fields()[..], &self.record.place.fields(), &more].concat();
        write(&self.instance_key, &fields, self.instance_ttl)
    }

    /// Replies what the index says.
    pub fn read_last_seen(&self) -> Batch {
        vec![command([b"ZSCORE", &self.index_key, self.member.as_bytes()])]
    }

    /// Never seen yet, where the index does not know better: so that whoever sees the version key finds
    /// that there is more to it.
    pub fn enter_index(&self) -> Batch {
        vec![
            command([b"MULTI"]),
            command([b"ZADD", &self.index_key, b"NX", b"0", self.member.as_bytes()]),
            pexpire(&self.index_key, DAY),
            command([b"EXEC"]),
        ]
    }

    /// Last seen at this unix time in ms; what hasn't been for a day is forgotten.
    pub fn write_last_seen(&self, now: u64) -> Batch {
        let key = self.index_key.as_slice();
        let forgotten = now.saturating_sub(in_ms(DAY)).to_string();
        vec![
            command([b"MULTI"]),
            command([b"ZADD", key, now.to_string().as_bytes(), self.member.as_bytes()]),
            command([b"ZREMRANGEBYSCORE", key, b"-inf", forgotten.as_bytes()]),
            pexpire(key, DAY),
            command([b"EXEC"]),
        ]
    }

    /// Leaves behind how the worker ended, with the last ones of its type.
    pub fn write_left(&self, departure: &Departure) -> Batch {
        // It holds nothing that can't be expressed.
        let text = serde_json::to_string(departure).unwrap_or_default();
        let last = (MAX_DEPARTURES - 1).to_string();
        vec![
            command([b"MULTI"]),
            command([b"LPUSH", &self.left_key, text.as_bytes()]),
            command([b"LTRIM", &self.left_key, b"0", last.as_bytes()]),
            pexpire(&self.left_key, DAY),
            command([b"EXEC"]),
        ]
    }

    /// For a key of before, which held no list.
    pub fn delete_left(&self) -> Batch {
        vec![command([b"DEL", &self.left_key])]
    }

    /// How this instance's worker ended, at this unix time in ms.
    pub fn departure(&self, end: WorkerEnd, was_asked: bool, at: u64) -> Departure {
        let (code, signal) = match end {
            WorkerEnd::Exited(code) => (Some(code), None),
            WorkerEnd::Killed(signal) => (None, Some(signal)),
        };
        Departure {
            id: self.id.clone(),
            hostname: self.record.place.hostname.clone(),
            git_sha: self.record.git_sha.clone(),
            code,
            signal,
            was_asked,
            at: rfc3339(at),
        }
    }

    pub fn delete_last_seen(&self) -> Batch {
        vec![command([b"ZREM", &self.index_key, self.member.as_bytes()])]
    }

    pub fn delete_instance(&self) -> Batch {
        vec![command([b"DEL", &self.instance_key])]
    }

    /// What tells of an instance whose record is gone because it has stopped reporting.
    pub fn write_last(&self) -> Batch {
        let mut fields = vec![("gitSha", self.record.git_sha.as_str())];
        fields.extend(self.record.place.fields());
        write(&self.last_key, &fields, DAY)
    }

    pub fn delete_last(&self) -> Batch {
        vec![command([b"DEL", &self.last_key])]
    }

    pub fn delete_version(&self) -> Batch {
        vec![command([b"MULTI"]), command([b"DEL", &self.version_key]), command([b"EXEC"])]
    }

    /// Replies the version key's fields, in the record's order. What is written next is written only
    /// if no other client has written in between.
    pub fn watch_version(&self) -> Batch {
        let mut batch = vec![command([b"WATCH", &self.version_key])];
        batch.append(&mut self.read_version());
        batch
    }

    /// The same, last reply, where nothing can be watched.
    pub fn read_version(&self) -> Batch {
        let [first, second, third, fourth] =
            self.record.version_fields().map(|(name, _)| name.as_bytes());
        vec![command([b"HMGET", &self.version_key, first, second, third, fourth])]
    }
}

/// One transaction on one key: whatever stood there goes, the fields and their expiry come. At no
/// moment is there a key without an expiry, or one with a field of another client's.
///
/// Field by field: before Redis 4, HSET takes one alone. Of a client that has not logged in, later ones
/// take no command of more than ten words and close the connection instead of saying why.
fn write(key: &[u8], fields: &[(&str, &str)], ttl: Duration) -> Batch {
    let mut batch = Batch::with_capacity(fields.len() + 4);
    batch.extend([command([b"MULTI"]), command([b"DEL", key])]);
    let one =
        |(name, value): &(&str, &str)| command([b"HSET", key, name.as_bytes(), value.as_bytes()]);
    batch.extend(fields.iter().map(one));
    batch.extend([pexpire(key, ttl), command([b"EXEC"])]);
    batch
}

fn pexpire(key: &[u8], ttl: Duration) -> redis::Cmd {
    command([b"PEXPIRE", key, in_ms(ttl).to_string().as_bytes()])
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{InstanceId, Place, Record};
    use crate::image::{GitSha, ImageIdentity, Policy, Source};

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
            policy: Policy::default(),
            allowed_arguments: Vec::new(),
            code: None,
        };
        let started_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_873_600_042);
        assert_eq!(
            Record::new(&identity, started_at, 1, Place::default()).version_fields(),
            [
                ("gitSha", "a1b2c3d"),
                ("buildDate", "2026-01-08T11:00:00Z"),
                ("startedAt", "2026-01-08T12:00:00.042Z"),
                ("pid", "1"),
            ]
        );
    }
}
