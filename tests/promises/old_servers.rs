//! Servers that are older, newer or poorer than Debian's redis-server: each of them keeps a fleet.

use std::time::Duration;

use nix::libc::SIGTERM;
use serde_json::Value;

use crate::common::servers::{Proxy, installed, refusing};
use crate::common::{Ended, OTHER, Redis, SHA, Shim, eventually, skip, within};

const VERSION: &str = "fiskai:worker:extractor:version";
const LEFT: &str = "fiskai:worker:extractor:left";
const INDEX: &str = "fiskai:workers";
const PASSWORD: &str = "s3cret";

fn extractor(url: &str) -> Shim {
    Shim::run(["sleep"])
        .env("GIT_SHA", SHA)
        .registers("extractor", url)
        .env("VERSION_GUARD_HEARTBEAT", "1s")
}

fn verify(url: &str) -> Shim {
    Shim::command("verify").env("REDIS_URL", url).env("EXPECTED_GIT_SHA", SHA)
}

fn expect(url: &str, arguments: &[&str]) -> Ended {
    Shim::command("expect").options(arguments).env("REDIS_URL", url).output()
}

fn instances(redis: &Redis) -> Vec<String> {
    redis.keys().into_iter().filter(|key| key.contains(":instance:")).collect()
}

/// All that a shim does with a Redis, by way of this URL.
fn keeps_a_fleet(redis: &Redis, url: &str) {
    let mut running = extractor(url).ready();
    let [instance] = &instances(redis)[..] else { panic!("one instance: {:?}", redis.keys()) };
    // That the worker runs is said beside its start.
    eventually("a running worker", || (redis.hash(instance)["state"] == "running").then_some(()));
    assert_eq!(redis.keys().len(), 4, "{:?}", redis.keys());
    assert_eq!(redis.keys_for_ever(), [""; 0]);
    let mut fields = redis.hash(instance);
    for (field, expected) in [("heartbeat", "1000"), ("state", "running")] {
        assert_eq!(fields.remove(field).as_deref(), Some(expected), "{field}");
    }
    let times = fields.remove("registeredAt").into_iter().chain(fields.get("startedAt").cloned());
    assert_eq!(times.filter(|time| time.starts_with("20") && time.ends_with('Z')).count(), 2);
    assert!(fields.remove("hostname").is_some_and(|host| !host.is_empty()));
    assert_eq!(fields, redis.hash(VERSION));
    assert_eq!((&*fields["gitSha"], &*fields["pid"]), (SHA, &*running.pid().to_string()));
    let member = format!("extractor/{}", instance.rsplit(':').next().unwrap());
    let last_seen = || redis.scores(INDEX)[&member];
    // Heartbeats renew it: by then it has outlived its first expiry.
    let first = last_seen();
    eventually("heartbeats", || (last_seen() > first + 3_500).then_some(()));
    assert_eq!(redis.hash(instance)["state"], "running");
    let verdict = verify(url).output();
    assert_eq!(verdict.code, 0, "{verdict:?}");
    assert!(verdict.stdout.contains("[OK] extractor\n"), "{verdict:?}");
    // What is published is read by all three commands.
    let published = expect(url, &[OTHER]);
    assert_eq!(published.code, 0, "{published:?}");
    running.expect_log("STALE: extractor runs");
    let shown = expect(url, &[]);
    assert!(shown.code == 0 && shown.stdout.contains(OTHER), "{shown:?}");
    let verdict = verify(url).without_env("EXPECTED_GIT_SHA").output();
    assert_eq!(verdict.code, 1, "{verdict:?}");
    assert!(verdict.stdout.contains("[STALE] extractor\n"), "{verdict:?}");
    assert_eq!(expect(url, &["--clear"]).code, 0);
    running.expect_log("it is no longer stale");
    running.signal(SIGTERM);
    let ended = running.end();
    assert_eq!(ended.code, 143, "{ended:?}");
    let lines = ended.lines().len();
    assert_eq!(lines, 3, "the first one, and what it heard of the expectation: {ended:?}");
    assert_eq!(redis.keys_for_ever(), [""; 0]);
    // A proxy may still be at the last heartbeat; sooner than the instance would expire.
    let gone = within(Duration::from_secs(1), "a goodbye", || {
        redis.keys().iter().all(|key| [LEFT, VERSION].contains(&key.as_str())).then_some(())
    });
    assert_eq!((gone, redis.keys().len()), (Ok(()), 2), "{:?}", redis.keys());
    let left: Value = serde_json::from_str(&redis.cli(["LINDEX", LEFT, "0"])).unwrap();
    assert_eq!((&left["gitSha"], &left["signal"]), (&SHA.into(), &15.into()), "{left}");
}

