//! Blocks: all instances of one type, SHA and status. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::crash::{Crash, crash};
use super::moment::Moment;
use super::requirement::Requirement;
use crate::registry::{Departed, EscapedText, Instance};

/// In the order in which they are reported: what needs attention stands last, next to the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Runs the expected SHA.
    Ok,
    /// Runs the expected SHA, and not all of its type have the same sealed code.
    Diverged,
    /// Was asked to stop and finishes what it has in hand.
    Draining,
    /// Runs another one, or doesn't say which.
    Stale,
    /// Required, and not enough of it is there.
    Missing,
    /// Ends by itself again and again.
    Crashing,
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
    /// Of a missing type: how many are there and how many were required.
    pub missing: Option<(usize, usize)>,
    pub crash: Option<Crash>,
}

impl Block {
    /// How many workers this is: a missing one counts, too.
    pub fn workers(&self) -> usize {
        self.missing.map_or(self.instances.len(), |(there, required)| required - there).max(1)
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

/// What makes up a block.
type Key = (Status, EscapedText, Option<EscapedText>);

/// The blocks while they are put together.
#[derive(Debug, Default)]
pub struct Blocks {
    instances: BTreeMap<Key, Vec<Instance>>,
    crashes: BTreeMap<EscapedText, Crash>,
    missing: Vec<(EscapedText, (usize, usize))>,
}

impl Blocks {
    pub fn add(&mut self, status: Status, instance: Instance) {
        let git_sha = instance.known().and_then(|record| record.git_sha.clone());
        let key = (status, instance.worker_type.clone(), git_sha);
        self.instances.entry(key).or_default().push(instance);
    }

    /// A sentence for each block of instances that count and have not been registered for long enough.
    pub fn unsettled(&self, moment: Moment) -> Vec<String> {
        let counted = self.instances.iter().filter(|((status, ..), _)| *status == Status::Ok);
        let young = counted.filter_map(|((_, worker_type, _), instances)| {
            let is_young =
                |one: &&Instance| one.there_since().is_some_and(|at| moment.contains(at));
            let young = instances.iter().filter(is_young).count();
            (young > 0).then(|| format!("{} {young} registered a moment ago", worker_type.as_str()))
        });
        young.collect()
    }

    /// Types that crash, and with them those of their instances that have just been started again. One
    /// that has settled since the last end tells that it is over.
    pub fn set_crashing(&mut self, departures: &[Departed], moment: Moment) {
        let types: BTreeSet<&EscapedText> = departures.iter().map(|end| &end.worker_type).collect();
        for worker_type in types {
            let ends = departures.iter().filter(|end| end.worker_type == *worker_type);
            let ends = ends.filter(|end| !moment.is_beyond(end.at));
            let Some(crash) = crash(ends, moment.now) else { continue };
            let has_settled = |one: &Instance| {
                one.there_since().is_some_and(|at| at >= crash.last && !moment.contains(at))
            };
            let mut of_type = self
                .instances
                .iter()
                .filter(|((status, of, _), _)| *status == Status::Ok && of == worker_type);
            if of_type.any(|(_, instances)| instances.iter().any(has_settled)) {
                continue;
            }
            let mut restarted = Vec::new();
            for ((status, of, _), instances) in &mut self.instances {
                if *status == Status::Ok && of == worker_type {
                    let is_young =
                        |one: &Instance| one.there_since().is_some_and(|at| moment.contains(at));
                    let (young, settled) = instances.drain(..).partition(is_young);
                    *instances = settled;
                    restarted.extend::<Vec<Instance>>(young);
                }
            }
            self.instances.retain(|_, instances| !instances.is_empty());
            self.instances
                .entry((Status::Crashing, worker_type.clone(), None))
                .or_insert(restarted);
            self.crashes.insert(worker_type.clone(), crash);
        }
    }

    /// Sees to it that what is required is there; a complaint where there is too much of it.
    pub fn require(&mut self, required: &Requirement) -> Option<String> {
        let worker_type = EscapedText::new(required.worker_type.as_str().as_bytes());
        let of_type = || self.instances.iter().filter(|((_, of, _), _)| *of == worker_type);
        let counted = of_type().filter(|((status, ..), _)| *status == Status::Ok);
        let there: usize = counted.map(|(_, instances)| instances.len()).sum();
        if let Some(most) = required.most.filter(|most| there > *most) {
            let name = worker_type.as_str();
            return Some(format!("{name}: {there} are there, and at most {most} should be"));
        }
        let is_missing = match required.least {
            // Without a number, what is there in any state is told of by that.
            None => of_type().next().is_none(),
            Some(least) => there < least,
        };
        if is_missing {
            self.missing.push((worker_type, (there, required.least.unwrap_or(1))));
        }
        None
    }

    pub fn into_blocks(self, diverged_is_ok: bool) -> Vec<Block> {
        let Self { instances, mut crashes, missing } = self;
        let present = instances.into_iter().map(|((status, worker_type, git_sha), instances)| {
            let is_crashing = status == Status::Crashing;
            let crash = is_crashing.then(|| crashes.remove(&worker_type)).flatten();
            Block { status, worker_type, git_sha, instances, missing: None, crash }
        });
        let missing = missing.into_iter().map(|(worker_type, missing)| Block {
            status: Status::Missing,
            worker_type,
            git_sha: None,
            instances: Vec::new(),
            missing: Some(missing),
            crash: None,
        });
        let mut blocks: Vec<Block> = present.chain(missing).collect();
        for block in &mut blocks {
            if block.status == Status::Ok && block.code().len() > 1 && !diverged_is_ok {
                block.status = Status::Diverged;
            }
        }
        blocks.sort_by(|one, other| {
            (one.status, &one.worker_type).cmp(&(other.status, &other.worker_type))
        });
        blocks
    }
}
