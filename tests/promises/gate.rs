//! The gate: `verify --wait` is content with what lasts, and says of everything else what it is.

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::{SIGKILL, SIGTERM};
use serde_json::Value;

use crate::common::{OTHER, Redis, Running, SHA, Shim, binary, eventually, kill};

fn verify(redis: &Redis) -> Shim {
    Shim::command("verify").env("REDIS_URL", redis.url()).env("EXPECTED_GIT_SHA", SHA)
}

fn worker(redis: &Redis, worker_type: &str, sha: &str) -> Shim {
    Shim::run(["sleep"])
        .env("GIT_SHA", sha)
        .registers(worker_type, redis.url())
        .env("VERSION_GUARD_HEARTBEAT", "200ms")
}

/// A worker that an engine starts again and again.
struct Restarted(Child);

impl Restarted {
    fn start(redis: &Redis, worker: &str) -> Self {
        let script = "trap 'kill $shim; wait; exit' TERM
            while :; do \"$SHIM\" run -- sh -c \"$0\" & shim=$!; wait; done";
        let child = Command::new("sh")
            .args(["-c", script, worker])
            .env_clear()
            .envs([("SHIM", binary().as_os_str()), ("PATH", "/usr/bin:/bin".as_ref())])
            .envs([("GIT_SHA", SHA), ("WORKER_TYPE", "extractor"), ("REDIS_URL", &redis.url())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        Self(child)
    }
}

impl Drop for Restarted {
    fn drop(&mut self) {
        kill(i32::try_from(self.0.id()).expect("a pid"), SIGTERM);
        let _ = self.0.wait();
    }
}

#[test]
fn waiting_is_never_content_with_a_worker_that_ends_again_and_again() {
    for worker in ["exit 1", "sleep 0.5; exit 1", "sleep 2; exit 0"] {
        let redis = Redis::start();
        let _restarted = Restarted::start(&redis, worker);
        let waiting = verify(&redis).options(["--require", "extractor", "--crashes", "10"]);
        let ended = waiting.options(["--wait", "8s"]).output();
        assert_eq!(ended.code, 1, "{worker}: {ended:?}");
    }
}

/// The control: one good reading is soon had of a worker that lives for two seconds.
#[test]
fn with_no_time_to_settle_the_first_good_reading_is_enough() {
    let redis = Redis::start();
    let _restarted = Restarted::start(&redis, "sleep 2; exit 1");
    let naive = verify(&redis).options(["--require", "extractor", "--stable-for", "0s"]);
    assert_eq!(naive.options(["--wait", "20s"]).output().code, 0);
}

#[test]
fn a_worker_that_crashes_is_called_that_and_not_waited_for() {
    let redis = Redis::start();
    let _restarted = Restarted::start(&redis, "sleep 0.3; exit 7");
    let ended = verify(&redis).options(["--require", "extractor", "--wait", "60s"]).output();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.took < Duration::from_secs(30), "{ended:?}");
    let crashing =
        ended.stdout.lines().find(|line| line.contains("[CRASHING] extractor: exited 7 "));
    assert!(crashing.is_some_and(|line| line.contains(" times in ")), "{ended:?}");
    // Without --wait, too, whether it runs at this moment or not.
    for _ in 0..5 {
        let ended = verify(&redis).options(["--require", "extractor"]).output();
        assert!(ended.code == 1 && ended.stdout.contains("[CRASHING] extractor"), "{ended:?}");
    }
    let json = verify(&redis).options(["--json"]).output().stdout;
    assert!(json.contains("\"status\": \"crashing\""), "{json}");
}

#[test]
fn what_has_settled_is_enough_and_no_earlier() {
    let redis = Redis::start();
    let since = Instant::now();
    let _running = worker(&redis, "extractor", SHA).ready();
    let waiting = verify(&redis).options(["--require", "extractor", "--wait", "60s"]);
    let ended = waiting.clone().options(["--stable-for", "3s"]).output();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(since.elapsed() >= Duration::from_secs(3), "{ended:?}");
    assert!(ended.stderr.contains("registered a moment ago"), "{ended:?}");
    assert!(ended.stderr.contains("Waited for "), "{ended:?}");
    // By now it is, at once.
    assert!(waiting.options(["--stable-for", "3s"]).output().took < Duration::from_secs(2));
}

#[test]
fn so_many_as_are_required_have_to_be_there_on_the_expected_sha() {
    let redis = Redis::start();
    let _two = [SHA, SHA, OTHER].map(|sha| worker(&redis, "extractor", sha).ready());
    let required = |required: &str| verify(&redis).options(["--require", required]).output();
    let ended = required("extractor=3");
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.contains("[MISSING] extractor: 2 of 3\n"), "{ended:?}");
    assert!(!required("extractor=2,ocr=0..2").stdout.contains("MISSING"));
    assert!(required("ocr").stdout.contains("[MISSING] ocr\n"));
    assert!(required("extractor=0..1").stdout.contains("at most 1 should be"));
    let ended = required("extractor=3..1");
    assert_eq!(ended.code, 125, "{ended:?}");
}

