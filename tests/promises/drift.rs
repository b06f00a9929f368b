//! Drift: a running worker learns that a deployment has overtaken it, and stops where it is to.

use std::time::{Duration, Instant};

use nix::libc::{SIGCONT, SIGSTOP, SIGTERM, SIGUSR2};
use serde_json::Value;

use crate::common::{Cluster, Ended, OTHER, Redis, Running, SHA, Shim, eventually, kill};

const KEY: &str = "fiskai:worker:expected";

fn expect(redis: &Redis, arguments: &[&str]) -> Ended {
    let shim = Shim::command("expect").options(arguments).env("REDIS_URL", redis.url());
    shim.env("VERSION_GUARD_BY", "ci@test").output()
}

fn worker(redis: &Redis, sha: &str) -> Shim {
    Shim::run(["echo"])
        .env("GIT_SHA", sha)
        .registers("extractor", redis.url())
        .env("VERSION_GUARD_HEARTBEAT", "200ms")
}

/// Stops a worker that runs, and gives all that was said.
fn ended(running: Running) -> Ended {
    running.signal(SIGTERM);
    let ended = running.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    ended
}

const REFUSED: [&str; 4] = [
    "[version] FATAL: Version mismatch!",
    "[version]   Image SHA:    a1b2c3d4e5f60718293a4b5c6d7e8f9012345678",
    "[version]   Expected SHA: 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
    "[version] This worker is running STALE code. Exiting.",
];

fn assert_refused(ended: &Ended) {
    assert_eq!(ended.code, 1, "{ended:?}");
    let lines = ended.lines();
    let at = lines.windows(4).position(|window| window == REFUSED).expect("the guard's lines");
    assert!(
        lines[at + 4].contains("published as expected at 20")
            && lines[at + 4].contains("by ci@test")
    );
}

#[test]
fn what_is_published_is_shown_and_taken_back() {
    let redis = Redis::start();
    let nothing = expect(&redis, &[]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (1, "Nothing is published\n"));
    assert_eq!(expect(&redis, &[SHA]).code, 0);
    assert_eq!(expect(&redis, &[OTHER, "--type", "ocr,extractor"]).code, 0);
    let shown = expect(&redis, &[]);
    assert_eq!(shown.code, 0, "{shown:?}");
    for line in [format!("*: {SHA}, since 20"), format!("ocr: {OTHER}, since 20")] {
        assert!(shown.stdout.contains(&line), "{line} in {shown:?}");
    }
    let json: Value = serde_json::from_str(&expect(&redis, &["--json"]).stdout).unwrap();
    assert_eq!((&json[0]["type"], &json[0]["gitSha"]), (&"*".into(), &SHA.into()), "{json}");
    assert_eq!(json[0]["by"], "ci@test");
    assert_eq!(redis.cli(["TTL", KEY]), "-1", "the deployment's word has no expiry");
    assert_eq!(expect(&redis, &["--clear", "--type", "ocr"]).code, 0);
    assert!(!expect(&redis, &[]).stdout.contains("ocr"));
    assert_eq!(expect(&redis, &["--clear"]).code, 0);
    assert_eq!(redis.cli(["EXISTS", KEY]), "0");
}

#[test]
fn a_placeholder_or_an_abbreviation_is_not_published() {
    let redis = Redis::start();
    for (sha, reason) in [
        ("a1b2c3d", "abbreviates"),
        ("$(git rev-parse HEAD)", "says nothing"),
        ("latest", "says nothing"),
    ] {
        let ended = expect(&redis, &[sha]);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
        assert!(ended.lines().len() == 1 && ended.stderr.contains(reason), "{ended:?}");
    }
    assert_eq!(redis.cli(["EXISTS", KEY]), "0");
    let unreachable =
        Shim::command("expect").options([SHA]).env("REDIS_URL", "redis://127.0.0.1:1");
    assert_eq!(unreachable.output().code, 2);
}

