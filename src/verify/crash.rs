//! Does a type crash? Workers that end by themselves again and again, told from those that were asked.

use std::time::Duration;

use crate::registry::{Departed, WorkerEnd};

/// So many ends within this time are a crash loop.
const MIN_ENDS: usize = 3;
const WITHIN_MS: u64 = 10 * 60 * 1000;

/// An engine's longest pause between two tries, at least; a loop that pauses longer is over only after
/// twice its own pause.
const MIN_PAUSE_MS: u64 = 60 * 1000;

/// How a type crashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    pub end: WorkerEnd,
    pub times: usize,
    /// From the first of these ends to the last.
    pub within: Duration,
    /// Unix time in ms of the last end.
    pub last: u64,
}

/// The crash loop that these ends of one type's workers make up at this time, if they do.
pub fn crash<'a>(ends: impl Iterator<Item = &'a Departed>, now: u64) -> Option<Crash> {
    let mut ends: Vec<&Departed> = ends.filter(|end| !end.was_asked).collect();
    ends.sort_by_key(|end| std::cmp::Reverse(end.at));
    let last = ends.first()?;
    let recent = ends.iter().take_while(|end| last.at - end.at <= WITHIN_MS);
    let recent: Vec<_> = recent.collect();
    let (first, before) = (recent.last()?, recent.get(1)?);
    let pause = MIN_PAUSE_MS.max(2 * (last.at - before.at));
    let goes_on = now.saturating_sub(last.at) <= pause;
    (recent.len() >= MIN_ENDS && goes_on).then(|| Crash {
        end: last.end,
        times: recent.len(),
        within: Duration::from_secs((last.at - first.at).div_ceil(1000)),
        last: last.at,
    })
}

#[cfg(test)]
mod tests {
    use super::crash;
    use crate::registry::{Departed, EscapedText, WorkerEnd};

    const NOW: u64 = 2_000_000_000_000;

    fn ended(seconds_ago: u64, was_asked: bool) -> Departed {
        Departed {
            worker_type: EscapedText::new(b"w"),
            id: EscapedText::new(b"1f"),
            git_sha: EscapedText::new(b"a1b2c3d"),
            end: WorkerEnd::Exited(1),
            was_asked,
            at: NOW - seconds_ago * 1000,
        }
    }

    fn crashes(seconds_ago: &[u64]) -> Option<(usize, u64)> {
        let ends: Vec<_> = seconds_ago.iter().map(|ago| ended(*ago, false)).collect();
        crash(ends.iter(), NOW).map(|crash| (crash.times, crash.within.as_secs()))
    }

    #[test]
    fn three_ends_by_themselves_in_a_short_time_are_a_crash() {
        assert_eq!(crashes(&[2, 20, 42]), Some((3, 40)));
        assert_eq!(crashes(&[42, 2, 20, 30]), Some((4, 40)));
        for ends in [&[2, 20][..], &[], &[2, 20, 1000], &[100, 110, 120]] {
            assert_eq!(crashes(ends), None, "{ends:?}");
        }
    }

    #[test]
    fn a_loop_with_long_pauses_is_not_over_in_the_midst_of_one() {
        assert_eq!(crashes(&[200, 360, 500]), Some((3, 300)));
        assert_eq!(crashes(&[330, 490, 630]), None);
    }

    #[test]
    fn whoever_was_asked_to_stop_has_not_crashed() {
        let ends = [ended(1, true), ended(2, true), ended(3, true), ended(4, false)];
        assert_eq!(crash(ends.iter(), NOW), None);
    }
}
