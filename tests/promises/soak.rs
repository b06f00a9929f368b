//! A fleet under random faults, for as long as one likes: a minute here, and
//! `VERSION_GUARD_SOAK=30m cargo test --test promises soak -- --nocapture` by hand.
//! `VERSION_GUARD_SOAK_SEED` repeats the faults of another run.

use std::fmt::Display;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use nix::libc::{SIGCONT, SIGKILL, SIGSTOP, SIGTERM};
use serde_json::Value;

use crate::common::chaos::{Chaos, Weather};
use crate::common::{
    Ended, Redis, Running, SHA, Shim, children, eventually, has_ended, kill, status_field,
};

const SHIMS: usize = 50;
const TYPES: [&str; 5] = ["orchestrator", "sentinel", "extractor", "ocr", "notifier"];
const INDEX: &str = "fiskai:workers";
/// By then a shim has done everything that it does, and what it holds is what it needs.
const SETTLED: Duration = Duration::from_secs(10);
/// How much memory of its own may come to it after that, in kB: an allocator's pages for one more
/// error at once.
const MEMORY_MARGIN: u64 = 512;
/// What a start and an end may take on a machine that is busy, whatever Redis does: a second of each is
/// for Redis.
const PROMPT: Duration = Duration::from_secs(5);
/// Descriptors that an attempt in hand holds, and those of four attempts before it that owe replies: they
/// are kept for the goodbye.
const IN_HAND: usize = 4 + 4;

/// What a shim holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    descriptors: usize,
    threads: u64,
    memory: u64,
}

impl Held {
    /// Of a process that runs.
    fn by(pid: i32) -> Option<Self> {
        let number = |field| status_field(pid, field)?.split(' ').next()?.parse().ok();
        Some(Self {
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count(),
            threads: number("Threads")?,
            memory: number("RssAnon")?,
        })
    }

    fn least(self, other: Self) -> Self {
        Self {
            descriptors: self.descriptors.min(other.descriptors),
            threads: self.threads.min(other.threads),
            memory: self.memory.min(other.memory),
        }
    }
}

/// A shim and its worker.
struct Pair {
    shim: Running,
    pid: i32,
    worker: i32,
    /// What the shim exits with after a SIGTERM.
    code: i32,
    born: Instant,
    /// The least that it held until it was settled, and the most memory since.
    first: Option<Held>,
    settled: Option<Held>,
    most_memory: u64,
}

impl Pair {
    fn start(place: usize, url: &str) -> Self {
        let (task, code) = if place.is_multiple_of(2) { ("sleep", 143) } else { ("echo", 0) };
        let shim = Shim::run([task])
            .env("GIT_SHA", SHA)
            .registers(TYPES[place % TYPES.len()], url)
            .options(["--heartbeat", "500ms"]);
        let shim = if place.is_multiple_of(3) { shim.pid1() } else { shim };
        let started = Instant::now();
        let shim = shim.ready();
        assert!(started.elapsed() < PROMPT, "the worker started after {:?}", started.elapsed());
        let (pid, worker) = (shim.pid(), shim.worker_pid());
        let born = Instant::now();
        Self { shim, pid, worker, code, born, first: None, settled: None, most_memory: 0 }
    }

    /// That both live, and that the shim holds no more than it should.
    fn check(&mut self) {
        assert!(self.shim.runs(), "the shim {} has ended", self.pid);
        assert!(!has_ended(self.worker), "the worker {} of {} has ended", self.worker, self.pid);
        let held = Held::by(self.pid).expect("a shim");
        self.first = Some(self.first.map_or(held, |first| first.least(held)))
            .filter(|_| self.settled.is_none());
        if self.born.elapsed() < SETTLED {
            return;
        }
        let settled =
            *self.settled.get_or_insert(Held { memory: held.memory, ..self.first.unwrap_or(held) });
        self.most_memory = self.most_memory.max(held.memory);
        assert!(
            held.memory <= settled.memory + MEMORY_MARGIN,
            "memory of {}: {settled:?}, then {held:?}",
            self.pid
        );
        assert!(
            held.descriptors <= settled.descriptors + IN_HAND,
            "descriptors of {}: {settled:?}, then {held:?}",
            self.pid
        );
    }

