//! `verify`: the truth about the fleet, as text, JSON and metrics, and as an exit code.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::libc::{SIGINT, SIGSTOP, SIGTERM};
use openmetrics_parser::prometheus::parse_prometheus;
use openmetrics_parser::{PrometheusValue, Sample};

use crate::common::terminal::Terminal;
use crate::common::{
    Ended, Folder, OTHER, Redis, Running, SHA, Shim, eventually, kill, silent_server,
};

fn verify(redis: &Redis) -> Shim {
    Shim::command("verify").env("REDIS_URL", redis.url()).env("EXPECTED_GIT_SHA", SHA)
}

#[test]
fn it_waits_no_longer_than_it_was_told_to_also_for_a_redis_that_says_nothing() {
    let (_server, url) = silent_server();
    let shim = Shim::command("verify").env("REDIS_URL", url).env("EXPECTED_GIT_SHA", SHA);
    let ended = shim.options(["--wait", "1s", "--timeout", "1m"]).output();
    assert_eq!(ended.code, 2, "{ended:?}");
}

fn started(redis: &Redis, worker_type: &str, sha: &str) -> Running {
    Shim::run(["sleep"]).env("GIT_SHA", sha).registers(worker_type, redis.url()).ready()
}

/// What a worker without a shim registers.
fn old_style(redis: &Redis, worker_type: &str, sha: &str, started_at: &str) {
    let key = format!("fiskai:worker:{worker_type}:version");
    redis.cli(["HSET", &key, "gitSha", sha, "buildDate", "x", "startedAt", started_at, "pid", "1"]);
    redis.cli(["EXPIRE", &key, "86400"]);
}

fn assert_one_line(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(
        (ended.code, ended.lines().len(), ended.stdout.as_str()),
        (code, 1, ""),
        "{ended:?}"
    );
    for part in parts {
        assert!(ended.stderr.contains(part), "{part}: {ended:?}");
    }
}

#[test]
fn the_text_is_the_documents() {
    let redis = Redis::start();
    old_style(&redis, "orchestrator", SHA, "2026-01-08T12:00:00.000Z");
    let ended = verify(&redis).output();
    let good = format!(
        "Expected GIT_SHA: {SHA}\n\nWorkers:\n  [OK] orchestrator\n      SHA: {SHA}\n      \
         Started: 2026-01-08T12:00:00.000Z\n"
    );
    assert_eq!(ended.stdout, format!("{good}\n[OK] All workers running expected version\n"));
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    old_style(&redis, "extractor", OTHER, "2026-01-07T09:30:00.000Z");
    let ended = verify(&redis).output();
    let bad = format!(
        "  [STALE] extractor\n      SHA: {OTHER}\n      Started: 2026-01-07T09:30:00.000Z\n\n\
         [FAIL] 1 of 2 workers not running expected version\n"
    );
    assert_eq!(ended.stdout, format!("{good}{bad}"));
    assert_eq!((ended.code, ended.stderr.as_str()), (1, ""));
}

#[test]
fn threestale_replicas_of_ten_are_seen_behind_the_last_one_to_start() {
    let redis = Redis::start();
    let shas = [SHA, OTHER, SHA, SHA, OTHER, SHA, OTHER, SHA, SHA, SHA];
    let _fleet: Vec<Running> = shas.iter().map(|sha| started(&redis, "extractor", sha)).collect();
    let ended = verify(&redis).output();
    assert_eq!(ended.code, 1, "{ended:?}");
    for part in [
        "[OK] extractor (7 instances)",
        "[STALE] extractor (3 instances)",
        "[FAIL] 3 of 10 workers not running expected version",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {ended:?}");
    }
    // The control: the one key of the type says that all is well.
    let seen = redis.cli(["HGET", "fiskai:worker:extractor:version", "gitSha"]);
    assert_eq!(seen, SHA);
    let instances = verify(&redis).options(["--instances"]).output();
    assert_eq!(instances.stdout.matches("\n      - ").count(), 10, "{instances:?}");
}

