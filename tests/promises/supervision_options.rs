//! What an image can tune about supervision: each option, its twin, and what comes of it.

use std::process::Command;
use std::time::Duration;

use nix::libc::{
    SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1,
    SIGWINCH,
};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::common::{
    Folder, Running, Shim, binary, children, eventually, fixture, found_out, holds, kill,
    left_behind, silent_server, status_field,
};

/// An option, given as a flag and as its twin: a promise holds for both.
fn both_ways(shim: &Shim, flag: &str, value: &str) -> [Shim; 2] {
    let twin =
        format!("VERSION_GUARD_{}", flag.trim_start_matches('-').replace('-', "_").to_uppercase());
    [shim.clone().options([flag, value]), shim.clone().env(twin, value)]
}

/// A shell that starts two fixture workers and waits for both: three processes in one group.
fn family() -> Shim {
    let echo = format!("{} echo", fixture("worker").display());
    let script =
        format!("trap 'echo told' USR1; trap : TERM; {echo} & {echo} & wait; wait; wait; wait");
    Shim::command("run").worker(["sh", "-c", &script])
}

/// Starts the family; the pids of the two fixture workers.
fn start(family: &Shim) -> (Running, Vec<i32>) {
    let mut shim = family.spawn();
    shim.expect_line("ready");
    shim.expect_line("ready");
    let grandchildren = children(shim.worker_pid());
    (shim, grandchildren)
}

#[test]
fn in_worker_scope_only_the_worker_gets_a_signal() {
    let (mut shim, grandchildren) = start(&family());
    shim.signal(SIGUSR1);
    shim.expect_line("told");
    // Sent past the shim: what the grandchildren get is this alone, and it ends them.
    for grandchild in grandchildren {
        kill(grandchild, SIGTERM);
    }
    let ended = shim.end();
    assert!(!ended.stdout.contains("10 from"), "{}", ended.stdout);
    assert_eq!(ended.stdout.matches("15 from").count(), 2, "{}", ended.stdout);
}

#[test]
fn in_group_scope_each_process_of_the_group_gets_each_signal_once() {
    for family in both_ways(&family(), "--signal-scope", "group") {
        let (mut shim, _) = start(&family);
        shim.signal(SIGUSR1);
        let mut lines = [shim.line(), shim.line(), shim.line()];
        lines.sort();
        assert!(lines[0].starts_with("10 from") && lines[1].starts_with("10 from"), "{lines:?}");
        assert_eq!(lines[2], "told");
        shim.signal(SIGTERM);
        let ended = shim.end();
        for signal in ["10 from", "15 from"] {
            assert_eq!(ended.stdout.matches(signal).count(), 2, "{}", ended.stdout);
        }
    }
}

#[test]
fn a_rewritten_signal_arrives_as_another_or_not_at_all() {
    for (rewrite, sent, arrives) in [
        ("TERM:QUIT", 15, Some(3)),
        ("SIGTERM:SIGQUIT", 15, Some(3)),
        ("15:3", 15, Some(3)),
        ("HUP:RTMIN+1", 1, Some(35)),
        ("RTMIN+1:HUP", 35, Some(1)),
        ("TSTP:USR1", 20, Some(10)),
        ("TTIN:USR1", 21, Some(10)),
        ("TTOU:USR2", 22, Some(12)),
        ("USR1:0", 10, None),
        ("TERM:QUIT", 10, Some(10)),
    ] {
        for shim in both_ways(&Shim::run(["echo", "2"]), "--rewrite-signal", rewrite) {
            let mut shim = shim.spawn();
            let pid = shim.pid();
            shim.expect_line("ready");
            shim.signal(sent);
            if let Some(arrives) = arrives {
                shim.expect_line(&format!("{arrives} from {pid}"));
            }
            if [SIGTSTP, SIGTTIN, SIGTTOU].contains(&sent) {
                // Whatever the worker gets, the shim is suspended, as dumb-init is.
                let state = || status_field(pid, "State")?.starts_with('T').then_some(());
                eventually("a suspended shim", state);
                shim.signal(SIGCONT);
                shim.expect_line(&format!("18 from {pid}"));
            }
            shim.signal(SIGINT);
            shim.expect_line(&format!("2 from {pid}"));
            assert_eq!(shim.end().code, 0, "{rewrite}");
        }
    }
}

