//! The three guards: the lines they refuse with, what they let start, and that no network comes first.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use crate::common::{Ended, Folder, OTHER, SHA, Sandbox, Shim, fixture, left_behind};

const TSX: &[&str] = &[
    "[version] FATAL: Running via tsx in production!",
    "[version] Workers must be compiled to JS and run with node.",
];

const UNKNOWN: &[&str] = &[
    "[version] FATAL: GIT_SHA is 'unknown' in production!",
    "[version] Image was built without --build-arg GIT_SHA",
    "[version] This worker CANNOT run - may be stale code.",
];

const MISMATCH: &[&str] = &[
    "[version] FATAL: Version mismatch!",
    "[version]   Image SHA:    a1b2c3d4e5f60718293a4b5c6d7e8f9012345678",
    "[version]   Expected SHA: 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
    "[version] This worker is running STALE code. Exiting.",
];

/// What is no production, though some of it looks like it.
const NO_PRODUCTION: [Option<&str>; 8] = [
    None,
    Some(""),
    Some("development"),
    Some("test"),
    Some("staging"),
    Some("prod"),
    Some("PRD "),
    Some("\nlive"),
];

/// Runs a worker that leaves a file behind, and tells whether it did.
fn run(change: impl FnOnce(Shim) -> Shim) -> (Ended, bool) {
    let folder = Folder::new();
    let marker = folder.path("started");
    let ended = change(Shim::run([OsStr::new("touch"), marker.as_os_str()])).output();
    (ended, left_behind(&marker))
}

fn started(change: impl FnOnce(Shim) -> Shim) -> Ended {
    let (ended, started) = run(change);
    assert!(started && ended.code == 0 && !ended.stderr.contains("FATAL"), "{ended:?}");
    ended
}

/// A run that is refused with these blocks of lines, in this order, and with no other.
fn refused(blocks: &[&[&str]], change: impl FnOnce(Shim) -> Shim) -> Ended {
    let (ended, started) = run(change);
    assert_refused(&ended, blocks);
    assert!(!started, "{ended:?}");
    ended
}

fn assert_refused(ended: &Ended, blocks: &[&[&str]]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    let lines = ended.lines();
    let at: Vec<usize> = blocks
        .iter()
        .map(|block| {
            lines
                .windows(block.len())
                .position(|window| window == *block)
                .unwrap_or_else(|| panic!("{block:#?} are not in {lines:#?}"))
        })
        .collect();
    assert!(at.is_sorted(), "{lines:#?}");
    let fatal = lines.iter().filter(|line| line.contains("FATAL")).count();
    assert_eq!(fatal, blocks.len(), "{lines:#?}");
    assert!(lines.iter().all(|line| line.starts_with("[version] ")), "{lines:#?}");
}

fn in_node_env(shim: Shim, node_env: Option<&str>) -> Shim {
    match node_env {
        Some(node_env) => shim.env("NODE_ENV", node_env),
        None => shim,
    }
}

#[test]
fn a_worker_that_would_run_by_tsx_is_refused_in_production() {
    for command in [
        &["tsx", "w.ts"][..],
        &["npx", "tsx", "w.ts"],
        &["node", "--import=tsx/esm", "w.js"],
        &["/app/node_modules/.bin/tsx", "w.ts"],
        &["env", "-S", "node --import tsx", "w.js"],
        &["sh", "-c", "cd /app && exec tsx w.ts"],
        &["node", "src/w.ts"],
    ] {
        let ended = refused(&[TSX], |shim| shim.production(SHA).worker(command));
        assert_eq!(ended.lines()[..2], *TSX, "nothing stands before them");
        let chain = format!(": {}", command.join(" ").split(" -").next().unwrap());
        assert!(ended.lines()[2].contains(&chain), "{command:?}: {ended:?}");
    }
}

#[test]
fn tsx_beside_bytes_that_are_no_text_is_refused() {
    let bytes = OsString::from_vec(b"\xff\xfe".to_vec());
    refused(&[TSX], |shim| shim.production(SHA).worker([OsString::from("tsx"), bytes]));
}

#[test]
fn the_word_in_what_is_not_executed_passes_the_tsx_guard() {
    for argument in ["dist/w.js", "tsx", "--queue=tsx", "w.ts", "npx tsx w.ts", "/tsx/w.js"] {
        let ended = started(|shim| shim.production(SHA).arguments([argument]));
        let [line] = ended.lines()[..] else { panic!("{ended:?}") };
        assert!(line.contains("let it start (on: tsx, unknown;"), "{ended:?}");
    }
}

