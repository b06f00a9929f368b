//! The exit table: how the worker ended is how the shim ends.

use crate::common::Shim;

#[test]
fn every_exit_code_of_the_worker_is_the_shims_as_pid_1() {
    for code in 0..=255 {
        let ended = Shim::run(["exit", &code.to_string()]).pid1().output();
        assert_eq!(ended.code, code, "{ended:?}");
    }
}

/// signal(7): those whose default action is to ignore, to continue or to stop kill nobody.
#[test]
fn a_death_by_any_signal_that_kills_is_128_and_the_signal_as_pid_1() {
    let kill_nobody = [17, 18, 19, 20, 21, 22, 23, 28];
    for signal in (1..=64).filter(|signal| !kill_nobody.contains(signal)) {
        let ended = Shim::run(["die", &signal.to_string()]).pid1().output();
        assert_eq!(ended.code, 128 + signal, "{ended:?}");
    }
}

/// How a worker dies, and what the one line about it says.
#[test]
fn a_death_by_a_signal_is_one_line_with_the_signal_and_its_usual_cause() {
    for (task, signal, words) in [
        (["die", "9"], "SIGKILL", "exit code 137. "),
        (["die", "11"], "SIGSEGV", "exit code 139. A fault"),
        (["die", "6"], "SIGABRT", "exit code 134. It gave up"),
        (["die", "15"], "SIGTERM", "exit code 143"),
    ] {
        let ended = Shim::run(task).output();
        let lines = ended.lines();
        let mut about = lines.iter().filter(|line| line.contains("was killed by"));
        let (Some(line), None) = (about.next(), about.next()) else { panic!("{ended:?}") };
        assert!(line.contains(signal) && line.contains(words), "{line}");
    }
    let shell = Shim::command("run").worker(["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).output();
    assert_eq!(shell.code, 137);
    assert!(shell.stderr.contains("exited with 137, as a shell does"), "{shell:?}");
}

#[test]
fn a_death_by_the_signal_of_a_stop_needs_no_line() {
    for signal in [1, 15] {
        let shim = Shim::run(["sleep"]).ready();
        shim.signal(signal);
        let ended = shim.end();
        assert_eq!(ended.code, 128 + signal, "{ended:?}");
        assert!(!ended.stderr.contains("was killed by"), "{ended:?}");
    }
    let mut stubborn = Shim::run(["echo", "64"]).options(["--stop-timeout", "100ms"]).ready();
    stubborn.signal(15);
    assert!(stubborn.line().starts_with("15 from"));
    let ended = stubborn.end();
    assert_eq!(ended.code, 137);
    assert!(!ended.stderr.contains("was killed by"), "{ended:?}");
}

/// As the image of a worker in Rust may ask for them, of a release that has nothing to unwind by.
#[test]
fn a_backtrace_that_is_asked_for_changes_no_failure() {
    let asking = |command| Shim::command(command).env("RUST_BACKTRACE", "full");
    let ended = asking("verify").output();
    assert!(ended.code == 2 && ended.stderr.contains("REDIS_URL is not set"), "{ended:?}");
    let ended = asking("run").worker(["/nowhere"]).output();
    assert!(ended.code == 127 && ended.stderr.contains("is not found"), "{ended:?}");
}
