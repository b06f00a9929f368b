//! The termination log: a container's last words, where Kubernetes looks for them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::common::{Ended, Folder, OTHER, SHA, Sandbox, Shim, eventually};

/// A stale worker, whose last words go here.
fn stale(log: &Path) -> Shim {
    Shim::run(["sleep"])
        .production(SHA)
        .env("EXPECTED_GIT_SHA", OTHER)
        .env("VERSION_GUARD_TERMINATION_LOG", log)
}

/// What `kubectl describe pod` shows of a stale one.
fn refusal() -> String {
    format!(
        "FATAL: Version mismatch!\n  Image SHA:    {SHA}\n  Expected SHA: {OTHER}\n\
         This worker is running STALE code. Exiting.\n"
    )
}

fn is_refused(ended: &Ended) {
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    assert!(ended.stderr.contains("FATAL: Version mismatch!"), "{ended:?}");
}

#[test]
fn it_is_the_file_of_kubernetes_unless_another_is_named() {
    let folder = Folder::new();
    let usual = folder.file("usual", "");
    let other = folder.file("other", "");
    let dev = Sandbox::new().with(&format!(
        "mount -t tmpfs tmpfs /dev; mknod -m 666 /dev/null c 1 3; touch /dev/termination-log
         mount --bind '{}' /dev/termination-log",
        usual.display()
    ));
    let shim = stale(&other).inside(dev);
    is_refused(&shim.clone().without_env("VERSION_GUARD_TERMINATION_LOG").output());
    assert_eq!(fs::read_to_string(&usual).unwrap(), refusal());
    // An empty twin is none, as of any option.
    fs::write(&usual, "").unwrap();
    is_refused(&shim.clone().env("VERSION_GUARD_TERMINATION_LOG", "").output());
    assert_eq!(fs::read_to_string(&usual).unwrap(), refusal());
    is_refused(&shim.output());
    assert_eq!(fs::read_to_string(&other).unwrap(), refusal());
    assert_eq!(fs::read_to_string(&usual).unwrap(), refusal(), "written once");
}

#[test]
fn it_holds_why_there_is_no_worker_whatever_the_reason_and_the_log_format() {
    let run = || Shim::run(["sleep"]);
    for (shim, code, reason) in [
        (run().production(SHA).env("EXPECTED_GIT_SHA", OTHER), 1, "FATAL: Version mismatch!"),
        (run().production("unknown"), 1, "FATAL: GIT_SHA is 'unknown' in production!"),
        (run().production(SHA).worker(["tsx", "w.ts"]), 1, "FATAL: Running via tsx in production!"),
        (
            run().options(["--enforce", "always"]).env("GIT_SHA", ""),
            1,
            "NODE_ENV is not production",
        ),
        (run().worker(["nowhere"]), 127, "The worker nowhere is not found"),
        (run().worker(["/etc/passwd"]), 126, "The worker /etc/passwd can't be executed"),
        (run().options(["--heartbeat", "soon"]), 125, "--heartbeat"),
        (run().env("VERSION_GUARD_HEARTBEAT", "soon"), 125, "VERSION_GUARD_HEARTBEAT is 'soon'"),
        (
            run().env("EXPECTED_GIT_SHA_FILE", "/nowhere"),
            125,
            "EXPECTED_GIT_SHA_FILE is '/nowhere'",
        ),
        (Shim::command("run"), 125, "There is no COMMAND to run"),
    ] {
        for format in ["text", "json"] {
            let folder = Folder::new();
            let log = folder.file("log", "");
            let shim = shim.clone().env("VERSION_GUARD_LOG_FORMAT", format);
            let ended = shim.env("VERSION_GUARD_TERMINATION_LOG", &log).output();
            let text = fs::read_to_string(&log).unwrap();
            assert_eq!(ended.code, code, "{ended:?}");
            assert!(text.contains(reason) && text.ends_with('\n'), "{reason}: {text}");
            let lines = || text.lines().map(|line| format!("[version] {line}"));
            if format == "text" {
                let is_said = |line: String| ended.stderr.lines().any(|said| said == line);
                assert!(lines().all(is_said), "{text}{ended:?}");
            }
        }
    }
}

/// The control: a start that is refused opens it.
#[test]
fn at_a_start_that_passes_nothing_is_opened() {
    let folder = Folder::new();
    let log = folder.file("log", "");
    let calls = "%file";
    let passes = stale(&log).env("EXPECTED_GIT_SHA", SHA).task(["exit", "0"]);
    let (ended, trace) = passes.traced(calls);
    assert_eq!(ended.code, 0, "{ended:?}");
    let path = log.display().to_string();
    let name = format!("\"{path}\"");
    assert!(!trace.contains(&name), "{trace}");
    assert_eq!(fs::read(&log).unwrap(), b"");
    let (ended, trace) = stale(&log).traced(calls);
    is_refused(&ended);
    assert!(trace.contains(&name), "{trace}");
}