#[test]
fn only_these_types_are_judged() {
    let redis = Redis::start();
    let _workers = [("extractor", SHA), ("canary", OTHER)]
        .map(|(name, sha)| worker(&redis, name, sha).ready());
    assert_eq!(verify(&redis).output().code, 1);
    let ended = verify(&redis).options(["--only", "extractor"]).output();
    assert!(ended.code == 0 && !ended.stdout.contains("canary"), "{ended:?}");
    assert_eq!(verify(&redis).options(["--only", "canary"]).output().code, 1);
}

/// The control is a death that nothing has replaced.
#[test]
fn a_death_is_settled_by_a_later_start_of_its_type() {
    let redis = Redis::start();
    let seen = || redis.cli(["ZCOUNT", "fiskai:workers", "1", "+inf"]).parse::<u32>().unwrap();
    let dies = |worker_type: &str| {
        let before = seen();
        let running = worker(&redis, worker_type, SHA).ready();
        let of_it = running.worker_pid();
        // The first sign of life comes beside the worker's start.
        eventually("a sign of life", || (seen() > before).then_some(()));
        running.signal(SIGKILL);
        kill(of_it, SIGKILL);
    };
    let _other = worker(&redis, "ocr", SHA).ready();
    dies("extractor");
    let dead = || verify(&redis).output().stdout.matches("[DEAD] extractor").count();
    eventually("a death", || (dead() == 1).then_some(()));
    let _replacement = worker(&redis, "extractor", SHA).ready();
    let ended = verify(&redis).output();
    assert_eq!(ended.code, 0, "{ended:?}");
    dies("extractor");
    eventually("another death", || (dead() == 1).then_some(()));
}

#[test]
fn a_worker_that_was_asked_to_stop_is_draining_and_no_longer_as_expected() {
    let redis = Redis::start();
    let shim = worker(&redis, "extractor", SHA).task(["echo", "10"]);
    // Long heartbeats: that it drains is said at once all the same.
    let mut running = shim.env("VERSION_GUARD_HEARTBEAT", "60s").spawn();
    running.expect_line("ready");
    assert_eq!(verify(&redis).output().code, 0);
    running.signal(SIGTERM);
    let draining = eventually("a draining worker", || {
        Some(verify(&redis).output()).filter(|ended| ended.stdout.contains("[DRAINING] extractor"))
    });
    assert!(draining.code == 1 && !draining.stdout.contains("STALE"), "{draining:?}");
    running.signal(10);
    assert_eq!(running.end().code, 0);
    // It has left by itself, but as it was asked to.
    let left = redis.cli(["LRANGE", "fiskai:worker:extractor:left", "0", "-1"]);
    assert!(left.contains("\"wasAsked\":true") && left.contains("\"code\":0"), "{left}");
}

#[test]
fn a_goodbye_says_how_the_worker_ended_and_the_last_ten_are_kept() {
    let redis = Redis::start();
    for (task, end) in [(["exit", "7"], "\"code\":7"), (["die", "9"], "\"signal\":9")] {
        let shim = Shim::run(task).env("GIT_SHA", SHA).registers("extractor", redis.url());
        shim.output();
        let last = redis.cli(["LINDEX", "fiskai:worker:extractor:left", "0"]);
        for part in [end, SHA, "\"hostname\":\"", "\"at\":\"20", "\"wasAsked\":false"] {
            assert!(last.contains(part), "{part} in {last}");
        }
    }
    for _ in 0..10 {
        Shim::run(["exit", "0"]).env("GIT_SHA", SHA).registers("extractor", redis.url()).output();
    }
    assert_eq!(redis.cli(["LLEN", "fiskai:worker:extractor:left"]), "10");
    let ttl: i64 = redis.cli(["TTL", "fiskai:worker:extractor:left"]).parse().unwrap();
    assert!((86_000..=86_400).contains(&ttl), "{ttl}");
}

