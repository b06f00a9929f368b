//! Whatever goes wrong around it, the worker starts in time, its exit code is its own, one warning says
//! so, and it is registered once the fault is over.
//!
//! `cargo test --test promises faults::table -- --nocapture` prints what came of each fault.

mod certificates;
mod encryption;
mod endings;
mod leaks;
mod names;
mod resources;
mod servers;
mod sweep;
mod trial;
mod wire;
mod words;

use std::io::Write as _;
use std::sync::Arc;

use certificates::{Authority, NOW, user};
use trial::Case;

use crate::common::Redis;

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
        Self { plain: Arc::new(Redis::with(user())), tls, authority: Arc::new(authority) }
    }
}

/// Prints the table of these cases, or of those whose names contain what `VERSION_GUARD_FAULT` says; a
/// fault in any of them fails the test.
fn assert_all_are_harmless(mut cases: Vec<Case>) {
    let wanted = std::env::var("VERSION_GUARD_FAULT").unwrap_or_default();
    cases.retain(|case| case.name.contains(&wanted));
    let (table, wrong) = trial::table(&cases);
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
