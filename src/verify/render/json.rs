//! The report as one JSON object.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::registry::{EscapedText, Instance, rfc3339};
use crate::verify::blocks::Status;
use crate::verify::verdict::Report;

/// The version of the JSON's shape: it changes when a field changes its meaning or goes.
const SHAPE: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonReport<'a> {
    version: u32,
    expected_git_sha: &'a str,
    /// What is expected of types that have an expectation of their own.
    expected_by_type: &'a BTreeMap<String, String>,
    /// When and by whom it was published; null where it was given.
    published: Option<&'a str>,
    as_expected: bool,
    /// Whether it has been as expected for long enough to believe it.
    settled: bool,
    read_at: String,
    workers: usize,
    failing: usize,
    types: Vec<JsonBlock<'a>>,
    complaints: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonBlock<'a> {
    r#type: &'a EscapedText,
    git_sha: Option<&'a EscapedText>,
    status: Status,
    workers: usize,
    first_started_at: Option<&'a EscapedText>,
    last_started_at: Option<&'a EscapedText>,
    last_seen_at: Option<String>,
    /// The different sealed code that is run, as digests.
    code_sha256: Vec<&'a EscapedText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instances: Option<Vec<JsonInstance<'a>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonInstance<'a> {
    id: Option<&'a EscapedText>,
    hostname: Option<&'a EscapedText>,
    pod: Option<&'a EscapedText>,
    namespace: Option<&'a EscapedText>,
    build_date: Option<&'a EscapedText>,
    started_at: Option<&'a EscapedText>,
    pid: Option<&'a EscapedText>,
    registered_at: Option<String>,
    last_seen_at: Option<String>,
    code_sha256: Option<&'a EscapedText>,
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
        last_seen_at: block.last_seen().map(rfc3339),
        code_sha256: block.code().into_keys().collect(),
        instances: instances.then(|| block.instances.iter().map(json_instance).collect()),
    });
    serde_json::to_string_pretty(&JsonReport {
        version: SHAPE,
        expected_git_sha: &report.expected,
        expected_by_type: &report.by_type,
        published: report.published.as_deref(),
        as_expected: report.is_as_expected(),
        settled: report.is_settled(),
        read_at: rfc3339(report.read_at),
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
        hostname: instance.known().and_then(|record| record.hostname.as_ref()),
        pod: instance.known().and_then(|record| record.pod.as_ref()),
        namespace: instance.known().and_then(|record| record.namespace.as_ref()),
        build_date: record.and_then(|record| record.build_date.as_ref()),
        started_at: record.and_then(|record| record.started_at.as_ref()),
        pid: record.and_then(|record| record.pid.as_ref()),
        registered_at: instance.registered_at().map(rfc3339),
        last_seen_at: instance.last_seen.map(rfc3339),
        code_sha256: record.and_then(|record| record.code_sha256.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::json;
    use crate::verify::render::fixture::{instance, report};

    #[test]
    fn the_json_names_its_shape() {
        let report = report(vec![instance("w", "a1b2c3d4e5f6", "x")], &[]);
        let json: serde_json::Value = serde_json::from_str(&json(&report, true).unwrap()).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(json["types"][0]["status"], "ok");
        assert_eq!(json["types"][0]["instances"][0]["id"], "1f");
    }
}