#[test]
fn an_abbreviated_expectation_will_do_from_seven_digits_on() {
    let redis = Redis::start();
    old_style(&redis, "w", SHA, "x");
    for (expected, code) in
        [(&SHA[..7], 0), (&SHA[..39], 0), (SHA, 0), (&SHA[..6], 2), ("abc", 2), (&OTHER[..7], 1)]
    {
        let option =
            verify(&redis).without_env("EXPECTED_GIT_SHA").options(["--expected", expected]);
        for shim in [option, verify(&redis).env("EXPECTED_GIT_SHA", expected)] {
            let ended = shim.output();
            assert_eq!(ended.code, code, "{expected}: {ended:?}");
            let is_told = ended.stderr.contains(&format!("'{expected}', too short"));
            assert_eq!(is_told, code == 2, "{ended:?}");
        }
    }
    old_style(&redis, "w", &SHA[..7], "x");
    assert_eq!(verify(&redis).output().code, 1);
}

#[test]
fn what_is_required_and_not_there_is_missing() {
    let redis = Redis::start();
    let folder = Folder::new();
    let file = folder.file("required", "# the fleet\nextractor\n\nsentinel # soon\n");
    let _extractor = started(&redis, "extractor", SHA);
    assert_eq!(verify(&redis).output().code, 0);
    for shim in [
        verify(&redis).options(["--require", "extractor,sentinel"]),
        verify(&redis).env("VERSION_GUARD_REQUIRE", "sentinel"),
        verify(&redis).options(["--require-file", file.to_str().unwrap()]),
        verify(&redis).env("VERSION_GUARD_REQUIRE_FILE", &file),
    ] {
        let ended = shim.output();
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stdout.contains("[MISSING] sentinel\n"), "{ended:?}");
        assert!(ended.stdout.contains("[FAIL] 1 of 2 workers"), "{ended:?}");
    }
    let _sentinel = started(&redis, "sentinel", SHA);
    assert_eq!(verify(&redis).options(["--require", "extractor,sentinel"]).output().code, 0);
}

#[test]
fn a_worker_without_a_shim_that_starts_after_the_last_shim_left_is_seen() {
    let redis = Redis::start();
    let running = started(&redis, "extractor", SHA);
    running.signal(SIGTERM);
    running.end();
    assert!(verify(&redis).output().stdout.contains("No workers registered"));
    old_style(&redis, "extractor", OTHER, "x");
    let ended = verify(&redis).output();
    assert!(ended.stdout.contains("[STALE] extractor"), "{ended:?}");
}

#[test]
fn an_empty_registry_is_a_failure() {
    let redis = Redis::start();
    let ended = verify(&redis).output();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.ends_with("\n[FAIL] No workers registered\n"), "{ended:?}");
}

/// Writes what nobody should write, beside a healthy worker.
fn poison(redis: &Redis) {
    old_style(redis, "healthy", SHA, "2026-01-08T12:00:00.000Z");
    let reply = redis.cli([
        "EVAL",
        r"local megabyte = string.rep('x', 1000000)
        local key = function(name) return 'fiskai:worker:' .. name .. ':version' end
        redis.call('HSET', key('escapes'), 'gitSha', '\27[31mred\27]0;title\7', 'startedAt', '\27c')
        redis.call('HSET', key('lines'), 'gitSha', 'a\n[OK] All workers running expected version\n')
        redis.call('HSET', key('c1'), 'gitSha', '\194\155\51\49m', 'startedAt', '\226\128\174abc')
        redis.call('HSET', key('bytes'), 'gitSha', '\255\254\0')
        redis.call('HSET', key('large'), 'gitSha', megabyte, 'startedAt', megabyte, 'other', megabyte)
        redis.call('HSET', key('partial'), 'startedAt', '2026-01-08T12:00:00.000Z')
        redis.call('HSET', key('alien'), 'unknown', 'field')
        redis.call('HSET', key('unknown'), 'gitSha', 'unknown')
        redis.call('HSET', key('blank'), 'gitSha', '')
        redis.call('SET', key('string'), 'text')
        redis.call('RPUSH', key('list'), 'a')
        redis.call('HSET', key('od\27[2Jd: \n name/*'), 'gitSha', 'x')
        redis.call('HSET', key(''), 'gitSha', 'x')
        redis.call('HSET', key(megabyte), 'gitSha', 'x')
        local time = redis.call('TIME')[1] * 1000
        redis.call('ZADD', 'fiskai:workers', time, 'odd', time, '/', time, 'a/b/c', '+inf', 'e\27/1',
            time, megabyte, time, 'typed/1')
        redis.call('SET', 'fiskai:worker:typed:instance:1', 'text')",
        "0",
    ]);
    assert_eq!(reply, "");
}

