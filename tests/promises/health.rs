//! `health`: asked from inside the container's namespaces, as an engine executes a probe there.

use std::process::Command;

use nix::libc::{SIGCONT, SIGKILL, SIGSTOP, SIGTERM};

use crate::common::{
    Ended, Folder, Redis, Running, SHA, Shim, children, eventually, fixture, kill, silent_server,
    status_field,
};

/// Nobody's, and not the shims'.
const ANOTHER_USER: [&str; 6] =
    ["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", "--bounding-set=-all", "--"];

/// `version-guard health` in a shim's namespaces.
fn probe(of: &Running) -> Shim {
    let pid = of.pid().to_string();
    Shim::command("health").behind(["nsenter", "--target", &pid, "--pid", "--mount", "--"])
}

fn ask(of: &Running, options: &[&str]) -> Ended {
    probe(of).options(options).output()
}

/// Waits until it is healthy, as an engine does with its next probe.
fn becomes_healthy(of: &Running, options: &[&str]) -> Ended {
    eventually("a healthy worker", || Some(ask(of, options)).filter(|ended| ended.code == 0))
}

/// Waits until it is not, for this reason.
fn becomes_unhealthy(of: &Running, options: &[&str], reason: &str) {
    eventually(reason, || {
        let ended = ask(of, options);
        (ended.code == 1 && ended.stdout.contains(reason)).then_some(())
    });
}

fn is_unhealthy(ended: &Ended, reason: &str) {
    assert_eq!((ended.code, ended.stderr.as_str()), (1, ""), "{ended:?}");
    let is_one_line = ended.stdout.starts_with("[FAIL] ") && ended.stdout.lines().count() == 1;
    assert!(is_one_line && ended.stdout.contains(reason), "{reason}: {ended:?}");
}

fn sleeping() -> Shim {
    Shim::run(["sleep"]).pid1()
}

/// The pid that a process of a namespace has in there.
fn inside(pid: i32) -> String {
    let all = status_field(pid, "NSpid").expect("a process that runs");
    all.split_whitespace().last().expect("a pid").to_owned()
}

#[test]
fn a_worker_that_runs_is_healthy_to_any_user_without_a_capability() {
    let shim = sleeping().ready();
    let worker = inside(shim.worker_pid());
    becomes_healthy(&shim, &[]);
    for probe in [probe(&shim), probe(&shim).behind(ANOTHER_USER)] {
        let ended = probe.output();
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
        let line = format!("[OK] The worker (process {worker}) has run for ");
        assert!(ended.stdout.starts_with(&line), "{ended:?}");
        assert!(ended.stdout.ends_with(", not registered\n"), "{ended:?}");
    }
}

#[test]
fn a_worker_that_is_stopped_is_not_healthy_until_it_goes_on() {
    let shim = sleeping().ready();
    becomes_healthy(&shim, &[]);
    kill(shim.worker_pid(), SIGSTOP);
    becomes_unhealthy(&shim, &[], "is stopped, by a signal or a debugger: kill -CONT");
    is_unhealthy(&probe(&shim).behind(ANOTHER_USER).output(), "is stopped");
    kill(shim.worker_pid(), SIGCONT);
    becomes_healthy(&shim, &[]);
}

/// What a shim that stands still has not reaped is no worker any more, and the shim is none.
#[test]
fn a_shim_that_is_stopped_is_not_healthy() {
    let shim = sleeping().ready();
    becomes_healthy(&shim, &[]);
    kill(shim.pid(), SIGSTOP);
    becomes_unhealthy(&shim, &[], "The shim (process 1) is stopped");
    kill(shim.worker_pid(), SIGKILL);
    is_unhealthy(&ask(&shim, &[]), "The shim (process 1) is stopped");
}

/// Each of these would be taken for the worker by one rule or another: the first child, the last, the one
/// that leads a group or a session, the one in a group of its own.
#[test]
fn no_other_child_of_the_shim_is_taken_for_the_worker() {
    let before = "setsid sleep 1000 & sleep 1000 & exec \"$0\" \"$@\"";
    let worker = "import os, sys, time
os.setpgid(0, os.getpgid(os.getppid()))
for start in (os.setsid, lambda: None):
    if os.fork() == 0:
        if os.fork() == 0:
            start()
            time.sleep(1000)
        os._exit(0)
    os.wait()
print('ready', flush=True)
time.sleep(1000)";
    let shim = Shim::command("run")
        .worker(["python3", "-c", worker])
        .behind(["sh", "-c", before])
        .pid1()
        .ready();
    let children =
        eventually("orphans", || Some(children(shim.pid())).filter(|children| children.len() == 5));
    let ended = becomes_healthy(&shim, &[]);
    let is_worker =
        |pid: &i32| ended.stdout.contains(&format!("(process {}) has run", inside(*pid)));
    let (workers, others): (Vec<i32>, Vec<i32>) = children.into_iter().partition(is_worker);
    for other in others {
        kill(other, SIGSTOP);
        assert_eq!(ask(&shim, &[]).code, 0, "process {other} is not the worker");
    }
    assert_eq!(workers.len(), 1);
    assert_eq!(status_field(workers[0], "Name").as_deref(), Some("python3"));
    kill(workers[0], SIGSTOP);
    becomes_unhealthy(&shim, &[], "is stopped");
}

