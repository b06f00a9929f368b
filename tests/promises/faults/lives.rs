//! A heartbeat or a goodbye that breaks off at any byte: the worker is not disturbed, and neither is its
//! end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::libc;

use super::cases::{TRIES, assert_no_harm, side_by_side};
use super::certificates::users;
use super::sweep::{BREAKS, for_ever, places};
use super::trial::{ROOM, Row, Trial, admin};
use super::wire::url;
use crate::common::proxy::{Behaviour, Fault, Proxy, Side, What};
use crate::common::{DEADLINE, Redis, Running, eventually, holds, kill, within};

/// What a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// A heartbeat that no life here is long enough for.
const NEVER: &str = "30s";

/// A registered worker before a proxy.
struct Life {
    trial: Trial,
    proxy: Proxy,
    running: Running,
}

impl Life {
    fn new(redis: &Arc<Redis>, heartbeat: &str) -> Self {
        let proxy = Proxy::new(Behaviour::LeadsTo(redis.port));
        let trial =
            Trial::at(&url("redis", proxy.port), redis).env("VERSION_GUARD_HEARTBEAT", heartbeat);
        let running = trial.shim.ready();
        Self { trial, proxy, running }
    }

    /// When its instance was last seen, in ms by Redis's clock.
    fn last_seen(&self) -> Option<u64> {
        let index = format!("{}s", self.trial.prefix);
        let entry = admin(&self.trial.redis, ["ZRANGE", &index, "0", "0", "WITHSCORES"]);
        entry.lines().nth(1)?.parse().ok()
    }

    /// How long the shim lives on once its worker has been told to end; it has said no more than this.
    fn ends(self, warning: &str) -> Result<Duration, String> {
        let told = Instant::now();
        kill(self.running.worker_pid(), libc::SIGTERM);
        let ended = self.running.end();
        let took = told.elapsed();
        let warnings = Row::of(&ended).warnings;
        let is_quiet = warnings.len() <= 1 && warnings.iter().all(|said| said.starts_with(warning));
        holds(ended.code == 7 && is_quiet, || format!("{ended:?}")).map(|()| took)
    }
}

/// What a life with this heartbeat says and hears on its second connection.
fn second_conversation(redis: &Arc<Redis>, heartbeat: &str) -> [Vec<u8>; 2] {
    let life = Life::new(redis, heartbeat);
    if heartbeat == NEVER {
        kill(life.running.worker_pid(), libc::SIGTERM);
        life.running.end();
    } else {
        eventually("another heartbeat", || (life.proxy.connections() > 2).then_some(()));
    }
    life.proxy.conversation(1)
}

/// Breaks of such a conversation; those that nobody hears of take long, and are fewer.
fn breaks([requests, replies]: &[Vec<u8>; 2]) -> Vec<(&'static str, Fault)> {
    let mut breaks = Vec::new();
    for (side, bytes) in [(Side::Request, requests), (Side::Reply, replies)] {
        for (name, what) in BREAKS {
            let step = if what == What::BlackHole { 4 } else { 1 };
            let places = places(bytes.len(), &[]).into_iter().step_by(step);
            breaks.extend(places.map(|after| (name, Fault { side, after, what })));
        }
    }
    breaks
}

/// Breaks the second connection of a life, which is the first heartbeat's or, without any, the
/// goodbye's; `broken` is what happens then, before the end.
fn breaks_no_life(
    heartbeat: &str,
    broken: impl Fn(&Life) -> Result<(), String> + Sync,
    warning: &str,
) {
    let redis = Arc::new(Redis::with(users()));
    let faults = breaks(&second_conversation(&redis, heartbeat));
    let harm = |fault: Fault| {
        let life = Life::new(&redis, heartbeat);
        life.proxy.becomes(Behaviour::Fails(redis.port, fault));
        broken(&life)?;
        life.ends(warning)
    };
    let harms = side_by_side(&faults, |(name, fault)| {
        let harm = (0..TRIES).find_map(|_| match harm(*fault) {
            Ok(took) if took < GOODBYE + ROOM => Some(Ok(())),
            // So that a busy machine is not taken for a slow shim.
            Ok(_) => None,
            Err(harm) => Some(Err(harm)),
        });
        let harm = harm.unwrap_or_else(|| Err("its end takes long each time".into())).err()?;
        Some(format!("{name} after {} bytes of {:?}: {harm}", fault.after, fault.side))
    });
    assert_no_harm(harms);
    assert_eq!(for_ever(&redis), "");
}

#[test]
fn a_heartbeat_may_break_off_at_any_byte() {
    let live = |life: &Life| {
        eventually("a heartbeat", || (life.proxy.connections() > 1).then_some(()));
        life.proxy.leads_to(life.trial.redis.port);
        let broken = life.last_seen();
        // One that is not answered is given up after a while.
        within(DEADLINE, "the next heartbeat", || {
            std::thread::sleep(Duration::from_millis(20));
            (life.last_seen() > broken).then_some(())
        })
    };
    breaks_no_life("300ms", live, "extractor has lost its registration in Redis at ");
}

#[test]
fn a_goodbye_may_break_off_at_any_byte() {
    breaks_no_life(NEVER, |_| Ok(()), "no warning at all");
}
