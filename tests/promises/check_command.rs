//! `check`: every guard's verdict in full, nothing started and no network touched.

use serde_json::{Value, json};

use crate::common::{Ended, Folder, OTHER, SHA, Sandbox, Shim, fixture, left_behind};

fn check() -> Shim {
    Shim::command("check")
}

/// The one line of a text verdict that is about this guard.
fn line<'a>(ended: &'a Ended, guard: &str) -> &'a str {
    let about = format!("] {guard}: ");
    let lines: Vec<&str> = ended.stdout.lines().filter(|line| line.contains(&about)).collect();
    let [line] = lines[..] else { panic!("{guard} in {ended:?}") };
    line
}

/// Asserts each guard's verdict with a word of its reason, in text and in JSON, and the exit code.
fn assert_verdicts(shim: &Shim, verdicts: [(&str, &str); 3], code: i32) {
    let guards = ["tsx", "unknown", "mismatch"];
    let text = shim.output();
    assert_eq!((text.code, text.stderr.as_str()), (code, ""), "{text:?}");
    for (guard, (verdict, why)) in guards.into_iter().zip(verdicts) {
        let line = line(&text, guard);
        let verdict = format!("[{}] {guard}", verdict.to_uppercase());
        assert!(line.contains(&verdict) && line.contains(why), "{guard}: {text:?}");
    }
    let last = text.stdout.lines().last().unwrap();
    assert!(last.starts_with(if code == 0 { "[OK]" } else { "[FAIL]" }), "{text:?}");

    let json = shim.clone().env("VERSION_GUARD_LOG_FORMAT", "json").output();
    assert_eq!((json.code, json.stderr.as_str()), (code, ""), "{json:?}");
    assert_eq!(json.stdout.lines().count(), 1, "{json:?}");
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    for (index, (verdict, why)) in verdicts.into_iter().enumerate() {
        let found = &report["guards"][index];
        assert_eq!(found["guard"], guards[index], "{report:#}");
        assert_eq!(found["verdict"], verdict, "{report:#}");
        assert!(found["why"].as_str().unwrap().contains(why), "{report:#}");
    }
    assert_eq!(report["starts"], code == 0, "{report:#}");
}

const PASSED: (&str, &str) = ("passed", "");

#[test]
fn an_image_in_order_passes_all_three_guards() {
    let shim = check().production(SHA).env("EXPECTED_GIT_SHA", SHA).worker(["node", "w.js"]);
    assert_verdicts(&shim, [PASSED, PASSED, PASSED], 0);
}

#[test]
fn each_guard_that_refuses_says_why_and_the_exit_code_is_1() {
    let node = |shim: Shim| shim.worker(["node", "w.js"]);
    let expecting = |shim: Shim| shim.env("EXPECTED_GIT_SHA", SHA);
    assert_verdicts(
        &expecting(check().production(SHA).worker(["npx", "tsx", "w.ts"])),
        [("refused", "npx tsx w.ts → tsx w.ts"), PASSED, PASSED],
        1,
    );
    assert_verdicts(
        &node(expecting(check().production("HEAD"))),
        [PASSED, ("refused", "HEAD"), ("off", "no SHA")],
        1,
    );
    for production in [true, false] {
        let shim = node(expecting(check().env("GIT_SHA", OTHER)));
        let shim = if production { shim.env("NODE_ENV", "production") } else { shim };
        assert_verdicts(&shim, [PASSED, PASSED, ("refused", OTHER)], 1);
        assert_verdicts(&shim, [PASSED, PASSED, ("refused", SHA)], 1);
    }
}

#[test]
fn every_guard_that_refuses_is_told_not_only_the_first() {
    let shim = check().production(OTHER).env("EXPECTED_GIT_SHA", SHA).worker(["tsx"]);
    assert_verdicts(&shim, [("refused", "tsx"), PASSED, ("refused", OTHER)], 1);
}

#[test]
fn a_guard_that_is_off_says_why() {
    assert_verdicts(
        &check().worker(["npx", "tsx"]),
        [("off", "NODE_ENV"), ("off", "NODE_ENV"), ("off", "EXPECTED_GIT_SHA is not set")],
        0,
    );
}

