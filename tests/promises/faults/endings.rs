//! A worker that ends while Redis does not answer is gone: no write that was on its way brings its
//! instance back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::libc;

use crate::common::net::{Chunk, Server};
use crate::common::proxy::{Behaviour, Proxy};
use crate::common::{Ended, Redis, Running, SHA, Sandbox, Shim, eventually, kill};

const HEARTBEAT: Duration = Duration::from_millis(300);
/// What an end may take beside the goodbye's second.
const END: Duration = Duration::from_millis(1500);

/// A registered worker that ends with 7 on a SIGTERM.
fn registered(port: u16, redis: &Redis) -> Running {
    let url = format!("redis://127.0.0.1:{port}");
    let shim = Shim::run(["orphans", "0"])
        .env("GIT_SHA", SHA)
        .registers("extractor", url)
        .env("VERSION_GUARD_HEARTBEAT", "300ms")
        .ready();
    eventually("a registration", || (traces(redis).len() == 2).then_some(()));
    shim
}

/// What is left of an instance: its hash, and its entry in the index.
fn traces(redis: &Redis) -> Vec<String> {
    let instances = redis.cli(["--scan", "--pattern", "fiskai:worker:*:instance:*"]);
    let entries = redis.cli(["ZRANGE", "fiskai:workers", "0", "-1"]);
    let both = instances.lines().chain(entries.lines());
    both.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The worker is told to end; the shim's exit code is the worker's, within the time.
fn ends_in_time(shim: Running) -> Ended {
    let worker = shim.worker_pid();
    told_to_end(shim, worker)
}

/// The same where one of both is told.
fn told_to_end(shim: Running, pid: i32) -> Ended {
    let told = Instant::now();
    kill(pid, libc::SIGTERM);
    let ended = shim.end();
    assert_eq!(ended.code, 7, "{ended:?}");
    assert!(told.elapsed() < END, "{:?}", told.elapsed());
    ended
}

/// An instance that has just said that it lives may expire; what Redis has heard since it is gone must
/// not make it one that is dead, and nothing may come later.
fn nothing_is_left(redis: &Redis) -> Result<(), String> {
    let dead = || {
        let verdict = Shim::command("verify")
            .env("REDIS_URL", redis.url())
            .options(["--expected", SHA, "--no-scan"])
            .output();
        verdict.stdout.contains("[DEAD]").then_some(verdict.stdout)
    };
    crate::common::within(4 * HEARTBEAT, "an empty registry", || {
        traces(redis).is_empty().then_some(())
    })
    .map_err(|reason| format!("{reason}: {:?}, {:?}", traces(redis), dead()))?;
    let until = Instant::now() + 2 * HEARTBEAT;
    while Instant::now() < until {
        if !traces(redis).is_empty() {
            return Err(format!("it comes back: {:?}, {:?}", traces(redis), dead()));
        }
        std::thread::sleep(HEARTBEAT / 10);
    }
    // What says what has run last may stay.
    assert_eq!(redis.cli(["HGET", "fiskai:worker:extractor:version", "gitSha"]), SHA);
    Ok(())
}

#[test]
fn a_heartbeat_that_a_stopped_redis_reads_after_the_end_brings_nothing_back() {
    let redis = Redis::start();
    let proxy = Proxy::new(Behaviour::LeadsTo(redis.port));
    let shim = registered(proxy.port, &redis);
    kill(redis.pid(), libc::SIGSTOP);
    let before = proxy.connections();
    eventually("a heartbeat on the wire", || {
        (!proxy.conversation(before)[0].is_empty()).then_some(())
    });
    ends_in_time(shim);
    assert!(proxy.conversation(before)[1].is_empty(), "it was answered");
    kill(redis.pid(), libc::SIGCONT);
    nothing_is_left(&redis).unwrap();
}

/// An attempt that was given up at one address may be read after the goodbye at the other.
#[test]
fn two_addresses_of_a_stopped_redis_bring_nothing_back_and_hear_one_goodbye() {
    let redis = Redis::with(["--bind", "127.0.0.1 ::1"]);
    let hosts = Sandbox::new().over("/etc/hosts", "127.0.0.1 dual\n::1 dual\n");
    let shim = Shim::run(["orphans", "0"])
        .env("GIT_SHA", SHA)
        .registers("extractor", format!("redis://dual:{}", redis.port))
        .env("VERSION_GUARD_HEARTBEAT", "300ms")
        .inside(hosts)
        .ready();
    eventually("a registration", || (traces(&redis).len() == 2).then_some(()));
    kill(redis.pid(), libc::SIGSTOP);
    let pid = shim.pid();
    let is_to_redis = |end: std::io::Result<std::fs::DirEntry>| {
        let target = std::fs::read_link(end.ok()?.path()).ok()?;
        target.to_string_lossy().starts_with("socket:").then_some(())
    };
    let sockets = || {
        let all = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors");
        all.filter_map(is_to_redis).count()
    };
    let first = eventually("a heartbeat", || Some(sockets()).filter(|count| *count > 2));
    eventually("another address", || (sockets() > first).then_some(()));
    ends_in_time(shim);
    kill(redis.pid(), libc::SIGCONT);
    nothing_is_left(&redis).unwrap();
    assert!(["0", "1"].contains(&redis.cli(["LLEN", "fiskai:worker:extractor:left"]).as_str()));
}

/// That the worker was asked to stop is news, which the shim tells at once.
#[test]
fn a_last_word_that_a_stopped_redis_reads_after_the_end_brings_nothing_back() {
    let redis = Redis::start();
    let shim = registered(redis.port, &redis);
    kill(redis.pid(), libc::SIGSTOP);
    let pid = shim.pid();
    told_to_end(shim, pid);
    kill(redis.pid(), libc::SIGCONT);
    nothing_is_left(&redis).unwrap();
}

/// A wire that holds what comes from the client until it is let go.
struct Hold {
    wire: Server,
    held: Arc<(Mutex<bool>, Condvar)>,
    holding: Arc<AtomicUsize>,
}

impl Hold {
    /// Once `armed`, what `holds` says of the number of a connection and of the bytes is held, and
    /// whatever follows it on that connection.
    fn new(
        redis: &Redis,
        armed: Arc<AtomicBool>,
        holds: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        let held = Arc::new((Mutex::new(true), Condvar::new()));
        let holding = Arc::new(AtomicUsize::new(0));
        let (gate, count) = (held.clone(), holding.clone());
        let wire = Server::wire(redis.port, move |_, chunk| {
            let Chunk::Request(bytes) = chunk else { return };
            if armed.load(Ordering::SeqCst) && holds(bytes) {
                count.fetch_add(1, Ordering::SeqCst);
                let is_held = gate.0.lock().expect("a lock");
                drop(gate.1.wait_while(is_held, |is_held| *is_held).expect("a lock"));
            }
        });
        Self { wire, held, holding }
    }

    fn let_go(&self) {
        *self.held.0.lock().expect("a lock") = false;
        self.held.1.notify_all();
    }
}

/// What becomes of an instance whose bytes are held from a heartbeat on that says this, until its shim
/// is gone; `all` are held or just those.
fn released_late(word: &'static str, all: bool) -> Result<(), String> {
    let redis = Redis::start();
    let armed = Arc::new(AtomicBool::new(false));
    let has_begun = AtomicBool::new(false);
    let hold = Hold::new(&redis, armed.clone(), move |bytes| {
        let is_it = bytes.windows(word.len()).any(|part| part == word.as_bytes());
        // One alone: a goodbye may name the same.
        let is_first = is_it && !has_begun.swap(true, Ordering::SeqCst);
        is_first || (all && has_begun.load(Ordering::SeqCst))
    });
    let shim = registered(hold.wire.port, &redis);
    armed.store(true, Ordering::SeqCst);
    eventually("a held heartbeat", || (hold.holding.load(Ordering::SeqCst) > 0).then_some(()));
    ends_in_time(shim);
    hold.let_go();
    nothing_is_left(&redis)
}

#[test]
fn a_heartbeat_that_is_held_from_its_beginning_brings_nothing_back() {
    released_late("HSET", true).unwrap();
}

#[test]
fn a_heartbeat_that_is_held_before_its_last_write_brings_nothing_back() {
    released_late("ZADD", true).unwrap();
}

#[test]
fn a_last_write_that_is_held_alone_brings_nothing_back() {
    released_late("ZADD", false).unwrap();
}

#[test]
fn a_first_write_that_is_held_alone_brings_nothing_back() {
    released_late("HSET", false).unwrap();
}

/// The control: who writes after the end is found out.
#[test]
fn a_write_after_the_end_is_found_out() {
    let redis = Redis::start();
    let shim = registered(redis.port, &redis);
    ends_in_time(shim);
    nothing_is_left(&redis).unwrap();
    redis.cli(["ZADD", "fiskai:workers", "9999999999999", "extractor/late"]);
    nothing_is_left(&redis).unwrap_err();
}
