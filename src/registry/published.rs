//! Reads back what is published as expected.

use std::collections::BTreeMap;

use redis::{Value, cmd};

use super::batch::{time_of, value};
use super::connection::ConnectionError;
use super::expectation::{Published, parse, read_all};
use super::fleet::EscapedText;
use super::key::KeyPrefix;
use super::session::Session;

/// The time by Redis's clock: unix time in ms.
///
/// # Errors
/// A lost connection, an error reply, or a Redis that doesn't tell the time.
pub async fn now(redis: &mut Session) -> Result<u64, ConnectionError> {
    let replies = redis.send(vec![vec![cmd("TIME")]]).await?.pop();
    let time = time_of(&replies.unwrap_or_else(|| Ok(Vec::new())));
    time.map_err(|error| redis.error_reply(&error))
}

/// All that is published and can be believed; and a sentence for each that can't.
///
/// # Errors
/// A lost connection, or an error reply.
pub async fn published(
    redis: &mut Session,
    prefix: &KeyPrefix,
    now: u64,
) -> Result<(Vec<Published>, Vec<String>), ConnectionError> {
    let replies = redis.send_one(read_all(prefix)).await?;
    let fields: BTreeMap<Vec<u8>, Value> = value(replies.first())?;
    let (mut all, mut odd) = (Vec::new(), Vec::new());
    for (of, field) in &fields {
        let of = EscapedText::new(of);
        match parse(of.as_str(), field, now) {
            Ok(published) => all.extend(published),
            Err(why) => {
                odd.push(format!("What is published of {} doesn't count: it {why}", of.as_str()));
            }
        }
    }
    Ok((all, odd))
}