#[test]
fn an_image_without_a_sha_is_refused_in_production() {
    let ended = refused(&[UNKNOWN], |shim| shim.env("NODE_ENV", "production"));
    assert_eq!(ended.lines()[..3], *UNKNOWN, "nothing stands before them");
}

#[test]
fn a_sha_that_says_nothing_is_unknown() {
    for word in [
        "",
        " ",
        "\t\r\n",
        "unknown",
        "null",
        "undefined",
        "HEAD",
        "${GIT_SHA}",
        " unknown ",
        "null\n",
        "\tHEAD\r\n",
        " ${GIT_SHA}",
    ] {
        refused(&[UNKNOWN], |shim| shim.production(word));
    }
}

#[test]
fn a_sha_that_only_looks_like_an_empty_word_is_a_sha() {
    for word in ["unknown-1", "nullable", "refs/tags/v1", "main-2", "00000001"] {
        started(|shim| shim.production(word));
    }
}

#[test]
fn a_sha_that_is_no_text_is_unknown() {
    refused(&[UNKNOWN], |shim| {
        shim.production(SHA).env("GIT_SHA", OsString::from_vec(b"a1b2c3d\xff".to_vec()))
    });
}

#[test]
fn another_sha_than_the_expected_one_is_refused_in_any_environment() {
    for node_env in NO_PRODUCTION.into_iter().chain([Some("production")]) {
        let ended = refused(&[MISMATCH], |shim| {
            in_node_env(shim, node_env).env("GIT_SHA", SHA).env("EXPECTED_GIT_SHA", OTHER)
        });
        assert_eq!(ended.lines(), MISMATCH);
    }
}

#[test]
fn shas_are_compared_whole() {
    started(|shim| shim.production(SHA).env("EXPECTED_GIT_SHA", SHA.to_uppercase()));
    for (image, expected) in
        [(SHA, "a1b2c3d"), ("a1b2c3d", SHA), (SHA, "a1b2c3d4e5f60718293a4b5c6d7e8f901234567 8")]
    {
        refused(&[&MISMATCH[..1]], |shim| shim.production(image).env("EXPECTED_GIT_SHA", expected));
    }
    refused(&[&MISMATCH[..1]], |shim| {
        shim.production(SHA).env("EXPECTED_GIT_SHA", OsString::from_vec(b"a1b2c3d\xff".to_vec()))
    });
}

#[test]
fn an_abbreviation_is_refused_with_one_more_line_that_says_so() {
    for (image, expected) in [(SHA, "a1b2c3d"), ("a1b2c3d", SHA)] {
        let ended = refused(&[&MISMATCH[..1]], |shim| {
            shim.env("GIT_SHA", image).env("EXPECTED_GIT_SHA", expected)
        });
        let lines = ended.lines();
        assert_eq!(lines.len(), MISMATCH.len() + 1, "{lines:#?}");
        assert!(lines[4].contains("abbreviation"), "{lines:#?}");
    }
}

#[test]
fn the_expected_sha_starts_the_worker() {
    started(|shim| shim.production(SHA).env("EXPECTED_GIT_SHA", SHA));
}

#[test]
fn blanks_and_line_ends_around_either_sha_do_not_count() {
    for (image, expected) in
        [(" a1b2c3d\r\n", "a1b2c3d"), ("a1b2c3d", "\ta1b2c3d \n"), ("\na1b2c3d ", " a1b2c3d\r\n")]
    {
        started(|shim| shim.production(image).env("EXPECTED_GIT_SHA", expected));
    }
    refused(&[MISMATCH], |shim| {
        shim.production(&format!(" {SHA}\r\n")).env("EXPECTED_GIT_SHA", format!("\t{OTHER}\n"))
    });
}

#[test]
fn outside_production_tsx_and_unknown_are_one_warning_line_each_and_the_worker_starts() {
    for node_env in NO_PRODUCTION {
        let lines = |git_sha: &str, change: fn(Shim) -> Shim| {
            let ended = started(|shim| change(in_node_env(shim, node_env).env("GIT_SHA", git_sha)));
            ended.stderr
        };
        let as_it_is = |shim| shim;
        let clean = lines(SHA, as_it_is).lines().count();
        let tsx = lines(SHA, Shim::or_tsx);
        assert_eq!(tsx.lines().count(), clean + 1, "{tsx}");
        assert_eq!(tsx.lines().filter(|line| line.contains("runs tsx")).count(), 1, "{tsx}");
        let unknown = lines("unknown", as_it_is);
        assert_eq!(unknown.lines().count(), clean + 1, "{unknown}");
        assert!(unknown.contains("unknown: GIT_SHA is"), "the reason is in {unknown}");
        let both = lines("unknown", Shim::or_tsx);
        assert_eq!(both.lines().count(), clean + 2, "{both}");
    }
}