    /// That between two heartbeats it holds what it held at first, and that it has reaped all.
    fn holds_no_more_than_at_first(&self) {
        let Some(settled) = self.settled else { return };
        eventually("what it held at first", || {
            let held = Held::by(self.pid)?;
            (held.descriptors <= settled.descriptors && held.threads <= settled.threads)
                .then_some(())
        });
        eventually("no zombie", || (!children(self.pid).into_iter().any(has_ended)).then_some(()));
    }

    /// It ends with one of these codes; what it said is what shims say.
    fn ends(self, codes: &[i32]) {
        let ended = self.shim.end();
        assert!(codes.contains(&ended.code), "{codes:?}: {ended:?}");
        // unshare(1) has something to say of a PID 1 that was killed.
        for line in ended.stderr.lines().filter(|line| !line.starts_with("unshare: ")) {
            assert!(line.starts_with("[version] "), "{line}");
            assert!(!line.contains("panic") && !line.contains("gave up"), "{line}");
        }
    }
}

struct Soak {
    rng: Rng,
    redis: Redis,
    chaos: Chaos,
    pairs: Vec<Pair>,
    started: Instant,
}

impl Soak {
    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.chaos.port)
    }

    fn tell(&self, what: impl Display) {
        println!("{:7.1} s  {what}", self.started.elapsed().as_secs_f64());
    }

    /// A while, in ms.
    fn while_in(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.u64(from..to))
    }

    fn admin<const N: usize>(&self, arguments: [&str; N]) {
        eventually(&format!("{arguments:?}"), || {
            self.redis.cli(arguments).starts_with("OK").then_some(())
        });
    }

    /// One fault, from its beginning to its end, with something else in the midst of it.
    fn fault(&mut self) {
        let lasts = self.while_in(50, 2_500);
        match self.rng.u8(0..13) {
            0 => self.weather(Weather::Stall, lasts),
            1 => self.weather(Weather::Cut, lasts),
            2 => self.weather(Weather::Flaky, lasts),
            3 => self.weather(Weather::Truncate, lasts),
            4 => {
                self.tell(format_args!("Redis is gone for {lasts:?} and comes back empty"));
                self.redis.stop();
                self.meanwhile(lasts);
                self.redis.restart();
            }
            5 => {
                self.tell(format_args!("Redis hangs for {lasts:?}"));
                kill(self.redis.pid(), SIGSTOP);
                self.meanwhile(lasts);
                kill(self.redis.pid(), SIGCONT);
            }
            6 => {
                self.tell("Redis throws all its clients out");
                for _ in 0..10 {
                    self.redis.cli(["CLIENT", "KILL", "TYPE", "normal"]);
                }
            }
            7 => {
                self.tell("Redis forgets everything");
                self.redis.cli(["FLUSHALL"]);
            }
            8 => self.configured("maxclients", "2", "10000", lasts),
            9 => self.configured("maxmemory", "1", "0", lasts),
            10 => self.configured("hz", "1", "10", lasts),
            11 => {
                self.tell(format_args!("Redis is a replica for {lasts:?}"));
                self.admin(["REPLICAOF", "127.0.0.1", "1"]);
                self.meanwhile(lasts);
                self.admin(["REPLICAOF", "NO", "ONE"]);
            }
            _ => {
                self.tell(format_args!("Redis wants a password for {lasts:?}"));
                self.admin(["CONFIG", "SET", "requirepass", "x"]);
                self.meanwhile(lasts);
                self.admin(["--no-auth-warning", "-a", "x", "CONFIG", "SET", "requirepass", ""]);
            }
        }
    }

    fn weather(&mut self, weather: Weather, lasts: Duration) {
        self.tell(format_args!("{weather:?} for {lasts:?}"));
        self.chaos.becomes(weather);
        self.meanwhile(lasts);
        self.chaos.becomes(Weather::Clear);
    }

    fn configured(&mut self, setting: &str, fault: &str, usual: &str, lasts: Duration) {
        self.tell(format_args!("{setting} {fault} for {lasts:?}"));
        self.admin(["CONFIG", "SET", setting, fault]);
        self.meanwhile(lasts);
        self.admin(["CONFIG", "SET", setting, usual]);
    }

    /// Waits, and every other time something happens to one of the fleet.
    fn meanwhile(&mut self, lasts: Duration) {
        let until = Instant::now() + lasts;
        if self.rng.bool() {
            sleep(lasts.mul_f64(self.rng.f64()));
            self.somebody_ends();
        }
        sleep(until.saturating_duration_since(Instant::now()));
    }

    /// Somebody ends, in one of several ways, and another one takes the place; or hangs for a while.
    fn somebody_ends(&mut self) {
        let place = self.rng.usize(0..SHIMS);
        let way = self.rng.u8(0..4);
        let pair = &self.pairs[place];
        let (pid, worker) = (pair.pid, pair.worker);
        match way {
            0 => self.tell(format_args!("the worker {worker} is killed")),
            1 => self.tell(format_args!("the shim {pid} is to stop")),
            2 => self.tell(format_args!("the shim {pid} is killed")),
            _ => {
                let hangs = self.while_in(50, 2_000);
                self.tell(format_args!("the shim {pid} hangs for {hangs:?}"));
                kill(pid, SIGSTOP);
                sleep(hangs);
                return kill(pid, SIGCONT);
            }
        }
        let pair = self.pairs.swap_remove(place);
        let since = Instant::now();
        match way {
            0 => {
                kill(worker, SIGKILL);
                pair.ends(&[137]);
            }
            1 => {
                let code = pair.code;
                kill(pid, SIGTERM);
                pair.ends(&[code]);
            }
            _ => {
                kill(pid, SIGKILL);
                // As PID 1 it took its worker along.
                let _ = crate::common::try_kill(worker, SIGKILL);
                // Behind unshare(1) that is a failure.
                pair.ends(&[-SIGKILL, 1]);
            }
        }
        assert!(since.elapsed() < PROMPT, "the shim {pid} ended after {:?}", since.elapsed());
        self.pairs.push(Pair::start(self.rng.usize(0..SHIMS), &self.url()));
    }

    fn check(&mut self) {
        let for_ever = self.redis.keys_for_ever();
        assert_eq!(for_ever, [""; 0], "keys without an expiry");
        self.pairs.iter_mut().for_each(Pair::check);
    }

    fn verify(&self) -> Ended {
        // Whoever was killed, or could not say goodbye, has been dead for longer than that.
        let options = ["--json", "--instances", "--dead-for", "2s"];
        let verify = Shim::command("verify").env("REDIS_URL", self.url());
        verify.env("EXPECTED_GIT_SHA", SHA).options(options).output()
    }

    /// The ids of all that run what they should, once that is the whole fleet. Each must have been seen
    /// since: what a shim has sent before it was killed may arrive late, and looks alive for three
    /// heartbeats.
    fn whole_fleet(&self) -> Vec<String> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis();
        let mut last = String::new();
        let found = crate::common::within(Duration::from_secs(30), "the whole fleet", || {
            let verdict = self.verify();
            last = format!("{verdict:?}");
            let json: Value = serde_json::from_str(&verdict.stdout).ok()?;
            let types = json["types"].as_array()?;
            let instances = types.iter().filter_map(|one| one["instances"].as_array());
            let ids: Vec<String> = instances
                .flatten()
                .filter_map(|instance| Some(instance["id"].as_str()?.to_owned()))
                .collect();
            let scores = self.redis.scores(INDEX);
            let is_seen = |id: &String| {
                let mut own = scores.iter().filter(|(member, _)| member.ends_with(id.as_str()));
                own.any(|(_, seen)| u128::from(*seen) >= since)
            };
            let is_whole = verdict.code == 0 && ids.len() == SHIMS && ids.iter().all(is_seen);
            is_whole.then_some(ids)
        });
        found.unwrap_or_else(|reason| panic!("{reason}: {last}"))
    }
}