#[test]
fn a_worker_that_has_ended_is_not_healthy_while_the_shim_outlasts_what_it_left() {
    let shim = Shim::command("run")
        .options(["--reap-grace", "1m"])
        .worker(["sh", "-c", "(trap '' TERM; echo ready; sleep 1000) & read line"])
        .pid1();
    let (mut shim, stdin) = shim.spawn_with_stdin();
    shim.expect_line("ready");
    becomes_healthy(&shim, &[]);
    drop(stdin);
    becomes_unhealthy(&shim, &[], "The worker has ended");
    assert!(shim.runs());
}

#[test]
fn a_worker_that_was_asked_to_stop_and_finishes_its_job_is_healthy() {
    let mut shim = Shim::run(["echo", "10"]).options(["--stop-timeout", "1m"]).pid1().ready();
    becomes_healthy(&shim, &[]);
    shim.signal(SIGTERM);
    assert!(shim.line().starts_with("15 from "));
    assert_eq!(ask(&shim, &[]).code, 0);
}

#[test]
fn a_shim_that_has_no_worker_yet_is_not_healthy_and_says_so() {
    let (_server, url) = silent_server();
    let shim = sleeping().registers("extractor", url).options(["--register-timeout", "1m"]);
    let shim = shim.spawn();
    becomes_unhealthy(&shim, &[], "The worker has not started yet");
    is_unhealthy(&ask(&shim, &["--registered"]), "The worker has not started yet");
}

#[test]
fn a_worker_that_is_younger_than_asked_for_is_not_healthy() {
    let shim = sleeping().ready();
    becomes_healthy(&shim, &["--started-for", "0s"]);
    is_unhealthy(&ask(&shim, &["--started-for", "1h"]), "and should for 1h");
    becomes_unhealthy(&shim, &["--started-for", "2s"], "and should for 2s");
    becomes_healthy(&shim, &["--started-for", "2s"]);
    // The control: the number is a duration and no moment.
    is_unhealthy(&ask(&shim, &["--started-for", "1h"]), "and should for 1h");
}

#[test]
fn registered_follows_the_heartbeats() {
    let mut redis = Redis::start();
    let shim = sleeping()
        .registers("extractor", redis.url())
        .env("GIT_SHA", SHA)
        .env("VERSION_GUARD_HEARTBEAT", "200ms")
        .ready();
    let ended = becomes_healthy(&shim, &["--registered"]);
    assert!(ended.stdout.ends_with(", registered\n"), "{ended:?}");
    assert_eq!(probe(&shim).behind(ANOTHER_USER).options(["--registered"]).output().code, 0);
    redis.stop();
    becomes_unhealthy(&shim, &["--registered"], "the last heartbeat did not get through");
    // The control: the worker runs all the same.
    assert_eq!(ask(&shim, &[]).code, 0);
    redis.restart();
    becomes_healthy(&shim, &["--registered"]);
}

#[test]
fn what_never_was_registered_is_named() {
    let of = |shim: Shim| {
        let shim = shim.ready();
        becomes_healthy(&shim, &[]);
        shim
    };
    let by_choice = of(sleeping());
    is_unhealthy(&ask(&by_choice, &["--registered"]), "WORKER_TYPE or REDIS_URL was not set");
    let by_fault = of(sleeping().registers("extractor", "redis://127.0.0.1:1"));
    becomes_unhealthy(&by_fault, &["--registered"], "no attempt has got through yet");
    let (_server, url) = silent_server();
    let not_yet = sleeping().registers("extractor", url).options(["--register-timeout", "0s"]);
    is_unhealthy(
        &ask(&of(not_yet), &["--registered"]),
        "the first attempt to register it is not over",
    );
}

/// As under `docker run --init`.
#[test]
fn the_only_shim_of_a_container_is_found_where_it_is_not_pid_1() {
    let shim = Shim::run(["sleep"]);
    let [one, two] = ["\"$0\" \"$@\"; true", "\"$0\" \"$@\" & \"$0\" \"$@\"; true"]
        .map(|script| shim.clone().behind(["sh", "-c", script]).pid1().ready());
    let ended = becomes_healthy(&one, &[]);
    assert!(ended.stdout.starts_with("[OK] The worker (process "), "{ended:?}");
    // The control: which one would be a guess.
    becomes_unhealthy(&two, &[], "more than one other is");
    let ended = ask(&two, &[]);
    let (_, pids) = ended.stdout.split_once(" other is (").expect("pids");
    let (pids, _) = pids.split_once("):").expect("pids");
    assert_eq!(pids.split(", ").count(), 2, "{ended:?}");
    for pid in pids.split(", ") {
        assert_eq!(ask(&two, &["--pid", pid]).code, 0);
        assert_eq!(probe(&two).env("VERSION_GUARD_HEALTH_PID", pid).output().code, 0);
    }
}

