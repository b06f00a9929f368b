//! A moment ago: the time in which something is not settled yet. Pure.

use std::time::Duration;

use crate::registry::in_ms;

/// After a failover clocks differ by some seconds. What is further ahead was written before the clock
/// was set back, and so is no moment ago.
const MAX_AHEAD_MS: u64 = 60 * 1000;

/// The time up to now, by Redis's clock, in which what happens has not settled yet.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: u64,
    settled_before: u64,
}

impl Moment {
    pub fn new(now: u64, stable_for: Duration) -> Self {
        Self { now, settled_before: now.saturating_sub(in_ms(stable_for)) }
    }

    /// Whether this time, in unix ms, is in it.
    pub fn contains(self, at: u64) -> bool {
        at > self.settled_before && !self.is_beyond(at)
    }

    /// Whether this time is further ahead than clocks differ.
    pub fn is_beyond(self, at: u64) -> bool {
        at > self.now.saturating_add(MAX_AHEAD_MS)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Moment;

    #[test]
    fn what_a_clock_that_was_set_back_left_ahead_is_no_moment_ago() {
        let moment = Moment::new(1_000_000, Duration::from_secs(10));
        assert!(
            moment.contains(990_001) && moment.contains(1_000_000) && moment.contains(1_060_000)
        );
        assert!(!moment.contains(990_000) && !moment.contains(1_060_001));
    }
}
