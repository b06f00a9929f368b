//! The shim's own words: where they go, what they look like, and that no broken log can stop a worker.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use serde_json::Value;

use crate::common::{
    Ended, Folder, OTHER, Redis, Running, SHA, Sandbox, Shim, fixture, left_behind, terminal,
};

/// One run for each thing that the shim has to say, the exit code that belongs to it, and a fact
/// that the log must give as a value of its own.
fn occasions() -> [(Shim, i32, Option<&'static str>); 8] {
    let worker = || Shim::run(["exit", "7"]);
    [
        (worker().production(SHA), 7, Some(SHA)),
        (worker().registers("orchestrator", "redis://localhost:1"), 7, Some("orchestrator")),
        (worker().production(SHA).or_tsx(), 1, Some("tsx")),
        (worker().production("HEAD"), 1, Some("unknown")),
        (worker().env("GIT_SHA", SHA).env("EXPECTED_GIT_SHA", OTHER), 1, Some(OTHER)),
        (worker().env("VERSION_GUARD_KEY_PREFIX", "a b"), 125, None),
        (Shim::command("run").options(["--nonsense"]), 125, None),
        (Shim::command("run").worker(["/nowhere/worker"]), 127, None),
    ]
}

fn objects(stderr: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    stderr.lines().map(parse).inspect(|object: &Value| assert!(object.is_object())).collect()
}

#[test]
fn every_text_line_begins_with_its_prefix_and_has_no_time_and_no_colour() {
    for (shim, code, _) in occasions() {
        let ended = shim.output();
        assert_eq!((ended.code, ended.stdout.as_str()), (code, ""), "{ended:?}");
        assert!(!ended.stderr.is_empty() && !ended.stderr.contains('\x1b'), "{ended:?}");
        for line in ended.lines() {
            assert!(line.starts_with("[version] ") && !has_a_clock_time(line), "{ended:?}");
        }
    }
}

fn has_a_clock_time(line: &str) -> bool {
    line.as_bytes().windows(5).any(|window| {
        window[2] == b':' && [0, 1, 3, 4].iter().all(|index| window[*index].is_ascii_digit())
    })
}

#[test]
fn as_json_every_line_is_one_object_with_the_facts_of_the_text() {
    for (shim, code, fact) in occasions() {
        let text = shim.output();
        let by_twin = shim.clone().env("VERSION_GUARD_LOG_FORMAT", "json");
        let by_flag = shim.clone().options(["--log-format=json"]);
        // A command line that can't be parsed has no flags: of it only the twin can speak.
        let malformed = text.stderr.contains("--help");
        for json in [by_twin].into_iter().chain((!malformed).then_some(by_flag)) {
            let json = json.output();
            assert_eq!((json.code, json.stdout.as_str()), (code, ""), "{json:?}");
            let objects = objects(&json.stderr);
            let lines: Vec<String> = objects
                .iter()
                .flat_map(|object| object["message"].as_str().expect("a message").lines())
                .map(|line| format!("[version] {line}"))
                .collect();
            assert_eq!(lines, text.lines());
            assert!(objects.iter().all(|object| object["level"].is_string()), "{json:?}");
            let given = |fact: &str| {
                let mut values =
                    objects.iter().flat_map(|object| object.as_object().unwrap().values());
                values.any(|value| *value == fact)
            };
            assert!(fact.is_none_or(given), "{fact:?} in {json:?}");
        }
    }
}

#[test]
fn an_unknown_subcommand_is_told_as_json_too() {
    let ended = Shim::command("start").env("VERSION_GUARD_LOG_FORMAT", "json").output();
    assert_eq!(ended.code, 125, "{ended:?}");
    assert_eq!(objects(&ended.stderr).len(), 1, "{ended:?}");
}

/// What stands behind the `--` is the worker's and none of the shim's options.
#[test]
fn the_workers_own_log_format_is_not_the_shims() {
    let ended = Shim::command("run")
        .options(["--nonsense"])
        .worker(["worker", "--log-format", "json", "--help", "--version"])
        .output();
    assert_eq!((ended.code, ended.stdout.as_str()), (125, ""), "{ended:?}");
    assert!(ended.lines().iter().all(|line| line.starts_with("[version] ")), "{ended:?}");
    let ended = Shim::run(["bytes", "--log-format", "json", "--help", "--version"]).output();
    assert!(
        ended.stdout.starts_with("bytes\0--log-format\0json\0--help\0--version\0"),
        "{ended:?}"
    );
}

#[test]
fn standard_output_is_the_workers_alone_byte_for_byte() {
    let folder = Folder::new();
    let file = folder.path("stdout");
    let script = r"printf 'a\377\000b\n[version] mine\r\n\376'; echo oops >&2; exit 7";
    let ended = Shim::command("run")
        .worker(["sh", "-c", script])
        .registers("orchestrator", "redis://localhost:1")
        .redirected(&format!("> '{}'", file.display()))
        .output();
    assert_eq!(ended.code, 7, "{ended:?}");
    assert_eq!(fs::read(file).unwrap(), b"a\xff\0b\n[version] mine\r\n\xfe");
    let workers: Vec<&str> =
        ended.stderr.lines().filter(|line| !line.starts_with("[version] ")).collect();
    assert_eq!(workers, ["oops"], "{ended:?}");
}

/// A standard error that takes nothing, and what keeps it so.
enum Broken {
    Closed,
    Full,
    Unread,
    Stuck {
        nonblocking: bool,
    },
    /// A terminal whose window has stopped reading.
    Frozen,
}

const BROKEN: [Broken; 6] = [
    Broken::Closed,
    Broken::Full,
    Broken::Unread,
    Broken::Stuck { nonblocking: false },
    Broken::Stuck { nonblocking: true },
    Broken::Frozen,
];

/// Runs the shim to its end with such a standard error.
fn with_broken_log(shim: Shim, broken: &Broken) -> Ended {
    let (mut command, reader) = match broken {
        Broken::Closed => (shim.redirected("2>&-").to_command(), None),
        Broken::Full => (shim.redirected("2> /dev/full").to_command(), None),
        Broken::Unread => {
            let mut command = shim.to_command();
            command.stderr(pipe().unwrap().1);
            (command, None)
        }
        Broken::Stuck { nonblocking } => {
            let (reader, writer) = full_pipe(*nonblocking);
            let mut command = shim.to_command();
            command.stderr(writer);
            (command, Some(OwnedFd::from(reader)))
        }
        Broken::Frozen => {
            let (terminal, window) = terminal::frozen(20);
            let mut command = shim.to_command();
            command.stderr(terminal);
            (command, Some(OwnedFd::from(window)))
        }
    };
    let ended = Running::start(&mut command, false).end();
    drop(reader);
    ended
}

/// A pipe without room for one byte more.
fn full_pipe(nonblocking: bool) -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    let set = |writer: &PipeWriter, flags| fcntl(writer.as_fd(), FcntlArg::F_SETFL(flags)).unwrap();
    set(&writer, OFlag::O_NONBLOCK);
    for size in [4096, 1] {
        while writer.write(&vec![b'x'; size]).is_ok() {}
    }
    if !nonblocking {
        set(&writer, OFlag::empty());
    }
    (reader, writer)
}

