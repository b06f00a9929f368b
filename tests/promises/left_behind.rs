//! What a worker leaves behind when it ends: the program below a shell or npm, most of all.

use std::time::Duration;

use nix::libc::{SIGKILL, SIGTERM};

use crate::common::{
    Folder, Redis, Running, SHA, Shim, children, eventually, fixture, found_out, has_ended, holds,
    kill, left_behind, status_field,
};

/// A shell that is the worker, and below it a program that finishes its job when it is asked to stop.
fn behind_a_shell(job: &str) -> Shim {
    Shim::command("run").worker(["sh", "-c", &format!("sh -c \"{job}\"; true")])
}

/// The job of a program that takes the time to finish it, in front of this marker.
fn unhurried(folder: &Folder) -> String {
    format!(
        "trap 'sleep 0.3; touch {}; exit' TERM; echo ready; while :; do sleep 0.01; done",
        folder.path("done").display()
    )
}

fn a_job_behind_a_shell_is_finished(shim: &Shim, folder: &Folder) -> Result<(), String> {
    let _ = std::fs::remove_file(folder.path("done"));
    let mut shim = shim.ready();
    shim.try_signal(SIGTERM)?;
    let ended = shim.try_end()?;
    holds(ended.code == 128 + SIGTERM, || format!("another code: {ended:?}"))?;
    holds(left_behind(&folder.path("done")), || format!("the job is lost: {ended:?}"))
}

#[test]
fn a_stop_that_ends_a_shell_alone_lets_the_program_below_it_finish_its_job() {
    for scope in ["worker", "group"] {
        let folder = Folder::new();
        let shim = behind_a_shell(&unhurried(&folder)).options(["--signal-scope", scope]);
        assert_eq!(a_job_behind_a_shell_is_finished(&shim, &folder), Ok(()));
        assert_eq!(a_job_behind_a_shell_is_finished(&shim.clone().pid1(), &folder), Ok(()));
        let hurried = shim.options(["--reap-grace", "0s"]).pid1();
        found_out(a_job_behind_a_shell_is_finished(&hurried, &folder), "the job is lost");
    }
}

/// A shell, and below it a worker that tells each signal and ends by the 64th alone.
fn stubborn() -> Shim {
    behind_a_shell(&format!("{} echo 64; true", fixture("worker").display()))
}

/// The stubborn worker's pid, once the shell above it has been ended by a stop.
fn survivor(shim: &mut Running) -> i32 {
    let outer = shim.worker_pid();
    let inner = children(outer)[0];
    let survivor = children(inner)[0];
    shim.signal(SIGTERM);
    assert!(shim.line().starts_with("15 from"));
    survivor
}

#[test]
fn what_is_waited_for_is_named_once_with_the_cure() {
    let mut shim = stubborn().ready();
    let survivor = survivor(&mut shim);
    let line = shim.expect_log("left behind");
    assert!(line.contains(&format!("{survivor} (")) && line.contains("exec"), "{line}");
    assert!(shim.runs());
    kill(survivor, 64);
    let ended = shim.end();
    assert_eq!(ended.code, 128 + SIGTERM);
    assert_eq!(ended.stderr.matches("left behind").count(), 1, "{ended:?}");
}

#[test]
fn what_finishes_a_stopped_workers_job_keeps_its_instance_draining() {
    let redis = Redis::start();
    let shim = stubborn().registers("extractor", redis.url()).env("GIT_SHA", SHA);
    let mut shim = shim.env("VERSION_GUARD_HEARTBEAT", "200ms").ready();
    let survivor = survivor(&mut shim);
    shim.expect_log("left behind");
    // Past its first expiry: its code still runs, and the fleet is not what it should be.
    std::thread::sleep(Duration::from_millis(900));
    let verify = Shim::command("verify").env("REDIS_URL", redis.url()).options(["--expected", SHA]);
    let verdict = verify.output();
    assert_eq!(verdict.code, 1, "{verdict:?}");
    assert!(verdict.stdout.contains("[DRAINING] extractor\n"), "{verdict:?}");
    kill(survivor, 64);
    assert_eq!(shim.end().code, 128 + SIGTERM);
    assert_eq!(redis.cli(["ZCARD", "fiskai:workers"]), "0");
}

