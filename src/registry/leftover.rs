//! Leftovers: version keys that shims have left behind, told from the word of a worker without one. Pure.

use super::key::{DAY, in_ms};

/// A shim renews its version key and says that it was seen within one attempt.
const ONE_ATTEMPT: u64 = 5_000;

/// What is known of a worker type while reading.
#[derive(Debug, Default)]
pub struct Type {
    pub lives: bool,
    /// The longest time between two signs of life of those that live, in ms.
    pub heartbeat: Option<u64>,
    /// When the last of its dead was last seen.
    pub last_death: Option<u64>,
}

/// PTTL's replies where there is no time to live.
pub const FOR_EVER: i64 = -1;
pub const NO_KEY: i64 = -2;

/// Whether a version key was last written or renewed by a shim that is gone: before the last one of its
/// type said goodbye, or while the last one that died was still alive. Both live for a day from then
/// on, so the time that is left tells which came first. In ms.
pub fn is_left_over(version: i64, left: i64, known: &Type, now: u64) -> bool {
    if version < 0 {
        return false;
    }
    let written = now.saturating_add(version.unsigned_abs()).saturating_sub(in_ms(DAY));
    version <= left
        || known.last_death.is_some_and(|death| written <= death.saturating_add(ONE_ATTEMPT))
}

#[cfg(test)]
mod tests {
    use super::{FOR_EVER, Type, is_left_over};

    const DAY: i64 = 86_400_000;

    #[test]
    fn a_version_key_from_before_the_goodbye_is_left_over() {
        let unheard_of = Type::default();
        let now = 2_000_000_000_000;
        assert!(is_left_over(DAY - 9000, DAY - 8000, &unheard_of, now));
        assert!(!is_left_over(DAY - 8000, DAY - 9000, &unheard_of, now));
        assert!(!is_left_over(DAY, -2, &unheard_of, now));
        assert!(!is_left_over(FOR_EVER, DAY, &unheard_of, now));
    }

    #[test]
    fn a_version_key_from_before_the_death_is_left_over() {
        let now = 2_000_000_000_000;
        let known = Type { last_death: Some(now - 100_000), ..Type::default() };
        assert!(is_left_over(DAY - 100_000, -2, &known, now));
        assert!(is_left_over(DAY - 200_000, -2, &known, now));
        assert!(!is_left_over(DAY - 50_000, -2, &known, now));
    }
}
