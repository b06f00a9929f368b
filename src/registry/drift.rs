//! Drift: does a running worker still run what is published? Pure.

use std::time::Duration;

use clap::ValueEnum;
use redis::Value;
use serde::{Deserialize, Serialize};

use super::expectation::{ALL_TYPES, Published, parse};
use super::key::{WorkerType, in_ms};
use crate::image::is_same;

/// What to do with a worker that a deployment has overtaken.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum OnDrift {
    /// Say so.
    #[default]
    Warn,
    /// Stop it as `docker stop` would.
    Stop,
}

/// How a worker stands to what is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// Nothing is published for it.
    Unpublished,
    Met(Published),
    Stale(Published),
    /// What is published can't be believed, and why.
    Odd(&'static str),
}

/// The verdict on a worker with this SHA, by the fields of its type and of all types.
pub fn judge(own: &str, worker_type: &WorkerType, fields: &[Value], now: u64) -> Drift {
    let field = |place: usize| fields.get(place).unwrap_or(&Value::Nil);
    let own_field = parse(worker_type.as_str(), field(0), now);
    let published = match own_field {
        Ok(None) => parse(ALL_TYPES, field(1), now),
        own_field => own_field,
    };
    match published {
        Ok(None) => Drift::Unpublished,
        Ok(Some(published)) if is_same(published.git_sha.as_str(), own) => Drift::Met(published),
        Ok(Some(published)) => Drift::Stale(published),
        Err(why) => Drift::Odd(why),
    }
}

/// Whether the time is over that a deployment has to replace a worker by itself. Spread by a tenth, so
/// that a fleet does not stop at once: `spread` is from 0 to 1.
pub fn is_overdue(published: &Published, now: u64, grace: Duration, spread: f64) -> bool {
    let grace = grace.mul_f64(0.9 + 0.2 * spread);
    now >= published.at.saturating_add(in_ms(grace))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use redis::Value;

    use super::{Drift, is_overdue, judge};

    const NOW: u64 = 1_767_873_600_000;
    const SHA: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678";
    const OTHER: &str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";

    fn field(sha: &str) -> Value {
        let text = format!(r#"{{"gitSha":"{sha}","at":"2026-01-08T11:59:50.000Z","by":"ci"}}"#);
        Value::BulkString(text.into())
    }

    fn judged(own: Value, all: Value) -> Drift {
        judge(SHA, &"ocr".parse().unwrap(), &[own, all], NOW)
    }

    #[test]
    fn a_types_own_field_counts_before_that_of_all() {
        assert_eq!(judged(Value::Nil, Value::Nil), Drift::Unpublished);
        assert!(matches!(judged(Value::Nil, field(SHA)), Drift::Met(_)));
        assert!(matches!(judged(field(&SHA.to_uppercase()), field(OTHER)), Drift::Met(_)));
        let Drift::Stale(published) = judged(field(OTHER), field(SHA)) else { panic!("stale") };
        assert_eq!((published.git_sha.as_str(), published.of.as_str()), (OTHER, "ocr"));
        assert!(matches!(judged(Value::BulkString(b"x".into()), field(OTHER)), Drift::Odd(_)));
        assert_eq!(judge(SHA, &"ocr".parse().unwrap(), &[], NOW), Drift::Unpublished);
    }

    #[test]
    fn the_grace_counts_from_the_publication() {
        let Drift::Stale(published) = judged(field(OTHER), Value::Nil) else { panic!("stale") };
        let overdue =
            |seconds, spread| is_overdue(&published, NOW, Duration::from_secs(seconds), spread);
        assert!(overdue(0, 0.5) && overdue(10, 0.0) && !overdue(10, 1.0) && !overdue(12, 0.0));
    }
}