#[test]
fn without_a_command_the_tsx_guard_is_off_and_the_others_judge() {
    let off = ("off", "no worker command");
    assert_verdicts(
        &check().production(SHA).env("EXPECTED_GIT_SHA", SHA),
        [off, PASSED, PASSED],
        0,
    );
    assert_verdicts(
        &check().production(SHA).env("EXPECTED_GIT_SHA", OTHER),
        [off, PASSED, ("refused", OTHER)],
        1,
    );
}

#[test]
fn the_verdict_is_that_of_run() {
    for (git_sha, expected, by_tsx) in [
        (SHA, SHA, false),
        (SHA, OTHER, false),
        ("", SHA, false),
        ("", "", true),
        (SHA, "", true),
        (SHA, "", false),
    ] {
        for node_env in ["production", "test"] {
            let of = |command| {
                let shim = Shim::command(command).task(["exit", "0"]);
                if by_tsx { shim.or_tsx() } else { shim }
                    .env("NODE_ENV", node_env)
                    .env("GIT_SHA", git_sha)
                    .env("EXPECTED_GIT_SHA", expected)
                    .output()
            };
            let (check, run) = (of("check"), of("run"));
            assert_eq!(check.code, run.code, "{check:?} {run:?}");
        }
    }
}

#[test]
fn it_tells_what_it_judged_by() {
    let date = "2026-01-08T12:00:00Z";
    let sandbox = Sandbox::new().sealed(json!({ "gitSha": SHA, "buildDate": date }).to_string());
    let shim = check().production(OTHER).env("EXPECTED_GIT_SHA", SHA).inside(sandbox);
    let text = shim.output().stdout;
    for fact in [SHA, OTHER, date, "sealed", "Production:   yes"] {
        assert!(text.contains(fact), "{fact} in {text}");
    }
    let json = shim.env("VERSION_GUARD_LOG_FORMAT", "json").output();
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    for (name, fact) in [
        ("gitSha", json!(SHA)),
        ("source", json!("sealed")),
        ("overridden", json!(OTHER)),
        ("buildDate", json!(date)),
        ("production", json!(true)),
        ("expectedGitSha", json!(SHA)),
    ] {
        assert_eq!(report[name], fact, "{name} in {report:#}");
    }
}

#[test]
fn the_flag_makes_it_json_as_its_twin_does() {
    let ended = check().options(["--log-format", "json"]).output();
    assert!(serde_json::from_str::<Value>(&ended.stdout).unwrap().is_object(), "{ended:?}");
}

#[test]
fn values_from_outside_reach_no_terminal_unescaped() {
    let odd = "a1\x1b[2J\n[OK] The worker would start\u{202e}";
    let sandbox = Sandbox::new().sealed(json!({ "gitSha": odd, "buildDate": odd }).to_string());
    let ended = check()
        .production(odd)
        .env("EXPECTED_GIT_SHA", format!("{odd}b"))
        .worker(["tsx", odd])
        .inside(sandbox)
        .output();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(!ended.stdout.contains(['\x1b', '\u{202e}']), "{ended:?}");
    assert!(ended.stdout.lines().all(|line| !line.starts_with("[OK]")), "{ended:?}");
}

/// The control is the same command line with `run`, which starts the worker and opens sockets.
#[test]
fn it_starts_nothing_and_opens_no_socket() {
    for (command, active) in [("check", false), ("run", true)] {
        let folder = Folder::new();
        let marker = folder.path("started");
        let worker = [fixture("worker"), "touch".into(), marker.clone()];
        let (ended, calls) = Shim::command(command)
            .worker(worker)
            .production(SHA)
            .env("EXPECTED_GIT_SHA", SHA)
            .registers("orchestrator", "redis://localhost:1")
            .traced("%network,%process");
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(left_behind(&marker), active, "{command}: {calls}");
        assert_eq!(calls.contains("socket("), active, "{command}: {calls}");
        assert_eq!(calls.contains("clone("), active, "{command}: {calls}");
        assert_eq!(calls.matches("execve(").count(), if active { 2 } else { 1 }, "{calls}");
    }
}

#[test]
fn a_verdict_that_can_not_be_written_is_a_failure_and_no_panic() {
    let shim = check().production(SHA).env("EXPECTED_GIT_SHA", SHA).redirected("> /dev/full");
    let ended = shim.output();
    assert_eq!(ended.code, 125, "{ended:?}");
    let lines = ended.lines();
    assert_eq!(lines.len(), 1, "{ended:?}");
    assert!(
        lines[0].starts_with("[version] ") && lines[0].contains("standard output"),
        "{lines:?}"
    );
}
