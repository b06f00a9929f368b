//! What an image can tune about supervision: each option, its twin, and what comes of it.

use std::time::{Duration, Instant};

use crate::common::{Running, Shim, children, eventually, fixture, kill, status_field};

/// A shell that starts two fixture workers and waits for both: three processes in one group.
fn family() -> Shim {
    let echo = format!("{} echo 15", fixture("worker").display());
    Shim::command("run").worker(["sh", "-c", &format!("trap '' USR1; {echo} & {echo} & wait; wait; wait")])
}

/// Waits until both fixture workers of the family are ready.
fn ready(family: &mut Running) {
    family.expect_line("ready");
    family.expect_line("ready");
}

#[test]
fn in_worker_scope_only_the_worker_gets_a_signal() {
    let mut shim = family().spawn();
    ready(&mut shim);
    let (worker, grandchildren) = (shim.worker_pid(), children(shim.worker_pid()));
    shim.signal(libc_usr1());
    // The grandchildren get this one directly, and it is the first that they get.
    for grandchild in &grandchildren {
        kill(*grandchild, 15);
    }
    let ended = shim.end();
    assert!(!ended.stdout.contains("10 from"), "{worker}: {}", ended.stdout);
    assert_eq!(ended.stdout.matches("15 from").count(), 2);
}

#[test]
fn in_group_scope_each_process_of_the_group_gets_each_signal_once() {
    for option in [Shim::env as fn(Shim, &str, &str) -> Shim, |shim, _, scope| shim.options(["--signal-scope", scope])] {
        let shim = option(family(), "VERSION_GUARD_SIGNAL_SCOPE", "group");
        let mut shim = shim.spawn();
        ready(&mut shim);
        shim.signal(libc_usr1());
        let lines = [shim.line(), shim.line()];
        assert!(lines.iter().all(|line| line.starts_with("10 from")), "{lines:?}");
        shim.signal(12);
        let ended = shim.end();
        assert_eq!(ended.stdout.matches("10 from").count(), 2, "{}", ended.stdout);
    }
}

fn libc_usr1() -> i32 {
    nix::libc::SIGUSR1
}
