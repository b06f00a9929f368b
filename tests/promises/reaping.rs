//! Reaping: orphans are buried, the worker's status is never lost, nobody else is touched.

use std::process::Command;
use std::time::Duration;

use nix::libc;

use crate::common::{
    Shim, children, eventually, found_out, has_ended, holds, status_field, try_kill,
};

/// All children but the worker, with their states of proc(5).
fn others(shim: i32, worker: i32) -> Vec<(i32, String)> {
    children(shim)
        .into_iter()
        .filter(|child| *child != worker)
        .map(|child| (child, status_field(child, "State").unwrap_or_default()))
        .collect()
}

fn orphans_are_reaped(shim: Shim) -> Result<(), String> {
    let mut running = shim.task(["orphans", "20"]).spawn();
    running.try_line()?;
    let (shim, worker) = (running.try_pid()?, running.try_worker_pid()?);
    running
        .within("the burial", || others(shim, worker).is_empty().then_some(()))
        .map_err(|reason| format!("{reason}: {:?}", others(shim, worker)))?;
    running.try_signal(libc::SIGTERM)?;
    let ended = running.try_end()?;
    holds(ended.code == 7, || format!("{ended:?}"))
}

#[test]
fn orphans_are_reaped_as_pid_1_and_as_a_subreaper() {
    use orphans_are_reaped as check;
    assert_eq!(check(Shim::command("run").pid1()), Ok(()));
    assert_eq!(check(Shim::command("run")), Ok(()));
    found_out(check(Shim::faulty("no-reap").pid1()), "Z (zombie)");
    found_out(check(Shim::faulty("no-reap")), "Z (zombie)");
}

/// While the shim stands still, all of them end: one SIGCHLD stands for every one (signal(7)).
fn a_burst_is_reaped(shim: Shim, count: usize, worker_too: bool) -> Result<(), String> {
    let mut running = shim.task(["orphans-on-demand", &count.to_string()]).spawn();
    running.try_line()?;
    let (shim, worker) = (running.try_pid()?, running.try_worker_pid()?);
    running.try_signal(libc::SIGSTOP)?;
    try_kill(worker, libc::SIGUSR1)?;
    running.try_line()?;
    running.within("the orphans' end", || {
        let zombies =
            others(shim, worker).iter().filter(|(_, state)| state.starts_with('Z')).count();
        (zombies == count).then_some(())
    })?;
    if worker_too {
        try_kill(worker, libc::SIGTERM)?;
        running.within("the worker's end", || has_ended(worker).then_some(()))?;
        running.try_signal(libc::SIGCONT)?;
    } else {
        running.try_signal(libc::SIGCONT)?;
        running.within("the burial", || others(shim, worker).is_empty().then_some(()))?;
        running.try_signal(libc::SIGTERM)?;
    }
    let ended = running.try_end()?;
    holds(ended.code == 7, || format!("{ended:?}"))
}

#[test]
fn two_thousand_orphans_at_once_are_reaped_and_the_workers_status_is_not_lost_among_them() {
    use a_burst_is_reaped as check;
    for worker_too in [false, true] {
        assert_eq!(check(Shim::command("run").pid1(), 2000, worker_too), Ok(()));
        assert_eq!(check(Shim::command("run"), 2000, worker_too), Ok(()));
    }
    found_out(check(Shim::faulty("one-child-per-signal").pid1(), 100, false), "the burial");
    found_out(check(Shim::faulty("takes-the-last-end").pid1(), 100, true), "code: 0");
}

#[test]
fn twenty_thousand_orphans_are_reaped_in_a_burst_and_in_a_stream() {
    // On a machine that is busy with other things, the worker takes its time to make them.
    let shim = Shim::command("run").pid1().patient(Duration::from_mins(2));
    assert_eq!(a_burst_is_reaped(shim.clone(), 20_000, true), Ok(()));
    let mut running = shim.task(["orphans", "20000"]).spawn();
    running.expect_line("ready");
    let (shim, worker) = (running.pid(), running.worker_pid());
    eventually("the burial", || others(shim, worker).is_empty().then_some(()));
    running.signal(libc::SIGTERM);
    assert_eq!(running.end().code, 7);
}

/// Orphans end faster than the shim, which strace(1) makes slow, can reap them.
fn a_signal_is_forwarded_among_them(shim: Shim) -> Result<(), String> {
    let script = "trap 'echo told; exit 0' TERM; (while :; do (: &) done) 2>/dev/null &
        echo ready; while :; do wait; done";
    let slowly = "inject=wait4:delay_exit=10000";
    let strace = ["strace", "-D", "-qq", "-o", "/dev/null", "-e", "trace=wait4", "-e", slowly];
    let mut running = shim.worker(["sh", "-c", script]).pid1().behind(strace).spawn();
    running.try_line()?;
    let pid = running.try_pid()?;
    running.within("more orphans than are reaped", || (children(pid).len() > 200).then_some(()))?;
    running.try_signal(libc::SIGTERM)?;
    let line = running.try_line()?;
    holds(line == "told", || format!("the worker wrote {line}"))
}

#[test]
fn a_storm_of_orphans_holds_up_no_signal() {
    use a_signal_is_forwarded_among_them as check;
    assert_eq!(check(Shim::command("run")), Ok(()));
    // It reaps all that has ended before it reads a signal.
    found_out(check(Shim::faulty("reaps-all-first")), "no line in time");
}