#[test]
fn a_fleet_gets_over_whatever_happens_to_redis_and_to_itself() {
    let variable = |name| std::env::var(name).ok();
    let lasts = variable("VERSION_GUARD_SOAK").unwrap_or_else(|| "60s".into());
    let lasts: Duration = humantime::parse_duration(&lasts).expect("VERSION_GUARD_SOAK");
    let seed = variable("VERSION_GUARD_SOAK_SEED");
    let seed = seed.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a seed"));
    println!("soak: {lasts:?}, VERSION_GUARD_SOAK_SEED={seed}");
    let redis = Redis::start();
    let chaos = Chaos::before(redis.port, seed);
    let rng = Rng::with_seed(seed);
    let mut soak = Soak { rng, redis, chaos, pairs: Vec::new(), started: Instant::now() };
    soak.pairs = (0..SHIMS).map(|place| Pair::start(place, &soak.url())).collect();
    soak.whole_fleet();
    soak.tell("the fleet is there");
    let mut faults = 0;
    while soak.started.elapsed() < lasts {
        soak.fault();
        soak.check();
        let quiet = soak.while_in(50, 800);
        sleep(quiet);
        soak.check();
        faults += 1;
    }
    let calm = Instant::now();
    let ids = soak.whole_fleet();
    soak.tell(format_args!(
        "{faults} faults; the whole fleet {:?} after the last one",
        calm.elapsed()
    ));
    soak.pairs.iter().for_each(Pair::holds_no_more_than_at_first);
    let grown =
        |pair: &Pair| pair.most_memory.saturating_sub(pair.settled.map_or(0, |held| held.memory));
    soak.tell(format_args!("memory grown by {:?} kB at most", soak.pairs.iter().map(grown).max()));
    let pairs = std::mem::take(&mut soak.pairs);
    for pair in &pairs {
        kill(pair.pid, SIGTERM);
    }
    for pair in pairs {
        let code = pair.code;
        pair.ends(&[code]);
    }
    // Each said goodbye, and only its last connection was open.
    let members = soak.redis.scores(INDEX);
    let stays = |id: &String| members.keys().any(|member| member.ends_with(id.as_str()));
    assert_eq!(ids.iter().filter(|id| stays(id)).count(), 0, "{members:?}");
    let keys = soak.redis.keys();
    assert!(!keys.iter().any(|key| ids.iter().any(|id| key.ends_with(id.as_str()))), "{keys:?}");
    assert_eq!(soak.redis.keys_for_ever(), [""; 0]);
    eventually("closed connections", || {
        (soak.redis.cli(["CLIENT", "LIST"]).lines().count() == 1).then_some(())
    });
}

/// The control: what must not be would be seen.
#[test]
fn what_a_fleet_must_not_leave_behind_is_seen() {
    let redis = Redis::start();
    redis.cli(["SET", "short", "x", "EX", "100"]);
    redis.cli(["SET", "eternal", "x"]);
    assert_eq!(redis.keys_for_ever(), ["eternal"]);
    let held = |opened: &str| {
        let script = format!("exec {opened}; echo ready; read line");
        let shim = Shim::command("run").worker(["sh", "-c", &script]);
        let (mut running, _stdin) = shim.spawn_with_stdin();
        running.expect_line("ready");
        Held::by(running.worker_pid()).expect("a worker")
    };
    let (before, after) = (held("3</dev/null"), held("3</dev/null 4</dev/null 5</dev/null"));
    assert_eq!(before.descriptors + 2, after.descriptors, "{before:?}, {after:?}");
    assert!(after.threads == 1 && after.memory > 0, "{after:?}");
}