#[test]
fn whatever_stands_in_redis_nothing_raw_comes_out_and_the_healthy_part_does() {
    let redis = Redis::start();
    poison(&redis);
    for format in ["text", "json", "prometheus"] {
        let ended = verify(&redis).options(["--instances", "--format", format]).output();
        assert_eq!((ended.code, ended.stderr.as_str()), (1, ""), "{ended:?}");
        let odd =
            |c: &char| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c);
        assert_eq!(ended.stdout.chars().find(odd), None, "{}", ended.stdout);
        assert!(ended.stdout.len() < 30_000, "{}", ended.stdout.len());
        let healthy = match format {
            "text" => "[OK] healthy\n".to_owned(),
            "json" => "\"type\": \"healthy\"".to_owned(),
            _ => format!("{{type=\"healthy\",git_sha=\"{SHA}\",status=\"ok\"}} 1"),
        };
        assert!(ended.stdout.contains(&healthy), "{}", ended.stdout);
        assert_eq!(ended.stdout.matches("[OK]").count(), if format == "text" { 2 } else { 1 });
    }
    let text = verify(&redis).output().stdout;
    for part in [
        r"SHA: \u{1b}[31mred\u{1b}]0;title\u{7}",
        "[STALE] partial\n      SHA: unknown\n      Started: 2026",
        "[STALE] string\n      SHA: unknown\n",
        "[STALE] typed\n",
        r"[DEAD] e\u{1b}",
        "fiskai:worker:string:version can't be read: it holds another type of value",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn an_index_of_the_wrong_type_hides_no_worker_and_no_failure() {
    let redis = Redis::start();
    old_style(&redis, "healthy", SHA, "x");
    redis.cli(["SET", "fiskai:workers", "text"]);
    let ended = verify(&redis).output();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.contains("[OK] healthy"), "{ended:?}");
    assert!(ended.stdout.contains("[FAIL] Not all of the registry could be read"), "{ended:?}");
}

#[test]
fn who_cannot_ask_says_in_one_sentence_why_and_what_to_do() {
    let redis = Redis::with(["--requirepass", "hunter2"]);
    let url = |login: &str| format!("redis://{login}127.0.0.1:{}", redis.port);
    let asks =
        |login: &str| verify(&redis).env("REDIS_URL", url(login)).options(["--require", "ocr"]);
    assert_one_line(&asks("").output(), 2, &["refuses the login", "REDIS_URL"]);
    let ended = asks(":hunter3@").output();
    assert_one_line(&ended, 2, &["refuses the login", "user and password"]);
    assert!(!ended.stderr.contains("hunter3"), "{ended:?}");
    assert_one_line(
        &asks("nobody:hunter2@").output(),
        2,
        &["refuses the login", "user and password"],
    );
    for (setup, missing) in [
        ("+@all -zscan", "zscan"),
        ("+@all -hmget", "hmget"),
        ("+@all -scan", "scan"),
        ("+@all -cluster", "cluster"),
        ("+@all -time", "time"),
        ("+@all resetkeys ~other*", "access"),
    ] {
        let rules = setup.split(' ').filter(|word| *word != "resetkeys");
        let keys = if setup.contains('~') { vec![] } else { vec!["~*"] };
        let words = ["--no-auth-warning", "-a", "hunter2", "ACL", "SETUSER", "bob", "reset", "on"];
        redis.cli(words.into_iter().chain([">b"]).chain(rules).chain(keys));
        let ended = asks("bob:b@").output();
        assert_one_line(&ended, 2, &["doesn't permit", missing, "The user needs: ~fiskai:worker*"]);
    }
    assert_one_line(
        &verify(&redis).env("REDIS_URL", "redis://127.0.0.1:1").output(),
        2,
        &["can't be reached", "refused", "REDIS_URL"],
    );
    assert_one_line(
        &verify(&redis).without_env("REDIS_URL").output(),
        2,
        &["REDIS_URL is not set"],
    );
    assert_one_line(
        &verify(&redis).env("REDIS_URL", "http://x").output(),
        2,
        &["REDIS_URL", "redis://"],
    );
    assert_one_line(
        &verify(&Redis::start()).without_env("EXPECTED_GIT_SHA").output(),
        2,
        &["--expected", "EXPECTED_GIT_SHA", "version-guard expect"],
    );
    for word in ["unknown", " HEAD", "${GIT_SHA}"] {
        let ended = verify(&redis).env("EXPECTED_GIT_SHA", word).output();
        assert_one_line(&ended, 2, &["says nothing"]);
    }
    assert_one_line(
        &verify(&redis).options(["--require-file", "/nowhere"]).output(),
        2,
        &["/nowhere", "No such file"],
    );
    assert_one_line(
        &verify(&redis).env("VERSION_GUARD_REQUIRE", "a b").output(),
        125,
        &["VERSION_GUARD_REQUIRE", "a b"],
    );
}

