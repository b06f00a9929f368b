//! Reads back what is published as expected.

use std::collections::BTreeMap;

use redis::{Value, cmd};

use super::batch::{unix_ms, value};
use super::error::ConnectionError;
use super::expectation::{Published, parse, read_all};
use super::key::KeyPrefix;
use super::session::Session;

/// The time by Redis's clock: unix time in ms.
///
/// # Errors
/// A lost connection, an error reply, or a Redis that doesn't tell the time.
pub async fn now(redis: &mut Session<'_>) -> Result<u64, ConnectionError> {
    let time = redis.send_to_master(0, &cmd("TIME")).await?;
    unix_ms(&time).ok_or_else(|| ConnectionError::Redis {
        code: String::new(),
        text: "Redis doesn't tell the time".into(),
    })
}

/// All that is published and can be believed.
///
/// # Errors
/// A lost connection, or an error reply.
pub async fn published(
    redis: &mut Session<'_>,
    prefix: &KeyPrefix,
    now: u64,
) -> Result<Vec<Published>, ConnectionError> {
    let replies = redis.send_one(read_all(prefix)).await?;
    let fields: BTreeMap<Vec<u8>, Value> = value(replies.first())?;
    let all = fields
        .iter()
        .filter_map(|(of, field)| parse(&String::from_utf8_lossy(of), field, now).ok().flatten());
    Ok(all.collect())
}
