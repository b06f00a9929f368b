//! Times as the registry has them: unix time in ms by Redis's clock, and RFC 3339. Pure.

use std::time::{Duration, UNIX_EPOCH};

/// RFC 3339 of a unix time in ms.
pub fn rfc3339(ms: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(ms.min(LAST_MS))).unwrap_or(UNIX_EPOCH);
    humantime::format_rfc3339_millis(time).to_string()
}

/// 9999-12-31T23:59:59.999Z, the last moment that RFC 3339 can express.
const LAST_MS: u64 = 253_402_300_799_999;

/// Unix time in ms of an RFC 3339 text.
pub fn ms_of(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(text).ok()?;
    time.duration_since(UNIX_EPOCH).ok()?.as_millis().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn no_time_is_too_late_to_be_written() {
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