#[test]
fn a_redis_that_says_nothing_is_asked_for_no_longer_than_the_timeout() {
    let redis = Redis::start();
    kill(redis.pid(), SIGSTOP);
    let ended = verify(&redis).options(["--timeout", "300ms"]).output();
    assert_one_line(&ended, 2, &["no answer within 300ms", "--timeout"]);
    assert!(ended.took < Duration::from_secs(3), "{ended:?}");
}

#[test]
fn a_reader_that_leaves_and_a_full_disk_are_no_reason_to_panic() {
    let redis = Redis::start();
    old_style(&redis, "w", SHA, "x");
    for options in [&["--format", "text"], &["--format", "json"], &["--format", "prometheus"]] {
        let ended = verify(&redis).options(options).redirected("> /dev/full").output();
        assert_one_line(&ended, 2, &["standard output", "No space left"]);
        let closed = verify(&redis).options(options).redirected(">&-").output();
        assert_eq!(closed.stderr, "", "{closed:?}");
        assert_eq!(unread(&verify(&redis).options(options)), (Some(0), String::new()));
    }
    assert_eq!(unread(&verify(&redis).options(["--watch"])), (Some(0), String::new()));
}

/// Exit code and standard error of a program whose standard output is a pipe without a reader.
fn unread(shim: &Shim) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = shim.to_command().stdout(Stdio::from(writer)).output().expect("verify");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_json_has_the_shape_that_the_readme_documents() {
    let redis = Redis::start();
    let _fleet = [started(&redis, "extractor", SHA), started(&redis, "extractor", SHA)];
    old_style(&redis, "sentinel", OTHER, "2026-01-08T12:00:00.000Z");
    let shim = verify(&redis).options(["--json", "--instances", "--require", "ocr"]);
    let ended = shim.output();
    assert_eq!(ended.code, 1, "{ended:?}");
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(json["version"], 1);
    assert_eq!(json["expectedGitSha"], SHA);
    assert_eq!(json["asExpected"], false);
    assert_eq!((json["workers"].as_u64(), json["failing"].as_u64()), (Some(4), Some(2)));
    let types: Vec<_> = json["types"].as_array().unwrap().iter().collect();
    let fields = |field| types.iter().map(|block| block[field].clone()).collect::<Vec<_>>();
    assert_eq!(fields("type"), ["extractor", "sentinel", "ocr"]);
    assert_eq!(fields("status"), ["ok", "stale", "missing"]);
    assert_eq!(types[0]["instances"].as_array().unwrap().len(), 2);
    assert_eq!(types[1]["instances"][0]["id"], serde_json::Value::Null);
    assert_eq!(types[1]["firstStartedAt"], "2026-01-08T12:00:00.000Z");
    assert_eq!(types[2]["gitSha"], serde_json::Value::Null);
    let again = verify(&redis).env("VERSION_GUARD_FORMAT", "json").output();
    let again: serde_json::Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!(again["types"][0]["instances"], serde_json::Value::Null);
}