#[test]
fn several_rewrites_hold_at_once() {
    let flags = ["--rewrite-signal", "HUP:USR1", "--rewrite-signal", "QUIT:USR2"];
    for shim in [
        Shim::run(["echo"]).options(flags),
        Shim::run(["echo"]).env("VERSION_GUARD_REWRITE_SIGNAL", "HUP:USR1, QUIT:USR2"),
    ] {
        let mut shim = shim.spawn();
        let pid = shim.pid();
        shim.expect_line("ready");
        for (sent, arrives) in [(1, 10), (3, 12)] {
            shim.signal(sent);
            shim.expect_line(&format!("{arrives} from {pid}"));
        }
    }
}

#[test]
fn a_remapped_exit_code_is_another() {
    for (remap, task, code) in [
        ("3", ["exit", "3"], 0),
        ("3:4", ["exit", "3"], 4),
        ("143", ["die", "15"], 0),
        ("143:9", ["die", "15"], 9),
        ("3:4", ["exit", "5"], 5),
        ("3:4,5:6", ["exit", "5"], 6),
    ] {
        let shim = Shim::run(task);
        let by_twin = shim.clone().env("VERSION_GUARD_REMAP_EXIT", remap);
        assert_eq!(by_twin.output().code, code, "{remap} {task:?}");
        let flags = remap.split(',').flat_map(|remap| ["--remap-exit", remap]);
        assert_eq!(shim.options(flags).output().code, code, "{remap} {task:?}");
    }
}

#[test]
fn an_exit_code_that_is_not_the_workers_is_never_remapped() {
    let shim = Shim::command("run").worker(["/nowhere"]).options(["--remap-exit", "127"]);
    assert_eq!(shim.output().code, 127);
}

#[test]
fn a_worker_that_does_not_end_within_the_stop_timeout_is_killed() {
    // The echo worker ends on SIGKILL alone.
    for (signal, number) in [(SIGTERM, "15"), (SIGINT, "2")] {
        for shim in both_ways(&Shim::run(["echo", "64"]), "--stop-timeout", "200ms") {
            let mut shim = shim.pid1().spawn();
            shim.expect_line("ready");
            shim.signal(signal);
            assert!(shim.line().starts_with(number));
            let ended = shim.end();
            assert_eq!(ended.code, 128 + SIGKILL, "{ended:?}");
            assert!(ended.took >= Duration::from_millis(200), "{ended:?}");
            assert!(ended.stderr.contains("within the stop timeout"), "{ended:?}");
        }
    }
}

#[test]
fn a_storm_of_signals_does_not_put_off_the_stop_timeout() {
    let mut shim = Shim::run(["sh", "-c"]).options(["--stop-timeout", "200ms"]);
    shim = shim.worker(["sh", "-c", "trap '' TERM USR1; echo ready; while :; do sleep 1; done"]);
    let mut shim = shim.spawn();
    shim.expect_line("ready");
    shim.signal(SIGTERM);
    let pid = shim.pid();
    while shim.runs() {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGUSR1);
    }
    assert_eq!(shim.end().code, 128 + SIGKILL);
}

/// As an impatient operator stops.
fn a_second_stop_is_a_signal_like_any_other(shim: Shim) -> Result<(), String> {
    let mut shim = shim.task(["echo", "64"]).spawn();
    shim.try_line()?;
    for signal in [SIGTERM, SIGTERM, SIGUSR1] {
        shim.try_signal(signal)?;
        let line = shim.try_line()?;
        holds(line.starts_with(&format!("{signal} from")), || format!("the worker got {line}"))?;
    }
    shim.try_signal(64)?;
    let ended = shim.try_end()?;
    holds(ended.code == 0, || format!("{ended:?}"))
}

#[test]
fn a_worker_is_never_killed_unasked() {
    use a_second_stop_is_a_signal_like_any_other as check;
    assert_eq!(check(Shim::command("run")), Ok(()));
    assert_eq!(check(Shim::command("run").pid1()), Ok(()));
    found_out(check(Shim::faulty("kills-at-a-second-stop").pid1()), "standard output ended");
}