/// To a second TERM many workers drop what they have in hand.
#[test]
fn in_group_scope_what_is_below_a_shell_is_asked_once() {
    for grace in [&[][..], &["--reap-grace", "10s"]] {
        let shim = stubborn().options(["--signal-scope", "group"]).options(grace);
        let mut shim = shim.ready();
        let survivor = survivor(&mut shim);
        eventually("the shell's end", || {
            (status_field(survivor, "PPid")? == shim.pid().to_string()).then_some(())
        });
        std::thread::sleep(Duration::from_millis(300));
        kill(survivor, 64);
        let ended = shim.end();
        assert_eq!(ended.stdout.matches("15 from").count(), 1, "{ended:?}");
    }
}

#[test]
fn what_ends_a_moment_after_the_worker_is_no_reason_for_a_warning() {
    for script in ["sleep 0.05 & exit 5", "sh -c 'sleep 0.05; exit 1' & exit 5"] {
        let ended = Shim::command("run").worker(["sh", "-c", script]).pid1().output();
        assert_eq!(ended.code, 5);
        assert!(!ended.stderr.contains("left behind"), "{ended:?}");
    }
}

#[test]
fn a_second_stop_ends_the_wait() {
    let mut shim = stubborn().pid1().ready();
    survivor(&mut shim);
    shim.expect_log("left behind");
    shim.signal(SIGTERM);
    assert_eq!(shim.end().code, 128 + SIGTERM);
}

#[test]
fn the_stop_timeout_ends_the_wait() {
    let mut shim = stubborn().options(["--stop-timeout", "500ms"]).pid1().ready();
    survivor(&mut shim);
    let ended = shim.end();
    assert_eq!(ended.code, 128 + SIGTERM);
    assert!(ended.stderr.contains("left behind"), "{ended:?}");
}

/// A worker that ends by itself while a process that it has started goes on.
fn deserter(more: &str) -> Shim {
    Shim::command("run").worker(["sh", "-c", &format!("{more} sleep 1000 & sleep 0.1; exit 5")])
}

#[test]
fn a_worker_that_ends_by_itself_holds_up_nothing_and_what_is_left_is_named() {
    let ended = deserter("").pid1().output();
    assert_eq!(ended.code, 5);
    let lines: Vec<_> = ended.stderr.lines().filter(|line| line.contains("left behind")).collect();
    let [line] = lines[..] else { panic!("{ended:?}") };
    assert!(line.contains("(sleep 1000)") && line.contains("--reap-grace"), "{line}");
    assert!(line.contains("killed with the container"), "{line}");
}

#[test]
fn a_worker_that_leaves_nothing_behind_is_not_warned_of() {
    for script in ["exit 5", "sleep 0.01 & wait; exit 5", "(: &); sleep 0.1; exit 5"] {
        let ended = Shim::command("run").worker(["sh", "-c", script]).pid1().output();
        assert_eq!(ended.code, 5);
        assert!(!ended.stderr.contains("left behind"), "{ended:?}");
    }
}

#[test]
fn a_reap_grace_that_is_long_enough_is_silent_and_one_that_is_not_names_who_needs_more() {
    let silent = deserter("").options(["--reap-grace", "1m"]).pid1().output();
    assert!(!silent.stderr.contains("sleep"), "{silent:?}");
    let ignores = "trap '' TERM;";
    let told = deserter(ignores).options(["--reap-grace", "200ms"]).pid1().output();
    assert_eq!(told.code, 5);
    assert_eq!(told.stderr.matches("(sleep 1000)").count(), 1, "{told:?}");
}

#[test]
fn no_more_is_shown_of_a_command_line_than_its_beginning() {
    let script = "sh -c 'while :; do sleep 1; done' secret-1 hunter2 & sleep 0.1; exit 5";
    let ended = Shim::command("run").worker(["sh", "-c", script]).pid1().output();
    assert!(ended.stderr.contains("(sh -c …)"), "{ended:?}");
    assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
}

#[test]
fn of_many_the_first_are_named_and_the_others_counted() {
    // Each of them has executed its program by then.
    let script = "for i in 1 2 3 4 5 6 7; do sleep 1000 & done; sleep 0.3; exit 5";
    let ended = Shim::command("run").worker(["sh", "-c", script]).pid1().output();
    assert_eq!(ended.stderr.matches("(sleep 1000)").count(), 5, "{ended:?}");
    assert!(ended.stderr.contains(" and 2 more"), "{ended:?}");
}
