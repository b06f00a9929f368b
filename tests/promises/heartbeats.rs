//! Instances: each shim's own place in the registry, kept by heartbeats and given up with a goodbye.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::libc::{SIGCONT, SIGKILL, SIGSTOP, SIGTERM};

use crate::common::{Address, Cluster, OTHER, Redis, Running, SHA, Shim, eventually, kill};

const VERSION: &str = "fiskai:worker:extractor:version";
const INDEX: &str = "fiskai:workers";
/// Long enough for a machine that is busy, short enough to wait for.
const HEARTBEAT: Duration = Duration::from_secs(1);

fn extractor(url: impl Into<String>, sha: &str) -> Shim {
    Shim::run(["sleep"])
        .env("GIT_SHA", sha)
        .registers("extractor", url.into())
        .env("VERSION_GUARD_HEARTBEAT", "1s")
}

fn verify(url: impl Into<String>) -> Shim {
    Shim::command("verify").env("REDIS_URL", url.into()).env("EXPECTED_GIT_SHA", SHA)
}

fn keys(redis: &Redis, pattern: &str) -> Vec<String> {
    let text = redis.cli(["--scan", "--pattern", pattern]);
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn instances(redis: &Redis) -> Vec<String> {
    keys(redis, "fiskai:worker:*:instance:*")
}

fn hash(redis: &Redis, key: &str) -> BTreeMap<String, String> {
    let text = redis.cli(["HGETALL", key]);
    let lines: Vec<&str> = text.lines().collect();
    lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("a number: {text:?}"))
}

/// Unix time in ms, as redis-server tells it.
fn redis_time(redis: &Redis) -> u64 {
    let time = redis.cli(["TIME"]);
    let (seconds, micros) = time.split_once('\n').expect("two lines");
    number(seconds) * 1000 + number(micros) / 1000
}

/// The index: members and scores.
fn index(redis: &Redis) -> Vec<(String, u64)> {
    let text = redis.cli(["ZRANGE", INDEX, "0", "-1", "WITHSCORES"]);
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), number(pair[1]))).collect()
}

#[test]
fn an_instance_has_the_four_fields_and_its_host_for_three_heartbeats() {
    let redis = Redis::start();
    let running = extractor(redis.url(), SHA).ready();
    let [key] = &instances(&redis)[..] else { panic!("one instance") };
    let left = number(&redis.cli(["PTTL", key]));
    let mut fields = hash(&redis, key);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(fields.remove("hostname").as_deref(), Some(host.trim()));
    // What changes while it lives.
    assert_eq!(fields.remove("heartbeat").as_deref(), Some("1000"));
    assert_eq!(fields.remove("state").as_deref(), Some("running"));
    let registered_at = fields.remove("registeredAt").expect("a time");
    assert!(registered_at.starts_with("20") && registered_at.ends_with('Z'), "{registered_at}");
    assert_eq!(fields, hash(&redis, VERSION));
    assert_eq!(fields["gitSha"], SHA);
    assert_eq!(fields["pid"], running.pid().to_string());
    assert!((1_000..=3_000).contains(&left), "{left}");
    let id = key.rsplit(':').next().unwrap();
    let [(member, last_seen)] = &index(&redis)[..] else { panic!("one entry") };
    assert_eq!(*member, format!("extractor/{id}"));
    let age = redis_time(&redis) - last_seen;
    assert!(age < 3_000, "{age}");
}

#[test]
fn ids_differ_where_pid_and_host_repeat() {
    let redis = Redis::start();
    let shims: Vec<Running> = (0..3).map(|_| extractor(redis.url(), SHA).pid1().ready()).collect();
    assert_eq!(instances(&redis).len(), 3);
    for key in instances(&redis) {
        assert_eq!(redis.cli(["HGET", &key, "pid"]), "1");
    }
    drop(shims);
}

#[test]
fn a_heartbeat_renews_everything_and_keeps_no_connection() {
    let redis = Redis::start();
    let _running = extractor(redis.url(), SHA).ready();
    let before = index(&redis);
    redis.cli(["EXPIRE", VERSION, "100"]);
    eventually("a heartbeat", || (index(&redis)[0].1 > before[0].1).then_some(()));
    assert!(number(&redis.cli(["TTL", VERSION])) > 86_000);
    assert!(number(&redis.cli(["PTTL", &instances(&redis)[0]])) > 1_000);
    // The heartbeat's connection, then redis-cli's alone.
    eventually("a closed connection", || {
        (redis.cli(["CLIENT", "LIST"]).lines().count() == 1).then_some(())
    });
}