#[test]
fn what_the_worker_leaves_behind_has_the_reap_grace_to_end() {
    let folder = Folder::new();
    let marker = folder.path("ended");
    // In a session of its own, with a handler for TERM that takes its time.
    let left = format!(
        "trap 'sleep 0.2; touch {}; exit' TERM; echo ready; while :; do sleep 0.01; done",
        marker.display()
    );
    let script = format!("setsid sh -c \"{left}\" & read line; exit 5");
    for shim in
        both_ways(&Shim::command("run").worker(["sh", "-c", &script]), "--reap-grace", "10s")
    {
        for shim in [shim.clone(), shim.pid1()] {
            let _ = std::fs::remove_file(&marker);
            let (mut shim, stdin) = shim.spawn_with_stdin();
            shim.expect_line("ready");
            drop(stdin);
            let ended = shim.end();
            assert_eq!(ended.code, 5, "{ended:?}");
            assert!(left_behind(&marker), "{ended:?}");
            assert!(ended.took < Duration::from_secs(10), "{ended:?}");
        }
    }
}

#[test]
fn the_reap_grace_is_over_with_the_last_of_what_was_left() {
    let shim = Shim::command("run").options(["--reap-grace", "1m"]);
    let script = "i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i + 1)); done; exit 5";
    let shim = shim.worker(["sh", "-c", script]);
    // Their ends, all at about the same time, race with the shim's look at them.
    for _ in 0..300 {
        assert_eq!(shim.output().code, 5);
    }
}

#[test]
fn a_stop_that_came_before_the_worker_counts_for_the_stop_timeout() {
    let (_server, url) = silent_server();
    // Ignored on entry, it does not end the run, but is kept for the worker.
    let shim = Shim::run(["echo", "64"]).under(["ignore:15"]).registers("late", url);
    let shim = shim.options(["--stop-timeout", "200ms", "--register-timeout", "500ms"]).spawn();
    shim.armed();
    shim.signal(SIGTERM);
    assert_eq!(shim.end().code, 128 + SIGKILL);
}

#[test]
fn the_reap_grace_has_an_end() {
    let script = format!("{} echo 64 & read line; exit 5", fixture("worker").display());
    let shim = Shim::command("run").worker(["sh", "-c", &script]);
    let (mut shim, stdin) = shim.options(["--reap-grace", "1s"]).pid1().spawn_with_stdin();
    shim.expect_line("ready");
    drop(stdin);
    assert!(shim.line().starts_with("15 from"));
    assert_eq!(shim.end().code, 5);
}

#[test]
fn a_stop_ends_the_reap_grace() {
    let script = format!("{} echo 64 & read line; exit 5", fixture("worker").display());
    let shim = Shim::command("run").worker(["sh", "-c", &script]);
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        let shim = shim.clone().options(["--reap-grace", "1h"]).pid1();
        let (mut shim, stdin) = shim.spawn_with_stdin();
        shim.expect_line("ready");
        drop(stdin);
        assert!(shim.line().starts_with("15 from"));
        // One that asks for nothing does not.
        shim.signal(SIGWINCH);
        shim.signal(signal);
        assert_eq!(shim.end().code, 5);
    }
}

/// Two PID namespaces and one /proc. In the outer one 2 is a shell with the children 3 and 4; in the
/// inner one 2 is the shim, 3 its worker and 4 a stranger.
#[test]
fn the_reap_grace_takes_nobody_for_the_shims_whom_the_proc_of_others_shows_there() {
    let folder = Folder::new();
    let (ready, end) = (folder.path("ready"), folder.path("end"));
    mkfifo(&end, Mode::S_IRWXU).unwrap();
    let inner = "\"$SHIM\" run --reap-grace 1m -- sh -c 'echo >\"$READY\"; : <\"$END\"' & shim=$!
        until [ -e \"$READY\" ]; do :; done
        sleep 1000 & stranger=$!
        : >\"$END\"
        wait $shim
        kill -KILL $stranger; wait $stranger; echo $shim $stranger $?";
    let outer = "(sleep 1000 & sleep 1000 & wait) &
        until [ -e /proc/4 ]; do :; done
        unshare --fork --pid --kill-child sh -c \"$0\"";
    let output = Command::new("unshare")
        .args(["--fork", "--pid", "--mount-proc", "--kill-child", "sh", "-c", outer, inner])
        .envs([("SHIM", binary()), ("READY", ready), ("END", end)])
        .env("GIT_SHA", "a1b2c3d")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "2 4 137\n", "{output:?}");
}