/// What a shim of before has left there is no list.
#[test]
fn a_goodbye_replaces_what_was_left_in_another_shape() {
    let redis = Redis::start();
    redis.cli(["SET", "fiskai:worker:extractor:left", "1", "EX", "1000"]);
    let running = worker(&redis, "extractor", SHA).ready();
    assert_eq!(verify(&redis).output().code, 0);
    running.signal(SIGTERM);
    assert_eq!(running.end().code, 143);
    assert_eq!(redis.cli(["LLEN", "fiskai:worker:extractor:left"]), "1");
    assert!(verify(&redis).output().stdout.contains("No workers registered"));
}

/// Somebody's input: none of it is believed, and none hurts.
#[test]
fn odd_goodbyes_and_scores_are_harmless() {
    let redis = Redis::start();
    let _running = worker(&redis, "extractor", SHA).ready();
    let left = "fiskai:worker:extractor:left";
    for odd in ["", "nonsense", "{}", "[1]", "\x1b[2J", &"x".repeat(100_000)] {
        redis.cli(["LPUSH", left, odd]);
    }
    redis.cli(["ZADD", "fiskai:workers", "99999999999999", "extractor/ghost"]);
    let ended = verify(&redis).output();
    assert!(ended.stdout.contains("[DEAD] extractor\n"), "{ended:?}");
    assert!(ended.stdout.contains("(0s ago)") && !ended.stdout.contains('\x1b'), "{ended:?}");
    let json: serde_json::Value =
        serde_json::from_str(&verify(&redis).options(["--json"]).output().stdout).unwrap();
    assert!(json["readAt"].as_str().unwrap().starts_with("20"), "{json}");
    redis.cli(["SET", "fiskai:workers", "text"]);
    let json = verify(&redis).options(["--json"]).output().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["readAt"].as_str().unwrap().starts_with("20"), "{json}");
}

#[test]
fn time_that_runs_out_before_it_has_settled_is_no_success() {
    let redis = Redis::start();
    let _running = worker(&redis, "extractor", SHA).ready();
    let asks = verify(&redis).options(["--require", "extractor", "--stable-for", "60s"]);
    let ended = asks.clone().options(["--wait", "1s"]).output();
    assert_eq!(ended.code, 1, "{ended:?}");
    let last = "[FAIL] Not settled yet: extractor 1 registered a moment ago\n";
    assert!(ended.stdout.ends_with(last), "{ended:?}");
    // The control: nobody waits.
    assert_eq!(asks.output().code, 0);
}

#[test]
fn a_type_that_has_settled_after_it_crashed_is_enough() {
    let redis = Redis::start();
    for _ in 0..3 {
        let crashes = worker(&redis, "extractor", SHA).task(["exit", "1"]);
        assert_eq!(crashes.output().code, 1);
    }
    let _running = worker(&redis, "extractor", SHA).ready();
    let asks = verify(&redis).options(["--require", "extractor", "--stable-for", "2s"]);
    assert!(asks.clone().output().stdout.contains("[CRASHING] extractor"));
    let ended = asks.options(["--wait", "20s"]).output();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.stdout.contains("CRASHING"), "{ended:?}");
}

/// As after Redis's clock was set back by an hour.
#[test]
fn what_is_dated_ahead_has_settled_and_is_no_crash() {
    let redis = Redis::start();
    let _running = worker(&redis, "ocr", SHA).ready();
    let ahead = "2999-01-08T12:00:00.000Z";
    redis.cli(["HSET", "fiskai:worker:w:instance:1", "gitSha", SHA, "registeredAt", ahead]);
    redis.cli(["ZADD", "fiskai:workers", "32472187200000", "w/1"]);
    let end = format!(
        r#"{{"id":"1","hostname":"h","gitSha":"{SHA}","code":1,"signal":null,"wasAsked":false,"at":"{ahead}"}}"#
    );
    redis.cli(["LPUSH", "fiskai:worker:w:left", &end, &end, &end]);
    let ended = verify(&redis).options(["--only", "w", "--wait", "30s"]).output();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.took < Duration::from_secs(5), "{ended:?}");
}