#[test]
fn what_is_no_shim_is_not_healthy_whatever_it_calls_itself() {
    let folder = Folder::new();
    let worker = fixture("worker");
    let run = |program: &std::path::Path| Shim::of(program.into(), ["sleep"]).pid1().ready();
    let honest = run(&worker);
    is_unhealthy(&ask(&honest, &[]), "Process 1 is worker, which is no version-guard");
    is_unhealthy(&ask(&honest, &["--pid", "1"]), "is the ENTRYPOINT replaced?");
    is_unhealthy(&ask(&honest, &["--pid", "77"]), "There is no process 77");
    for name in ["version-guard:1", "version-guard:7"] {
        let liar = run(&folder.program(name, &worker, "755"));
        is_unhealthy(&ask(&liar, &[]), "The worker has ended");
    }
}

#[test]
fn a_proc_that_hides_others_or_is_not_there_is_named() {
    let shim = sleeping().ready();
    becomes_healthy(&shim, &[]);
    let behind = |mounts: &str| {
        let script = format!("{mounts}; exec \"$0\" \"$@\"");
        probe(&shim).behind(["unshare", "--mount", "sh", "-c", &script])
    };
    for hidden in ["noaccess", "invisible"] {
        let mount = format!("mount -t proc -o hidepid={hidden} proc /proc");
        let ended = behind(&mount).behind(ANOTHER_USER).output();
        is_unhealthy(&ended, "/proc does not show process 1 to this user");
        // The control: the shim's own user sees it.
        assert_eq!(behind(&mount).output().code, 0);
    }
    let gone = behind("mount -t tmpfs tmpfs /proc").output();
    is_unhealthy(&gone, "/proc is not mounted, or not this container's");
}

#[test]
fn it_writes_no_file_and_reaches_no_network() {
    let shim = sleeping().ready();
    becomes_healthy(&shim, &[]);
    let (ended, trace) = probe(&shim).options(["--registered"]).traced("%file,%network");
    is_unhealthy(&ended, "unregistered");
    let own = trace.split_once("\"health\"").expect("its execve").1;
    for call in ["socket", "connect", "O_WRONLY", "O_RDWR", "O_CREAT", "unlink", "mkdir"] {
        assert!(!own.contains(call), "{call}: {own}");
    }
    // The control: what it reads is seen.
    assert!(own.contains("/proc/1/stat"), "{own}");
}

#[test]
fn its_values_are_named_where_they_are_wrong() {
    for (option, twin, value, expected) in [
        ("--pid", "VERSION_GUARD_HEALTH_PID", "0", "expected the number of a process"),
        ("--pid", "VERSION_GUARD_HEALTH_PID", "shim", "expected the number of a process"),
        ("--started-for", "VERSION_GUARD_HEALTH_STARTED_FOR", "soon", "expected a duration"),
    ] {
        let typed = Shim::command("health").options([option, value]).output();
        let set = Shim::command("health").env(twin, value).output();
        for (ended, named) in [(typed, option), (set, twin)] {
            assert_eq!((ended.code, ended.stdout.as_str()), (125, ""), "{ended:?}");
            for part in [named, value, expected] {
                assert!(ended.stderr.contains(part), "{part}: {ended:?}");
            }
        }
    }
}

/// A healthy worker's verdict does not wait for a reader.
#[test]
fn the_exit_code_is_the_verdict_also_where_nobody_reads() {
    let shim = sleeping().ready();
    becomes_healthy(&shim, &[]);
    for redirection in [">&-", ">/dev/full", "| true"] {
        let script = format!("\"$0\" \"$@\" {redirection}");
        let script = if redirection == "| true" {
            "set -o pipefail; \"$0\" \"$@\" | true".to_owned()
        } else {
            script
        };
        assert_eq!(probe(&shim).behind(["bash", "-c", &script]).output().code, 0, "{redirection}");
    }
}

/// The name is the main thread's alone, and people search for it by its beginning.
#[test]
fn the_shim_is_still_found_by_its_name() {
    let shim = sleeping().ready();
    let worker = inside(shim.worker_pid());
    eventually("its name", || {
        (status_field(shim.pid(), "Name")? == format!("version-guard:{worker}")).then_some(())
    });
    let pid = shim.pid().to_string();
    let found = Command::new("pgrep").args(["version-guard"]).output().expect("pgrep");
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(found.lines().any(|line| line == pid), "{found}");
}