#[test]
fn no_key_of_a_fleet_is_without_expiry() {
    let redis = Redis::start();
    let running = extractor(redis.url(), SHA).ready();
    let mut other = extractor(redis.url(), OTHER).ready();
    other.signal(SIGTERM);
    eventually("its end", || (!other.runs()).then_some(()));
    let all = keys(&redis, "*");
    assert_eq!(all.len(), 5, "index, version, left, instance, last: {all:?}");
    for key in all {
        assert!(redis.cli(["PTTL", &key]).parse::<i64>().unwrap() > 0, "{key}");
    }
    drop(running);
}

#[test]
fn an_old_replica_never_overwrites_a_newer_one() {
    let redis = Redis::start();
    let _old = extractor(redis.url(), OTHER).ready();
    assert_eq!(redis.cli(["HGET", VERSION, "gitSha"]), OTHER);
    let _new = extractor(redis.url(), SHA).ready();
    let seen = |redis: &Redis| index(redis).iter().map(|entry| entry.1).min().unwrap();
    for _ in 0..3 {
        let before = seen(&redis);
        eventually("a heartbeat of both", || (seen(&redis) > before).then_some(()));
        assert_eq!(redis.cli(["HGET", VERSION, "gitSha"]), SHA);
    }
}

#[test]
fn a_version_key_that_is_gone_comes_back_whole() {
    let redis = Redis::start();
    let _running = extractor(redis.url(), SHA).ready();
    let before = hash(&redis, VERSION);
    for _ in 0..3 {
        redis.cli(["DEL", VERSION]);
        let back = eventually("the version key", || {
            Some(hash(&redis, VERSION)).filter(|fields| !fields.is_empty())
        });
        assert_eq!(back, before);
        assert!(number(&redis.cli(["TTL", VERSION])) > 86_000);
    }
}

#[test]
fn a_stopped_worker_is_gone_at_once_and_only_its_version_key_stays() {
    let redis = Redis::start();
    let running = extractor(redis.url(), SHA).ready();
    assert_eq!(verify(redis.url()).output().code, 0);
    running.signal(SIGTERM);
    let ended = running.end();
    assert_eq!(ended.code, 143, "{ended:?}");
    assert_eq!((instances(&redis).len(), index(&redis).len()), (0, 0));
    // The control: whoever looks at the one key sees a worker with the right SHA.
    assert_eq!(redis.cli(["HGET", VERSION, "gitSha"]), SHA);
    let verdict = verify(redis.url()).output();
    assert_eq!(verdict.code, 1, "{verdict:?}");
    assert!(verdict.stdout.contains("No workers registered"), "{verdict:?}");
}

#[test]
fn a_goodbye_removes_only_what_is_its_own() {
    let redis = Redis::start();
    let _stays = extractor(redis.url(), SHA).ready();
    let before = index(&redis)[0].0.clone();
    let leaves = extractor(redis.url(), SHA).ready();
    leaves.signal(SIGTERM);
    leaves.end();
    let after: Vec<String> = index(&redis).into_iter().map(|(member, _)| member).collect();
    assert_eq!((after, instances(&redis).len()), (vec![before], 1));
    assert_eq!(verify(redis.url()).output().code, 0);
}

#[test]
fn a_goodbye_to_a_redis_that_hangs_takes_a_second_and_changes_no_exit_code() {
    let redis = Redis::start();
    let running = extractor(redis.url(), SHA).arguments(["unused"]).ready();
    let worker = running.worker_pid();
    kill(redis.pid(), SIGSTOP);
    let stopped = Instant::now();
    kill(worker, SIGKILL);
    let ended = running.end();
    let took = stopped.elapsed();
    kill(redis.pid(), SIGCONT);
    assert_eq!(ended.code, 137, "{ended:?}");
    assert!(took < Duration::from_millis(2_500), "{took:?}");
    assert!(took > Duration::from_millis(900), "it did not wait for Redis: {took:?}");
}

#[test]
fn a_killed_shim_is_dead_within_three_heartbeats_at_the_time_given() {
    let redis = Redis::start();
    let running = extractor(redis.url(), SHA).ready();
    let worker = running.worker_pid();
    // The first sign of life comes beside the worker's start.
    eventually("a sign of life", || (index(&redis)[0].1 > 0).then_some(()));
    running.signal(SIGKILL);
    let killed = Instant::now();
    kill(worker, SIGKILL);
    let verdict = eventually("DEAD", || {
        Some(verify(redis.url()).output()).filter(|verdict| verdict.stdout.contains("[DEAD]"))
    });
    let took = killed.elapsed();
    assert!(took < 3 * HEARTBEAT + Duration::from_millis(1_500), "{took:?}");
    assert_eq!(verdict.code, 1, "{verdict:?}");
    let last_seen = index(&redis)[0].1;
    let date = std::process::Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%S", "-d", &format!("@{}", last_seen / 1000)])
        .output()
        .expect("date");
    let date = String::from_utf8(date.stdout).unwrap();
    let expected = format!("Last seen: {}.{:03}Z", date.trim(), last_seen % 1000);
    assert!(verdict.stdout.contains(&expected), "{expected}: {verdict:?}");
    // Its record is gone, and what it ran and where is still known.
    let hostname = nix::unistd::gethostname().unwrap().into_string().unwrap();
    for known in [format!("      SHA: {SHA}\n"), format!("      Host: {hostname}\n")] {
        assert!(verdict.stdout.contains(&known), "{known}: {verdict:?}");
    }
    // The control: the one key says that it runs, for a day.
    assert_eq!(redis.cli(["HGET", VERSION, "gitSha"]), SHA);
}