#[test]
fn what_may_be_scaled_to_nothing_may_be_all_there_is() {
    let redis = Redis::start();
    let ended = verify(&redis).options(["--require", "ocr=0..2"]).output();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(verify(&redis).output().code, 1, "the control: nothing is required");
    let _running = worker(&redis, "ocr", SHA).ready();
    let ended = verify(&redis).options(["--expected", OTHER, "--require", "ocr=1"]).output();
    assert!(ended.stdout.contains("Required, but none runs as expected"), "{ended:?}");
    let ended = verify(&redis).options(["--require", "ocr=0..0"]).output();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.ends_with("[FAIL] More workers than there should be\n"), "{ended:?}");
}

#[test]
fn an_odd_key_of_a_type_that_is_not_judged_is_no_failure() {
    let redis = Redis::start();
    let _running = worker(&redis, "ocr", SHA).ready();
    redis.cli(["SET", "fiskai:worker:foreign:version", "text"]);
    assert_eq!(verify(&redis).output().code, 1, "the control");
    assert_eq!(verify(&redis).options(["--only", "ocr"]).output().code, 0);
}

#[test]
fn a_registered_sha_that_is_abbreviated_gets_a_hint() {
    let redis = Redis::start();
    let _running = worker(&redis, "ocr", &SHA[..10]).ready();
    let ended = verify(&redis).output();
    assert!(ended.code == 1 && ended.stdout.contains("[STALE] ocr"), "{ended:?}");
    assert!(ended.stdout.contains("It abbreviates the expected SHA"), "{ended:?}");
}

/// Five replicas, each of which finishes a job before it ends, while the fleet is read all the time.
#[test]
fn in_a_rolling_update_nothing_is_called_what_it_is_not() {
    const JOB: Duration = Duration::from_millis(1500);
    // What is said has to have got there: a signal, a write to Redis and a reading.
    const SLACK: Duration = Duration::from_millis(500);
    let redis = Redis::start();
    let replica = |sha: &str| {
        let script = format!(
            "trap 'sleep {}; exit 0' TERM; echo ready; while :; do sleep 0.05; done",
            JOB.as_secs_f64()
        );
        worker(&redis, "extractor", sha).worker(["sh", "-c", &script]).ready()
    };
    let old: Vec<Running> = (0..5).map(|_| replica(OTHER)).collect();
    let pids: Vec<String> = old.iter().map(|running| running.pid().to_string()).collect();
    // When each of the old was asked to stop.
    let asked: Mutex<HashMap<String, Instant>> = Mutex::default();
    let is_over = AtomicBool::new(false);
    let readings = thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut readings = 0;
            while !is_over.load(Ordering::Relaxed) {
                let since = Instant::now();
                let ended = verify(&redis).options(["--json", "--instances"]).output();
                let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
                let asked = asked.lock().expect("what was asked").clone();
                for of_type in report["types"].as_array().expect("types") {
                    for instance in of_type["instances"].as_array().expect("instances") {
                        let pid = instance["pid"].as_str().expect("a pid");
                        let right = match (pids.iter().any(|old| old == pid), asked.get(pid)) {
                            (false, _) => vec!["ok"],
                            (true, Some(at)) if since > *at + SLACK => vec!["draining"],
                            (true, Some(_)) => vec!["draining", "stale"],
                            (true, None) => vec!["stale"],
                        };
                        let status = of_type["status"].as_str().expect("a status");
                        assert!(right.contains(&status), "{pid} is {status} and not {right:?}");
                    }
                }
                readings += 1;
            }
            readings
        });
        let new: Vec<Running> = old
            .into_iter()
            .map(|old| {
                let new = replica(SHA);
                asked.lock().expect("what was asked").insert(old.pid().to_string(), Instant::now());
                old.signal(SIGTERM);
                assert_eq!(old.end().code, 0);
                new
            })
            .collect();
        let asks = verify(&redis).options(["--require", "extractor=5", "--stable-for", "1s"]);
        assert_eq!(asks.options(["--wait", "30s"]).output().code, 0);
        is_over.store(true, Ordering::Relaxed);
        drop(new);
        reading.join().expect("each reading is right")
    });
    assert!(readings > 20, "only {readings} readings");
}