/// The incident as it happened: nobody recreates the containers.
#[test]
fn every_worker_that_is_overtaken_says_so_once_within_a_heartbeat() {
    let redis = Redis::start();
    let mut old = worker(&redis, SHA).ready();
    let mut new = worker(&redis, OTHER).ready();
    assert_eq!(expect(&redis, &[OTHER]).code, 0);
    let line = old.expect_log("STALE");
    for part in ["extractor runs a1b2c3d", OTHER, "by ci@test", "Recreate its container"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    // Through several heartbeats, and when it is met again.
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(expect(&redis, &[SHA]).code, 0);
    old.expect_log("runs what is expected again");
    let line = new.expect_log("STALE");
    assert!(line.contains(&format!("runs {OTHER}")), "it is the other one by now: {line}");
    let old = ended(old);
    assert_eq!(old.stderr.matches("STALE").count(), 1, "{old:?}");
    assert_eq!(ended(new).stderr.matches("STALE").count(), 1);
}

#[test]
fn with_stop_a_worker_that_is_overtaken_is_stopped_as_docker_stop_would() {
    let redis = Redis::start();
    let stops = worker(&redis, SHA).options(["--on-drift", "stop"]);
    // It ends on SIGTERM with 0: the job in hand is finished.
    let mut old = stops.ready();
    let new = worker(&redis, OTHER).options(["--on-drift", "stop"]).ready();
    assert_eq!(expect(&redis, &[OTHER]).code, 0);
    assert!(old.line().starts_with("15 from "), "the worker is asked, not killed");
    assert_refused(&old.end());
    // What is started again is refused before it can take a job, and leaves nothing behind.
    let again = stops.output();
    assert_refused(&again);
    assert!(!again.stdout.contains("ready"), "{again:?}");
    let left = redis.cli(["LINDEX", "fiskai:worker:extractor:left", "0"]);
    assert!(left.contains("\"wasAsked\":true"), "{left}");
    assert_eq!(redis.cli(["ZCARD", "fiskai:workers"]), "1");
    ended(new);
}

#[test]
fn the_stop_timeout_holds_for_a_worker_that_ignores_it_and_the_grace_is_waited_for() {
    let redis = Redis::start();
    let stops = worker(&redis, SHA).task(["echo", "64"]).options(["--on-drift", "stop"]);
    let stops = stops.options(["--stop-timeout", "300ms", "--drift-grace", "1500ms"]);
    let old = stops.ready();
    let since = Instant::now();
    assert_eq!(expect(&redis, &[OTHER]).code, 0);
    let end = old.end();
    assert_refused(&end);
    assert!(since.elapsed() >= Duration::from_millis(1300), "{:?}", since.elapsed());
    assert!(end.stderr.contains("killed it"), "{end:?}");
}

#[test]
fn the_policy_can_be_sealed_and_a_docker_stop_keeps_its_own_code() {
    let redis = Redis::start();
    let seal = format!(r#"{{"gitSha":"{SHA}","buildDate":"","stopOnDrift":true}}"#);
    let shim = worker(&redis, "x").inside(crate::common::Sandbox::new().sealed(seal));
    let running = shim.ready();
    assert_eq!(expect(&redis, &[OTHER]).code, 0);
    assert_refused(&running.end());
    assert_eq!(expect(&redis, &[SHA]).code, 0);
    // A stop that was asked for by somebody else is no drift.
    let running = shim.ready();
    let stopped = ended(running);
    assert!(!stopped.stderr.contains("FATAL"), "{stopped:?}");
}

/// Redis silent, hostile or odd never stops a worker. One warning each at most.
#[test]
fn whatever_else_stands_there_stops_no_worker() {
    let redis = Redis::start();
    let good = |sha: &str, at: &str| format!(r#"{{"gitSha":"{sha}","at":"{at}","by":"x"}}"#);
    for odd in [
        "x".repeat(1_000_000),
        "no json".into(),
        "[]".into(),
        good("latest", "2026-01-08T12:00:00Z"),
        good(OTHER, "2999-01-08T12:00:00Z"),
        good(OTHER, "soon"),
    ] {
        redis.cli(["DEL", KEY]);
        let running = worker(&redis, SHA).options(["--on-drift", "stop"]).ready();
        let set = std::process::Command::new("sh")
            .args([
                "-c",
                "printf %s \"$1\" | redis-cli -p \"$0\" -x HSET fiskai:worker:expected '*'",
            ])
            .args([redis.port.to_string(), odd.clone()])
            .output();
        // What is too long for a command line is written by Redis itself.
        if !set.is_ok_and(|output| output.status.success()) {
            redis.cli([
                "EVAL",
                "return redis.call('HSET', KEYS[1], '*', string.rep('x', 1000000))",
                "1",
                KEY,
            ]);
        }
        std::thread::sleep(Duration::from_millis(700));
        let ended = ended(running);
        let warned = ended.stderr.matches("doesn't count").count();
        assert_eq!(warned, 1, "{odd:.50}: {ended:?}");
        assert!(!ended.stderr.contains("FATAL"), "{ended:?}");
    }
    redis.cli(["DEL", KEY]);
    redis.cli(["SET", KEY, "text"]);
    let running = worker(&redis, SHA).options(["--on-drift", "stop"]).ready();
    std::thread::sleep(Duration::from_millis(500));
    let ended = ended(running);
    assert_eq!(ended.stderr.matches("it is no hash").count(), 1, "{ended:?}");
}

#[test]
fn it_works_on_a_cluster() {
    let cluster = Cluster::start();
    let url = cluster.masters[0].url();
    let publish =
        |sha: &str| Shim::command("expect").options([sha]).env("REDIS_URL", &url).output();
    let shim = Shim::run(["echo"]).env("GIT_SHA", SHA).registers("extractor", &url);
    let mut running = shim.env("VERSION_GUARD_HEARTBEAT", "200ms").ready();
    let published = publish(OTHER);
    assert_eq!(published.code, 0, "{published:?}");
    running.expect_log("STALE");
    ended(running);
}

#[test]
fn verify_takes_what_is_published_where_nothing_is_given() {
    let redis = Redis::start();
    let _running = worker(&redis, SHA).ready();
    let verify = Shim::command("verify").env("REDIS_URL", redis.url());
    let nothing = verify.output();
    assert!(nothing.code == 2 && nothing.stderr.contains("version-guard expect"), "{nothing:?}");
    expect(&redis, &[OTHER]);
    let stale = verify.output();
    assert_eq!(stale.code, 1, "{stale:?}");
    assert!(
        stale.stdout.contains(&format!("Expected GIT_SHA: {OTHER} (published 20")),
        "{stale:?}"
    );
    assert!(stale.stdout.contains("by ci@test)"), "{stale:?}");
    expect(&redis, &[SHA, "--type", "extractor"]);
    let own = verify.output();
    assert!(own.code == 0 && own.stdout.contains(&format!("\n  extractor: {SHA}\n")), "{own:?}");
    // What is given wins.
    let given = verify.env("EXPECTED_GIT_SHA", OTHER).output();
    assert!(given.code == 1 && !given.stdout.contains("published"), "{given:?}");
}

/// MONITOR counts: what is published is read in the round trips that a heartbeat has anyway.
#[test]
fn a_heartbeat_is_two_round_trips() {
    let redis = Redis::start();
    let running = worker(&redis, SHA).ready();
    let server = || -> Vec<u64> {
        let info = redis.cli(["INFO", "stats"]);
        ["total_connections_received", "total_reads_processed"]
            .iter()
            .map(|name| {
                let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
                line.unwrap().trim().parse().unwrap()
            })
            .collect()
    };
    let before = server();
    eventually("ten heartbeats", || (server()[0] - before[0] >= 10).then_some(()));
    let after = server();
    let (connections, reads) = (after[0] - before[0], after[1] - before[1]);
    // A read for each round trip, and one that finds the end; the tests' own clients are some of both.
    assert!(reads <= 4 * connections, "{reads} reads on {connections} connections");
    ended(running);
}

/// A second SIGTERM makes many a worker drop what it has in hand.
#[test]
fn a_worker_that_was_asked_to_stop_before_is_not_asked_again() {
    let redis = Redis::start();
    let stops = worker(&redis, SHA).task(["echo", "12"]).options(["--on-drift", "stop"]);
    let mut running = stops.ready();
    running.signal(SIGTERM);
    assert!(running.line().starts_with("15 from "));
    assert_eq!(expect(&redis, &[OTHER]).code, 0);
    running.expect_log("STALE");
    // Through several heartbeats.
    std::thread::sleep(Duration::from_millis(700));
    running.signal(SIGUSR2);
    assert!(running.line().starts_with("12 from "), "nothing else came before");
    let ended = running.end();
    assert!(ended.code == 0 && !ended.stderr.contains("FATAL"), "{ended:?}");
}

/// The supervisor hears no more than the first report: more of them would fill the channel, and the
/// heartbeats would end.
#[test]
fn a_worker_that_takes_long_to_stop_goes_on_reporting() {
    let redis = Redis::start();
    let stops = worker(&redis, SHA).task(["echo", "12"]).options(["--on-drift", "stop"]);
    let stops = stops.env("VERSION_GUARD_HEARTBEAT", "100ms");
    let mut running = stops.ready();
    assert_eq!(expect(&redis, &[OTHER]).code, 0);
    assert!(running.line().starts_with("15 from "));
    std::thread::sleep(Duration::from_secs(40));
    let verdict = Shim::command("verify").env("REDIS_URL", redis.url()).output();
    assert!(verdict.stdout.contains("[DRAINING] extractor"), "{verdict:?}");
    running.signal(SIGUSR2);
    assert_refused(&running.end());
}

#[test]
fn what_is_published_again_is_not_told_again() {
    let redis = Redis::start();
    let mut running = worker(&redis, SHA).ready();
    for _ in 0..3 {
        assert_eq!(expect(&redis, &[OTHER]).code, 0);
        std::thread::sleep(Duration::from_millis(400));
    }
    running.expect_log("STALE");
    let ended = ended(running);
    assert_eq!(ended.stderr.matches("STALE").count(), 1, "{ended:?}");
}

#[test]
fn what_a_script_has_left_empty_is_not_the_whole_fleet() {
    let redis = Redis::start();
    assert_eq!(expect(&redis, &[SHA]).code, 0);
    for arguments in [&[OTHER, "--type", ""][..], &["--clear", "--type", ","]] {
        let ended = expect(&redis, arguments);
        assert_eq!(ended.code, 125, "{ended:?}");
        assert!(ended.stderr.contains("--type") && ended.stderr.contains("at least one"));
    }
    let long = "x".repeat(129);
    let ended = expect(&redis, &[OTHER, "--by", &long]);
    assert!(ended.code == 125 && ended.stderr.contains("128 characters"), "{ended:?}");
    let shown = expect(&redis, &[]);
    assert!(shown.stdout.contains(&format!("*: {SHA}")), "{shown:?}");
    redis.cli(["HSET", KEY, "ocr", "nonsense"]);
    let shown = expect(&redis, &[]);
    assert!(shown.stderr.contains("What is published of ocr doesn't count"), "{shown:?}");
}

#[test]
fn ten_changes_between_two_heartbeats_are_no_change() {
    let redis = Redis::start();
    let stops = worker(&redis, SHA).options(["--on-drift", "stop"]);
    let running = stops.env("VERSION_GUARD_HEARTBEAT", "5s").ready();
    for sha in [OTHER, SHA].into_iter().cycle().take(10) {
        assert_eq!(expect(&redis, &[sha]).code, 0);
    }
    // Past the next heartbeat.
    std::thread::sleep(Duration::from_secs(6));
    let ended = ended(running);
    assert!(!ended.stderr.contains("STALE"), "{ended:?}");
}

#[test]
fn in_group_scope_the_whole_group_is_asked() {
    let redis = Redis::start();
    let script = "trap '' TERM; sleep 60 & echo ready; wait; exit 3";
    let stops = worker(&redis, SHA).worker(["sh", "-c", script]);
    let stops = stops.options(["--on-drift", "stop", "--signal-scope", "group"]);
    // The shell ignores it, and so does its child: the stop timeout is for both.
    let old = stops.options(["--stop-timeout", "300ms"]).ready();
    let since = Instant::now();
    assert_eq!(expect(&redis, &[OTHER]).code, 0);
    let end = old.end();
    assert_refused(&end);
    assert!(since.elapsed() < Duration::from_secs(20) && end.stderr.contains("killed it"));
}

/// Redis is too slow for the registration: the worker starts, and is stopped once Redis answers.
#[test]
fn what_is_learnt_only_after_the_start_stops_the_worker_as_well() {
    let redis = Redis::start();
    assert_eq!(expect(&redis, &[OTHER]).code, 0);
    kill(redis.pid(), SIGSTOP);
    let mut running = worker(&redis, SHA).options(["--on-drift", "stop"]).ready();
    kill(redis.pid(), SIGCONT);
    assert!(running.line().starts_with("15 from "));
    assert_refused(&running.end());
}

/// A stop from outside, before anything is known: the code is the signal's, as without a drift.
#[test]
fn a_stop_while_redis_is_still_asked_keeps_its_own_code() {
    let redis = Redis::start();
    assert_eq!(expect(&redis, &[OTHER]).code, 0);
    kill(redis.pid(), SIGSTOP);
    let stops = worker(&redis, SHA).options(["--on-drift", "stop", "--register-timeout", "30s"]);
    let running = stops.spawn();
    // It asks by now; were it slower than that, the code would be the same.
    std::thread::sleep(Duration::from_millis(300));
    running.signal(SIGTERM);
    let ended = running.end();
    kill(redis.pid(), SIGCONT);
    assert_eq!((ended.code, ended.stdout.as_str()), (143, ""), "{ended:?}");
}

#[test]
fn a_worker_that_ends_by_itself_keeps_its_own_code() {
    let redis = Redis::start();
    let ends = worker(&redis, SHA).worker(["sh", "-c", "echo ready; read line; exit 5"]);
    let (mut running, stdin) = ends.options(["--on-drift", "warn"]).spawn_with_stdin();
    running.expect_line("ready");
    assert_eq!(expect(&redis, &[OTHER]).code, 0);
    running.expect_log("STALE");
    drop(stdin);
    assert_eq!(running.end().code, 5);
}

/// A replica that lagged behind becomes the master: what was published last is lost.
#[test]
fn an_older_word_that_comes_back_stops_nobody() {
    let redis = Redis::start();
    assert_eq!(expect(&redis, &[SHA]).code, 0);
    let of_before = redis.cli(["HGET", KEY, "*"]);
    assert_eq!(expect(&redis, &[OTHER]).code, 0);
    let new = worker(&redis, OTHER).options(["--on-drift", "stop"]).ready();
    redis.cli(["HSET", KEY, "*", &of_before]);
    // Through several heartbeats.
    std::thread::sleep(Duration::from_millis(800));
    let new = ended(new);
    assert!(!new.stderr.contains("STALE") && !new.stderr.contains("FATAL"), "{new:?}");
    // The control: published anew, it counts.
    assert_eq!(expect(&redis, &[OTHER]).code, 0);
    let new = worker(&redis, OTHER).options(["--on-drift", "stop"]).ready();
    assert_eq!(expect(&redis, &[SHA]).code, 0);
    assert_eq!(new.end().code, 1);
}

#[test]
fn a_redis_that_has_lost_everything_stops_nobody() {
    let mut redis = Redis::start();
    let mut running =
        worker(&redis, SHA).options(["--on-drift", "stop", "--drift-grace", "1h"]).ready();
    assert_eq!(expect(&redis, &[OTHER]).code, 0);
    running.expect_log("STALE");
    redis.stop();
    redis.restart();
    running.expect_log("no longer stale");
    ended(running);
}