#[test]
fn a_fleet_is_back_within_a_heartbeat_after_redis_was_restarted_empty() {
    let mut redis = Redis::start();
    let mut shims: Vec<Running> = (0..3).map(|_| extractor(redis.url(), SHA).ready()).collect();
    redis.restart();
    let restarted = Instant::now();
    eventually("the fleet", || (index(&redis).len() == 3).then_some(()));
    let took = restarted.elapsed();
    // Give or take a tenth, and a busy machine.
    assert!(took < HEARTBEAT.mul_f64(1.1) + Duration::from_secs(1), "{took:?}");
    assert_eq!(verify(redis.url()).output().code, 0);
    assert_eq!(hash(&redis, VERSION)["gitSha"], SHA);
    for shim in &mut shims {
        shim.expect_log("registered again");
    }
}

#[test]
fn each_change_of_state_is_one_line_however_many_attempts_it_took() {
    let mut redis = Redis::start();
    let mut running = extractor(redis.url(), SHA).ready();
    redis.stop();
    running.expect_log("has lost its registration");
    // Several attempts' time.
    std::thread::sleep(3 * HEARTBEAT);
    redis.restart();
    running.expect_log("registered again");
    running.signal(SIGTERM);
    let ended = running.end();
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("regist")).collect();
    assert_eq!(lines.len(), 3, "{lines:#?}");
}

#[test]
fn a_pause_of_redis_makes_nobody_dead_for_longer_than_the_pause() {
    let redis = Redis::start();
    let _running = extractor(redis.url(), SHA).ready();
    let pause = 2 * HEARTBEAT;
    kill(redis.pid(), SIGSTOP);
    let paused = Instant::now();
    let verdict = verify(redis.url()).options(["--timeout", "500ms"]).output();
    assert_eq!(verdict.code, 2, "{verdict:?}");
    std::thread::sleep(pause.saturating_sub(paused.elapsed()));
    kill(redis.pid(), SIGCONT);
    let resumed = Instant::now();
    let mut last_dead = None;
    while resumed.elapsed() < 3 * HEARTBEAT {
        let verdict = verify(redis.url()).output();
        if verdict.stdout.contains("[DEAD]") {
            last_dead = Some(resumed.elapsed());
        }
    }
    assert!(last_dead.is_none_or(|dead| dead <= pause), "{last_dead:?}");
    assert_eq!(verify(redis.url()).output().code, 0);
}

/// The shim's host is an hour behind, or ahead of, the clock that counts.
#[test]
fn liveness_is_told_by_redis_own_clock() {
    for ahead in [3600, -3600] {
        let redis = Redis::ahead(ahead);
        let here = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let offset = i64::try_from(redis_time(&redis)).unwrap() / 1000
            - i64::try_from(here.as_secs()).unwrap();
        assert!((offset - ahead).abs() < 60, "the clock is not off: {offset}");
        let running = extractor(redis.url(), SHA).ready();
        let age = redis_time(&redis).abs_diff(index(&redis)[0].1);
        assert!(age < 5_000, "{age}");
        let verdict = verify(redis.url()).options(["--instances"]).output();
        assert_eq!(verdict.code, 0, "{verdict:?}");
        assert!(
            verdict.stdout.contains("last seen 0s ago")
                || verdict.stdout.contains("last seen 1s ago")
        );
        let worker = running.worker_pid();
        running.signal(SIGKILL);
        kill(worker, SIGKILL);
        eventually("DEAD", || {
            verify(redis.url()).output().stdout.contains("[DEAD] extractor").then_some(())
        });
    }
}

