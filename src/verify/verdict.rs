//! The verdict on a fleet: a pure function of what was read and what is expected.

use std::collections::BTreeMap;
use std::time::Duration;

use super::blocks::{Block, Blocks, Status};
use super::deaths;
use super::moment::Moment;
use super::requirement::Requirement;
use crate::image::{MIN_DIGITS, abbreviates, is_same};
use crate::registry::{Departed, EscapedText, Fleet, Instance, WorkerType};

/// What the fleet should be.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The whole SHA, or an abbreviation of at least 7 hex digits.
    pub git_sha: String,
    /// What is expected of types that have an expectation of their own.
    pub by_type: BTreeMap<String, String>,
    /// Where it comes from, where it is not given but published: when and by whom.
    pub published: Option<String>,
    /// What has to be there.
    pub required: Vec<Requirement>,
    /// The types that are judged; empty for all.
    pub only: Vec<WorkerType>,
    /// For how long a dead instance is reported.
    pub dead_for: Duration,
    /// Whether workers of one SHA may run different sealed code, as of two builds of one commit.
    pub diverged_is_ok: bool,
    /// How long an instance has to have been registered to be settled.
    pub stable_for: Duration,
    /// Whether only what is settled is as expected.
    pub must_settle: bool,
}

impl Expected {
    /// What is expected of a type.
    pub fn of(&self, worker_type: &str) -> &str {
        self.by_type.get(worker_type).unwrap_or(&self.git_sha)
    }
}

/// The verdict.
#[derive(Debug)]
pub struct Report {
    pub expected: String,
    /// As in `Expected`.
    pub by_type: BTreeMap<String, String>,
    pub published: Option<String>,
    /// Unix time in ms, by Redis's clock.
    pub read_at: u64,
    pub blocks: Vec<Block>,
    /// What can't be read, and of what there is too much, one sentence each.
    pub complaints: Vec<String>,
    /// How many of them are of what can't be read.
    pub unreadable: usize,
    /// What has not been as it is for long enough, one sentence each.
    pub unsettled: Vec<String>,
    /// The types and times, in unix ms, of workers that ended by themselves on the expected SHA: of the
    /// required types, or of all where none is required.
    pub ends: Vec<(EscapedText, u64)>,
    must_settle: bool,
    /// Whether all that is required may be scaled to nothing.
    may_be_empty: bool,
}

impl Report {
    pub fn new(fleet: Fleet, expected: &Expected) -> Self {
        let is_judged = |worker_type: &EscapedText| {
            let mut only = expected.only.iter();
            expected.only.is_empty() || only.any(|only| only.as_str() == worker_type.as_str())
        };
        let now = fleet.read_at;
        let departures: Vec<Departed> =
            fleet.departures.into_iter().filter(|end| is_judged(&end.worker_type)).collect();
        let instances = fleet.instances.into_iter().filter(|one| is_judged(&one.worker_type));
        let instances = deaths::settled(instances.collect(), now, expected.dead_for);
        let mut blocks = Blocks::default();
        for instance in instances {
            let status = status_of(&instance, expected.of(instance.worker_type.as_str()));
            blocks.add(status, instance);
        }
        let moment = Moment::new(now, expected.stable_for);
        let complaints = fleet.complaints.into_iter();
        let mut complaints: Vec<String> = complaints
            .filter(|complaint| complaint.worker_type.as_ref().is_none_or(is_judged))
            .map(|complaint| complaint.sentence)
            .collect();
        let (unreadable, mut unsettled) = (complaints.len(), blocks.unsettled(moment));
        unsettled.extend(
            departures.iter().filter(|end| !end.was_asked && moment.contains(end.at)).map(|end| {
                format!("{} has ended by itself a moment ago", end.worker_type.as_str())
            }),
        );
        unsettled.dedup();
        blocks.set_crashing(&departures, moment);
        for required in &expected.required {
            complaints.extend(blocks.require(required));
        }
        let blocks = blocks.into_blocks(expected.diverged_is_ok);
        let ends = departures.iter().filter(|end| is_waited_for(end, expected));
        let ends = ends.map(|end| (end.worker_type.clone(), end.at)).collect();
        Self {
            expected: expected.git_sha.clone(),
            by_type: expected.by_type.clone(),
            published: expected.published.clone(),
            read_at: now,
            blocks,
            complaints,
            unreadable,
            unsettled,
            ends,
            must_settle: expected.must_settle,
            may_be_empty: !expected.required.is_empty()
                && expected.required.iter().all(|required| required.least == Some(0)),
        }
    }