#[test]
fn what_is_stopped_ends_within_the_reap_grace_as_well() {
    let script = "sleep 1000 & kill -STOP $!; exit 5";
    let shim = Shim::command("run").worker(["sh", "-c", script]).options(["--reap-grace", "1h"]);
    assert_eq!(shim.output().code, 5);
    assert_eq!(shim.pid1().output().code, 5);
}

#[test]
fn a_rewrite_counts_before_the_worker_is_there_as_well() {
    let (_server, url) = silent_server();
    let shim = Shim::run(["sleep"]).registers("early", url).under::<&str>([]);
    let shim = shim.options(["--register-timeout", "500ms"]);
    let rewrites = ["--rewrite-signal", "TERM:0", "--rewrite-signal", "HUP:TSTP"];
    let mut harmless = shim.clone().options(rewrites).spawn();
    harmless.armed();
    harmless.signal(SIGTERM);
    harmless.signal(SIGHUP);
    let worker = harmless.worker_pid();
    eventually("a stop", || status_field(worker, "State")?.starts_with('T').then_some(()));
    harmless.signal(SIGCONT);
    harmless.expect_line("ready");
    harmless.signal(40);
    assert_eq!(harmless.end().code, 128 + 40);
    let ends = shim.options(["--rewrite-signal", "TERM:QUIT"]).spawn();
    ends.armed();
    ends.signal(SIGTERM);
    let ended = ends.end();
    assert_eq!((ended.code, ended.stdout.as_str()), (143, ""), "{ended:?}");
}

/// setpgid(2): one child stays behind in the worker's first group, the other has a group for it.
#[test]
fn in_group_scope_a_worker_that_has_left_its_group_still_gets_signals() {
    let script = "
import os, signal
def child():
    pid = os.fork()
    if pid == 0:
        signal.pause()
    return pid
signal.signal(signal.SIGTERM, lambda *_: os._exit(6))
child()
other = child()
os.setpgid(other, other)
os.setpgid(0, other)
print('ready', flush=True)
while True:
    signal.pause()
";
    let shim = Shim::command("run").worker(["python3", "-c", script]).pid1();
    // Its children may be asked before they wait for it.
    let mut shim = shim.options(["--signal-scope", "group", "--reap-grace", "0s"]).spawn();
    shim.expect_line("ready");
    shim.signal(SIGTERM);
    assert_eq!(shim.end().code, 6);
}

#[test]
fn a_reaped_orphan_is_told_of_when_asked_for() {
    let orphan = || Shim::run(["orphans", "1"]);
    for shim in
        [orphan().options(["--warn-on-reap"]), orphan().env("VERSION_GUARD_WARN_ON_REAP", "true")]
    {
        let mut shim = shim.spawn();
        shim.expect_log("Reaped process");
        shim.signal(SIGTERM);
        assert_eq!(shim.end().code, 7);
    }
    let mut silent = orphan().spawn();
    silent.expect_line("ready");
    silent.signal(SIGTERM);
    assert!(!silent.end().stderr.contains("Reaped"));
}

#[test]
fn the_worker_is_told_when_the_shims_parent_dies() {
    for shim in both_ways(&Shim::run(["echo"]), "--parent-death-signal", "TERM") {
        // The parent is a shell that starts the shim and waits to be killed.
        let shim = shim.behind(["sh", "-c", "\"$@\" & wait", "sh"]);
        let mut parent = shim.spawn();
        parent.expect_line("ready");
        let pid = children(parent.pid())[0];
        kill(parent.pid(), SIGKILL);
        assert!(parent.line().starts_with("15 from"));
        eventually("the shim's end", || status_field(pid, "State").is_none().then_some(()));
    }
}

#[test]
fn a_malformed_option_is_a_usage_error_that_names_it_its_value_and_what_is_right() {
    for (flag, value, right) in [
        ("--signal-scope", "all", "expected worker or group"),
        ("--rewrite-signal", "TERM:NOSUCH", "expected FROM:TO"),
        ("--rewrite-signal", "TERM", "expected FROM:TO"),
        ("--parent-death-signal", "65", "expected a signal such as"),
        ("--remap-exit", "256", "expected CODE or CODE:TO"),
        ("--stop-timeout", "soon", "expected a duration"),
        ("--reap-grace", "-1s", "expected a duration"),
    ] {
        let flag_value = format!("{flag}={value}");
        for (shim, named) in [(Shim::run(["exit", "0"]).options([&flag_value]), flag.to_owned()), {
            let [_, twin] = both_ways(&Shim::run(["exit", "0"]), flag, value);
            let name = flag.trim_start_matches('-').replace('-', "_").to_uppercase();
            (twin, format!("VERSION_GUARD_{name}"))
        }] {
            let ended = shim.output();
            assert_eq!(ended.code, 125, "{ended:?}");
            for part in [&named, value, right] {
                assert!(ended.stderr.contains(part), "{part} in {ended:?}");
            }
        }
    }
}