/// The same on a server of this name, which says of itself in INFO that it is this.
fn is_enough(name: &str, version: &str) {
    let Some(program) = installed(name) else {
        return skip(&format!("{name} can't be had here"));
    };
    let redis = Redis::of::<&str>(program, []);
    let info = redis.cli(["INFO", "server"]);
    assert!(info.lines().any(|line| line.trim_end() == version), "{info}");
    keeps_a_fleet(&redis, &redis.url());
}

#[test]
fn redis_3_2_is_enough() {
    is_enough("redis-3.2.6", "redis_version:3.2.6");
}

#[test]
fn redis_5_is_enough() {
    is_enough("redis-5.0.6", "redis_version:5.0.6");
}

#[test]
fn redis_6_2_is_enough() {
    is_enough("redis-6.2.14", "redis_version:6.2.14");
}

#[test]
fn redis_8_is_enough() {
    is_enough("redis-8.2.3", "redis_version:8.2.3");
}

#[test]
fn valkey_8_is_enough() {
    is_enough("valkey-8.1.8", "valkey_version:8.1.8");
}

#[test]
fn valkey_9_is_enough() {
    is_enough("valkey-9.1.2", "valkey_version:9.1.2");
}

/// Before version 6 there were no users: a URL that names one is as good as one that names none.
#[test]
fn a_redis_without_users_takes_the_password_alone() {
    for name in ["redis-3.2.6", "redis-5.0.6"] {
        let Some(program) = installed(name) else {
            return skip(&format!("{name} can't be had here"));
        };
        let redis = Redis::of(program, ["--requirepass", PASSWORD]);
        let at = |login: &str| format!("redis://{login}@127.0.0.1:{}", redis.port);
        for login in ["worker:s3cret", ":s3cret", "default:s3cret"] {
            let running = extractor(&at(login)).ready();
            let verdict = verify(&at(login)).output();
            assert!(
                verdict.code == 0 && verdict.stdout.contains("[OK] extractor\n"),
                "{verdict:?}"
            );
            assert_eq!(expect(&at(login), &[SHA]).code, 0);
            running.signal(SIGTERM);
            let ended = running.end();
            assert_eq!((ended.code, ended.lines().len()), (143, 1), "{login}: {ended:?}");
            assert!(!ended.stderr.contains(PASSWORD), "{ended:?}");
        }
        let wrong = verify(&at("worker:wr0ng")).options(["--wait", "1m"]).output();
        assert_eq!(wrong.code, 2, "{wrong:?}");
        assert!(wrong.stderr.contains("refuses the login"), "{wrong:?}");
        assert!(
            wrong.took < Duration::from_secs(20) && !wrong.stderr.contains("wr0ng"),
            "{wrong:?}"
        );
    }
}

/// What operators rename to nothing, and what hosted ones and proxies don't have.
const POOR: [&[&str]; 4] = [&["CLUSTER"], &["TIME"], &["WATCH"], &["CLUSTER", "TIME", "WATCH"]];

#[test]
fn commands_that_a_redis_does_not_know_are_done_without() {
    for missing in POOR {
        let renamed = missing.iter().flat_map(|name| ["--rename-command", *name, ""]);
        let redis = Redis::with(renamed);
        for name in missing {
            assert!(redis.cli([*name]).contains("unknown command"), "{name}");
        }
        keeps_a_fleet(&redis, &redis.url());
    }
}

