//! A small fleet for the tests of the renderings.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::registry::{EscapedText, Fleet, Instance, StoredRecord};
use crate::verify::verdict::{Expected, Report};

pub const NOW: u64 = 1_767_873_600_000;

/// One that was seen five seconds ago.
pub fn instance(worker_type: &str, sha: &str, started_at: &str) -> Instance {
    let escaped = |text: &str| Some(EscapedText::new(text.as_bytes()));
    Instance {
        worker_type: EscapedText::new(worker_type.as_bytes()),
        id: escaped("1f"),
        record: Some(StoredRecord {
            git_sha: escaped(sha),
            started_at: escaped(started_at),
            ..StoredRecord::default()
        }),
        last: None,
        last_seen: Some(NOW - 5_000),
    }
}

/// What is said of these, where these types are required.
pub fn report(instances: Vec<Instance>, required: &[&str]) -> Report {
    let fleet = Fleet { read_at: NOW, instances, ..Fleet::default() };
    let expected = Expected {
        git_sha: "a1b2c3d4e5f6".into(),
        required: required.iter().map(|name| name.parse().unwrap()).collect(),
        dead_for: Duration::from_hours(24),
        diverged_is_ok: false,
        only: Vec::new(),
        by_type: BTreeMap::new(),
        published: None,
        stable_for: Duration::ZERO,
        must_settle: false,
    };
    Report::new(fleet, &expected)
}