/// prctl(2): PR_SET_CHILD_SUBREAPER.
fn an_orphan_becomes_the_shims(shim: Shim) -> Result<(), String> {
    let script = "(sleep 1000 & echo $!); exec sleep 1000";
    let mut running = shim.worker(["sh", "-c", script]).spawn();
    let orphan = running.try_line()?.parse().expect("a pid");
    let shim = running.try_pid()?.to_string();
    let adopted =
        running.within("the adoption", || (status_field(orphan, "PPid")? == shim).then_some(()));
    try_kill(orphan, libc::SIGKILL)?;
    running.try_signal(libc::SIGTERM)?;
    let ended = running.try_end()?;
    holds(ended.code == 143, || format!("{ended:?}")).and(adopted)
}

#[test]
fn a_shim_that_is_not_pid_1_makes_itself_a_subreaper() {
    use an_orphan_becomes_the_shims as check;
    assert_eq!(check(Shim::command("run")), Ok(()));
    found_out(check(Shim::faulty("no-subreaper")), "the adoption");
}

/// Of all that prctl(2) does, the shim needs nothing but that.
#[test]
fn a_shim_that_may_be_no_subreaper_warns_and_runs_the_worker() {
    let mut running = Shim::run(["exit", "7"]).under(["deny:prctl"]).spawn();
    running.expect_log("a subreaper: orphans go to another");
    assert_eq!(running.end().code, 7);
}

/// What an engine's health probe leaves behind came from outside: its parent is not in here.
#[test]
fn orphans_of_processes_from_outside_the_container_leave_no_zombie() {
    let mut running = Shim::run(["echo"]).pid1().spawn();
    running.expect_line("ready");
    let (shim, worker) = (running.pid(), running.worker_pid());
    let script = "i=0; while [ $i -lt 1000 ]; do (true & ); i=$((i + 1)); done";
    let status = Command::new("nsenter")
        .args(["--target", &shim.to_string(), "--pid", "--", "sh", "-c", script])
        .status();
    assert!(status.expect("nsenter").success());
    eventually("the burial", || others(shim, worker).is_empty().then_some(()));
    running.signal(libc::SIGTERM);
    running.expect_line("15 from 1");
    assert_eq!(running.end().code, 0);
}

/// In a namespace of its own, so that a fault could harm nobody else: a shell is its PID 1, the shim
/// a child of it, and the decoy another.
fn a_decoy_survives(shim: Shim, worker: &str, code: i32) -> Result<(), String> {
    // A decoy that has ended could still be there as a zombie: its status tells what it died of.
    let script = "sleep 1000 & decoy=$!; \"$@\"; code=$?; kill -KILL $decoy; wait $decoy; echo $?; exit $code";
    let namespace = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child", "--"];
    let shim = shim.worker(["sh", "-c", worker]);
    let ended = shim.behind(namespace).behind(["sh", "-c", script, "sh"]).spawn().try_end()?;
    holds(ended.code == code && ended.stdout == "137\n", || format!("{ended:?}"))
}

#[test]
fn off_pid_1_no_process_but_the_workers_is_signalled() {
    use a_decoy_survives as check;
    let run = Shim::command("run");
    let all = ["--reap-grace", "1m", "--signal-scope", "group", "--stop-timeout", "1m"];
    for shim in [run.clone(), run.options(all)] {
        assert_eq!(check(shim.clone(), "exit 7", 7), Ok(()));
        assert_eq!(check(shim.clone(), "kill -KILL $$", 137), Ok(()));
        let stops = "(sleep 1000 &); kill -TERM $PPID; exec sleep 1000";
        assert_eq!(check(shim, stops, 143), Ok(()));
    }
    found_out(check(Shim::faulty("ends-everybody"), "exit 7", 7), "143\\n");
}

fn a_death_by_signal_shows(shim: &Shim) -> Result<(), String> {
    for signal in [libc::SIGHUP, libc::SIGKILL, libc::SIGSEGV, libc::SIGTERM, 32, 34, 64] {
        let ended = shim.clone().task(["die", &signal.to_string()]).spawn().try_end()?;
        holds(ended.code == 128 + signal, || format!("{signal}: {ended:?}"))?;
    }
    Ok(())
}

#[test]
fn a_death_by_signal_never_shows_as_success() {
    use a_death_by_signal_shows as check;
    assert_eq!(check(&Shim::command("run")), Ok(()));
    found_out(check(&Shim::faulty("zero-on-signal-death")), "code: 0");
}

/// In a namespace whose PID 1 takes the orphan over, so that nothing stays on the machine.
fn the_shim_ends_with_its_worker(shim: Shim) -> Result<(), String> {
    let script = "sleep 1000 >/dev/null 2>&1 & exit 7";
    let namespace = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child", "--"];
    let shim = shim.worker(["sh", "-c", script]);
    let off_pid_1 = shim.clone().behind(namespace).behind(["sh", "-c", "\"$@\"; exit $?", "sh"]);
    for shim in [shim.pid1(), off_pid_1] {
        let ended = shim.spawn().try_end()?;
        holds(ended.code == 7, || format!("{ended:?}"))?;
    }
    Ok(())
}

#[test]
fn with_the_worker_gone_the_shim_does_not_wait_for_orphans() {
    use the_shim_ends_with_its_worker as check;
    assert_eq!(check(Shim::command("run")), Ok(()));
    found_out(check(Shim::faulty("waits-for-orphans")), "the shim's end");
}
