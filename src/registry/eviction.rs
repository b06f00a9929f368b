//! Records that a Redis short of memory has evicted, told from those that have expired.

use std::collections::{BTreeMap, BTreeSet};

use redis::cmd;

use super::batch::{Replies, value};
use super::connection::ConnectionError;
use super::fleet::{Complaint, EscapedText};
use super::key::{KeyPrefix, instance_key, score_in_ms, type_and_id};
use super::leftover::Type;
use super::record::HEARTBEATS;
use super::session::Session;

/// What a shim says between two signs of life where nothing else is known of its type, in ms.
const USUAL_HEARTBEAT_MS: u64 = 30_000;

/// Those of the members without a record, which were last seen then, that were robbed of it by a Redis
/// that evicts keys: it can't have expired yet.
pub async fn evicted<'m>(
    redis: &mut Session,
    prefix: &KeyPrefix,
    types: &BTreeMap<Vec<u8>, Type>,
    missing: &[(&'m Vec<u8>, f64)],
    now: u64,
) -> Result<BTreeSet<&'m Vec<u8>>, ConnectionError> {
    let is_fresh = |(member, score): &&(&Vec<u8>, f64)| {
        let known = types.get(type_and_id(member).0);
        let life = known.and_then(|known| known.heartbeat).unwrap_or(USUAL_HEARTBEAT_MS);
        now.saturating_sub(score_in_ms(*score)) < life.saturating_mul(HEARTBEATS.into())
    };
    let fresh: Vec<&Vec<u8>> = missing.iter().filter(is_fresh).map(|(member, _)| *member).collect();
    if fresh.is_empty() {
        return Ok(BTreeSet::new());
    }
    // The key names the node that held it; without leave to ask it, nothing is known to be evicted.
    let batches = fresh
        .iter()
        .map(|member| {
            let (worker_type, id) = type_and_id(member);
            let key = instance_key(prefix, worker_type, id);
            vec![cmd("PTTL").arg(key).clone(), cmd("INFO").arg("stats").clone()]
        })
        .collect();
    let replies = redis.send(batches).await?;
    let has_evicted = |reply: &Replies| match reply {
        Ok(replies) => value(replies.get(1)).is_ok_and(|stats: String| evicts(&stats)),
        Err(_) => false,
    };
    let both = fresh.into_iter().zip(&replies).filter(|(_, reply)| has_evicted(reply));
    Ok(both.map(|(member, _)| member).collect())
}

/// Whether Redis says that it has evicted any key.
fn evicts(stats: &str) -> bool {
    let count = stats.lines().find_map(|line| line.strip_prefix("evicted_keys:"));
    count.is_some_and(|count| count.trim() != "0")
}

/// That an instance lives, and nobody can say what it runs.
pub fn complaint(worker_type: &[u8]) -> Complaint {
    let worker_type = EscapedText::new(worker_type);
    let sentence = format!(
        "{} is alive, and Redis has evicted its record: its SHA is not known before its next heartbeat. Give Redis more memory, or another maxmemory-policy",
        worker_type.as_str()
    );
    Complaint { worker_type: Some(worker_type), sentence }
}
