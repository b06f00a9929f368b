//! What all renderings say in the same words.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::registry::{EscapedText, Instance, StoredRecord, WorkerEnd, age};
use crate::verify::blocks::Status;
use crate::verify::crash::Crash;
use crate::verify::verdict::Report;

/// The word for a status.
pub fn word(status: Status) -> &'static str {
    match status {
        Status::Ok => "OK",
        Status::Diverged => "DIVERGED",
        Status::Draining => "DRAINING",
        Status::Stale => "STALE",
        Status::Missing => "MISSING",
        Status::Crashing => "CRASHING",
        Status::Dead => "DEAD",
    }
}

/// Which of these words is coloured how, on a terminal.
#[derive(Debug, Clone, Copy)]
pub struct Paint(pub bool);

impl Paint {
    /// The word for a status, coloured.
    pub fn status(self, status: Status) -> String {
        self.word(word(status), status == Status::Ok)
    }

    /// A word, coloured as good or bad.
    pub fn word(self, word: &str, good: bool) -> String {
        match (self.0, good) {
            (false, _) => word.to_owned(),
            (true, true) => format!("\x1b[32m{word}\x1b[0m"),
            (true, false) => format!("\x1b[31m{word}\x1b[0m"),
        }
    }
}

/// What is wrong, in one line.
pub fn summary(report: &Report) -> String {
    match (report.workers(), report.failing()) {
        _ if report.is_as_expected() => "All workers running expected version".into(),
        _ if report.is_good_now() => {
            format!("Not settled yet: {}", report.unsettled.join(", "))
        }
        (0, _) => "No workers registered".into(),
        (_, 0) if report.unreadable > 0 => "Not all of the registry could be read".into(),
        (_, 0) => "More workers than there should be".into(),
        (all, failing) => format!("{failing} of {all} workers not running expected version"),
    }
}

/// The same, with how many workers are in which state where not all of those that fail are stale.
pub fn counted(report: &Report) -> String {
    let mut counts: BTreeMap<Status, usize> = BTreeMap::new();
    for block in report.blocks.iter().filter(|block| block.status != Status::Ok) {
        *counts.entry(block.status).or_default() += block.workers();
    }
    if counts.keys().all(|status| *status == Status::Stale) {
        return summary(report);
    }
    let counts =
        counts.iter().map(|(status, count)| format!("{count} {}", word(*status).to_lowercase()));
    format!("{}: {}", summary(report), counts.collect::<Vec<_>>().join(", "))
}

/// How a type crashes, such as `exited 1 three times in 40s`.
pub fn crash_words(crash: &Crash) -> String {
    let end = match crash.end {
        WorkerEnd::Exited(code) => format!("exited {code}"),
        WorkerEnd::Killed(signal) => format!("was killed by signal {signal}"),
    };
    let times = match crash.times {
        3 => "three times".to_owned(),
        times => format!("{times} times"),
    };
    format!("{end} {times} in {}", humantime::format_duration(crash.within))
}

/// What is waited for, in one line: the summary, each type's share of it, and what has to settle.
pub fn progress(report: &Report) -> String {
    let mut line = summary(report);
    let failing = report.blocks.iter().filter(|block| block.status != Status::Ok);
    let parts: Vec<String> = failing
        .map(|block| {
            let (name, status) = (block.worker_type.as_str(), word(block.status).to_lowercase());
            match (block.missing, &block.crash) {
                (Some((there, required)), _) if required > 1 => {
                    format!("{name} {there} of {required} on {}", short(&report.expected))
                }
                (_, Some(crash)) => format!("{name} {status}: {}", crash_words(crash)),
                _ if block.instances.len() > 1 => {
                    format!("{name} {status} ×{}", block.instances.len())
                }
                _ => format!("{name} {status}"),
            }
        })
        .collect();
    if !parts.is_empty() {
        let _ = write!(line, ": {}", parts.join(", "));
    }
    line
}

/// The beginning of a SHA, as people know it.
fn short(sha: &str) -> String {
    sha.chars().take(7).collect()
}

/// What is expected, and by whom.
pub fn expectation(report: &Report) -> String {
    let expected = match report.expected.as_str() {
        "" => "none but of these types",
        expected => expected,
    };
    match &report.published {
        None => format!("Expected GIT_SHA: {expected}"),
        Some(published) => format!("Expected GIT_SHA: {expected} (published {published})"),
    }
}

/// One instance, in one line.
pub fn one(report: &Report, instance: &Instance) -> String {
    let (Some(id), Some(last_seen)) = (&instance.id, instance.last_seen) else {
        return "a worker without a shim: its registration may be up to 24h old".into();
    };
    let seen = humantime::format_duration(age(report.read_at, last_seen));
    let known = instance.known();
    let host = or_unknown(known.and_then(|known| known.hostname.as_ref()));
    let pod = known.map(pod).unwrap_or_default();
    let started = instance.record.as_ref().map_or_else(String::new, |record| {
        format!(", started {}", or_unknown(record.started_at.as_ref()))
    });
    format!("{} on {host}{pod}{started}, last seen {seen} ago", id.as_str())
}

/// In Kubernetes, the pod as kubectl has it: namespace and name.
fn pod(record: &StoredRecord) -> String {
    match (&record.namespace, &record.pod) {
        (Some(namespace), Some(pod)) => format!(", pod {}/{}", namespace.as_str(), pod.as_str()),
        (None, Some(pod)) => format!(", pod {}", pod.as_str()),
        (Some(namespace), None) => format!(", namespace {}", namespace.as_str()),
        (None, None) => String::new(),
    }
}

/// The text, or `unknown` where there is none.
pub fn or_unknown(text: Option<&EscapedText>) -> &str {
    text.map_or("unknown", EscapedText::as_str)
}