    /// Whether a type has ended so often by itself since then that it can't be waited for.
    pub fn has_crashed(&self, times: usize, since: u64) -> bool {
        self.ends.iter().any(|(worker_type, _)| {
            let of_type =
                self.ends.iter().filter(|(other, at)| other == worker_type && *at >= since);
            of_type.count() >= times
        })
    }

    /// Whether it is as expected, and has been for long enough to believe it.
    pub fn is_settled(&self) -> bool {
        self.is_as_expected() && self.unsettled.is_empty()
    }

    pub fn workers(&self) -> usize {
        self.blocks.iter().map(Block::workers).sum()
    }

    /// Workers that are not running the expected version.
    pub fn failing(&self) -> usize {
        self.blocks.iter().filter(|block| block.status != Status::Ok).map(Block::workers).sum()
    }

    /// Whether there are workers, all of them run the expected version, and all could be read. An empty
    /// registry is a failure: verify is asked because workers should run. Where it was waited for, it
    /// has to be settled, too.
    pub fn is_as_expected(&self) -> bool {
        self.is_good_now() && (!self.must_settle || self.unsettled.is_empty())
    }

    /// Whether it would be as expected, were it to stay like this.
    pub fn is_good_now(&self) -> bool {
        (self.workers() > 0 || self.may_be_empty)
            && self.failing() == 0
            && self.complaints.is_empty()
    }
}

/// Whether this is how a worker ended by itself that has to be there, and with the expected SHA.
fn is_waited_for(end: &Departed, expected: &Expected) -> bool {
    let mut required = expected.required.iter();
    let is_meant = expected.required.is_empty()
        || required.any(|one| one.worker_type.as_str() == end.worker_type.as_str());
    let sha = expected.of(end.worker_type.as_str());
    !end.was_asked && is_meant && is_expected(sha, end.git_sha.as_str())
}

fn status_of(instance: &Instance, expected: &str) -> Status {
    let Some(record) = &instance.record else { return Status::Dead };
    match &record.git_sha {
        _ if instance.is_draining() => Status::Draining,
        Some(sha) if is_expected(expected, sha.as_str()) => Status::Ok,
        _ => Status::Stale,
    }
}