/// The control: who writes to a full pipe as everybody does waits for ever.
#[test]
fn a_full_pipe_holds_up_a_program_that_just_writes() {
    let (_reader, writer) = full_pipe(false);
    let echo =
        Command::new("timeout").args(["0.2", "sh", "-c", "echo x >&2"]).stderr(writer).status();
    assert_eq!(echo.unwrap().code(), Some(124));
}

#[test]
fn no_broken_log_keeps_a_worker_from_running_or_changes_its_exit_code() {
    for broken in &BROKEN {
        let folder = Folder::new();
        let marker = folder.path("started");
        let script = "touch \"$1\"; echo out; exit 7";
        let shim = Shim::command("run")
            .worker([
                OsStr::new("sh"),
                "-c".as_ref(),
                script.as_ref(),
                "w".as_ref(),
                marker.as_ref(),
            ])
            .registers("orchestrator", "redis://localhost:1");
        let ended = with_broken_log(shim, broken);
        assert_eq!((ended.code, ended.stdout.as_str()), (7, "out\n"), "{ended:?}");
        assert!(left_behind(&marker));
        // A second for each line, of which there are three, and what a busy machine takes.
        assert!(ended.took < Duration::from_secs(10), "{ended:?}");
    }
}

/// The same of root's log for a user who may not open it anew, as in a container with a user of its own, on a
/// kernel before Linux 6.4.
#[test]
fn no_broken_log_of_another_users_keeps_a_worker_from_running_or_changes_its_exit_code() {
    let folder = Folder::new();
    let shim = of_another_user(&folder).worker(["sh", "-c", "echo out; exit 7"]);
    for broken in &BROKEN {
        let ended = with_broken_log(shim.clone().under(["deny:pwritev2"]), broken);
        assert_eq!((ended.code, ended.stdout.as_str()), (7, "out\n"), "{ended:?}");
        assert!(ended.took < Duration::from_secs(10), "{ended:?}");
    }
}