#[test]
fn the_metrics_are_what_a_parser_of_the_format_reads() {
    let redis = Redis::start();
    poison(&redis);
    let ended = verify(&redis).options(["--format", "prometheus", "--require", "ocr"]).output();
    let parsed =
        parse_prometheus(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout));
    let value = |name: &str, labels: &[(&str, &str)]| {
        let family = &parsed.families[&format!("version_guard_{name}")];
        assert!(!family.help.is_empty(), "{name}");
        let has = |sample: &&Sample<PrometheusValue>| {
            let set = sample.get_labelset().expect("labels");
            labels.iter().all(|(name, value)| set.get_label_value(name) == Some(value))
        };
        let found: Vec<_> = family.iter_samples().filter(has).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:#?}");
        match &found[0].value {
            PrometheusValue::Gauge(value) => value.as_i64(),
            other => panic!("no gauge: {other:?}"),
        }
    };
    for (worker_type, status, expected) in
        [("healthy", "ok", 1), ("ocr", "missing", 0), ("escapes", "stale", 1)]
    {
        let labels = [("type", worker_type), ("status", status)];
        assert_eq!(value("worker_instances", &labels), Some(expected), "{worker_type}");
    }
    let sha = r"\u{1b}[31mred\u{1b}]0;title\u{7}";
    assert_eq!(value("worker_instances", &[("type", "escapes"), ("git_sha", sha)]), Some(1));
    assert_eq!(value("fleet_as_expected", &[]), Some(0));
    assert_eq!(value("expected_info", &[("git_sha", SHA)]), Some(1));
}

#[test]
fn waiting_ends_when_the_fleet_is_as_expected() {
    let redis = Redis::start();
    let stale = started(&redis, "extractor", OTHER);
    let shim = verify(&redis).options(["--wait", "60s", "--require", "extractor,sentinel"]);
    let mut waiting = shim.spawn();
    let line = waiting.expect_log("Waiting");
    assert!(
        line.contains("2 of 2") && line.contains("extractor stale, sentinel missing"),
        "{line}"
    );
    let _sentinel = started(&redis, "sentinel", SHA);
    let line = waiting.expect_log("Waiting");
    assert!(line.contains("1 of 2") && line.ends_with(": extractor stale"), "{line}");
    drop(stale);
    redis.cli(["FLUSHALL"]);
    let _fleet = [started(&redis, "extractor", SHA), started(&redis, "sentinel", SHA)];
    let ended = waiting.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.ends_with("[OK] All workers running expected version\n"), "{ended:?}");
}

#[test]
fn waiting_ends_when_time_is_out_with_one_line_a_change() {
    let redis = Redis::start();
    let ended = verify(&redis).env("VERSION_GUARD_WAIT", "3s").output();
    let [change, end] = ended.lines()[..] else { panic!("{ended:?}") };
    assert!(change.contains("Waiting: ") && end.contains("Waited for "), "{ended:?}");
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.took >= Duration::from_secs(3), "{ended:?}");
    assert!(ended.stdout.contains("[FAIL] No workers registered"), "{ended:?}");
}

#[test]
fn waiting_outlasts_a_redis_that_is_away_and_not_a_wrong_password() {
    let mut redis = Redis::start();
    redis.stop();
    let mut waiting = verify(&redis).options(["--wait", "60s"]).spawn();
    waiting.expect_log("can't be reached");
    redis.restart();
    old_style(&redis, "w", SHA, "x");
    assert_eq!(waiting.end().code, 0);
    let ended = verify(&redis).env("REDIS_URL", "redis://127.0.0.1:1").options(["--wait", "1s"]);
    assert_eq!(ended.output().code, 2);
    redis.cli(["CONFIG", "SET", "requirepass", "hunter2"]);
    let ended = verify(&redis).options(["--wait", "60s"]).output();
    assert_one_line(&ended, 2, &["refuses the login"]);
    assert!(ended.took < Duration::from_secs(10), "{ended:?}");
}