#[test]
fn of_unknown_and_mismatch_at_once_only_unknown_is_printed() {
    refused(&[UNKNOWN], |shim| shim.production("unknown").env("EXPECTED_GIT_SHA", OTHER));
}

#[test]
fn outside_production_an_unknown_sha_is_not_the_expected_one() {
    let lines = [MISMATCH[0], "[version]   Image SHA:    unknown", MISMATCH[2], MISMATCH[3]];
    refused(&[&lines], |shim| shim.env("EXPECTED_GIT_SHA", OTHER));
}

/// A mismatch is one in any environment: that NODE_ENV is not production is no cause of it.
#[test]
fn beside_a_mismatch_nothing_is_said_of_the_environment() {
    let mismatched = |shim: Shim| shim.env("GIT_SHA", SHA).env("EXPECTED_GIT_SHA", OTHER);
    let ended = refused(&[MISMATCH], |shim| {
        mismatched(shim).env("VERSION_GUARD_ENFORCE", "always").env("NODE_ENV", "test")
    });
    assert_eq!(ended.lines(), MISMATCH);
}

#[test]
fn every_guard_that_refuses_is_printed_in_order() {
    refused(&[TSX, MISMATCH], |shim| shim.production(SHA).env("EXPECTED_GIT_SHA", OTHER).or_tsx());
    refused(&[TSX, UNKNOWN], |shim| {
        shim.production("unknown").env("EXPECTED_GIT_SHA", OTHER).or_tsx()
    });
}

#[test]
fn production_without_an_expected_sha_is_one_warning_and_the_worker_starts() {
    for expected in [None, Some(""), Some(" \r\n")] {
        let ended = started(|shim| match expected {
            Some(expected) => shim.production(SHA).env("EXPECTED_GIT_SHA", expected),
            None => shim.production(SHA),
        });
        // A warning: it is said where no more than warnings are wanted, and in development it is not.
        let warned = |shim: Shim| shim.env("VERSION_GUARD_LOG", "warn");
        let [line] = ended.lines()[..] else { panic!("{ended:?}") };
        assert!(line.contains("mismatch off: EXPECTED_GIT_SHA is not set"), "{ended:?}");
        assert!(line.contains("The mismatch guard is off"), "{ended:?}");
        assert_eq!(started(|shim| warned(shim.production(SHA))).lines(), [line]);
        assert_eq!(started(|shim| warned(shim.env("GIT_SHA", SHA))).lines(), [""; 0]);
    }
}

/// Which guards hold in a run that none of them refuses, by its first line.
#[test]
fn the_first_line_names_the_guards_that_are_on_and_why_one_is_off() {
    const OPEN: &str = "mismatch off: EXPECTED_GIT_SHA is not set";
    const NO_CODE: &str = "code off: the image has sealed no code";
    const WARNS: &str = "tsx, unknown only warn: NODE_ENV is not production";
    let line_of = |change: &dyn Fn(Shim) -> Shim| {
        let ended = started(change);
        let [line] = ended.lines()[..] else { panic!("{ended:?}") };
        line.to_owned()
    };
    let development = |shim: Shim| shim.env("GIT_SHA", SHA);
    let expects = |shim: Shim| shim.env("EXPECTED_GIT_SHA", SHA);
    for (change, guards) in [
        (&development as &dyn Fn(Shim) -> Shim, format!("({WARNS}; {OPEN}; {NO_CODE})")),
        (&|shim| expects(development(shim)), format!("(on: mismatch; {WARNS}; {NO_CODE})")),
        (&|shim| shim.production(SHA), format!("(on: tsx, unknown; {OPEN}; {NO_CODE})")),
        (&|shim| expects(shim.production(SHA)), format!("(on: tsx, unknown, mismatch; {NO_CODE})")),
        (
            &|shim| development(shim).env("VERSION_GUARD_ENFORCE", "always"),
            format!("(on: tsx, unknown; {OPEN}; {NO_CODE})"),
        ),
    ] {
        let line = line_of(change);
        assert!(line.contains(&guards), "{guards} in {line}");
    }
}

