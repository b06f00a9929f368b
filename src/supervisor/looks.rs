//! The looks at what the worker becomes and starts, while it is young: when, and at which processes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::companion::Watch;
use super::descendants;
use super::sighting::{Image, look_at};
use crate::system::memory::let_code_go;

/// Between two looks at first. A runner takes more than twice this from its first process to the first
/// line that it compiles.
const PAUSE: Duration = Duration::from_millis(50);

/// From 2 s on a pause is this part of the time that has passed: what starts late has more to load.
const PART: u32 = 40;

/// At most so many processes are looked at, so that no storm of them holds up a signal for long.
const MAX_PROCESSES: usize = 1000;

/// What a look may take: signals and children wait for it.
const LIMIT: Duration = Duration::from_millis(20);

/// The looks that have been and are to come.
#[derive(Debug)]
pub struct Looks {
    start: Instant,
    duration: Duration,
    next: Option<Instant>,
    /// What each process executed when it was last judged.
    judged: BTreeMap<Pid, Image>,
}

impl Looks {
    /// Looks for so long from now on.
    pub fn new(duration: Duration) -> Self {
        let start = Instant::now();
        let next = next_look(Duration::ZERO, duration).map(|after| start + after);
        Self { start, duration, next, judged: BTreeMap::new() }
    }

    /// When the next one is due; `None` when there is none any more.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Looks if it is time to, and tells whether the watch condemns what it is shown: each process once,
    /// and again when it has executed another program since.
    pub fn condemn(&mut self, watch: &mut dyn Watch) -> bool {
        if self.next.is_none_or(|next| next > Instant::now()) {
            return false;
        }
        let is_condemned = self.look(watch);
        self.next = next_look(self.start.elapsed(), self.duration).map(|after| self.start + after);
        if self.next.is_none() {
            // From now on nothing but signals.
            let_code_go();
        }
        is_condemned
    }

    fn look(&mut self, watch: &mut dyn Watch) -> bool {
        let mut judged = BTreeMap::new();
        let began = Instant::now();
        for pid in descendants::pids(MAX_PROCESSES) {
            if began.elapsed() > LIMIT {
                // The rest at the next look; those that are known stay so.
                judged.extend(self.judged.get(&pid).map(|image| (pid, *image)));
                continue;
            }
            let known = self.judged.get(&pid).copied();
            let Some((image, sighting)) = look_at(pid, known) else { continue };
            if sighting.is_some_and(|sighting| watch.condemns(&sighting)) {
                return true;
            }
            judged.insert(pid, image);
        }
        self.judged = judged;
        false
    }
}

/// When to look next after a look, both counted from the worker's start; `None` once it is over. The
/// last look is at its very end.
fn next_look(elapsed: Duration, duration: Duration) -> Option<Duration> {
    let pause = PAUSE.max(elapsed / PART);
    (elapsed < duration).then(|| duration.min(elapsed + pause))
}

#[cfg(test)]
mod tests {
    use std::iter::successors;
    use std::time::Duration;

    use super::next_look;

    /// All looks, had each taken no time.
    fn looks(duration: Duration) -> Vec<Duration> {
        let first = next_look(Duration::ZERO, duration);
        successors(first, |elapsed| next_look(*elapsed, duration)).collect()
    }

    #[test]
    fn for_two_seconds_a_look_follows_the_other_after_50_ms() {
        let looks = looks(Duration::from_secs(15));
        for (number, at) in (1..=40).zip(&looks) {
            assert_eq!(*at, Duration::from_millis(50 * number));
        }
    }

    #[test]
    fn later_the_pauses_grow_and_end_with_the_last_look() {
        let looks = looks(Duration::from_secs(15));
        let pauses: Vec<Duration> =
            looks.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
        assert!(pauses[40..pauses.len() - 1].is_sorted());
        assert!(pauses.iter().all(|pause| *pause < Duration::from_millis(400)));
        assert_eq!(looks.last(), Some(&Duration::from_secs(15)));
        assert!(looks.len() < 130, "{}", looks.len());
    }

    #[test]
    fn no_look_comes_after_the_end_or_without_a_duration() {
        let second = Duration::from_secs(1);
        assert_eq!(next_look(Duration::ZERO, Duration::ZERO), None);
        assert_eq!(next_look(second, second), None);
        assert_eq!(next_look(3 * second, second), None);
        assert_eq!(looks(Duration::from_millis(10)), [Duration::from_millis(10)]);
    }

    #[test]
    fn a_late_look_is_followed_by_one_and_not_by_those_that_were_missed() {
        let late = Duration::from_millis(730);
        assert_eq!(next_look(late, 2 * late), Some(late + Duration::from_millis(50)));
    }
}
