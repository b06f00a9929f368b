//! The report as text, as JSON, as metrics, and as a table that is drawn again and again. Pure.

use std::fmt::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use super::verdict::{Block, Report, Status};
use crate::registry::{Heard, Instance, age};

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Stale => "STALE",
            Self::Missing => "MISSING",
            Self::Dead => "DEAD",
        }
    }
}

/// Which of these words is coloured how, on a terminal.
#[derive(Debug, Clone, Copy)]
pub struct Paint(pub bool);

impl Paint {
    fn status(self, status: Status) -> String {
        self.word(status.word(), status == Status::Ok)
    }

    fn word(self, word: &str, good: bool) -> String {
        match (self.0, good) {
            (false, _) => word.to_owned(),
            (true, true) => format!("\x1b[32m{word}\x1b[0m"),
            (true, false) => format!("\x1b[31m{word}\x1b[0m"),
        }
    }
}

/// The shape of the deployment integrity document.
#[derive(Debug)]
pub struct Text<'a> {
    pub report: &'a Report,
    /// Whether each instance gets a line of its own.
    pub instances: bool,
    pub paint: Paint,
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let report = self.report;
        writeln!(f, "Expected GIT_SHA: {}\n\nWorkers:", report.expected)?;
        for block in &report.blocks {
            self.block(f, block)?;
        }
        if report.blocks.is_empty() {
            writeln!(f, "  none registered")?;
        }
        let fail = self.paint.word("FAIL", false);
        for complaint in &report.complaints {
            writeln!(f, "  [{fail}] {complaint}")?;
        }
        writeln!(f)?;
        if report.is_as_expected() {
            let ok = self.paint.word("OK", true);
            writeln!(f, "[{ok}] All workers running expected version")
        } else {
            writeln!(f, "[{fail}] {}", summary(report))
        }
    }
}

impl Text<'_> {
    fn block(&self, f: &mut fmt::Formatter, block: &Block) -> fmt::Result {
        write!(f, "  [{}] {}", self.paint.status(block.status), block.worker_type.as_str())?;
        match block.instances.len() {
            0 | 1 => writeln!(f)?,
            count => writeln!(f, " ({count} instances)")?,
        }
        match block.status {
            Status::Missing => writeln!(f, "      Required, but not registered")?,
            Status::Dead => {
                let last_seen = block.last_seen().unwrap_or_default();
                let age = humantime::format_duration(age(self.report.read_at, last_seen));
                writeln!(f, "      Last seen: {} ({age} ago)", time(last_seen))?;
            }
            Status::Ok | Status::Stale => {
                writeln!(f, "      SHA: {}", said(block.git_sha.as_ref()))?;
                match block.started() {
                    Some((first, last)) if first != last => {
                        writeln!(f, "      Started: {} to {}", first.as_str(), last.as_str())?;
                    }
                    started => {
                        writeln!(f, "      Started: {}", said(started.map(|(first, _)| first)))?;
                    }
                }
            }
        }
        if self.instances {
            for instance in &block.instances {
                writeln!(f, "      - {}", self.instance(instance))?;
            }
        }
        Ok(())
    }

    fn instance(&self, instance: &Instance) -> String {
        let (Some(id), Some(last_seen)) = (&instance.id, instance.last_seen) else {
            return "a worker without a shim: its registration may be up to 24h old".into();
        };
        let seen = humantime::format_duration(age(self.report.read_at, last_seen));
        match &instance.record {
            Some(record) => format!(
                "{} on {}, started {}, last seen {seen} ago",
                id.as_str(),
                said(record.hostname.as_ref()),
                said(record.started_at.as_ref()),
            ),
            None => format!("{}, last seen {seen} ago", id.as_str()),
        }
    }
}

/// What is wrong, in one line.
pub fn summary(report: &Report) -> String {
    match (report.workers(), report.failing()) {
        (0, _) => "No workers registered".into(),
        (_, 0) if report.complaints.is_empty() => "All workers running expected version".into(),
        (_, 0) => "Not all of the registry could be read".into(),
        (all, failing) => format!("{failing} of {all} workers not running expected version"),
    }
}

