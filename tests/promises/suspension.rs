//! Suspension: what suspends a job suspends shim and worker alike, as dumb-init has it without setsid,
//! and SIGCONT wakes both.

use nix::libc::{SIGCONT, SIGSTOP, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU};

use crate::common::terminal::Terminal;
use crate::common::{
    Running, Shim, binary, children, eventually, fixture, kill, silent_server, status_field,
};

const SUSPENDING: [i32; 3] = [SIGTSTP, SIGTTIN, SIGTTOU];

fn is_in_state(pid: i32, letters: &[char]) {
    eventually(&format!("{pid} in one of the states {letters:?}"), || {
        status_field(pid, "State")?.starts_with(letters).then_some(())
    });
}

fn is_stopped(pid: i32) {
    is_in_state(pid, &['T']);
}

fn is_awake(pid: i32) {
    is_in_state(pid, &['S', 'R']);
}

/// Both scopes, with and without a session of the shim's own.
fn off_pid_1(shim: &Shim) -> Vec<Shim> {
    ["worker", "group"]
        .into_iter()
        .flat_map(|scope| {
            let shim = shim.clone().options(["--signal-scope", scope]);
            [shim.clone(), shim.behind(["setsid", "--wait"])]
        })
        .collect()
}

/// The shim's pid, which is setsid's child where that waits for it.
fn shim_of(running: &Running) -> i32 {
    let own = running.pid();
    let is_setsid = status_field(own, "Name").is_some_and(|name| name == "setsid");
    if is_setsid { children(own)[0] } else { own }
}

#[test]
fn a_worker_with_a_handler_gets_each_suspending_signal_and_the_shim_is_suspended() {
    for shim in off_pid_1(&Shim::run(["echo"])) {
        let mut running = shim.spawn();
        running.expect_line("ready");
        let shim = shim_of(&running);
        for signal in SUSPENDING {
            kill(shim, signal);
            running.expect_line(&format!("{signal} from {shim}"));
            is_stopped(shim);
            kill(shim, SIGCONT);
            running.expect_line(&format!("{SIGCONT} from {shim}"));
            is_awake(shim);
        }
        kill(shim, SIGTERM);
        running.expect_line(&format!("{SIGTERM} from {shim}"));
    }
}

#[test]
fn a_plain_worker_is_suspended_and_resumed_with_the_shim() {
    for shim in off_pid_1(&Shim::run(["sleep"])) {
        let mut running = shim.spawn();
        running.expect_line("ready");
        let shim = shim_of(&running);
        let worker = children(shim)[0];
        for signal in SUSPENDING {
            kill(shim, signal);
            is_stopped(worker);
            is_stopped(shim);
            kill(shim, SIGCONT);
            is_awake(shim);
            is_awake(worker);
        }
        kill(shim, SIGTERM);
        eventually("the shim's end", || crate::common::has_ended(shim).then_some(()));
    }
}

#[test]
fn a_rewritten_signal_suspends_the_shim_all_the_same_and_a_dropped_one_does_not() {
    let rewrites = ["--rewrite-signal", "TSTP:USR1,TTIN:TERM,TTOU:0"];
    let mut running = Shim::run(["echo", "3"]).options(rewrites).spawn();
    running.expect_line("ready");
    let shim = running.pid();
    for (sent, arrives) in [(SIGTSTP, 10), (SIGTTIN, 15)] {
        kill(shim, sent);
        running.expect_line(&format!("{arrives} from {shim}"));
        is_stopped(shim);
        kill(shim, SIGCONT);
        running.expect_line(&format!("{SIGCONT} from {shim}"));
    }
    kill(shim, SIGTTOU);
    kill(shim, 3);
    running.expect_line(&format!("3 from {shim}"));
    assert_eq!(running.end().code, 0);
}

/// pid_namespaces(7): nothing inside stops the init of a namespace.
#[test]
fn as_pid_1_the_worker_alone_is_suspended() {
    for scope in ["worker", "group"] {
        let shim = Shim::run(["sleep"]).options(["--signal-scope", scope]).pid1();
        let mut running = shim.spawn();
        running.expect_line("ready");
        let (shim, worker) = (running.pid(), running.worker_pid());
        for signal in SUSPENDING {
            kill(shim, signal);
            is_stopped(worker);
            is_awake(shim);
            kill(shim, SIGCONT);
            is_awake(worker);
        }
        running.signal(SIGTERM);
        assert_eq!(running.end().code, 143);
    }
}

/// An interactive shell on a terminal, with the shim as its job in the foreground.
fn job(worker: &str) -> (Terminal, i32, i32) {
    let mut command = std::process::Command::new("bash");
    command.args(["--norc", "--noprofile", "-i"]).env_clear();
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("PS1", "$ ").env("GIT_SHA", "a1b2c3d");
    let mut terminal = Terminal::run(command);
    terminal.type_in(&format!("{} run -- {worker}\n", binary().display()));
    terminal.expect("\r\nready");
    let shim = eventually("a shim", || children(terminal.pid()).first().copied());
    let worker = eventually("a worker", || children(shim).first().copied());
    (terminal, shim, worker)
}

#[test]
fn on_a_terminal_a_suspending_signal_from_a_process_is_as_good_as_ctrl_z() {
    let (mut terminal, shim, worker) = job("sh -c 'echo ready; exec cat'");
    for _ in 0..3 {
        kill(shim, SIGTSTP);
        is_stopped(shim);
        is_stopped(worker);
        terminal.expect("Stopped");
        terminal.type_in("fg\n");
        is_awake(shim);
        is_awake(worker);
        terminal.type_in("one\n");
        terminal.expect("one\r\none\r\n");
    }
}

/// A debugger or an operator stops a worker by its pid, and lets it go on by its pid.
#[test]
fn on_a_terminal_a_worker_that_is_stopped_by_pid_leaves_the_shim_awake() {
    let (mut terminal, shim, worker) = job(&format!("{} echo", fixture("worker").display()));
    for _ in 0..3 {
        kill(worker, SIGSTOP);
        is_stopped(worker);
        // A signal to the shim shows that it is awake: it arrives once the worker is.
        kill(shim, 10);
        kill(worker, SIGCONT);
        terminal.expect(&format!("10 from {shim}"));
        is_awake(shim);
    }
    // It handles the hang-up at the terminal's end, and would stay.
    kill(shim, SIGTERM);
    terminal.expect(&format!("{SIGTERM} from {shim}"));
}

/// Both come while the worker is being registered, and are given to it when it is there.
#[test]
fn a_suspension_that_was_taken_back_before_the_worker_is_there_suspends_nobody() {
    let (_server, url) = silent_server();
    let shim = Shim::run(["sleep"]).registers("late", url).under::<&str>([]);
    let mut running = shim.options(["--register-timeout", "700ms"]).spawn();
    running.armed();
    for signal in [SIGTSTP, SIGCONT] {
        running.signal(signal);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    running.expect_line("ready");
    is_awake(running.pid());
    running.signal(SIGTERM);
    assert_eq!(running.end().code, 143);
}
