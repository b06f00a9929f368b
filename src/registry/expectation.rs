//! The published expectation: what the deployment says the fleet should run. Pure.
//!
//! `<prefix>:expected` is a hash with a field for each worker type, and `*` for all others. No key of a
//! worker's can be it: in those a colon stands behind the type, and a type has no colon in it.

use redis::{Value, cmd};
use serde::{Deserialize, Serialize};

use super::batch::{Batch, command};
use super::fleet::EscapedText;
use super::key::{KeyPrefix, WorkerType};
use super::timestamp::{ms_of, rfc3339};
use crate::image::{is_whole, meaningful};

/// The field for all types that have none of their own.
pub const ALL_TYPES: &str = "*";

/// Far more than an expectation is long.
const MAX_BYTES: usize = 4096;

/// How far ahead of Redis's clock a publication may be, in ms: after a failover clocks differ.
const MAX_AHEAD_MS: u64 = 60 * 1000;

/// What stands in a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    git_sha: String,
    /// By Redis's clock, as RFC 3339.
    at: String,
    by: String,
}

/// One expectation, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// A worker type, or `*`.
    pub of: EscapedText,
    pub git_sha: EscapedText,
    /// Unix time in ms, by Redis's clock.
    pub at: u64,
    pub by: EscapedText,
}

/// `<prefix>:expected`.
pub fn expected_key(prefix: &KeyPrefix) -> Vec<u8> {
    [prefix.as_str().as_bytes(), b":expected"].concat()
}

/// Reads what is expected of a type: its own field, and that of all.
pub fn read_expectation(prefix: &KeyPrefix, worker_type: &WorkerType) -> Batch {
    let key = expected_key(prefix);
    vec![command([b"HMGET", &key, worker_type.as_str().as_bytes(), ALL_TYPES.as_bytes()])]
}

/// Reads all that is published.
pub fn read_all(prefix: &KeyPrefix) -> Batch {
    vec![cmd("HGETALL").arg(expected_key(prefix)).clone()]
}

/// Publishes a SHA for these types, or for all where there are none, at this unix time in ms.
pub fn publish(prefix: &KeyPrefix, of: &[WorkerType], git_sha: &str, by: &str, at: u64) -> Batch {
    let stored = Stored { git_sha: git_sha.into(), at: rfc3339(at), by: by.into() };
    // It holds nothing that can't be expressed.
    let text = serde_json::to_string(&stored).unwrap_or_default();
    let hset = |field| cmd("HSET").arg(expected_key(prefix)).arg(field).arg(&text).clone();
    let fields = fields(of);
    if let [field] = fields[..] {
        return vec![hset(field)];
    }
    // Field by field, which every Redis takes, and all of them or none.
    let mut batch = vec![cmd("MULTI")];
    batch.extend(fields.into_iter().map(hset));
    batch.push(cmd("EXEC"));
    batch
}

/// Takes back what is published for these types, or all of it where there are none.
pub fn clear(prefix: &KeyPrefix, of: &[WorkerType]) -> Batch {
    match of {
        [] => vec![cmd("DEL").arg(expected_key(prefix)).clone()],
        of => vec![cmd("HDEL").arg(expected_key(prefix)).arg(fields(of)).clone()],
    }
}

fn fields(of: &[WorkerType]) -> Vec<&str> {
    match of {
        [] => vec![ALL_TYPES],
        of => of.iter().map(WorkerType::as_str).collect(),
    }
}

/// The expectation in a field; `None` for a field that is not there.
///
/// # Errors
/// What is wrong with it, in words that follow "it".
pub fn parse(of: &str, field: &Value, now: u64) -> Result<Option<Published>, &'static str> {
    let json = match field {
        Value::Nil => return Ok(None),
        Value::BulkString(json) => json,
        _ => return Err("is no text"),
    };
    if json.len() > MAX_BYTES {
        return Err("is longer than any expectation");
    }
    let stored: Stored = serde_json::from_slice(json).map_err(|_| "is not what expect writes")?;
    let git_sha = meaningful(&stored.git_sha).map_err(|_| "names no SHA")?;
    if !is_whole(&git_sha) {
        return Err("is an abbreviation");
    }
    let at = ms_of(&stored.at).ok_or("names no time")?;
    if at > now.saturating_add(MAX_AHEAD_MS) {
        return Err("is from the future");
    }
    Ok(Some(Published {
        of: EscapedText::new(of.as_bytes()),
        git_sha: EscapedText::new(git_sha.as_bytes()),
        at,
        by: EscapedText::new(stored.by.as_bytes()),
    }))
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::{expected_key, parse, publish};
    use crate::registry::KeyPrefix;

    const NOW: u64 = 1_767_873_600_000;
    const SHA: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678";

    fn field(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn what_is_published_is_read_back() {
        let prefix: KeyPrefix = "p".parse().unwrap();
        let [hset] = &publish(&prefix, &[], SHA, "ci@host", NOW)[..] else { panic!("one command") };
        let words: Vec<Vec<u8>> = hset
            .args_iter()
            .map(|word| match word {
                redis::Arg::Simple(word) => word.to_vec(),
                _ => Vec::new(),
            })
            .collect();
        assert_eq!((&words[1], &words[2][..]), (&expected_key(&prefix), &b"*"[..]));
        let read = parse("*", &Value::BulkString(words[3].clone()), NOW).unwrap().unwrap();
        assert_eq!((read.git_sha.as_str(), read.at, read.by.as_str()), (SHA, NOW, "ci@host"));
    }

    #[test]
    fn nothing_is_no_expectation_and_nonsense_is_none_either() {
        assert_eq!(parse("*", &Value::Nil, NOW), Ok(None));
        let good = format!(r#"{{"gitSha":"{SHA}","at":"2026-01-08T12:00:00.000Z","by":"x"}}"#);
        assert!(parse("*", &field(&good), NOW).unwrap().is_some());
        for odd in [
            String::new(),
            "x".repeat(1_000_000),
            SHA.into(),
            "[]".into(),
            good.replace(SHA, "latest"),
            good.replace(SHA, "a1b2c3d"),
            good.replace(SHA, "$(git rev-parse HEAD)"),
            good.replace("2026-", "soon-"),
            good.replace("2026-", "2027-"),
            good.replace("\"by\"", "\"more\""),
        ] {
            assert!(parse("*", &field(&odd), NOW).is_err(), "{odd:.60}");
        }
        assert!(parse("*", &Value::Int(1), NOW).is_err());
    }
}
