//! The verdict on a fleet: a pure function of what was read and what is expected.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::image::{abbreviates, is_same};
use crate::registry::{EscapedText, Fleet, Instance, WorkerType, age};

/// What the fleet should be.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The whole SHA, or an abbreviation of at least 7 hex digits.
    pub git_sha: String,
    /// Types of which at least one worker has to run.
    pub required: Vec<WorkerType>,
    /// For how long a dead instance is reported.
    pub dead_for: Duration,
    /// Whether workers of one SHA may run different sealed code, as of two builds of one commit.
    pub diverged_is_ok: bool,
}

/// In the order in which they are reported: what needs attention stands last, next to the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Runs the expected SHA.
    Ok,
    /// Runs the expected SHA, and not all of its type have the same sealed code.
    Diverged,
    /// Runs another one, or doesn't say which.
    Stale,
    /// Required, and nothing of it is there.
    Missing,
    /// Has stopped reporting without a goodbye.
    Dead,
}

/// All instances of one type, SHA and status.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    pub status: Status,
    pub worker_type: EscapedText,
    /// `None` where no instance has said.
    pub git_sha: Option<EscapedText>,
    /// None of a missing type.
    pub instances: Vec<Instance>,
}

impl Block {
    /// How many workers this is: a missing one counts, too.
    pub fn workers(&self) -> usize {
        self.instances.len().max(1)
    }

    /// The different sealed code of them, and how many run each.
    pub fn code(&self) -> BTreeMap<&EscapedText, usize> {
        let mut code = BTreeMap::new();
        for instance in &self.instances {
            let digest = instance.record.as_ref().and_then(|record| record.code_sha256.as_ref());
            if let Some(digest) = digest {
                *code.entry(digest).or_default() += 1;
            }
        }
        code
    }

    /// The first and the last start, as the workers' own clocks tell.
    pub fn started(&self) -> Option<(&EscapedText, &EscapedText)> {
        let starts = || {
            self.instances
                .iter()
                .filter_map(|instance| instance.record.as_ref()?.started_at.as_ref())
        };
        starts().min().zip(starts().max())
    }

    /// When the latest of them was last seen: unix time in ms.
    pub fn last_seen(&self) -> Option<u64> {
        self.instances.iter().filter_map(|instance| instance.last_seen).max()
    }
}

/// The verdict.
#[derive(Debug)]
pub struct Report {
    pub expected: String,
    /// Unix time in ms, by Redis's clock.
    pub read_at: u64,
    pub blocks: Vec<Block>,
    pub complaints: Vec<String>,
}

impl Report {
    pub fn new(fleet: Fleet, expected: &Expected) -> Self {
        let mut blocks: BTreeMap<(Status, EscapedText, Option<EscapedText>), Vec<Instance>> =
            BTreeMap::new();
        let reported = |instance: &Instance| {
            instance.record.is_some()
                || age(fleet.read_at, instance.last_seen.unwrap_or_default()) < expected.dead_for
        };
        for instance in fleet.instances.into_iter().filter(reported) {
            let git_sha = instance.record.as_ref().and_then(|record| record.git_sha.clone());
            let status = match (&instance.record, &git_sha) {
                (None, _) => Status::Dead,
                (_, Some(sha)) if is_expected(&expected.git_sha, sha.as_str()) => Status::Ok,
                _ => Status::Stale,
            };
            let key = (status, instance.worker_type.clone(), git_sha);
            blocks.entry(key).or_default().push(instance);
        }
        for required in &expected.required {
            let required = EscapedText::new(required.as_str().as_bytes());
            if blocks.keys().all(|(_, worker_type, _)| *worker_type != required) {
                blocks.insert((Status::Missing, required, None), Vec::new());
            }
        }
        let mut blocks: Vec<Block> = blocks
            .into_iter()
            .map(|((status, worker_type, git_sha), instances)| Block {
                status,
                worker_type,
                git_sha,
                instances,
            })
            .collect();
        for block in &mut blocks {
            if block.status == Status::Ok && block.code().len() > 1 && !expected.diverged_is_ok {
                block.status = Status::Diverged;
            }
        }
        blocks.sort_by_key(|block| block.status);
        Self {
            expected: expected.git_sha.clone(),
            read_at: fleet.read_at,
            blocks,
            complaints: fleet.complaints,
        }
    }

    pub fn workers(&self) -> usize {
        self.blocks.iter().map(Block::workers).sum()
    }

    /// Workers that are not running the expected version.
    pub fn failing(&self) -> usize {
        self.blocks.iter().filter(|block| block.status != Status::Ok).map(Block::workers).sum()
    }

    /// Whether there are workers, all of them run the expected version, and all could be read. An empty
    /// registry is a failure: verify is asked because workers should run.
    pub fn is_as_expected(&self) -> bool {
        self.workers() > 0 && self.failing() == 0 && self.complaints.is_empty()
    }
}

/// Whether this is the expected SHA. An expected one may be abbreviated, from the 7 digits of git's own
/// abbreviations to less than a whole one has; a registered one may not.
fn is_expected(expected: &str, registered: &str) -> bool {
    is_same(expected, registered) || abbreviates(expected, registered, 7)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Expected, Report, Status, is_expected};
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
            last_seen: Some(NOW),
        }
    }

    fn dead(worker_type: &str, seconds_ago: u64) -> Instance {
        let last_seen = Some(NOW - seconds_ago * 1000);
        Instance { record: None, last_seen, ..lives(worker_type, SHA) }
    }

    fn report(instances: Vec<Instance>, required: &[&str]) -> Report {
        let fleet = Fleet { read_at: NOW, instances, complaints: Vec::new() };
        let required = required.iter().map(|name| name.parse().unwrap()).collect();
        let dead_for = Duration::from_hours(24);
        Report::new(
            fleet,
            &Expected { git_sha: SHA.into(), required, dead_for, diverged_is_ok: false },
        )
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
            complaints: Vec::new(),
        };
        let expected = Expected {
            git_sha: SHA.into(),
            required: Vec::new(),
            dead_for: Duration::from_mins(1),
            diverged_is_ok: false,
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
        };
        let fleet = Fleet { read_at: NOW, instances: fleet(), complaints: Vec::new() };
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
