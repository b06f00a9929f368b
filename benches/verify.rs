//! `verify` on a large fleet in a large Redis, beside the deployment integrity document's own way of
//! looking; and what a fleet's heartbeats cost Redis.
//!
//! The instances are real ones: each was registered by this shim, which was killed before it could say
//! goodbye. Run it with `cargo bench --bench verify`; it takes some minutes.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::too_many_lines,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_macros, clippy::cast_precision_loss, clippy::cast_possible_truncation)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const GUARD: &str = env!("CARGO_BIN_EXE_version-guard");
const SHA: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334";
const INSTANCES: usize = 10_000;
const TYPES: usize = 40;
const FOREIGN_KEYS: usize = 1_000_000;
const ROUNDS: usize = 3;

fn main() {
    let redis = Redis::start();
    redis.cli(&["DEBUG", "POPULATE", &FOREIGN_KEYS.to_string(), "foreign"]);
    let registrations = cpu_of(&redis, || register_all(&redis));
    assert_eq!(redis.cli(&["ZCARD", "fiskai:workers"]), INSTANCES.to_string());
    println!("{INSTANCES} instances in {TYPES} types, beside {FOREIGN_KEYS} other keys");
    println!("Redis's cost of {INSTANCES} registrations: {registrations:.2} s of one processor");

    let scan = |pattern: &str| {
        format!(
            "redis-cli -p {0} --scan --pattern '{pattern}' | xargs -I {{}} redis-cli -p {0} HGET {{}} gitSha",
            redis.port
        )
    };
    let types = scan("fiskai:worker:*:version");
    let (mut document, mut ours, mut searching) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        document.push(time(Command::new("sh").args(["-c", &types]), TYPES));
        ours.push(time(verify(redis.port).arg("--no-scan"), INSTANCES));
        searching.push(time(&mut verify(redis.port), INSTANCES));
    }
    let instances = scan("fiskai:worker:*:instance:*");
    let each = time(Command::new("sh").args(["-c", &instances]), INSTANCES);
    let ours = median(&mut ours);
    println!("\n{:58} {:>9} {:>7}", "", "median s", "ratio");
    for (name, time) in [
        ("verify --no-scan", ours),
        ("verify, which searches all keys", median(&mut searching)),
        ("the document's --scan | xargs HGET: 40 SHAs", median(&mut document)),
        ("the same for the 10000 instances (once)", each),
    ] {
        println!("{name:58} {time:9.3} {:7.1}", time / ours);
    }

    println!();
    for (name, options) in [("verify --no-scan", &["--no-scan"][..]), ("verify", &[])] {
        let (trips, memory) = trips_and_memory(&redis, options);
        println!(
            "{name}: {trips} round trips, {:.1} per 1000 instances; {:.1} MB at most",
            trips as f64 / (INSTANCES as f64 / 1000.0),
            memory as f64 / 1024.0
        );
    }

    let (heartbeats, cost) = heartbeats(&redis);
    let share = cost / heartbeats as f64 * INSTANCES as f64 / 30.0 * 100.0;
    println!(
        "\nRedis's cost of {heartbeats} heartbeats: {cost:.2} s of one processor; {INSTANCES} every 30 s take {share:.1} % of one"
    );
}

fn shim(redis: &Redis, worker_type: usize, heartbeat: &str) -> Command {
    let mut command = Command::new(GUARD);
    command
        .args(["run", "--heartbeat", heartbeat, "--register-timeout", "30s", "--"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("GIT_SHA", SHA)
        .env("BUILD_DATE", "2026-01-08T12:00:00Z")
        .env("WORKER_TYPE", format!("type-{worker_type}"))
        .env("REDIS_URL", format!("redis://127.0.0.1:{}", redis.port))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Each worker kills its shim at once, which so leaves its registration behind.
fn register_all(redis: &Redis) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= INSTANCES {
                        return;
                    }
                    let mut shim = shim(redis, number % TYPES, "1h");
                    shim.args(["sh", "-c", "kill -9 $PPID"]).status().expect("the shim starts");
                }
            });
        }
    });
}

