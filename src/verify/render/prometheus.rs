//! The report as metrics in Prometheus's text format.

use std::fmt::Write;

use super::words::word;
use crate::registry::EscapedText;
use crate::verify::verdict::Report;

/// Metrics in Prometheus's text format, for the node exporter's textfile collector.
pub fn prometheus(report: &Report) -> String {
    let mut text = String::new();
    workers(&mut text, report);
    fleet(&mut text, report);
    text
}

/// Of each type, SHA and status.
fn workers(text: &mut String, report: &Report) {
    let blocks = || {
        report.blocks.iter().map(|block| {
            let labels = format!(
                "{{type=\"{}\",git_sha=\"{}\",status=\"{}\"}}",
                escape_label(block.worker_type.as_str()),
                escape_label(block.git_sha.as_ref().map_or("", EscapedText::as_str)),
                word(block.status).to_lowercase(),
            );
            (labels, block)
        })
    };
    family(
        text,
        "worker_instances",
        "Instances of a worker type by the SHA they run and their status; 0 of a type that is missing.",
        blocks().map(|(labels, block)| (labels, block.instances.len().to_string())),
    );
    family(
        text,
        "worker_last_seen_timestamp_seconds",
        "When the latest of these instances was last seen, by Redis's clock.",
        blocks().filter_map(|(labels, block)| Some((labels, seconds(block.last_seen()?)))),
    );
}

/// Of the whole fleet.
fn fleet(text: &mut String, report: &Report) {
    let one = |value: String| std::iter::once((String::new(), value));
    family(
        text,
        "fleet_as_expected",
        "Whether all workers are there and run the expected SHA.",
        one(u8::from(report.is_as_expected()).to_string()),
    );
    family(
        text,
        "fleet_workers_failing",
        "Workers in any other state than ok.",
        one(report.failing().to_string()),
    );
    family(
        text,
        "fleet_unreadable_keys",
        "Keys of the registry that could not be read.",
        one(report.unreadable.to_string()),
    );
    family(
        text,
        "expected_info",
        "The SHA that is expected.",
        std::iter::once((
            format!("{{git_sha=\"{}\"}}", escape_label(&report.expected)),
            "1".into(),
        )),
    );
    family(
        text,
        "read_timestamp_seconds",
        "When the registry was read, by Redis's clock.",
        one(seconds(report.read_at)),
    );
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
fn escape_label(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::{escape_label, prometheus};
    use crate::verify::render::fixture::{instance, report};

    #[test]
    fn labels_are_escaped() {
        assert_eq!(escape_label("a\"b\\c\nd"), r#"a\"b\\c\nd"#);
        let metrics = prometheus(&report(vec![instance("w", "\x1b\"", "x")], &["v"]));
        assert!(
            metrics.contains(
                r#"version_guard_worker_instances{type="w",git_sha="\\u{1b}\"",status="stale"} 1"#
            ),
            "{metrics}"
        );
        assert!(metrics.contains(r#"{type="v",git_sha="",status="missing"} 0"#), "{metrics}");
    }
}
