//! A Redis Cluster that changes under its clients: slots on their way, and masters that fail over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::sleep;
use std::time::Duration;

use nix::libc::SIGTERM;

use crate::common::net::{Chunk, Server, own_address};
use crate::common::{Cluster, Ended, OTHER, Redis, Running, SHA, Shim, eventually};

const INDEX: &str = "fiskai:workers";
const VERSION: &str = "fiskai:worker:extractor:version";
const LEFT: &str = "fiskai:worker:extractor:left";
const EXPECTED: &str = "fiskai:worker:expected";

fn extractor(url: &str) -> Shim {
    Shim::run(["sleep"])
        .env("GIT_SHA", SHA)
        .registers("extractor", url)
        .env("VERSION_GUARD_HEARTBEAT", "500ms")
}

fn expect(url: &str, arguments: &[&str]) {
    let ended = Shim::command("expect").options(arguments).env("REDIS_URL", url).output();
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// That so many workers run what they should, and nothing else was there.
fn assert_all_well(url: &str, count: usize) {
    let verify = Shim::command("verify").env("REDIS_URL", url).env("EXPECTED_GIT_SHA", SHA);
    let verdict = verify.options(["--instances"]).output();
    assert_eq!(verdict.code, 0, "{verdict:?}");
    assert_eq!(verdict.stdout.matches("last seen").count(), count, "{verdict:?}");
}

/// When this instance was last seen.
fn last_seen(cluster: &Cluster, member: &str) -> u64 {
    cluster.cli(["ZSCORE", INDEX, member]).parse().unwrap_or(0)
}

fn members(cluster: &Cluster) -> Vec<String> {
    let text = cluster.cli(["ZRANGE", INDEX, "0", "-1"]);
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Waits until each of them has outlived its first expiry by heartbeats.
fn outlive_their_expiry(cluster: &Cluster) {
    let before = members(cluster).into_iter().map(|member| (last_seen(cluster, &member), member));
    for (before, member) in before.collect::<Vec<_>>() {
        eventually("heartbeats", || (last_seen(cluster, &member) > before + 2_000).then_some(()));
    }
}

/// Publishes other code, of which each of them tells, and takes it back.
fn hear_what_is_published(url: &str, shims: &mut [Running]) {
    expect(url, &[OTHER]);
    for shim in &mut *shims {
        shim.expect_log("STALE: extractor runs");
    }
    expect(url, &["--clear"]);
    for shim in shims {
        shim.expect_log("it is no longer stale");
    }
}

/// Stops it; what it said beside what it has to say.
fn complaints(shim: Running) -> Vec<String> {
    const USUAL: [&str; 3] = ["the guards let it start", "STALE", "no longer stale"];
    shim.signal(SIGTERM);
    let ended = shim.end();
    assert_eq!(ended.code, 143, "{ended:?}");
    let is_unusual = |line: &&str| !USUAL.iter().any(|usual| line.contains(usual));
    ended.stderr.lines().filter(is_unusual).map(str::to_owned).collect()
}

fn assert_all_left(cluster: &Cluster, count: u32) {
    assert_eq!(members(cluster), [""; 0]);
    let keys = cluster.keys();
    assert!(!keys.iter().any(|key| key.contains(":instance:")), "{keys:?}");
    assert_eq!(cluster.cli(["LLEN", LEFT]), count.to_string());
    for key in keys.iter().filter(|key| *key != EXPECTED) {
        assert!(cluster.cli(["PTTL", key]).parse::<i64>().unwrap() > 0, "{key}");
    }
}

#[test]
fn a_fleet_comes_stays_and_goes_while_every_slot_is_on_its_way() {
    let cluster = Cluster::start();
    cluster.begins_to_move_everything();
    for (round, entry) in (1..).zip(&cluster.masters) {
        // The control: nothing is served where it is asked for.
        let reply = cluster.masters[cluster.master_of(INDEX)].cli(["ZCARD", INDEX]);
        assert!(reply.starts_with("ASK "), "{reply}");
        let mut shims = [extractor(&entry.url()).ready(), extractor(&entry.url()).ready()];
        assert_eq!(members(&cluster).len(), 2);
        outlive_their_expiry(&cluster);
        for asked in &cluster.masters {
            assert_all_well(&asked.url(), 2);
        }
        hear_what_is_published(&entry.url(), &mut shims);
        for shim in shims {
            assert_eq!(complaints(shim), [""; 0]);
        }
        assert_all_left(&cluster, 2 * round);
    }
}

#[test]
fn the_slot_of_each_key_can_be_on_its_way() {
    let cluster = Cluster::start();
    for (round, key) in (1..).zip([INDEX, VERSION, LEFT, EXPECTED, "instance"]) {
        let url = cluster.masters[round % 3].url();
        expect(&url, &[SHA]);
        let before = extractor(&url).ready();
        let [member] = &members(&cluster)[..] else { panic!("one instance") };
        let instance = member.replace("extractor/", "fiskai:worker:extractor:instance:");
        let key = if key == "instance" { &instance } else { key };
        let moving = cluster.begins_to_move(key);
        let reply = cluster.masters[moving.from].cli(["TYPE", key]);
        assert!(reply.starts_with("ASK "), "{key}: {reply}");
        let mut shims = [before, extractor(&url).ready()];
        outlive_their_expiry(&cluster);
        assert_all_well(&url, 2);
        hear_what_is_published(&url, &mut shims);
        let [before, since] = shims;
        assert_eq!(complaints(before), [""; 0], "{key}");
        moving.ends();
        assert_eq!(complaints(since), [""; 0], "{key}");
        assert_all_left(&cluster, u32::try_from(2 * round).unwrap());
    }
}

/// A wire to a node, on which a request can be held.
struct Wire {
    server: Server,
    state: Arc<AtomicU8>,
}

const FREE: u8 = 0;
const ARMED: u8 = 1;
const HELD: u8 = 2;

impl Wire {
    fn to(node: &Redis) -> Self {
        let state = Arc::new(AtomicU8::new(FREE));
        let (of, on) = (Ordering::SeqCst, state.clone());
        let server = Server::wire(node.port, move |_, chunk| {
            let is_request = matches!(chunk, Chunk::Request(_));
            if is_request && on.compare_exchange(ARMED, HELD, of, of).is_ok() {
                while on.load(of) == HELD {
                    sleep(Duration::from_millis(1));
                }
            }
        });
        Self { server, state }
    }

    /// Does this while a heartbeat is on its way.
    fn in_mid_heartbeat(&self, happens: impl FnOnce()) {
        self.state.store(ARMED, Ordering::SeqCst);
        eventually("a heartbeat", || (self.state.load(Ordering::SeqCst) == HELD).then_some(()));
        happens();
        self.state.store(FREE, Ordering::SeqCst);
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.server.port)
    }
}

#[test]
fn masters_that_hand_over_in_mid_heartbeat_lose_nobody() {
    let cluster = Cluster::with_replicas();
    let wires: Vec<Wire> = cluster.masters.iter().map(Wire::to).collect();
    let shims: Vec<Running> = wires.iter().map(|wire| extractor(&wire.url()).ready()).collect();
    for ((wire, master), replica) in wires.iter().zip(&cluster.masters).zip(&cluster.replicas) {
        wire.in_mid_heartbeat(|| {
            assert_eq!(replica.cli(["CLUSTER", "FAILOVER"]), "OK");
            let is = |node: &Redis, role| node.cli(["ROLE"]).starts_with(role);
            eventually("other roles", || {
                (is(replica, "master") && is(master, "slave")).then_some(())
            });
        });
    }
    outlive_their_expiry(&cluster);
    assert!(cluster.masters.iter().all(|node| node.cli(["ROLE"]).starts_with("slave")));
    assert_all_well(&wires[0].url(), 3);
    for shim in shims {
        assert_eq!(complaints(shim), [""; 0]);
    }
}

#[test]
fn a_first_contact_that_is_down_is_passed_over_for_the_next_one() {
    let cluster = Cluster::start();
    let hangs_up = Server::new(|connection, _| drop(connection));
    let [first, second] = [0, 1].map(|place| cluster.masters[place].port);
    // Nobody at all, and a proxy before nobody.
    let contacts = [format!("{}:6379", own_address()), format!("127.0.0.1:{}", hangs_up.port)];
    for (round, down) in (1..).zip(contacts) {
        let url = format!("redis://{down},127.0.0.1:{first},127.0.0.1:{second}");
        let mut shims = [extractor(&url).ready()];
        outlive_their_expiry(&cluster);
        assert_all_well(&url, 1);
        hear_what_is_published(&url, &mut shims);
        let [shim] = shims;
        assert_eq!(complaints(shim), [""; 0]);
        assert_all_left(&cluster, round);
    }
}

/// The worker does not wait for it any longer than for any other Redis; the registration comes late.
#[test]
fn a_first_contact_that_says_nothing_is_passed_over_in_the_background() {
    let (silent, redis) = (Server::silent(), Redis::start());
    let url = format!("redis://127.0.0.1:{},127.0.0.1:{}", silent.port, redis.port);
    let mut shim = extractor(&url).ready();
    eventually("an instance", || {
        redis.keys().iter().any(|key| key.contains(":instance:")).then_some(())
    });
    assert_all_well(&url, 1);
    assert!(shim.runs());
    shim.signal(SIGTERM);
    assert_eq!(shim.end().code, 143);
}

#[test]
fn a_first_contact_that_dies_in_mid_heartbeat_is_replaced_by_its_replica() {
    let mut cluster = Cluster::with_replicas();
    let place = cluster.master_of(INDEX);
    let wire = Wire::to(&cluster.masters[place]);
    let contacts = [wire.server.port, cluster.masters[(place + 1) % 3].port];
    let url = format!("redis://127.0.0.1:{},127.0.0.1:{}", contacts[0], contacts[1]);
    let mut shim = extractor(&url).ready();
    wire.in_mid_heartbeat(|| cluster.masters[place].stop());
    shim.expect_log("has lost its registration");
    shim.expect_log("is registered again");
    cluster.masters[place] = cluster.replicas.remove(place);
    assert!(cluster.masters[place].cli(["ROLE"]).starts_with("master"));
    outlive_their_expiry(&cluster);
    assert_all_well(&url, 1);
    let lines = complaints(shim);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(members(&cluster), [""; 0]);
}