/// What is waited for, in one line: the summary and each type's share of it.
pub fn progress(report: &Report) -> String {
    let mut line = summary(report);
    let failing = report.blocks.iter().filter(|block| block.status != Status::Ok);
    for (place, block) in failing.enumerate() {
        let word = block.status.word().to_lowercase();
        let separator = if place == 0 { ": " } else { ", " };
        let _ = write!(line, "{separator}{} {word}", block.worker_type.as_str());
        if block.instances.len() > 1 {
            let _ = write!(line, " ×{}", block.instances.len());
        }
    }
    line
}

/// One row a block, cut to the terminal's size, without a line end after the last row. Where it is too
/// narrow, the times give way first.
pub fn table(report: &Report, paint: Paint, columns: usize, rows: usize) -> String {
    const NARROWEST: &[usize] = &[0, 1, 2, 5];
    const CHOICES: [&[usize]; 3] = [&[0, 1, 2, 3, 4, 5], &[0, 1, 2, 4, 5], NARROWEST];
    let titles = ["TYPE", "INSTANCES", "SHA", "STARTED", "LAST SEEN", "STATUS"];
    let cells: Vec<[String; 6]> = std::iter::once(titles.map(str::to_owned))
        .chain(report.blocks.iter().map(|block| row(report, block)))
        .collect();
    let width = |column: usize| {
        let lengths = cells.iter().filter_map(|cells| cells.get(column));
        lengths.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let fits =
        |shown: &&&[usize]| shown.iter().map(|column| width(*column) + 2).sum::<usize>() <= columns;
    let shown = CHOICES.iter().find(fits).unwrap_or(&NARROWEST);
    let statuses =
        std::iter::once(None).chain(report.blocks.iter().map(|block| Some(block.status)));
    let mut lines: Vec<String> = cells
        .iter()
        .zip(statuses)
        .map(|(cells, status)| {
            let line: Vec<String> = shown
                .iter()
                .filter_map(|column| Some(format!("{:1$}", cells.get(*column)?, width(*column))))
                .collect();
            let line: String = line.join("  ").trim_end().chars().take(columns).collect();
            match status.and_then(|status| Some((line.strip_suffix(status.word())?, status))) {
                Some((line, status)) => line.to_owned() + &paint.status(status),
                None => line,
            }
        })
        .collect();
    let room = rows.saturating_sub(3).max(1);
    if lines.len() > room {
        let hidden = lines.len() - room + 1;
        lines.truncate(room - 1);
        lines.push(format!("… and {hidden} more"));
    }
    let good = report.is_as_expected();
    let verdict = paint.word(if good { "OK" } else { "FAIL" }, good);
    let last: String = summary(report).chars().take(columns.saturating_sub(7)).collect();
    lines.push(String::new());
    lines.push(format!("[{verdict}] {last}"));
    lines.join("\n")
}

fn row(report: &Report, block: &Block) -> [String; 6] {
    let short: String = said(block.git_sha.as_ref()).chars().take(12).collect();
    let started = block.started().map_or("-", |(_, last)| last.as_str());
    let seen = block.last_seen().map_or("-".into(), |seen| {
        format!("{} ago", humantime::format_duration(age(report.read_at, seen)))
    });
    [
        block.worker_type.as_str().to_owned(),
        block.instances.len().to_string(),
        if block.git_sha.is_some() { short } else { "-".into() },
        started.to_owned(),
        seen,
        block.status.word().to_owned(),
    ]
}

fn said(heard: Option<&Heard>) -> &str {
    heard.map_or("unknown", Heard::as_str)
}

/// RFC 3339 of a unix time in ms; the last moment that it can express, when it is later.
fn time(ms: u64) -> humantime::Rfc3339Timestamp {
    /// 9999-12-31T23:59:59.999Z
    const LAST: u64 = 253_402_300_799_999;
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms.min(LAST)))
}

/// The version of the JSON's shape: it changes when a field changes its meaning or goes.
const SHAPE: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonReport<'a> {
    version: u32,
    expected_git_sha: &'a str,
    as_expected: bool,
    read_at: String,
    workers: usize,
    failing: usize,
    types: Vec<JsonBlock<'a>>,
    complaints: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonBlock<'a> {
    r#type: &'a Heard,
    git_sha: Option<&'a Heard>,
    status: Status,
    workers: usize,
    first_started_at: Option<&'a Heard>,
    last_started_at: Option<&'a Heard>,
    last_seen_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instances: Option<Vec<JsonInstance<'a>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonInstance<'a> {
    id: Option<&'a Heard>,
    hostname: Option<&'a Heard>,
    build_date: Option<&'a Heard>,
    started_at: Option<&'a Heard>,
    pid: Option<&'a Heard>,
    last_seen_at: Option<String>,
}

