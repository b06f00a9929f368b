//! The report as text, in the shape of the deployment integrity document.

use std::fmt;

use super::words::{Paint, crash_words, or_unknown, summary};
use crate::image::abbreviates;
use crate::registry::{Instance, StoredRecord, age, rfc3339};
use crate::verify::blocks::{Block, Status};
use crate::verify::verdict::Report;

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
        let expected = match report.expected.as_str() {
            "" => "none but of these types",
            expected => expected,
        };
        match &report.published {
            None => writeln!(f, "Expected GIT_SHA: {expected}")?,
            Some(published) => writeln!(f, "Expected GIT_SHA: {expected} (published {published})")?,
        }
        for (worker_type, expected) in &report.by_type {
            writeln!(f, "  {worker_type}: {expected}")?;
        }
        writeln!(f, "\nWorkers:")?;
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
        if let Some(crash) = &block.crash {
            return writeln!(f, ": {}", crash_words(crash));
        }
        if let Some((there, required)) = block.missing.filter(|(_, required)| *required > 1) {
            return writeln!(f, ": {there} of {required}");
        }
        match block.instances.len() {
            0 | 1 => writeln!(f)?,
            count => writeln!(f, " ({count} instances)")?,
        }
        match block.status {
            Status::Missing => {
                let mut others = self.report.blocks.iter().filter(|other| *other != block);
                let what = if others.any(|other| other.worker_type == block.worker_type) {
                    "none runs as expected"
                } else {
                    "not registered"
                };
                writeln!(f, "      Required, but {what}")?;
            }
            Status::Crashing => {}
            Status::Dead => {
                let last_seen = block.last_seen().unwrap_or_default();
                let age = humantime::format_duration(age(self.report.read_at, last_seen));
                writeln!(f, "      Last seen: {} ({age} ago)", rfc3339(last_seen))?;
            }
            Status::Ok | Status::Diverged | Status::Draining | Status::Stale => {
                writeln!(f, "      SHA: {}", or_unknown(block.git_sha.as_ref()))?;
                match block.started() {
                    Some((first, last)) if first != last => {
                        writeln!(f, "      Started: {} to {}", first.as_str(), last.as_str())?;
                    }
                    started => {
                        writeln!(
                            f,
                            "      Started: {}",
                            or_unknown(started.map(|(first, _)| first))
                        )?;
                    }
                }
            }
        }
        self.hints(f, block)?;
        if self.instances {
            for instance in &block.instances {
                writeln!(f, "      - {}", self.instance(instance))?;
            }
        }
        Ok(())
    }

    /// What else there is to say of a block.
    fn hints(&self, f: &mut fmt::Formatter, block: &Block) -> fmt::Result {
        let expected = report_expected(self.report, block);
        if let Some(sha) = block.git_sha.as_ref().filter(|_| block.status == Status::Stale)
            && abbreviates(sha.as_str(), expected, 4)
        {
            writeln!(
                f,
                "      It abbreviates the expected SHA: give the worker's image all of it"
            )?;
        }
        if block.status == Status::Diverged {
            let code = block.code().into_iter().map(|(digest, count)| {
                let short: String = digest.as_str().chars().take(12).collect();
                format!("{count} × {short}")
            });
            let code: Vec<String> = code.collect();
            writeln!(f, "      Different sealed code: {}", code.join(", "))?;
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
                "{} on {}{}, started {}, last seen {seen} ago",
                id.as_str(),
                or_unknown(record.hostname.as_ref()),
                pod(record),
                or_unknown(record.started_at.as_ref()),
            ),
            None => format!("{}, last seen {seen} ago", id.as_str()),
        }
    }
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

/// What is expected of a block's type.
fn report_expected<'a>(report: &'a Report, block: &Block) -> &'a str {
    report.by_type.get(block.worker_type.as_str()).unwrap_or(&report.expected)
}

#[cfg(test)]
mod tests {
    use super::{Paint, Text};
    use crate::registry::Instance;
    use crate::verify::render::fixture::{instance, report};
    use crate::verify::render::words::progress;
    use crate::verify::verdict::Report;

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
}
