//! The report as text, in the shape of the deployment integrity document.

use std::collections::BTreeSet;
use std::fmt;

use super::words::{Paint, counted, crash_words, expectation, one, or_unknown};
use crate::image::abbreviates;
use crate::registry::{EscapedText, age, rfc3339};
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
        writeln!(f, "{}", expectation(report))?;
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
            writeln!(f, "[{fail}] {}", counted(report))
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
        self.facts(f, block)?;
        self.hints(f, block)?;
        if self.instances {
            for instance in &block.instances {
                writeln!(f, "      - {}", one(self.report, instance))?;
            }
        }
        Ok(())
    }

    /// What is known of a block, by its status.
    fn facts(&self, f: &mut fmt::Formatter, block: &Block) -> fmt::Result {
        match block.status {
            Status::Missing => {
                let mut others = self.report.blocks.iter().filter(|other| *other != block);
                let what = if others.any(|other| other.worker_type == block.worker_type) {
                    "none runs as expected"
                } else {
                    "not registered"
                };
                writeln!(f, "      Required, but {what}")?;
                writeln!(
                    f,
                    "      Why: docker logs CONTAINER, or kubectl logs POD --previous, behind [version]"
                )?;
            }
            Status::Crashing => {}
            Status::Dead => {
                writeln!(f, "      SHA: {}", or_unknown(block.git_sha.as_ref()))?;
                writeln!(f, "      Host: {}", hosts(block))?;
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
}

/// The hosts of a block's instances, the first few of them.
fn hosts(block: &Block) -> String {
    const NAMED: usize = 5;
    let hosts = block.instances.iter().filter_map(|one| one.known()?.hostname.as_ref());
    let hosts: BTreeSet<&str> = hosts.map(EscapedText::as_str).collect();
    let named: Vec<&str> = hosts.iter().copied().take(NAMED).collect();
    match hosts.len().saturating_sub(NAMED) {
        _ if named.is_empty() => "unknown".into(),
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// What is expected of a block's type.
fn report_expected<'a>(report: &'a Report, block: &Block) -> &'a str {
    report.by_type.get(block.worker_type.as_str()).unwrap_or(&report.expected)
}

#[cfg(test)]
mod tests {
    use super::{Paint, Text};
    use crate::registry::{EscapedText, Instance, StoredRecord};
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
        let known = instance("extractor", "a1b2c3d4e5f6", "");
        let hostname = Some(EscapedText::new(b"worker-7"));
        let last = known.record.clone().map(|record| StoredRecord { hostname, ..record });
        let dead = Instance { record: None, last, ..known };
        let report = report(vec![dead], &["ocr"]);
        let text = text(&report, false);
        assert!(
            text.contains("[DEAD] extractor\n      SHA: a1b2c3d4e5f6\n      Host: worker-7\n      Last seen: 2026-01-08T11:59:55.000Z (5s ago)\n"),
            "{text}"
        );
        assert!(text.contains("[MISSING] ocr\n      Required, but not registered\n"), "{text}");
        assert!(text.contains("docker logs"), "{text}");
        let last_line = "[FAIL] 2 of 2 workers not running expected version: 1 missing, 1 dead\n";
        assert!(text.ends_with(last_line), "{text}");
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
