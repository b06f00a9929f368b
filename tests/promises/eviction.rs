//! A Redis that is full and throws keys away: a record that it evicted is not its worker's death.

use nix::libc::{SIGKILL, SIGTERM};
use serde_json::Value;

use crate::common::{Cluster, Ended, Redis, Running, SHA, Shim, eventually, kill};

const INDEX: &str = "fiskai:workers";

/// With heartbeats that are too rare to make up for anything in a test's time.
fn extractor(url: &str) -> Running {
    let shim = Shim::run(["sleep"]).env("GIT_SHA", SHA).registers("extractor", url);
    shim.options(["--heartbeat", "1h"]).ready()
}

fn verify(url: &str) -> Shim {
    Shim::command("verify").env("REDIS_URL", url).env("EXPECTED_GIT_SHA", SHA)
}

fn instance(redis: &Redis) -> Option<String> {
    redis.keys().into_iter().find(|key| key.contains(":instance:"))
}

fn evicted(redis: &Redis) -> u64 {
    let stats = redis.cli(["INFO", "stats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix("evicted_keys:"));
    line.and_then(|count| count.trim().parse().ok()).expect("a count")
}

/// Has Redis evict what expires first until this key is gone. Ballast, which expires later than that
/// and sooner than the index, makes up for what it takes too much.
fn evict(redis: &Redis, key: &str, ballast: &str) {
    for number in 0..40 {
        let (name, value) = (format!("{{{ballast}}}:{number}"), "x".repeat(20_000));
        assert_eq!(redis.cli(["SET", &name, &value, "EX", "72000"]), "OK");
    }
    redis.cli(["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]);
    redis.cli(["CONFIG", "SET", "maxmemory-samples", "64"]);
    let memory = redis.cli(["INFO", "memory"]);
    let used = memory.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("memory");
    let mut limit: u64 = used.trim().parse().expect("bytes");
    eventually("an eviction", || {
        limit -= 5_000;
        redis.cli(["CONFIG", "SET", "maxmemory", &limit.to_string()]);
        // Whatever wants memory makes it evict.
        redis.cli(["SET", &format!("{{{ballast}}}:more"), "x"]);
        (redis.cli(["EXISTS", key]) == "0").then_some(())
    });
    redis.cli(["CONFIG", "SET", "maxmemory", "0"]);
    assert!(evicted(redis) > 0);
    assert_ne!(redis.cli(["EXISTS", INDEX]), "0", "the index was evicted, too");
}

/// It complains, and calls the worker neither dead nor well.
fn assert_evicted(verdict: &Ended) {
    assert_eq!(verdict.code, 1, "{verdict:?}");
    assert!(verdict.stdout.contains("evicted"), "{verdict:?}");
    for wrong in ["[DEAD]", "[OK]"] {
        assert!(!verdict.stdout.contains(wrong), "{wrong}: {verdict:?}");
    }
}

fn assert_dead(verdict: &Ended) {
    assert_eq!(verdict.code, 1, "{verdict:?}");
    assert!(verdict.stdout.contains("[DEAD] extractor"), "{verdict:?}");
    assert!(!verdict.stdout.contains("evicted"), "{verdict:?}");
}

#[test]
fn a_worker_whose_record_was_evicted_is_called_alive() {
    let redis = Redis::start();
    let running = extractor(&redis.url());
    evict(&redis, &instance(&redis).expect("an instance"), "ballast");
    assert_evicted(&verify(&redis.url()).output());
    let json = verify(&redis.url()).options(["--json"]).output();
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["complaints"].as_array().map(Vec::len), Some(1), "{json}");
    let complaint = json["complaints"][0].as_str().unwrap();
    assert!(complaint.contains("extractor") && complaint.contains("evicted"), "{complaint}");
    assert!(!json["types"].to_string().contains("dead"), "{json}");
    running.signal(SIGTERM);
    assert_eq!(running.end().code, 143);
    let verdict = verify(&redis.url()).output();
    assert!(!verdict.stdout.contains("evicted"), "its goodbye took its entry along: {verdict:?}");
}

#[test]
fn a_record_that_is_missing_where_nothing_was_evicted_is_a_death() {
    let redis = Redis::start();
    let _running = extractor(&redis.url());
    redis.cli(["DEL", &instance(&redis).expect("an instance")]);
    assert_eq!(evicted(&redis), 0);
    assert_dead(&verify(&redis.url()).output());
}

#[test]
fn an_evicted_worker_that_is_no_longer_seen_is_dead() {
    let redis = Redis::start();
    let running = extractor(&redis.url());
    let member = redis.scores(INDEX).into_keys().next().expect("an entry");
    evict(&redis, &instance(&redis).expect("an instance"), "ballast");
    let worker = running.worker_pid();
    running.signal(SIGKILL);
    kill(worker, SIGKILL);
    // Which would pass for the word of a worker without a shim that started later than that.
    redis.cli(["DEL", "fiskai:worker:extractor:version"]);
    // Nobody knows of how often it reported: 90 seconds count.
    let seen = redis.scores(INDEX)[&member];
    redis.cli(["ZADD", INDEX, &(seen - 60_000).to_string(), &member]);
    assert_evicted(&verify(&redis.url()).output());
    redis.cli(["ZADD", INDEX, &(seen - 91_000).to_string(), &member]);
    assert_dead(&verify(&redis.url()).output());
}

/// Another one of its type tells how often they report.
#[test]
fn an_evicted_worker_is_alive_for_three_heartbeats_of_its_type() {
    let redis = Redis::start();
    let shim = Shim::run(["sleep"]).env("GIT_SHA", SHA).registers("extractor", redis.url());
    let _sibling = shim.options(["--heartbeat", "1s"]).ready();
    let siblings = redis.scores(INDEX);
    let _evicted = extractor(&redis.url());
    let member = redis.scores(INDEX).into_keys().find(|member| !siblings.contains_key(member));
    let member = member.expect("an entry");
    let key = member.replace("extractor/", "fiskai:worker:extractor:instance:");
    evict(&redis, &key, "ballast");
    eventually("a verdict in time", || {
        let now = redis.cli(["TIME"]).replace('\n', "");
        redis.cli(["ZADD", INDEX, &now[..13], &member]);
        let verdict = verify(&redis.url()).output();
        let is_well =
            verdict.stdout.contains("[OK] extractor") && verdict.stdout.contains("evicted");
        (is_well && verdict.code == 1 && !verdict.stdout.contains("[DEAD]")).then_some(())
    });
    // Sooner than where nobody tells.
    let verdict = eventually("a death", || {
        Some(verify(&redis.url()).output()).filter(|verdict| verdict.stdout.contains("[DEAD]"))
    });
    assert_dead(&verdict);
}

#[test]
fn in_a_cluster_the_master_counts_that_held_the_record() {
    let cluster = Cluster::start();
    let _running = extractor(&cluster.masters[0].url());
    let key = cluster.keys().into_iter().find(|key| key.contains(":instance:")).expect("one");
    let holder = cluster.master_of(&key);
    cluster.cli(["DEL", &key]);
    let url = cluster.masters[0].url();
    for (place, master) in cluster.masters.iter().enumerate().filter(|(place, _)| *place != holder)
    {
        evict_something(&cluster, master, place);
    }
    assert_dead(&verify(&url).output());
    evict_something(&cluster, &cluster.masters[holder], holder);
    assert_evicted(&verify(&url).output());
}

/// Has this master evict a key of its own, and nothing that is anybody's.
fn evict_something(cluster: &Cluster, master: &Redis, place: usize) {
    let mut tags = (0..).map(|number| format!("ballast{number}"));
    let tag = tags.find(|tag| cluster.master_of(tag) == place).expect("a tag");
    let key = format!("{{{tag}}}");
    assert_eq!(master.cli(["SET", &key, "x", "EX", "60"]), "OK");
    evict(master, &key, &tag);
}