#[test]
fn entries_of_the_index_go_a_day_after_they_were_last_seen() {
    let redis = Redis::start();
    let day_ago = redis_time(&redis) - 24 * 3_600_000;
    redis.cli(["ZADD", INDEX, &(day_ago - 1_000).to_string(), "ghost/1"]);
    redis.cli(["ZADD", INDEX, &(day_ago + 600_000).to_string(), "ghost/2"]);
    let verdict = verify(redis.url()).options(["--dead-for", "24h"]).output();
    assert!(verdict.stdout.contains("1 of 1 workers"), "{verdict:?}");
    let _running = extractor(redis.url(), SHA).ready();
    let members: Vec<String> = index(&redis).into_iter().map(|entry| entry.0).collect();
    assert_eq!(members.len(), 2, "{members:?}");
    assert_eq!(members[0], "ghost/2");
}

#[test]
fn it_works_on_a_cluster_of_three_masters() {
    let cluster = Cluster::start();
    for entry in &cluster.masters {
        cluster.masters.iter().for_each(|master| _ = master.cli(["FLUSHALL"]));
        // Five types, so that their keys are on all masters.
        let types = ["orchestrator", "sentinel", "extractor", "ocr", "notifier"];
        let shims: Vec<Running> = types
            .iter()
            .map(|name| extractor(entry.url(), SHA).env("WORKER_TYPE", name).ready())
            .collect();
        let places: Vec<usize> = types
            .iter()
            .map(|name| cluster.master_of(&format!("fiskai:worker:{name}:version")))
            .collect();
        assert!((0..3).all(|master| places.contains(&master)), "{places:?}");
        cluster.cli(["HSET", "fiskai:worker:old:version", "gitSha", SHA]);
        for asked in &cluster.masters {
            let verdict = verify(asked.url()).options(["--require", &types.join(",")]).output();
            assert_eq!(verdict.code, 0, "{verdict:?}");
            assert!(verdict.stdout.contains("[OK] old"), "{verdict:?}");
            assert_eq!(verdict.stdout.matches("[OK]").count(), 7, "{verdict:?}");
        }
        // Heartbeats get through, too: the instances outlive their first expiry.
        std::thread::sleep(4 * HEARTBEAT);
        let verdict = verify(entry.url()).output();
        assert_eq!(verdict.code, 0, "{verdict:?}");
        for shim in shims {
            shim.signal(SIGTERM);
            let ended = shim.end();
            assert!(!ended.stderr.contains("not registered"), "{ended:?}");
        }
        assert_eq!(cluster.cli(["ZCARD", INDEX]), "0");
        let verdict = verify(entry.url()).output();
        assert!(verdict.stdout.contains("[OK] All workers"), "only the old one: {verdict:?}");
    }
}

#[test]
fn a_slot_that_moves_to_another_master_is_followed() {
    let cluster = Cluster::start();
    let _running = extractor(cluster.masters[0].url(), SHA).ready();
    let slot = cluster.cli(["CLUSTER", "KEYSLOT", INDEX]);
    let from = cluster.master_of(INDEX);
    let to = (from + 1) % 3;
    let id = |master: usize| cluster.masters[master].cli(["CLUSTER", "MYID"]);
    let port = cluster.masters[to].port.to_string();
    cluster.masters[to].cli(["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
    cluster.masters[from].cli(["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);
    cluster.masters[from].cli(["MIGRATE", "127.0.0.1", &port, INDEX, "0", "5000"]);
    // While it is on its way the old master says ASK.
    let verdict = verify(cluster.masters[from].url()).output();
    assert_eq!(verdict.code, 0, "{verdict:?}");
    let score = || number(&cluster.masters[to].cli(["EVAL", "return redis.call('TIME')[1]", "0"]));
    let before = score();
    eventually("heartbeats by ASK", || (score() > before + 4).then_some(()));
    let verdict = verify(cluster.masters[from].url()).options(["--instances"]).output();
    assert_eq!(verdict.code, 0, "{verdict:?}");
    for master in [to, from] {
        cluster.masters[master].cli(["CLUSTER", "SETSLOT", &slot, "NODE", &id(to)]);
    }
    eventually("the move", || (cluster.master_of(INDEX) == to).then_some(()));
    let verdict = verify(cluster.masters[from].url()).output();
    assert_eq!(verdict.code, 0, "{verdict:?}");
}

#[test]
fn a_failover_behind_the_same_address_loses_nobody() {
    let mut master = Redis::start();
    let replica = Redis::start();
    replica.cli(["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    let address = Address::of(&master);
    let mut running = extractor(address.url(), SHA).ready();
    eventually("the replica", || (index(&replica).len() == 1).then_some(()));
    master.stop();
    running.expect_log("has lost its registration");
    replica.cli(["REPLICAOF", "NO", "ONE"]);
    address.leads_to(&replica);
    running.expect_log("registered again");
    let verdict = verify(address.url()).output();
    assert_eq!(verdict.code, 0, "{verdict:?}");
}