#[test]
fn one_line_tells_the_sha_its_source_and_the_build_date() {
    let date = "2026-01-08T12:00:00Z";
    let seal = format!(r#"{{"gitSha":"{SHA}","buildDate":"{date}"}}"#);
    let unsealed = started(|shim| shim.production(SHA).env("BUILD_DATE", date));
    let sealed =
        started(|shim| shim.env("NODE_ENV", "production").inside(Sandbox::new().sealed(&seal)));
    for (ended, source) in [(unsealed, "environment"), (sealed, "sealed")] {
        let lines = ended.lines();
        let identity: Vec<_> = lines.iter().filter(|line| line.contains(SHA)).collect();
        assert_eq!(identity.len(), 1, "{lines:#?}");
        assert!(identity[0].contains(source) && identity[0].contains(date), "{identity:?}");
    }
}

#[test]
fn a_refusal_ends_pid_1_with_1() {
    refused(&[UNKNOWN], |shim| shim.env("NODE_ENV", "production").pid1());
}

#[test]
fn a_value_with_line_ends_and_escapes_in_it_forges_no_log_line() {
    const FORGED: &str = "[version] all is well";
    let value = format!("a1b2\n{FORGED}\r{FORGED}\x1b[2J\u{85}{FORGED}\u{202e}b");
    let seal = serde_json::json!({ "gitSha": value, "buildDate": value }).to_string();
    let worker = |shim: Shim| shim.worker([fixture("worker").as_os_str(), OsStr::new("exit")]);
    // The value stands near enough to the front to be shown whole.
    let tsx = |shim: Shim| shim.worker(["sh", "-c", "[ -z \"$$\" ] && exec tsx; exit 0", &value]);
    let runs: [&dyn Fn(Shim) -> Shim; 7] = [
        &|shim| shim.env("GIT_SHA", &value).env("BUILD_DATE", &value),
        &|shim| shim.env("GIT_SHA", &value).env("EXPECTED_GIT_SHA", OTHER),
        &|shim| shim.env("GIT_SHA", SHA).env("EXPECTED_GIT_SHA", &value),
        &|shim| tsx(shim.production(SHA)),
        &|shim| tsx(shim.env("GIT_SHA", SHA)),
        &|shim| shim.env("GIT_SHA", SHA).inside(Sandbox::new().sealed(&seal)),
        &|shim| shim.env("GIT_SHA", SHA).registers(&value, format!("redis://{value}")),
    ];
    for run in runs {
        let ended = run(worker(Shim::command("run"))).output();
        assert!(ended.code <= 1 && ended.stdout.is_empty(), "{ended:?}");
        assert!(ended.stderr.contains("all is well"), "the value is shown in {ended:?}");
        for line in ended.stderr.split(['\n', '\r', '\u{85}']) {
            assert!(!line.starts_with(FORGED), "{ended:?}");
        }
        assert!(!ended.stderr.contains(['\x1b', '\u{202e}']), "{ended:?}");
    }
}

/// The control is a run that the guards let start: the same trace shows its network.
#[test]
fn a_refusal_opens_no_socket_and_resolves_no_name() {
    let network = |shim: Shim| {
        let shim = shim.registers("orchestrator", "redis://localhost:1").arguments(["exit"]);
        let (ended, calls) = shim.traced("%network,open,openat");
        let network = calls.lines().any(|call| {
            ["socket(", "connect(", "send", "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"]
                .iter()
                .any(|sign| call.contains(sign))
        });
        assert!(calls.contains("image.json"), "the trace sees the guards at work: {calls}");
        (ended, network, calls)
    };
    let worker = || Shim::command("run").worker([fixture("worker")]);
    let refusals: [(&[&[&str]], Shim); 3] = [
        (&[TSX], worker().production(SHA).or_tsx()),
        (&[UNKNOWN], worker().production("unknown")),
        (&[MISMATCH], worker().env("GIT_SHA", SHA).env("EXPECTED_GIT_SHA", OTHER)),
    ];
    for (lines, shim) in refusals {
        let (ended, network, calls) = network(shim);
        assert_refused(&ended, lines);
        assert!(!network, "{calls}");
    }
    let (ended, network, calls) = network(worker().production(SHA));
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(network && calls.contains("socket("), "{calls}");
}
