//! The whole key space: searched for worker types that nothing else leads to.

use std::collections::BTreeSet;

use redis::cmd;

use super::batch::value;
use super::error::ConnectionError;
use super::key::{KeyPrefix, type_in_version_key};
use super::session::Session;

/// Buckets of the whole key space that are searched at once: some 20 ms of Redis's time at most.
const KEYS_PAGE: u32 = 20_000;
/// How many keys there are in all, and how many of them expire.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keys {
    pub all: u64,
    pub expiring: u64,
}

/// The keys of all masters; `None` where Redis doesn't say, or is not allowed to.
pub async fn count_keys(redis: &mut Session<'_>) -> Option<Keys> {
    let database = format!("db{}:", redis.database());
    let replies = redis.send_to_masters(cmd("INFO").arg("keyspace")).await.ok()?;
    let mut keys = Keys::default();
    for reply in &replies {
        let info: String = value(Some(reply)).ok()?;
        let line = info.lines().find_map(|line| line.strip_prefix(&database)).unwrap_or_default();
        let number = |name| {
            line.split(',')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        };
        keys.all += number("keys").unwrap_or(0_u64);
        keys.expiring += number("expires").unwrap_or(0_u64);
    }
    Some(keys)
}

/// Worker types that have a version key.
///
/// # Errors
/// A lost connection, or an error reply.
pub async fn find_types(
    redis: &mut Session<'_>,
    prefix: &KeyPrefix,
) -> Result<BTreeSet<Vec<u8>>, ConnectionError> {
    let pattern = [escape_glob(prefix.as_str()).as_str(), ":*:version"].concat();
    let mut found = BTreeSet::new();
    for master in redis.masters().await? {
        let mut cursor = b"0".to_vec();
        loop {
            let mut page = cmd("SCAN");
            page.arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(KEYS_PAGE);
            let reply = redis.send_to_master(master, &page).await?;
            let (next, keys): (Vec<u8>, Vec<Vec<u8>>) = value(Some(&reply))?;
            found.extend(
                keys.iter().filter_map(|key| type_in_version_key(prefix, key)).map(<[u8]>::to_vec),
            );
            if next == b"0" {
                break;
            }
            cursor = next;
        }
    }
    Ok(found)
}

/// For SCAN's MATCH, where a prefix may hold what has a meaning in a pattern.
fn escape_glob(text: &str) -> String {
    text.chars().fold(String::new(), |mut pattern, character| {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(character);
        pattern
    })
}

#[cfg(test)]
mod tests {
    use super::escape_glob;

    #[test]
    fn a_prefix_is_no_pattern() {
        assert_eq!(escape_glob("{a}:[b]*?\\"), r"{a}:\[b\]\*\?\\");
    }
}
