//! Keys: what stands in Redis under which name. Pure.
//! It follows "Redis Registration (Monitoring Only)" of the deployment integrity document.

use std::str::FromStr;
use std::time::Duration;

/// How long a version key lives without being renewed, and an index entry after it was last seen.
pub const DAY: Duration = Duration::from_hours(24);

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

/// What all keys begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for KeyPrefix {
    /// The document's.
    fn default() -> Self {
        Self("fiskai:worker".into())
    }
}

impl FromStr for KeyPrefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits =
            (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.into()))
            .ok_or("expected 1 to 128 visible ASCII characters, such as fiskai:worker")
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

/// `<prefix>:<type>:last:<id>`, the hash of what is known of an instance that stops reporting.
pub fn last_key(prefix: &KeyPrefix, worker_type: &[u8], id: &[u8]) -> Vec<u8> {
    [prefix.as_str().as_bytes(), b":", worker_type, b":last:", id].concat()
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

/// A score as unix time in ms; one that is none becomes the nearest that is.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn score_in_ms(score: f64) -> u64 {
    score as u64
}

/// Saturates at the end of time.
pub fn in_ms(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{
        KeyPrefix, WorkerType, index_key, instance_key, score_in_ms, type_and_id,
        type_in_version_key, version_key,
    };

    #[test]
    fn odd_scores_become_times() {
        let scores = [-1.0, f64::NAN, f64::INFINITY, 1.5];
        assert_eq!(scores.map(score_in_ms), [0, 0, u64::MAX, 1]);
    }

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
        let prefix = "fiskai:worker".parse::<KeyPrefix>().unwrap();
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
    fn a_key_prefix_is_visible_and_not_endless() {
        assert!("{fiskai}:worker".parse::<KeyPrefix>().is_ok());
        for text in ["", "a b", "a\n", &"x".repeat(129)] {
            assert!(text.parse::<KeyPrefix>().is_err(), "{text}");
        }
    }
}