/// Whether this is the expected SHA. An expected one may be abbreviated, from the 7 digits of git's own
/// abbreviations to less than a whole one has; a registered one may not.
fn is_expected(expected: &str, registered: &str) -> bool {
    is_same(expected, registered) || abbreviates(expected, registered, MIN_DIGITS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::{Expected, Report, Requirement, Status, is_expected};
    use crate::registry::{EscapedText, Fleet, Instance, StoredRecord};

    const SHA: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678";
    const NOW: u64 = 1_767_873_600_000;

    fn escaped(text: &str) -> EscapedText {
        EscapedText::new(text.as_bytes())
    }

    fn lives(worker_type: &str, sha: &str) -> Instance {
        let git_sha = (!sha.is_empty()).then(|| escaped(sha));
        Instance {
            worker_type: escaped(worker_type),
            id: Some(escaped("1")),
            record: Some(StoredRecord { git_sha, ..StoredRecord::default() }),
            last: None,
            last_seen: Some(NOW),
        }
    }

    fn dead(worker_type: &str, seconds_ago: u64) -> Instance {
        let last_seen = Some(NOW - seconds_ago * 1000);
        Instance { record: None, last_seen, ..lives(worker_type, SHA) }
    }

    fn expected(required: Vec<Requirement>, dead_for: Duration) -> Expected {
        Expected {
            git_sha: SHA.into(),
            required,
            only: Vec::new(),
            by_type: BTreeMap::new(),
            published: None,
            dead_for,
            diverged_is_ok: false,
            stable_for: Duration::ZERO,
            must_settle: false,
        }
    }

    fn report(instances: Vec<Instance>, required: &[&str]) -> Report {
        let fleet = Fleet { read_at: NOW, instances, ..Fleet::default() };
        let required = required.iter().map(|name| name.parse().unwrap()).collect();
        let dead_for = Duration::from_hours(24);
        Report::new(fleet, &expected(required, dead_for))
    }

    fn statuses(report: &Report) -> Vec<(Status, &str, usize)> {
        report
            .blocks
            .iter()
            .map(|block| (block.status, block.worker_type.as_str(), block.workers()))
            .collect()
    }

    #[test]
    fn instances_of_one_type_and_sha_are_one_block_with_a_count() {
        let mut fleet = vec![lives("extractor", SHA); 7];
        fleet.extend(vec![lives("extractor", "0f0f0f0"); 3]);
        let report = report(fleet, &[]);
        assert_eq!(
            statuses(&report),
            [(Status::Ok, "extractor", 7), (Status::Stale, "extractor", 3)]
        );
        assert_eq!((report.failing(), report.workers()), (3, 10));
        assert!(!report.is_as_expected());
    }

    #[test]
    fn a_sha_that_was_not_said_is_stale() {
        for sha in ["", "unknown", "a1b2c3d", &SHA[..39], &format!("{SHA}0")] {
            assert_eq!(report(vec![lives("w", sha)], &[]).blocks[0].status, Status::Stale, "{sha}");
        }
    }

    #[test]
    fn an_abbreviated_expectation_has_seven_hex_digits() {
        assert!(is_expected(&SHA[..7], SHA));
        assert!(is_expected(SHA, SHA));
        assert!(is_expected("v1.2", "v1.2"));
        assert!(!is_expected(&SHA[..6], SHA));
        assert!(!is_expected(SHA, &SHA[..7]));
        assert!(!is_expected("release", "release-7"));
        assert!(!is_expected("a1b2c3d", "a1b2c3d4-dirty"));
        assert!(is_expected("A1B2C3D", SHA));
    }

    #[test]
    fn what_is_required_and_not_there_is_missing() {
        let report = report(vec![lives("a", SHA), dead("b", 60)], &["a", "b", "c"]);
        assert_eq!(
            statuses(&report),
            [(Status::Ok, "a", 1), (Status::Missing, "c", 1), (Status::Dead, "b", 1)]
        );
        assert_eq!((report.failing(), report.workers()), (2, 3));
    }

    #[test]
    fn the_dead_are_reported_for_as_long_as_asked() {
        let fleet = Fleet {
            read_at: NOW,
            instances: vec![lives("a", SHA), dead("a", 61), dead("a", 59)],
            ..Fleet::default()
        };
        let expected = Expected {
            git_sha: SHA.into(),
            required: Vec::new(),
            dead_for: Duration::from_mins(1),
            diverged_is_ok: false,
            only: Vec::new(),
            by_type: BTreeMap::new(),
            published: None,
            stable_for: Duration::ZERO,
            must_settle: false,
        };
        let report = Report::new(fleet, &expected);
        assert_eq!(statuses(&report), [(Status::Ok, "a", 1), (Status::Dead, "a", 1)]);
    }

    #[test]
    fn one_sha_with_different_sealed_code_is_diverged_unless_that_is_accepted() {
        let with_code = |code: Option<&str>| {
            let mut instance = lives("w", SHA);
            if let Some(record) = &mut instance.record {
                record.code_sha256 = code.map(escaped);
            }
            instance
        };
        let fleet = || vec![with_code(Some("aa")), with_code(Some("bb")), with_code(Some("aa"))];
        let diverged = report(fleet(), &[]);
        assert_eq!(statuses(&diverged), [(Status::Diverged, "w", 3)]);
        assert!(!diverged.is_as_expected() && diverged.failing() == 3);
        let accepted = Expected {
            git_sha: SHA.into(),
            required: Vec::new(),
            dead_for: Duration::ZERO,
            diverged_is_ok: true,
            only: Vec::new(),
            by_type: BTreeMap::new(),
            published: None,
            stable_for: Duration::ZERO,
            must_settle: false,
        };
        let fleet = Fleet { read_at: NOW, instances: fleet(), ..Fleet::default() };
        assert!(Report::new(fleet, &accepted).is_as_expected());
        // Who says nothing of its code, as a shim of before, contradicts nobody.
        assert!(report(vec![with_code(Some("aa")), with_code(None)], &[]).is_as_expected());
    }

    #[test]
    fn an_empty_fleet_is_a_failure() {
        assert!(!report(Vec::new(), &[]).is_as_expected());
        assert!(report(vec![lives("a", SHA)], &["a"]).is_as_expected());
    }
}
