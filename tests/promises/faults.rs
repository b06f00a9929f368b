//! Whatever goes wrong around it, the worker starts in time, its exit code is its own, one warning says
//! so, and it is registered once the fault is over.
//!
//! `cargo test --test promises faults::table -- --nocapture` prints what came of each fault, and of those
//! alone whose names contain what `VERSION_GUARD_FAULT` says.

mod cases;
mod certificates;
mod encryption;
mod endings;
mod leaks;
mod lives;
mod names;
mod resources;
mod servers;
mod sweep;
mod trial;
mod wire;
mod words;

use std::io::Write as _;
use std::sync::Arc;

use cases::{Case, side_by_side};
use certificates::{Authority, NOW, users};
use trial::Trial;

use crate::common::{Redis, Shim};

/// What the cases have in common: a Redis that knows their user, one that speaks TLS, and who vouches
/// for that.
struct Stage {
    plain: Arc<Redis>,
    tls: Arc<Redis>,
    authority: Arc<Authority>,
}

impl Stage {
    fn new() -> Self {
        let authority = Authority::new("authority");
        let tls = authority.issue("redis", "IP:127.0.0.1", NOW).redis(&authority, "no");
        Self { plain: Arc::new(Redis::with(users())), tls, authority: Arc::new(authority) }
    }
}

/// Prints the table of these cases; a fault in any of them fails the test.
fn assert_all_are_harmless(mut cases: Vec<Case>) {
    let wanted = std::env::var("VERSION_GUARD_FAULT").unwrap_or_default();
    cases.retain(|case| case.name.contains(&wanted));
    let (table, wrong) = cases::table(&cases);
    writeln!(std::io::stderr(), "{table}\n").expect("standard error");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn table() {
    let stage = Arc::new(Stage::new());
    let groups = [
        wire::cases(&stage),
        names::cases(&stage),
        encryption::cases(&stage),
        servers::cases(&stage),
        resources::cases(&stage),
    ];
    assert_all_are_harmless(groups.into_iter().flatten().collect());
}

/// The control: what the table must find out of a program in the shim's place.
#[test]
fn a_table_finds_out_who_does_harm() {
    let redis = Arc::new(Redis::with(users()));
    let waits = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
    let warns = "echo '{\"level\":\"WARN\",\"message\":\"extractor is not registered in Redis at x: y\"}' >&2";
    let all = [
        (format!("sleep 1; {warns}; {waits}"), "the worker starts after"),
        (format!("{warns}; {}", waits.replace('7', "8")), "exit code 8"),
        (format!("{warns}; {warns}; {waits}"), "2 warnings"),
        (waits.to_owned(), "0 warnings"),
        (format!("echo \"$REDIS_URL\" | cut -c 20-26 >&2; {waits}"), "of a secret"),
        (format!("{}; {waits}", warns.replace('y', "\u{1b}")), "control characters"),
        (format!("{warns}; {waits}"), "the registration: not within"),
        ("exit 1".to_owned(), "the worker does not start"),
    ];
    side_by_side(&all, |(script, found)| {
        let (script, redis) = (script.clone(), redis.clone());
        let case = Case::new("control", move || {
            let shim = Shim::of("/bin/sh".into(), ["-c", &script]);
            Trial::of(
                shim.patient(std::time::Duration::from_millis(1500)),
                &wire::url("redis", redis.port),
                &redis,
            )
        });
        let (table, wrong) = cases::table(&[case]);
        assert!(wrong.iter().any(|fault| fault.contains(found)), "{found}: {wrong:?} {table}");
    });
}
