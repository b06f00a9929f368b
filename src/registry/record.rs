//! Keys and records: what stands in Redis, under which name and for how long. Pure.
//! It follows "Redis Registration (Monitoring Only)" of the deployment integrity document.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use redis::{Cmd, Pipeline};

use crate::config::KeyPrefix;
use crate::image::ImageIdentity;

/// How long a version key lives without being renewed.
pub const VERSION_TTL: Duration = Duration::from_hours(24);

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

/// `<prefix>:<type>:version`, the hash of a worker type.
pub fn version_key(prefix: &KeyPrefix, worker_type: &WorkerType) -> String {
    format!("{}:{}:version", prefix.as_str(), worker_type.as_str())
}

/// What a running shim says of itself: the four fields of the deployment integrity document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    git_sha: String,
    build_date: String,
    started_at: String,
    pid: String,
}

impl Record {
    /// The record of the shim with this pid that started at this time.
    pub fn new(identity: &ImageIdentity, started_at: SystemTime, pid: u32) -> Self {
        Self {
            git_sha: identity.git_sha.to_string(),
            build_date: identity.build_date.clone(),
            started_at: humantime::format_rfc3339_millis(started_at).to_string(),
            pid: pid.to_string(),
        }
    }

    /// Field names and values, as they stand in the hash.
    pub fn fields(&self) -> [(&'static str, &str); 4] {
        [
            ("gitSha", &self.git_sha),
            ("buildDate", &self.build_date),
            ("startedAt", &self.started_at),
            ("pid", &self.pid),
        ]
    }

    /// One transaction on one key: whatever stood there goes, the record and its expiry come. At no
    /// moment is there a key without an expiry, or one with a field of somebody else's.
    pub fn write(&self, key: &str, ttl: Duration) -> Pipeline {
        let delete = redis::cmd("DEL").arg(key).to_owned();
        let set = redis::cmd("HSET").arg(key).arg(&self.fields()).to_owned();
        let expire = redis::cmd("EXPIRE").arg(key).arg(ttl.as_secs()).to_owned();
        transaction([delete, set, expire])
    }
}

/// The commands between MULTI and EXEC, in one write.
///
/// `Pipeline::atomic` would send the same, but redis 1.8.1 miscounts its replies where Redis refuses
/// MULTI itself, as it does without a login, and panics in a build with overflow checks.
pub fn transaction(commands: impl IntoIterator<Item = Cmd>) -> Pipeline {
    let mut transaction = redis::pipe();
    for command in [redis::cmd("MULTI")].into_iter().chain(commands).chain([redis::cmd("EXEC")]) {
        transaction.add_command(command).ignore();
    }
    transaction
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{Record, WorkerType, version_key};
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
    fn the_version_key_is_the_documents() {
        let key = version_key(&KeyPrefix::default(), &"extractor".parse().unwrap());
        assert_eq!(key, "fiskai:worker:extractor:version");
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
            Record::new(&identity, started_at, 1).fields(),
            [
                ("gitSha", "a1b2c3d"),
                ("buildDate", "2026-01-08T11:00:00Z"),
                ("startedAt", "2026-01-08T12:00:00.042Z"),
                ("pid", "1"),
            ]
        );
    }
}
