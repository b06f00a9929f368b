//! When everything happens at once, and when nothing does.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::{Redis, Shim, eventually, found_out, holds, status_field, try_kill};

/// Kinds whose default action ends a process and kinds whose does not, and real-time ones.
const STANDARD: [i32; 8] = [1, 2, 3, 10, 12, 18, 23, 28];
const REAL_TIME: [i32; 4] = [34, 40, 50, 64];

/// Batches of 1,000, each of which may wait in the kernel's queue as a whole.
fn mixed_signals(shim: Shim, batches: usize) -> Result<(), String> {
    const EACH: usize = 1_000 / (STANDARD.len() + REAL_TIME.len());
    let mut running = shim.task(["echo"]).spawn();
    running.try_line()?;
    let pid = running.try_pid()?;
    for _ in 0..batches {
        for _ in 0..EACH {
            for signal in STANDARD.into_iter().chain(REAL_TIME) {
                running.try_signal(signal)?;
            }
        }
        let mut missing = [EACH; REAL_TIME.len()];
        let mut standard = [0; STANDARD.len()];
        // The kernel merges standard signals, but never to none.
        while missing.iter().any(|count| *count > 0) || standard.contains(&0) {
            let line = running.try_line().map_err(|end| {
                format!("{missing:?} of {REAL_TIME:?} missing, {standard:?} of {STANDARD:?}; {end}")
            })?;
            let number: i32 = line.split(' ').next().unwrap().parse().unwrap();
            if let Some(index) = REAL_TIME.iter().position(|signal| *signal == number) {
                missing[index] =
                    missing[index].checked_sub(1).ok_or(format!("{number} invented"))?;
            } else if let Some(index) = STANDARD.iter().position(|signal| *signal == number) {
                standard[index] += 1;
                holds(standard[index] <= EACH, || format!("{number} invented"))?;
            }
        }
        // Of standard ones the last may still be on its way: none may be taken for the next batch's.
        running.within("quiet", || (waiting(pid)? == 0).then_some(()))?;
        while let Some(line) = running.line_at_once() {
            let number: i32 = line.split(' ').next().unwrap().parse().unwrap();
            holds(STANDARD.contains(&number), || format!("{number} invented"))?;
        }
    }
    running.try_signal(15)?;
    while !running.try_line()?.starts_with("15 ") {}
    let ended = running.try_end()?;
    holds(ended.code == 0, || format!("{ended:?}"))
}

/// How many signals wait for this process.
fn waiting(pid: i32) -> Option<u32> {
    let pending = status_field(pid, "ShdPnd")?;
    Some(u64::from_str_radix(&pending, 16).ok()?.count_ones())
}

#[test]
fn of_a_hundred_thousand_signals_of_mixed_kinds_none_is_lost_that_the_kernel_does_not_merge() {
    assert_eq!(mixed_signals(Shim::command("run").pid1(), 50), Ok(()));
    assert_eq!(mixed_signals(Shim::command("run"), 50), Ok(()));
    found_out(mixed_signals(Shim::faulty("merges-real-time").pid1(), 50), "missing");
}

/// The worker's own death, raced with a SIGTERM.
fn deaths_and_sigterms(shim: &Shim, runs: u32) -> Result<(), String> {
    let mut codes = [0, 0];
    let shim = shim.clone().worker(["sh", "-c", "echo ready; read line; exit 5"]).pid1();
    let is_a_race = |codes: [u32; 2]| codes.iter().all(|count| *count > runs / 100);
    for run in 0..5 * runs {
        // Until either has come first often enough, or the race was none.
        if run >= runs && is_a_race(codes) {
            break;
        }
        let (mut running, stdin) = shim.spawn_with_stdin();
        running.try_line()?;
        let pid = running.try_pid()?;
        drop(stdin);
        let until = Instant::now() + Duration::from_micros(u64::from(run % 100) * 10);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        // It may be gone.
        let _ = try_kill(pid, 15);
        match running.try_end()?.code {
            5 => codes[0] += 1,
            143 => codes[1] += 1,
            other => return Err(format!("{other} after {codes:?}")),
        }
    }
    holds(is_a_race(codes), || format!("no race: {codes:?}"))
}

#[test]
fn a_death_that_races_with_a_sigterm_gives_one_of_the_two_right_codes() {
    assert_eq!(deaths_and_sigterms(&Shim::command("run"), 2000), Ok(()));
    found_out(deaths_and_sigterms(&Shim::faulty("zero-on-signal-death"), 400), "0 after");
    found_out(deaths_and_sigterms(&Shim::faulty("loses-sigchld"), 2000), "the shim's end");
}

/// Voluntary context switches of each thread; proc_pid_status(5).
fn switches(pid: i32) -> Vec<(String, String)> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let mut switches: Vec<_> = threads
        .map(|thread| {
            let status = fs::read_to_string(thread.path().join("status")).unwrap();
            let field = |name| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                line.trim().to_owned()
            };
            (field("Name:"), field("voluntary_ctxt_switches:"))
        })
        .collect();
    switches.sort();
    switches
}

fn nothing_wakes_in(shim: &Shim, time: Duration) -> Result<(), String> {
    let mut running = shim.clone().task(["sleep"]).spawn();
    running.try_line()?;
    let pid = running.try_pid()?;
    let settled = eventually("rest", || {
        let before = switches(pid);
        sleep(Duration::from_millis(300));
        (switches(pid) == before).then_some(before)
    });
    sleep(time);
    let after = switches(pid);
    holds(after == settled, || format!("from {settled:?} to {after:?}"))
}

#[test]
fn an_idle_shim_sleeps_for_thirty_seconds_without_a_wake() {
    let redis = Redis::start();
    let registered = Shim::command("run").registers("idle", redis.url());
    let shim = registered.options(["--heartbeat", "1h"]);
    assert_eq!(nothing_wakes_in(&shim, Duration::from_secs(30)), Ok(()));
}

#[test]
fn a_heartbeat_is_seen_by_the_same_measure() {
    let redis = Redis::start();
    let beating =
        Shim::command("run").registers("beating", redis.url()).options(["--heartbeat", "1s"]);
    found_out(nothing_wakes_in(&beating, Duration::from_secs(3)), "registered");
}