/// Runs it on a terminal of its own, by way of script(1).
fn on_a_terminal(shim: &Shim) -> Command {
    let command = shim.to_command();
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let mut script = Command::new("script");
    script.args(["-qec", &format!("stty cols 60 rows 12; exec {}", words.join(" ")), "/dev/null"]);
    script.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    script
}

#[test]
fn colour_is_for_terminals_and_for_those_who_want_it() {
    let redis = Redis::start();
    old_style(&redis, "w", SHA, "x");
    let coloured = |shim: &Shim| {
        let output = on_a_terminal(shim).output().expect("script");
        String::from_utf8_lossy(&output.stdout).contains("[\x1b[32mOK\x1b[0m] w")
    };
    assert!(coloured(&verify(&redis)));
    assert!(!coloured(&verify(&redis).env("NO_COLOR", "1")));
    assert!(coloured(&verify(&redis).env("NO_COLOR", "")));
    assert!(!coloured(&verify(&redis).env("TERM", "dumb")));
    assert!(!verify(&redis).output().stdout.contains('\x1b'));
}

#[test]
fn a_watched_table_is_drawn_over_itself_and_fits_the_terminal() {
    let redis = Redis::start();
    for number in 0..30 {
        old_style(&redis, &format!("worker-{number}"), OTHER, "x");
    }
    let mut command = on_a_terminal(&verify(&redis).options(["--watch"]));
    let mut watching = Running::start(&mut command, false);
    let mut lines = Vec::new();
    while lines.iter().filter(|line: &&String| line.contains("TYPE")).count() < 3 {
        lines.push(watching.line());
    }
    assert!(lines[1..].iter().any(|line| line.contains("\x1b[11A\rExpected")), "{lines:#?}");
    for line in &lines {
        let shown = line.trim_end().replace("\x1b[31m", "").replace("\x1b[0m", "");
        let shown = shown.replace("\x1b[K", "").replace("\x1b[J", "").replace("\x1b[11A\r", "");
        assert!(shown.chars().count() <= 60, "{line:?}");
    }
    let all = lines.join("\n");
    assert!(all.contains("[31mFAIL") && all.contains("… and 24 more"), "{all}");
}

#[test]
fn watching_elsewhere_says_something_when_something_changes() {
    let redis = Redis::start();
    old_style(&redis, "w", SHA, "x");
    let mut watching = verify(&redis).env("VERSION_GUARD_WATCH", "true").spawn();
    assert_eq!(watching.line(), format!("Expected GIT_SHA: {SHA}"));
    assert!(watching.line().starts_with("TYPE"));
    assert!(watching.line().ends_with("OK"));
    old_style(&redis, "w", OTHER, "x");
    let line =
        eventually("the change", || Some(watching.line()).filter(|line| line.starts_with('w')));
    assert!(line.ends_with("STALE"), "{line}");
    let stopped = Instant::now();
    watching.signal(SIGTERM);
    let ended = watching.end();
    assert!(!ended.stdout.contains('\x1b') && stopped.elapsed() < Duration::from_secs(5));
}

#[test]
fn watching_on_a_terminal_ends_with_q_or_a_signal_and_leaves_the_terminal_as_it_was() {
    let redis = Redis::start();
    let _worker = started(&redis, "extractor", SHA);
    for (key, code) in [("q", 0), ("\x03", -SIGINT)] {
        let watch = verify(&redis).options(["--watch", "--instances"]);
        let mut terminal = Terminal::run(watch.to_command());
        terminal.expect(&format!("Expected GIT_SHA: {SHA}"));
        terminal.expect("  - ");
        assert!(!terminal.is_cooked(), "it reads key by key");
        terminal.type_in("x");
        terminal.type_in(key);
        assert_eq!(terminal.end(), code);
        assert!(terminal.is_cooked());
    }
}

