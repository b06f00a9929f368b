//! Watches whether a running worker is still what is published, and says so once a change.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tracing::{info, warn};

use super::drift::{Drift, OnDrift, is_overdue};
use super::expectation::{ALL_TYPES, Published};
use super::timestamp::rfc3339;
use crate::escape::Escape;

/// What was last said, and what follows from it.
#[derive(Debug)]
pub struct DriftWatch {
    on_drift: OnDrift,
    grace: Duration,
    /// This instance's place in the spread of the grace, from 0 to 1.
    spread: f64,
    said: RefCell<Drift>,
    /// When the newest word was published that was read, of the type's own and of that for all.
    newest: Cell<[u64; 2]>,
}

impl DriftWatch {
    pub fn new(on_drift: OnDrift, grace: Duration) -> Self {
        Self {
            on_drift,
            grace,
            spread: fastrand::f64(),
            said: RefCell::new(Drift::Unpublished),
            newest: Cell::default(),
        }
    }

    /// Says how the worker stands to what is published, where that has changed; and gives what it is to
    /// be stopped for.
    pub fn hear(&self, worker_type: &str, own: &str, drift: Drift, now: u64) -> Option<Published> {
        if self.is_outdated(&drift) {
            return None;
        }
        let before = self.said.replace(drift.clone());
        let is_same = match (&before, &drift) {
            // Published again.
            (Drift::Stale(before), Drift::Stale(now)) => before.git_sha == now.git_sha,
            (before, drift) => before == drift,
        };
        if !is_same {
            match (&before, &drift) {
                (_, Drift::Stale(published)) => {
                    let (by, at) = (published.by.as_str(), rfc3339(published.at));
                    warn!(
                        worker_type,
                        image_sha = own,
                        expected_sha = published.git_sha.as_str(),
                        by,
                        at,
                        "STALE: {worker_type} runs {}, and since {at} {} is expected, by {by}. Recreate its container from the expected image",
                        Escape(own),
                        published.git_sha.as_str(),
                    );
                }
                (_, Drift::Odd(why)) => {
                    warn!(
                        worker_type,
                        "What is published as expected of {worker_type} doesn't count: it {why}"
                    );
                }
                (Drift::Stale(_), Drift::Met(_)) => {
                    info!(worker_type, "{worker_type} runs what is expected again");
                }
                (Drift::Stale(_), Drift::Unpublished) => {
                    info!(
                        worker_type,
                        "Nothing is expected of {worker_type} any more: it is no longer stale"
                    );
                }
                _ => {}
            }
        }
        match drift {
            Drift::Stale(published)
                if self.on_drift == OnDrift::Stop
                    && is_overdue(&published, now, self.grace, self.spread) =>
            {
                Some(published)
            }
            _ => None,
        }
    }

    /// Whether this was published before what was read already: a failover to a replica that lagged
    /// behind brings back what counts no longer.
    fn is_outdated(&self, drift: &Drift) -> bool {
        let (Drift::Met(published) | Drift::Stale(published)) = drift else { return false };
        let [own, all] = self.newest.get();
        let is_for_all = published.of.as_str() == ALL_TYPES;
        let newest = if is_for_all { all } else { own };
        let at = published.at.max(newest);
        self.newest.set(if is_for_all { [own, at] } else { [at, all] });
        published.at < newest
    }
}
