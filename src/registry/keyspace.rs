//! The whole key space: searched for worker types that nothing else leads to.

use std::collections::BTreeSet;

use redis::{RedisError, cmd};

use super::batch::{is_lacking, value};
use super::connection::ConnectionError;
use super::key::{KeyPrefix, type_in_version_key};
use super::session::Session;

/// Buckets of the whole key space that are searched at once: some 20 ms of Redis's time at most.
const KEYS_PAGE: u32 = 20_000;

/// Worker types that have a version key; or why the keys can't be searched, where the server, such as a
/// proxy, has no command for that.
///
/// # Errors
/// A lost connection, or an error reply.
pub async fn find_types(
    redis: &mut Session,
    prefix: &KeyPrefix,
) -> Result<Result<BTreeSet<Vec<u8>>, RedisError>, ConnectionError> {
    let pattern = [escape_glob(prefix.as_str()).as_str(), ":*:version"].concat();
    let mut found = BTreeSet::new();
    for master in redis.masters().await? {
        let mut cursor = b"0".to_vec();
        loop {
            let mut page = cmd("SCAN");
            page.arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(KEYS_PAGE);
            let reply = match redis.ask_master(master, &page).await? {
                Err(error) if is_lacking(&error) => return Ok(Err(error)),
                reply => reply.map_err(|error| redis.error_reply(&error))?,
            };
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
    Ok(Ok(found))
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