/// A worker's own exit and its own last words are its own affair.
#[test]
fn a_worker_that_fails_by_itself_has_its_last_words_to_itself() {
    let folder = Folder::new();
    let log = folder.file("log", "");
    let worker = ["sh", "-c", "echo the worker >\"$VERSION_GUARD_TERMINATION_LOG\"; exit 3"];
    let ended = stale(&log).env("EXPECTED_GIT_SHA", SHA).worker(worker).output();
    assert_eq!(ended.code, 3, "{ended:?}");
    assert_eq!(fs::read_to_string(&log).unwrap(), "the worker\n");
}

#[test]
fn it_holds_no_more_than_is_read_of_it_and_keeps_what_it_held() {
    let folder = Folder::new();
    let sha = "é".repeat(4000);
    let shim = |log: &Path| stale(log).env("EXPECTED_GIT_SHA", &sha);
    let log = folder.file("long", "");
    is_refused(&shim(&log).output());
    let text = fs::read_to_string(&log).expect("whole characters");
    assert!((4093..=4096).contains(&text.len()) && text.starts_with("FATAL: "), "{text}");
    let half = "x".repeat(4090);
    let log = folder.file("half", &half);
    is_refused(&shim(&log).output());
    assert_eq!(fs::read_to_string(&log).unwrap(), half + "FATAL:");
    let whole = "x".repeat(5000);
    let log = folder.file("whole", &whole);
    is_refused(&shim(&log).output());
    assert_eq!(fs::read_to_string(&log).unwrap(), whole);
}

#[test]
fn it_is_never_made_and_nothing_but_a_file_is_written_to() {
    let folder = Folder::new();
    let missing = folder.path("missing");
    is_refused(&stale(&missing).output());
    assert!(!missing.exists());
    is_refused(&stale(&folder.path("")).output());
    for device in ["/dev/null", "/dev/full", "/dev/tty", "/nowhere/at/all"] {
        is_refused(&stale(Path::new(device)).output());
    }
    let target = folder.file("target", "");
    let link = folder.path("link");
    symlink(&target, &link).unwrap();
    is_refused(&stale(&link).output());
    assert_eq!(fs::read(&target).unwrap(), b"");
    let fifo = folder.path("fifo");
    mkfifo(&fifo, Mode::from_bits_truncate(0o600)).unwrap();
    is_refused(&stale(&fifo).output());
    // With a reader a FIFO can be opened, which would end its reading.
    let mut reader = Command::new("cat");
    let mut reader =
        reader.arg(&fifo).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("sh");
    is_refused(&stale(&fifo).output());
    assert!(reader.try_wait().expect("wait").is_none(), "it still waits for somebody to write");
    reader.kill().expect("kill");
    reader.wait().expect("wait");
}

#[test]
fn one_that_can_not_be_written_changes_nothing() {
    let folder = Folder::new();
    let log = folder.file("log", "");
    let path = log.display();
    let read_only = Sandbox::new()
        .with(&format!("mount --bind '{path}' '{path}'; mount -o remount,bind,ro '{path}'"));
    is_refused(&stale(&log).inside(read_only).output());
    let place = folder.path("");
    let full = Sandbox::new().with(&format!(
        "mount -t tmpfs -o size=4k tmpfs '{0}'; : >'{path}'; echo x >'{0}/full'",
        place.display()
    ));
    is_refused(&stale(&log).inside(full).output());
    let another_user = ["setpriv", "--reuid=4242", "--clear-groups", "--bounding-set=-all", "--"];
    is_refused(&stale(&log).behind(another_user).output());
    assert_eq!(fs::read(&log).unwrap(), b"");
}

#[test]
fn none_is_written_where_none_is_asked_for_or_the_command_is_another() {
    let folder = Folder::new();
    let log = folder.file("log", "");
    is_refused(&stale(&log).options(["--termination-log", ""]).output());
    is_refused(&stale(&log).options(["--termination-log=none"]).output());
    is_refused(&stale(Path::new("none")).output());
    for command in ["check", "verify", "health"] {
        let shim = Shim::command(command).env("VERSION_GUARD_TERMINATION_LOG", &log).pid1();
        let ended = shim.clone().env("GIT_SHA", SHA).env("EXPECTED_GIT_SHA", OTHER).output();
        assert_ne!(ended.code, 0, "{ended:?}");
        assert_eq!(shim.options(["--nonsense"]).output().code, 125);
    }
    assert_eq!(fs::read(&log).unwrap(), b"");
}