#[test]
fn commands_that_an_old_redis_does_not_know_are_done_without() {
    let Some(program) = installed("redis-3.2.6") else {
        return skip("redis-3.2.6 can't be had here");
    };
    let renamed = POOR[3].iter().flat_map(|name| ["--rename-command", *name, ""]);
    let redis = Redis::of(program, renamed);
    keeps_a_fleet(&redis, &redis.url());
}

#[test]
fn commands_that_a_proxy_does_not_know_are_done_without() {
    for line in ["invalid request", "ERR unknown command", "ERR command is not supported"] {
        let redis = Redis::start();
        let refusals: Vec<_> = POOR[3].iter().map(|name| (*name, line)).collect();
        let proxy = refusing(&redis, &refusals);
        keeps_a_fleet(&redis, &format!("redis://127.0.0.1:{}", proxy.port));
    }
}

/// A late registration and a version key that is gone are written behind a WATCH where there is one.
#[test]
fn without_watch_a_version_key_that_is_gone_comes_back_whole() {
    let redis = Redis::with(["--rename-command", "WATCH", "", "--rename-command", "TIME", ""]);
    let _running = extractor(&redis.url()).ready();
    let before = redis.hash(VERSION);
    redis.cli(["DEL", VERSION]);
    let back = eventually("the version key", || {
        Some(redis.hash(VERSION)).filter(|fields| !fields.is_empty())
    });
    assert_eq!(back, before);
    assert_eq!(redis.keys_for_ever(), [""; 0]);
}

#[test]
fn without_scan_verify_judges_what_the_index_leads_to_and_complains_once() {
    let redis = Redis::with(["--rename-command", "SCAN", ""]);
    let proxied = Redis::start();
    let proxy = refusing(&proxied, &[("SCAN", "invalid request")]);
    for url in [redis.url(), format!("redis://127.0.0.1:{}", proxy.port)] {
        let _running = extractor(&url).ready();
        let verdict = verify(&url).output();
        assert_eq!(verdict.code, 1, "{verdict:?}");
        assert!(verdict.stdout.contains("[OK] extractor\n"), "{verdict:?}");
        let json = verify(&url).options(["--json"]).output();
        let json: Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(json["complaints"].as_array().map(Vec::len), Some(1), "{json}");
        let complaint = json["complaints"][0].as_str().unwrap();
        assert!(verdict.stdout.contains(complaint), "{complaint}: {verdict:?}");
        // The control: nothing is missed by who does not search.
        let verdict = verify(&url).options(["--no-scan"]).output();
        assert_eq!(verdict.code, 0, "{verdict:?}");
    }
}

#[test]
fn envoy_in_front_of_redis_is_enough() {
    let Some(envoy) = installed("envoy-1.40.0") else {
        return skip("envoy-1.40.0 can't be had here");
    };
    let redis = Redis::start();
    let proxy = Proxy::envoy(&envoy, &redis);
    keeps_a_fleet(&redis, &proxy.url());
}

/// Twemproxy knows no transactions and hangs up: nobody can register through it with an expiry for
/// each moment, and nobody is hurt by it.
#[test]
fn a_proxy_without_transactions_is_harmless() {
    let Some(nutcracker) = installed("nutcracker") else {
        return skip("nutcracker can't be had here");
    };
    let redis = Redis::start();
    let proxy = Proxy::nutcracker(&nutcracker, &redis);
    let mut running = extractor(&proxy.url()).ready();
    running.expect_log("extractor is not registered in Redis at");
    let verdict = verify(&proxy.url()).output();
    assert_eq!((verdict.code, verdict.lines().len()), (2, 1), "{verdict:?}");
    assert_eq!(redis.keys_for_ever(), [""; 0]);
    running.signal(SIGTERM);
    let ended = running.end();
    assert_eq!((ended.code, ended.lines().len()), (143, 2), "{ended:?}");
}