/// The same facts as one JSON object.
///
/// # Errors
/// None that is known: all of it can be expressed.
pub fn json(report: &Report, instances: bool) -> serde_json::Result<String> {
    let types = report.blocks.iter().map(|block| JsonBlock {
        r#type: &block.worker_type,
        git_sha: block.git_sha.as_ref(),
        status: block.status,
        workers: block.workers(),
        first_started_at: block.started().map(|(first, _)| first),
        last_started_at: block.started().map(|(_, last)| last),
        last_seen_at: block.last_seen().map(|ms| time(ms).to_string()),
        instances: instances.then(|| block.instances.iter().map(json_instance).collect()),
    });
    serde_json::to_string_pretty(&JsonReport {
        version: SHAPE,
        expected_git_sha: &report.expected,
        as_expected: report.is_as_expected(),
        read_at: time(report.read_at).to_string(),
        workers: report.workers(),
        failing: report.failing(),
        types: types.collect(),
        complaints: &report.complaints,
    })
}

fn json_instance(instance: &Instance) -> JsonInstance<'_> {
    let record = instance.record.as_ref();
    JsonInstance {
        id: instance.id.as_ref(),
        hostname: record.and_then(|record| record.hostname.as_ref()),
        build_date: record.and_then(|record| record.build_date.as_ref()),
        started_at: record.and_then(|record| record.started_at.as_ref()),
        pid: record.and_then(|record| record.pid.as_ref()),
        last_seen_at: instance.last_seen.map(|ms| time(ms).to_string()),
    }
}

/// Metrics in Prometheus's text format, for the node exporter's textfile collector.
pub fn prometheus(report: &Report) -> String {
    let mut text = String::new();
    let blocks = || {
        report.blocks.iter().map(|block| {
            let labels = format!(
                "{{type=\"{}\",git_sha=\"{}\",status=\"{}\"}}",
                escape(block.worker_type.as_str()),
                escape(block.git_sha.as_ref().map_or("", Heard::as_str)),
                block.status.word().to_lowercase(),
            );
            (labels, block)
        })
    };
    family(
        &mut text,
        "worker_instances",
        "Instances of a worker type by the SHA they run and their status; 0 of a type that is missing.",
        blocks().map(|(labels, block)| (labels, block.instances.len().to_string())),
    );
    family(
        &mut text,
        "worker_last_seen_timestamp_seconds",
        "When the latest of these instances was last seen, by Redis's clock.",
        blocks().filter_map(|(labels, block)| Some((labels, seconds(block.last_seen()?)))),
    );
    let one = |value: String| std::iter::once((String::new(), value));
    family(
        &mut text,
        "fleet_as_expected",
        "Whether all workers are there and run the expected SHA.",
        one(u8::from(report.is_as_expected()).to_string()),
    );
    family(
        &mut text,
        "fleet_workers_failing",
        "Workers that are stale, missing or dead.",
        one(report.failing().to_string()),
    );
    family(
        &mut text,
        "fleet_unreadable_keys",
        "Keys of the registry that could not be read.",
        one(report.complaints.len().to_string()),
    );
    family(
        &mut text,
        "expected_info",
        "The SHA that is expected.",
        std::iter::once((format!("{{git_sha=\"{}\"}}", escape(&report.expected)), "1".into())),
    );
    family(
        &mut text,
        "read_timestamp_seconds",
        "When the registry was read, by Redis's clock.",
        one(seconds(report.read_at)),
    );
    text
}