#[test]
fn watching_ends_on_a_signal_as_pid_1_too() {
    let redis = Redis::start();
    let mut watching = verify(&redis).options(["--watch"]).pid1().spawn();
    assert_eq!(watching.line(), format!("Expected GIT_SHA: {SHA}"));
    assert!(watching.line().starts_with("TYPE"));
    watching.signal(SIGTERM);
    assert_eq!(watching.end().code, 143);
}

/// What the README says is enough for each.
#[test]
fn users_with_no_more_than_the_readme_grants_are_enough() {
    let redis = Redis::start();
    let readme = include_str!("../../docker/README.md");
    for name in ["shim", "verify", "expect"] {
        let line = readme
            .lines()
            .find_map(|line| line.strip_prefix(&format!("ACL SETUSER {name} ")))
            .unwrap_or_else(|| panic!("no user for {name}"));
        assert!(!line.contains('@') && !line.contains("~*"), "{line}");
        let words = ["ACL", "SETUSER", name].into_iter().chain(line.split_whitespace());
        assert_eq!(redis.cli(words), "OK");
    }
    redis.cli(["ACL", "SETUSER", "default", "off"]);
    let url = |name: &str| format!("redis://{name}:change-me@127.0.0.1:{}", redis.port);
    let shim = Shim::run(["sleep"])
        .env("GIT_SHA", SHA)
        .registers("extractor", url("shim"))
        .env("VERSION_GUARD_HEARTBEAT", "200ms");
    let asks = verify(&redis).env("REDIS_URL", url("verify"));
    let mut running = shim.spawn();
    running.expect_log("is registered");
    // Through heartbeats, and one that has to write the version key anew.
    std::thread::sleep(Duration::from_secs(1));
    let key = "fiskai:worker:extractor:version";
    let as_shim = |command: &[&str]| {
        let user = ["--user", "shim", "--pass", "change-me", "--no-auth-warning"];
        redis.cli(user.iter().chain(command))
    };
    as_shim(&["DEL", key, "fiskai:workers"]);
    eventually("the key", || (as_shim(&["HMGET", key, "gitSha"]) == SHA).then_some(()));
    let ended = asks.options(["--require", "extractor"]).output();
    assert_eq!(ended.code, 0, "{ended:?}");
    let publish =
        |name| Shim::command("expect").options([OTHER]).env("REDIS_URL", url(name)).output();
    for name in ["shim", "verify"] {
        let ended = publish(name);
        assert_one_line(&ended, 2, &["doesn't permit", "The user needs: ~fiskai:worker:expected"]);
    }
    assert_eq!(
        as_shim(&["HSET", "fiskai:worker:expected", "*", "x"]).split(' ').next(),
        Some("NOPERM")
    );
    let ended = publish("expect");
    assert_eq!(ended.code, 0, "{ended:?}");
    running.expect_log("STALE");
    let ended = verify(&redis).env("REDIS_URL", url("verify")).without_env("EXPECTED_GIT_SHA");
    let ended = ended.output();
    assert!(ended.code == 1 && ended.stdout.contains("published"), "{ended:?}");
    running.signal(SIGTERM);
    let ended = running.end();
    assert!(!ended.stderr.contains("lost"), "{ended:?}");
    let ended = verify(&redis).env("REDIS_URL", url("verify")).output();
    assert!(ended.stdout.contains("No workers registered"), "{ended:?}");
    let ended = verify(&redis).env("REDIS_URL", url("shim")).output();
    assert_eq!(ended.code, 2, "the other user is enough for neither: {ended:?}");
}

#[test]
fn without_a_search_a_worker_without_a_shim_is_seen_only_where_it_is_required() {
    let redis = Redis::start();
    let _running = started(&redis, "extractor", SHA);
    old_style(&redis, "old", OTHER, "x");
    let asks = verify(&redis).options(["--no-scan"]);
    let ended = asks.clone().output();
    assert!(ended.code == 0 && !ended.stdout.contains("old"), "{ended:?}");
    let ended = asks.options(["--require", "old"]).output();
    assert!(ended.code == 1 && ended.stdout.contains("[STALE] old"), "{ended:?}");
    let ended = verify(&redis).output();
    assert!(ended.code == 1 && ended.stdout.contains("[STALE] old"), "the control: {ended:?}");
}