#[test]
fn any_signal_that_asks_to_end_starts_the_stop_timeout() {
    // The echo worker ends on SIGKILL alone.
    for (signal, starts) in
        [(SIGHUP, true), (SIGQUIT, true), (34 + 3, true), (SIGUSR1, false), (SIGWINCH, false)]
    {
        let mut shim = Shim::run(["echo", "64"]).options(["--stop-timeout", "200ms"]).spawn();
        shim.expect_line("ready");
        shim.signal(signal);
        if starts {
            assert_eq!(shim.end().code, 128 + SIGKILL, "{signal}");
        } else {
            assert!(shim.line().starts_with(&signal.to_string()));
            std::thread::sleep(Duration::from_millis(400));
            assert!(shim.runs(), "{signal}");
        }
    }
}

/// A worker in a shell that ends, and a process in its group that tells what it gets.
fn with_a_companion() -> Shim {
    let script = format!("{} echo 15 & read line; exit 5", fixture("worker").display());
    Shim::command("run").worker(["sh", "-c", &script])
}

/// dumb-init's way; the control is the worker's scope.
#[test]
fn in_group_scope_the_workers_end_asks_the_rest_of_its_group_to_end() {
    for (scope, told) in [("group", true), ("worker", false)] {
        for grace in [&[][..], &["--reap-grace", "20s"]] {
            let shim = with_a_companion().options(["--signal-scope", scope]).options(grace);
            let (mut shim, stdin) = shim.spawn_with_stdin();
            shim.expect_line("ready");
            let companion = children(shim.worker_pid())[0];
            drop(stdin);
            if told || !grace.is_empty() {
                // Once, and no SIGCONT: it was not stopped.
                let ended = shim.end();
                assert_eq!(ended.code, 5);
                assert_eq!(ended.stdout.matches("from").count(), 1, "{ended:?}");
                assert!(ended.stdout.contains("15 from"), "{ended:?}");
            } else {
                eventually("the shim's end", || (!shim.runs()).then_some(()));
                assert!(status_field(companion, "State").is_some(), "left alone");
                kill(companion, SIGTERM);
                assert_eq!(shim.end().stdout.matches("15 from").count(), 1);
            }
        }
    }
}

#[test]
fn while_the_shim_waits_for_descendants_the_instance_has_said_goodbye() {
    let redis = crate::common::Redis::start();
    let script = format!("{} echo 64 & read line; exit 5", fixture("worker").display());
    let shim = Shim::command("run").worker(["sh", "-c", &script]).registers("left", redis.url());
    let shim = shim.env("GIT_SHA", crate::common::SHA).env("VERSION_GUARD_HEARTBEAT", "100ms");
    let shim = shim.options(["--reap-grace", "1h"]).pid1();
    let (mut shim, stdin) = shim.spawn_with_stdin();
    shim.expect_line("ready");
    assert_eq!(redis.cli(["ZCARD", "fiskai:workers"]), "1");
    drop(stdin);
    assert!(shim.line().starts_with("15 from"));
    eventually("the goodbye", || (redis.cli(["ZCARD", "fiskai:workers"]) == "0").then_some(()));
    // Past several heartbeats nothing has come back, and the shim still waits.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(redis.cli(["KEYS", "*instance*"]), "");
    assert!(shim.runs());
    shim.signal(SIGTERM);
    assert_eq!(shim.end().code, 5);
}

/// The worker ends in the midst of its orphans, which are reaped one after the other.
#[test]
fn in_group_scope_no_burst_of_orphans_keeps_the_group_from_being_asked_to_end() {
    let script = "sleep 1000 & i=0; while [ $i -lt 100 ]; do (: &); i=$((i + 1)); done; exit 5";
    for _ in 0..40 {
        let shim = Shim::command("run").worker(["sh", "-c", script]);
        let shim = shim.options(["--signal-scope", "group", "--reap-grace", "1h"]);
        assert_eq!(shim.output().code, 5);
    }
}