/// Writes one gauge and its samples: labels and value of each.
fn family(
    text: &mut String,
    name: &str,
    help: &str,
    samples: impl Iterator<Item = (String, String)>,
) {
    let name = format!("version_guard_{name}");
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
    for (labels, value) in samples {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// A label's value, as the text format has it.
fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Paint, Text, escape, json, progress, prometheus, table, time};
    use crate::registry::{Fleet, Heard, HeardRecord, Instance};
    use crate::verify::verdict::{Expected, Report};

    const NOW: u64 = 1_767_873_600_000;

    fn instance(worker_type: &str, sha: &str, started_at: &str) -> Instance {
        let heard = |text: &str| Some(Heard::new(text.as_bytes()));
        Instance {
            worker_type: Heard::new(worker_type.as_bytes()),
            id: heard("1f"),
            record: Some(HeardRecord {
                git_sha: heard(sha),
                started_at: heard(started_at),
                ..HeardRecord::default()
            }),
            last_seen: Some(NOW - 5_000),
        }
    }

    fn report(instances: Vec<Instance>, required: &[&str]) -> Report {
        let fleet = Fleet { read_at: NOW, instances, complaints: Vec::new() };
        let expected = Expected {
            git_sha: "a1b2c3d4e5f6".into(),
            required: required.iter().map(|name| name.parse().unwrap()).collect(),
            dead_for: Duration::from_hours(24),
        };
        Report::new(fleet, &expected)
    }

    fn text(report: &Report, paint: bool) -> String {
        Text { report, instances: false, paint: Paint(paint) }.to_string()
    }

    #[test]
    fn the_text_is_the_contracts() {
        let orchestrator = instance("orchestrator", "a1b2c3d4e5f6", "2026-01-08T12:00:00.000Z");
        let extractor = instance("extractor", "0f0f0f0f0f0f", "2026-01-07T09:30:00.000Z");
        assert_eq!(
            text(&report(vec![extractor, orchestrator.clone()], &[]), false),
            "Expected GIT_SHA: a1b2c3d4e5f6\n\nWorkers:\n  \
             [OK] orchestrator\n      SHA: a1b2c3d4e5f6\n      Started: 2026-01-08T12:00:00.000Z\n  \
             [STALE] extractor\n      SHA: 0f0f0f0f0f0f\n      Started: 2026-01-07T09:30:00.000Z\n\n\
             [FAIL] 1 of 2 workers not running expected version\n"
        );
        let good = text(&report(vec![orchestrator], &[]), false);
        assert!(good.ends_with("\n\n[OK] All workers running expected version\n"), "{good}");
    }

    #[test]
    fn the_dead_and_the_missing_say_what_is_known_of_them() {
        let dead = Instance { record: None, ..instance("extractor", "", "") };
        let report = report(vec![dead], &["ocr"]);
        let text = text(&report, false);
        assert!(
            text.contains("[DEAD] extractor\n      Last seen: 2026-01-08T11:59:55.000Z (5s ago)\n"),
            "{text}"
        );
        assert!(text.contains("[MISSING] ocr\n      Required, but not registered\n"), "{text}");
        assert_eq!(
            progress(&report),
            "2 of 2 workers not running expected version: ocr missing, extractor dead"
        );
    }

    #[test]
    fn colour_is_only_where_it_is_asked_for() {
        let report = report(vec![instance("w", "a1b2c3d4e5f6", "x")], &["v"]);
        assert!(!text(&report, false).contains('\x1b'));
        let coloured = text(&report, true);
        assert!(coloured.contains("[\x1b[32mOK\x1b[0m] w") && coloured.contains("\x1b[31mMISSING"));
    }

    #[test]
    fn a_table_fits_its_terminal() {
        let fleet = (0..50).map(|n| instance(&format!("worker-{n}"), "0f0f0f0", "x")).collect();
        let table = table(&report(fleet, &[]), Paint(false), 40, 24);
        assert!(table.lines().count() < 24, "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= 40), "{table}");
        assert!(table.contains("more\n\n[FAIL] 50 of 50"), "{table}");
    }

    #[test]
    fn the_json_names_its_shape() {
        let report = report(vec![instance("w", "a1b2c3d4e5f6", "x")], &[]);
        let json: serde_json::Value = serde_json::from_str(&json(&report, true).unwrap()).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(json["types"][0]["status"], "ok");
        assert_eq!(json["types"][0]["instances"][0]["id"], "1f");
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(escape("a\"b\\c\nd"), r#"a\"b\\c\nd"#);
        let metrics = prometheus(&report(vec![instance("w", "\x1b\"", "x")], &["v"]));
        assert!(
            metrics.contains(
                r#"version_guard_worker_instances{type="w",git_sha="\\u{1b}\"",status="stale"} 1"#
            ),
            "{metrics}"
        );
        assert!(metrics.contains(r#"{type="v",git_sha="",status="missing"} 0"#), "{metrics}");
    }

    #[test]
    fn no_time_is_too_late_to_be_written() {
        assert_eq!(time(u64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }
}