/// How many heartbeats there were, and what they cost Redis in seconds of processor time.
fn heartbeats(redis: &Redis) -> (usize, f64) {
    let count = || {
        let stats = redis.cli(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_zadd:calls="));
        line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
    };
    let shims: Vec<Child> = (0..TYPES)
        .map(|number| {
            shim(redis, number, "100ms").args(["sleep", "600"]).spawn().expect("the shim starts")
        })
        .collect();
    thread::sleep(Duration::from_secs(2));
    let before: usize = count();
    let cost = cpu_of(redis, || thread::sleep(Duration::from_secs(20)));
    let heartbeats = count() - before;
    for mut shim in shims {
        Command::new("kill").arg(shim.id().to_string()).status().expect("kill");
        shim.wait().expect("the shim ends");
    }
    (heartbeats, cost)
}

fn verify(port: u16) -> Command {
    let mut command = Command::new(GUARD);
    command
        .args(["verify", "--instances", "--timeout", "5m"])
        .env_clear()
        .env("REDIS_URL", format!("redis://127.0.0.1:{port}"))
        .env("EXPECTED_GIT_SHA", SHA);
    command
}

/// In seconds; the command has to say the SHA, or name a host, this often.
fn time(command: &mut Command, lines: usize) -> f64 {
    let start = Instant::now();
    let Output { status, stdout, .. } = command.output().expect("the command starts");
    let time = start.elapsed().as_secs_f64();
    assert!(status.success(), "{command:?}");
    let stdout = String::from_utf8(stdout).expect("text");
    let said = stdout.lines().filter(|line| line.contains("      - ") || *line == SHA).count();
    assert_eq!(said, lines, "{command:?}");
    time
}

/// How often the side that speaks changes, and the most memory in KiB.
fn trips_and_memory(redis: &Redis, options: &[&str]) -> (usize, u64) {
    let counter = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = counter.local_addr().expect("an address").port();
    let target = redis.port;
    let passing = thread::spawn(move || {
        let (client, _) = counter.accept().expect("verify");
        let server = TcpStream::connect(("127.0.0.1", target)).expect("redis-server");
        let asked = Arc::new(AtomicBool::new(false));
        let trips = Arc::new(AtomicUsize::new(0));
        let up = pass(&client, &server, {
            let (asked, trips) = (Arc::clone(&asked), Arc::clone(&trips));
            move || {
                if !asked.swap(true, Ordering::Relaxed) {
                    trips.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let down = pass(&server, &client, move || asked.store(false, Ordering::Relaxed));
        up.join().expect("a thread");
        down.join().expect("a thread");
        trips.load(Ordering::Relaxed)
    });
    let mut child = verify(port).args(options).stdout(Stdio::null()).spawn().expect("verify");
    let status = format!("/proc/{}/status", child.id());
    let mut memory = 0;
    while child.try_wait().expect("verify").is_none() {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.split_whitespace().next()?.parse().ok());
        memory = peak.unwrap_or(memory);
        thread::sleep(Duration::from_millis(1));
    }
    (passing.join().expect("a thread"), memory)
}

fn pass(
    from: &TcpStream,
    to: &TcpStream,
    heard: impl Fn() + Send + 'static,
) -> thread::JoinHandle<()> {
    let (mut from, mut to) =
        (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            heard();
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    })
}

/// What this costs Redis, in seconds of processor time.
fn cpu_of(redis: &Redis, work: impl FnOnce()) -> f64 {
    let used = || {
        let cpu = redis.cli(&["INFO", "cpu"]);
        let number = |name: &str| -> f64 {
            let line = cpu.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.trim().parse().ok()).expect("INFO cpu")
        };
        number("used_cpu_sys:") + number("used_cpu_user:")
    };
    let before = used();
    work();
    used() - before
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--enable-debug-command", "local"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server");
        let redis = Self { child, port };
        let deadline = Instant::now() + Duration::from_secs(10);
        while redis.cli(&["PING"]) != "PONG" {
            assert!(Instant::now() < deadline, "no redis-server");
            thread::sleep(Duration::from_millis(10));
        }
        redis
    }

    fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