/// A shim of a user's who may not open root's log pipe or terminal anew.
fn of_another_user(folder: &Folder) -> Shim {
    let shim = folder.program("shim", &crate::common::binary(), "755");
    fs::set_permissions(folder.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    Shim::of(shim, ["run"]).behind(user)
}

#[test]
fn a_worker_that_dies_of_a_signal_behind_a_broken_log_is_128_and_the_signal() {
    for broken in &BROKEN {
        let ended = with_broken_log(Shim::run(["die", "9"]), broken);
        assert_eq!(ended.code, 128 + 9, "{ended:?}");
    }
}

#[test]
fn a_refusal_and_a_usage_error_behind_a_broken_log_keep_their_codes() {
    for broken in &BROKEN {
        for format in ["text", "json"] {
            let worker = Shim::run(["exit"]).env("VERSION_GUARD_LOG_FORMAT", format);
            let refused = worker.clone().production("unknown");
            assert_eq!(with_broken_log(refused, broken).code, 1);
            assert_eq!(with_broken_log(worker.options(["--nonsense"]), broken).code, 125);
        }
    }
}

#[test]
fn a_log_whose_reader_wakes_up_late_still_starts_the_worker_and_then_gets_its_lines() {
    let (mut reader, writer) = pipe().unwrap();
    let mut command = Shim::run(["exit", "7"]).to_command();
    command.stderr(writer);
    let ended = Running::start(&mut command, false).end();
    drop(command);
    assert_eq!(ended.code, 7);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
    assert!(text.starts_with("[version] "), "{text:?}");
}

/// Values that the shim's own options don't take, and a word of what would be right.
fn malformed() -> Vec<(&'static str, &'static str, OsString, &'static str)> {
    let timeout = ("VERSION_GUARD_REGISTER_TIMEOUT", "--register-timeout", "1s");
    let prefix = ("VERSION_GUARD_KEY_PREFIX", "--key-prefix", "fiskai:worker");
    let format = ("VERSION_GUARD_LOG_FORMAT", "--log-format", "json");
    let last = ("VERSION_GUARD_TERMINATION_LOG", "--termination-log", "/dev/termination-log");
    [
        (timeout, "soon"),
        (timeout, "1.5"),
        (timeout, "-1s"),
        (timeout, "25h"),
        (prefix, "a b"),
        (prefix, "dépôt"),
        (format, "xml"),
        (format, "J SON"),
        (last, "last-words"),
    ]
    .into_iter()
    .map(|((variable, flag, right), value)| (variable, flag, value.into(), right))
    .collect()
}

fn assert_usage_error(ended: &Ended, parts: &[&str]) {
    assert_eq!((ended.code, ended.stdout.as_str()), (125, ""), "{ended:?}");
    let lines = ended.lines();
    assert!(lines.iter().all(|line| line.starts_with("[version] ")), "{ended:?}");
    let sentence = lines.iter().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(sentence, "{parts:?} in {ended:?}");
}

/// The worker would write to standard output.
fn worker() -> Shim {
    Shim::run(["place"])
}

#[test]
fn a_malformed_variable_is_125_and_a_sentence_with_its_name_its_value_and_what_is_right() {
    for (variable, _, value, right) in malformed() {
        let text = value.to_str().unwrap();
        assert_usage_error(&worker().env(variable, &value).output(), &[variable, text, right]);
    }
    for (variable, _, _, right) in malformed() {
        let bytes = OsString::from_vec(b"1s\xff".to_vec());
        assert_usage_error(&worker().env(variable, bytes).output(), &[variable, right]);
    }
}

#[test]
fn a_malformed_option_is_125_and_a_sentence_with_its_name_its_value_and_what_is_right() {
    for (_, flag, value, right) in malformed() {
        let mut option = OsString::from(format!("{flag}="));
        option.push(&value);
        let ended = worker().options([option]).output();
        assert_usage_error(&ended, &[flag, value.to_str().unwrap(), right]);
    }
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    for (variable, _, _, _) in malformed() {
        let ended = worker().env(variable, "").output();
        assert!(ended.code == 0 && !ended.stdout.is_empty(), "{ended:?}");
    }
}

#[test]
fn what_is_about_monitoring_only_warns_once_and_names_the_variable() {
    for (worker_type, url, variable) in [
        (None, Some("redis://localhost:1"), "WORKER_TYPE"),
        (Some(""), Some("redis://localhost:1"), "WORKER_TYPE"),
        (Some("a b"), Some("redis://localhost:1"), "WORKER_TYPE"),
        (Some("orchestrator"), None, "REDIS_URL"),
        (Some("orchestrator"), Some("http://localhost"), "REDIS_URL"),
        (Some("orchestrator"), Some("redis://:secret@:x"), "REDIS_URL"),
    ] {
        let mut shim = worker();
        for (name, value) in [("WORKER_TYPE", worker_type), ("REDIS_URL", url)] {
            if let Some(value) = value {
                shim = shim.env(name, value);
            }
        }
        let ended = shim.output();
        assert!(ended.code == 0 && !ended.stdout.is_empty(), "{ended:?}");
        let named = ended.stderr.lines().filter(|line| line.contains(variable)).count();
        assert!(named == 1 && !ended.stderr.contains("secret"), "{ended:?}");
    }
}

#[test]
fn without_a_command_or_with_one_that_nobody_knows_it_is_a_usage_error() {
    for (shim, parts) in [
        (Shim::command("run"), &["COMMAND"][..]),
        (Shim::command("run").options(["--"]), &["COMMAND"]),
        (Shim::command("run").options(["--nonsense"]), &["--nonsense"]),
        (Shim::command("run").options(["node"]), &["node"]),
        (Shim::command("start"), &["start"]),
        (Shim::command("--nonsense"), &["--nonsense"]),
        (Shim::command("check").options(["--git-sha", SHA]), &["--git-sha"]),
        (Shim::command("seal").options(["--nonsense"]), &["--nonsense"]),
        (Shim::of(crate::common::binary(), [""; 0]), &["Usage", "version-guard"]),
    ] {
        assert_usage_error(&shim.output(), parts);
    }
}

#[test]
fn a_usage_error_passes_no_escapes_on() {
    let odd = "--a\x1b[2J\rall is well\u{202e}";
    let ended = Shim::command("run").options([odd]).output();
    assert_usage_error(&ended, &["--a", "all is well"]);
    assert!(!ended.stderr.contains(['\x1b', '\r', '\u{202e}']), "{ended:?}");
}

#[test]
fn help_and_version_are_asked_for_and_go_to_standard_output() {
    for command in ["run", "check", "seal", "health"] {
        for flag in ["--help", "-h"] {
            let ended = Shim::command(command).options([flag]).output();
            assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
            let usage = format!("Usage: version-guard {command}");
            assert!(ended.stdout.contains(&usage), "{ended:?}");
        }
    }
    for arguments in [&["--help"][..], &["-h"]] {
        let ended = Shim::of(crate::common::binary(), arguments).output();
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
        for command in ["run", "check", "seal", "health"] {
            assert!(ended.stdout.contains(&format!("\n  {command} ")), "{ended:?}");
        }
    }
    let version = concat!(" ", env!("CARGO_PKG_VERSION"));
    for (arguments, is_long) in [
        (&["--version"][..], true),
        (&["-V"], false),
        (&["run", "--version"], true),
        (&["check", "-V"], false),
        (&["seal", "--version"], true),
    ] {
        let ended = Shim::of(crate::common::binary(), arguments).output();
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{arguments:?}: {ended:?}");
        let (name, build) = ended.stdout.trim_end().split_once(version).expect("the version");
        assert!(name.starts_with("version-guard"), "{arguments:?}: {ended:?}");
        // The target that it was built for, at least.
        let has_build = build.starts_with(" (") && build.contains("-linux-");
        assert_eq!((has_build, build.is_empty()), (is_long, !is_long), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn help_for_a_command_is_what_its_own_option_shows() {
    for command in ["run", "check", "seal", "verify", "expect"] {
        let help = Shim::command("help").options([command]).output();
        assert_eq!((help.code, help.stderr.as_str()), (0, ""), "{help:?}");
        assert_eq!(help.stdout, Shim::command(command).options(["--help"]).output().stdout);
    }
    let ended = Shim::command("help").options(["rnu"]).output();
    assert_eq!((ended.code, ended.stdout.as_str()), (125, ""), "{ended:?}");
}

#[test]
fn each_option_is_in_the_help_with_its_twin() {
    let ended = Shim::command("run").options(["--help"]).output();
    for (variable, flag, _, _) in malformed() {
        assert!(ended.stdout.contains(variable) && ended.stdout.contains(flag), "{ended:?}");
    }
}

#[test]
fn help_that_can_not_be_written_is_a_failure_and_no_panic() {
    let ended = Shim::command("run").options(["--help"]).redirected("> /dev/full").output();
    assert_eq!(ended.code, 125, "{ended:?}");
    assert!(ended.lines().iter().all(|line| line.starts_with("[version] ")), "{ended:?}");
}

/// Three processes of the worker's fill the log pipe while the shim has a line for each orphan, and the
/// reader stops in the midst of it: how long a SIGTERM then takes to reach the worker. Before Linux 6.4 no kernel
/// writes to a pipe without waiting, as where pwritev2(2) is denied.
fn sigterm_behind_a_busy_log_pipe(as_another_user: bool, as_before_6_4: bool) -> Duration {
    let script = "trap 'echo told; exit 0' TERM
        yes worker >&2 & yes worker >&2 & yes worker >&2 &
        (while :; do (: &) done) 2>/dev/null &
        echo ready; while :; do wait; done";
    let (mut reader, writer) = pipe().unwrap();
    let folder = Folder::new();
    let shim = if as_another_user { of_another_user(&folder) } else { Shim::command("run") };
    let shim = shim.worker(["sh", "-c", script]).options(["--warn-on-reap"]).pid1();
    let shim = if as_before_6_4 { shim.under(["deny:pwritev2"]) } else { shim };
    let mut command = shim.to_command();
    let mut running = Running::start(command.stderr(writer), true);
    drop(command);
    running.expect_line("ready");
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains("Reaped process") || seen.len() < 200_000 {
        let count = reader.read(&mut chunk).unwrap();
        seen.extend_from_slice(&chunk[..count]);
    }
    // From now on nobody reads: within a moment the pipe is full.
    let stopped = Instant::now();
    running.signal(libc::SIGTERM);
    running.expect_line("told");
    stopped.elapsed()
}

/// The patience with a slow reader is 1 s: what waits that long would be seen. VERSION_GUARD_LOG_STORMS=200
/// makes more runs of it.
#[test]
fn a_log_pipe_that_a_busy_worker_fills_holds_up_no_signal() {
    let runs = std::env::var("VERSION_GUARD_LOG_STORMS").ok().and_then(|runs| runs.parse().ok());
    for run in 0..runs.unwrap_or(12) {
        let took = sigterm_behind_a_busy_log_pipe(run % 2 == 1, run % 4 > 1);
        println!("run {run}: {took:?}");
        assert!(took < Duration::from_millis(800), "run {run}: {took:?}");
    }
}

/// pipe(7): what is longer than PIPE_BUF can be written in part.
#[test]
fn a_line_that_was_given_up_half_way_is_ended_before_the_next() {
    let (mut reader, mut writer) = pipe().unwrap();
    // Room for one page of a longer line, whose rest finds none.
    let size = usize::try_from(fcntl(writer.as_fd(), FcntlArg::F_GETPIPE_SZ).unwrap()).unwrap();
    writer.write_all(&vec![b'x'; size - 4096]).unwrap();
    let long = format!("prod{}", "y".repeat(20_000));
    let (stdin, mut keyboard) = pipe().unwrap();
    let script = "echo ready; read line; (: &); read line";
    let shim = Shim::command("run").worker(["sh", "-c", script]).env("GIT_SHA", SHA);
    let shim = shim.env("NODE_ENV", long);
    let mut command = shim.options(["--warn-on-reap"]).to_command();
    let mut running = Running::start(command.stderr(writer).stdin(stdin), false);
    drop(command);
    running.expect_line("ready");
    let mut page = vec![0; size];
    reader.read_exact(&mut page).unwrap();
    keyboard.write_all(b"go\n").unwrap();
    let mut next = [0; 9];
    reader.read_exact(&mut next).unwrap();
    assert_eq!((page[size - 1], &next), (b'y', b"\n[version"));
}

#[test]
fn a_normal_start_is_one_line_and_none_with_the_level_warn() {
    let redis = Redis::start();
    let sandbox = || {
        let seal = format!(r#"{{"gitSha":"{SHA}","buildDate":"2026-01-08T12:00:00Z"}}"#);
        Sandbox::new().sealed(seal)
    };
    let normal = Shim::run(["exit", "0"]).env("NODE_ENV", "production");
    let normal = normal.env("EXPECTED_GIT_SHA", SHA);
    let registered = normal.clone().registers("extractor", redis.url());
    for (shim, tells_where) in [(&normal, false), (&registered, true)] {
        let ended = shim.clone().inside(sandbox()).output();
        let [line] = ended.lines()[..] else { panic!("{ended:?}") };
        assert!(line.contains(SHA) && line.contains("let it start"), "{line}");
        let told = line.contains("extractor is registered in Redis at 127.0.0.1:");
        assert_eq!(told, tells_where, "{line}");
        for level in ["warn", "WARN", " error\n"] {
            let quiet = shim.clone().env("VERSION_GUARD_LOG", level).inside(sandbox()).output();
            assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""), "{quiet:?}");
        }
        let flag = shim.clone().options(["--log-level", "warn"]).inside(sandbox()).output();
        assert_eq!(flag.stderr, "", "{flag:?}");
    }
    // In the field an image is tried by hand, with nothing set.
    let by_hand = Shim::run(["exit", "0"]).env("NODE_ENV", "production").inside(sandbox()).output();
    let [line] = by_hand.lines()[..] else { panic!("{by_hand:?}") };
    assert!(line.contains("EXPECTED_GIT_SHA is not set"), "{line}");
}

#[test]
fn each_fatal_line_is_printed_at_any_level() {
    for level in ["info", "warn", "error"] {
        for shim in [
            Shim::run(["exit", "0"]).production("unknown"),
            Shim::run(["exit", "0"]).production(SHA).or_tsx(),
            Shim::run(["exit", "0"]).env("GIT_SHA", SHA).env("EXPECTED_GIT_SHA", OTHER),
            Shim::run(["exit", "0"]).env("GIT_SHA", SHA).options(["--require-expected"]),
        ] {
            let ended = shim.env("VERSION_GUARD_LOG", level).output();
            assert_eq!(ended.code, 1, "{ended:?}");
            assert!(ended.stderr.contains("[version] FATAL: "), "{level}: {ended:?}");
        }
    }
}
