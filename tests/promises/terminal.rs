//! On a terminal: the worker stands in the foreground, and the keys reach it as without a shim.

use std::fs::File;
use std::io::Write as _;
use std::process::Command;

use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::common::terminal::{CTRL_BACKSLASH, CTRL_C, CTRL_D, CTRL_Z, Terminal};
use crate::common::{Folder, Shim, binary, children, eventually, fixture, kill, status_field};

/// How the shim's line before the worker's start ends.
const STARTS: &str = "has sealed no code)\r\n";

/// An interactive shell in a terminal window.
fn shell() -> Terminal {
    let mut command = Command::new("bash");
    command.args(["--norc", "--noprofile", "-i"]).env_clear();
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("PS1", "$ ").env("GIT_SHA", "a1b2c3d");
    let mut terminal = Terminal::run(command);
    terminal.type_in("bind 'set enable-bracketed-paste off' 2>/dev/null\n");
    terminal.expect("bracketed-paste off' 2>/dev/null");
    terminal.expect("$ ");
    terminal
}

fn shim_with(worker: &str) -> String {
    format!("{} run -- {worker}\n", binary().display())
}

/// A script around the shim, run from an interactive shell.
fn script(text: &str) -> Terminal {
    let text = text
        .replace("SHIM", &binary().display().to_string())
        .replace("WORKER", &fixture("worker").display().to_string());
    let mut terminal = shell();
    terminal.type_in(&format!("sh -c '{text}'\n"));
    terminal
}

/// Reads a line of what is piped to it, and then one from the keyboard.
const PAGER: &str = "sh -c 'read heard; echo heard $heard; read line </dev/tty; echo got $line'";

/// A cat that says when it is there.
const CAT: &str = "sh -c 'echo ready >&2; exec cat'";

/// The pids of the shim, the only child of this process, and of the worker, its own.
fn shim_and_worker(parent: i32) -> (i32, i32) {
    let shim = only_child(parent);
    (shim, only_child(shim))
}

fn only_child(parent: i32) -> i32 {
    eventually("a child", || children(parent).first().copied())
}

/// Whether all of them run, that is sleep until something comes.
fn runs(pids: &[i32]) -> bool {
    pids.iter().all(|pid| state(*pid) == "S")
}

fn state(pid: i32) -> String {
    status_field(pid, "State").unwrap_or_default().chars().take(1).collect()
}

/// Types a word, and waits until the worker has said it again.
fn repeats(terminal: &mut Terminal, word: &str) {
    terminal.type_in(&format!("{word}\n"));
    terminal.expect(&format!("{word}\r\n{word}\r\n"));
}

/// Types Ctrl-C, and waits until the shell above asks for the next command. The key throws away what is
/// typed too early (termios(3), NOFLSH).
fn interrupt(terminal: &mut Terminal) {
    terminal.type_in(CTRL_C);
    terminal.expect("^C");
    terminal.expect("$ ");
}

/// Asks the shell above for the exit code of what ran last.
fn last_code_is(terminal: &mut Terminal, code: i32) {
    terminal.type_in("echo code $?\n");
    terminal.expect(&format!("code {code}"));
}

#[test]
fn an_interactive_shell_as_worker_has_job_control() {
    let shim = Shim::command("run").env("PS1", "$ ");
    let mut terminal =
        Terminal::docker_run_it(shim.worker(["bash", "--norc", "--noprofile", "-i"]));
    // What bash says where it has no terminal to control jobs on.
    assert!(!terminal.expect("$ ").contains("no job control"));
    terminal.type_in(&format!("{} sleep\n", fixture("worker").display()));
    terminal.expect("ready");
    let (_, shell) = shim_and_worker(terminal.pid());
    let job = children(shell)[0];
    terminal.type_in(CTRL_Z);
    terminal.expect("Stopped");
    terminal.type_in("fg\n");
    eventually("it goes on", || runs(&[job]).then_some(()));
    terminal.type_in(CTRL_C);
    last_code_is(&mut terminal, 130);
    terminal.type_in("exit 3\n");
    assert_eq!(terminal.end(), 3);
}

#[test]
fn a_key_that_interrupts_arrives_exactly_once_in_either_scope() {
    for scope in ["worker", "group"] {
        let shim = Shim::run(["echo", "15"]).options(["--signal-scope", scope]);
        let mut terminal = Terminal::docker_run_it(shim);
        terminal.expect("ready");
        // Each key's signal is on the screen before the next is typed; a second one would show.
        for (keys, signal) in [(CTRL_C, "2 from"), (CTRL_BACKSLASH, "3 from"), (CTRL_Z, "20 from")]
        {
            terminal.type_in(keys);
            let before = terminal.expect(signal);
            assert!(!before.contains("from"), "{scope}: {before:?} before {signal}");
        }
        terminal.resize(100);
        let before = terminal.expect("28 from");
        assert!(!before.contains("from 0"), "{scope}: {before:?} before the window's signal");
    }
}

#[test]
fn a_plain_worker_dies_of_ctrl_c_with_130() {
    let mut terminal = Terminal::docker_run_it(Shim::run(["sleep"]));
    terminal.expect("ready");
    terminal.type_in(CTRL_C);
    assert_eq!(terminal.end(), 130);
}

#[test]
fn a_worker_reads_from_the_terminal_and_sees_its_end() {
    let mut terminal = Terminal::docker_run_it(Shim::command("run").worker(["cat"]));
    terminal.type_in("a line\n");
    terminal.expect("a line");
    terminal.expect("a line");
    terminal.type_in(CTRL_D);
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_worker_is_told_of_a_hang_up() {
    let mut terminal = Terminal::docker_run_it(Shim::run(["sleep"]));
    terminal.expect("ready");
    terminal.hang_up();
    assert_eq!(terminal.end(), 129);
}

#[test]
fn ctrl_z_under_a_shell_suspends_shim_and_worker_and_fg_resumes_both() {
    let mut terminal = shell();
    terminal.type_in(&shim_with("cat"));
    let (shim, worker) = shim_and_worker(terminal.pid());
    terminal.type_in("one\n");
    terminal.expect("one\r\none");
    terminal.type_in(CTRL_Z);
    terminal.expect("Stopped");
    assert_eq!((state(shim), state(worker)), ("T".into(), "T".into()));
    terminal.type_in("fg\n");
    eventually("both run", || runs(&[shim, worker]).then_some(()));
    terminal.type_in("two\n");
    terminal.expect("two\r\ntwo");
    terminal.type_in(CTRL_C);
    terminal.expect("$ ");
    last_code_is(&mut terminal, 130);
}

#[test]
fn a_suspended_worker_goes_on_in_the_background() {
    let mut terminal = shell();
    terminal.type_in(&shim_with("sleep 1000"));
    let (shim, worker) = shim_and_worker(terminal.pid());
    eventually("sleep is executed", || (status_field(worker, "Name")? == "sleep").then_some(()));
    terminal.type_in(CTRL_Z);
    terminal.expect("Stopped");
    terminal.type_in("bg\n");
    eventually("both run", || runs(&[shim, worker]).then_some(()));
    terminal.type_in("kill %1; wait %1; echo code $?\n");
    terminal.expect("code 143");
}

#[test]
fn a_script_around_the_shim_is_suspended_with_it() {
    let mut terminal = script("SHIM run -- cat; echo after $?");
    let (shim, worker) = shim_and_worker(only_child(terminal.pid()));
    terminal.type_in("one\n");
    terminal.expect("one\r\none");
    terminal.type_in(CTRL_Z);
    terminal.expect("Stopped");
    terminal.type_in("fg\n");
    eventually("both run", || runs(&[shim, worker]).then_some(()));
    terminal.type_in("two\n");
    terminal.expect("two\r\ntwo");
    terminal.type_in(CTRL_D);
    terminal.expect("after 0");
}

#[test]
fn ctrl_z_does_not_freeze_a_worker_that_no_shell_could_continue() {
    let mut terminal = Terminal::docker_run_it(Shim::command("run").worker(["cat"]));
    terminal.expect(STARTS);
    repeats(&mut terminal, "one");
    terminal.type_in(CTRL_Z);
    terminal.expect("^Z");
    repeats(&mut terminal, "two");
    terminal.type_in(CTRL_C);
    assert_eq!(terminal.end(), 130);
}

#[test]
fn what_somebody_has_stopped_and_continues_goes_on_as_pid_1() {
    let mut terminal = Terminal::docker_run_it(Shim::run(["sleep"]));
    terminal.expect("ready");
    let (shim, worker) = shim_and_worker(terminal.pid());
    for pid in [shim, worker] {
        kill(pid, libc::SIGSTOP);
        eventually("the stop", || (state(pid) == "T").then_some(()));
    }
    // It is the shim that hears it, at the same time as of the worker's stop.
    kill(shim, libc::SIGCONT);
    eventually("both run", || runs(&[shim, worker]).then_some(()));
}

#[test]
fn a_shim_started_in_the_background_is_a_job_like_any_other() {
    let mut terminal = shell();
    terminal.type_in(&shim_with("cat &"));
    let (shim, worker) = shim_and_worker(terminal.pid());
    eventually("a stop", || (state(worker) == "T" && state(shim) == "T").then_some(()));
    terminal.type_in("fg\n");
    eventually("both run", || runs(&[shim, worker]).then_some(()));
    repeats(&mut terminal, "one");
    terminal.type_in(CTRL_Z);
    terminal.expect("Stopped");
    terminal.type_in("fg\n");
    eventually("both run", || runs(&[shim, worker]).then_some(()));
    interrupt(&mut terminal);
    last_code_is(&mut terminal, 130);
}

#[test]
fn a_shim_with_no_terminal_for_standard_input_is_suspended_and_resumed_all_the_same() {
    let mut terminal = shell();
    terminal.type_in(&shim_with("sleep 1000 </dev/null"));
    let (shim, worker) = shim_and_worker(terminal.pid());
    eventually("sleep is executed", || (status_field(worker, "Name")? == "sleep").then_some(()));
    terminal.type_in(CTRL_Z);
    terminal.expect("Stopped");
    assert_eq!((state(shim), state(worker)), ("T".into(), "T".into()));
    terminal.type_in("fg\n");
    eventually("both run", || runs(&[shim, worker]).then_some(()));
    interrupt(&mut terminal);
    last_code_is(&mut terminal, 130);
}

#[test]
fn a_worker_gets_the_terminal_when_it_reaches_for_it() {
    let mut terminal = shell();
    let worker = "sh -c 'read line </dev/tty; echo got $line'";
    terminal.type_in(&format!("echo | {}", shim_with(&format!("{worker}; echo over"))));
    terminal.expect("echo over\r\n");
    terminal.type_in("this\n");
    terminal.expect("got this");
    terminal.expect("over");
}

/// Such a worker would not be stopped but fail, if it had to reach for the terminal.
#[test]
fn a_worker_whose_output_goes_to_a_file_has_the_terminal() {
    let mut terminal = shell();
    let worker = "sh -c 'trap \"\" TTIN; echo ready >&2; read line; echo got $line >&2'";
    terminal.type_in(&shim_with(&format!("{worker} >/dev/null")));
    terminal.expect("\r\nready");
    terminal.type_in("this\n");
    terminal.expect("got this");
}

#[test]
fn a_worker_behind_two_shims_gets_the_terminal_when_it_reaches_for_it() {
    let mut terminal = shell();
    terminal.type_in(&shim_with(&format!("{} run -- {CAT} | cat", binary().display())));
    terminal.expect("\r\nready");
    repeats(&mut terminal, "this");
    interrupt(&mut terminal);
}

#[test]
fn a_shim_whose_process_group_is_of_another_pid_namespace_hands_the_terminal_on() {
    let mut terminal = shell();
    terminal.type_in(&format!("unshare --fork --pid --mount-proc {}", shim_with(CAT)));
    terminal.expect("\r\nready");
    repeats(&mut terminal, "this");
    interrupt(&mut terminal);
    last_code_is(&mut terminal, 130);
}

#[test]
fn a_pager_behind_the_shim_has_the_terminal() {
    let mut terminal = shell();
    terminal.type_in(&shim_with(&format!("echo text | {PAGER}; echo over")));
    terminal.expect("heard text");
    terminal.type_in("this\n");
    terminal.expect("got this");
    // While the worker still runs, too.
    let worker = fixture("worker");
    terminal.type_in(&shim_with(&format!("{} sleep | {PAGER}", worker.display())));
    terminal.expect("heard ready");
    terminal.type_in("that\n");
    terminal.expect("got that");
    // The key is for all of the job: the shell would wait for a worker that has not heard it.
    interrupt(&mut terminal);
}

#[test]
fn a_pager_behind_the_shim_gets_the_terminal_from_the_worker_when_it_reaches_for_it() {
    let mut terminal = shell();
    let worker = "sh -c 'read line; echo $line; exec sleep 1000'";
    terminal.type_in(&shim_with(&format!("{worker} | {PAGER}")));
    terminal.expect("got $line'\r\n");
    terminal.type_in("this\n");
    terminal.expect("heard this");
    terminal.type_in("that\n");
    terminal.expect("got that");
    interrupt(&mut terminal);
}

#[test]
fn a_job_that_came_back_by_bg_and_fg_reads_from_the_terminal() {
    let mut terminal = shell();
    let folder = Folder::new();
    let fifo = folder.path("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let worker = format!("read go <{}; read line; echo got $line", fifo.display());
    terminal.type_in(&shim_with(&format!("sh -c 'echo ready; {worker}'")));
    terminal.expect("\r\nready");
    let (shim, worker) = shim_and_worker(terminal.pid());
    terminal.type_in(CTRL_Z);
    terminal.expect("Stopped");
    terminal.type_in("bg\n");
    eventually("both run", || runs(&[shim, worker]).then_some(()));
    terminal.type_in("fg\n");
    eventually("the job in the foreground", || (terminal.foreground() == shim).then_some(()));
    std::fs::write(&fifo, "\n").unwrap();
    terminal.type_in("this\n");
    terminal.expect("got this");
}

#[test]
fn the_terminal_comes_back_from_a_worker_that_has_ended() {
    // A script does not fetch it by itself, as an interactive shell does.
    let mut terminal = script("SHIM run -- true; echo over; read line; echo got $line");
    terminal.expect("\r\nover");
    terminal.type_in("this\n");
    terminal.expect("got this");
}

#[test]
fn the_terminal_comes_back_from_a_worker_that_can_not_be_executed() {
    let mut terminal = script("SHIM run -- /nowhere; SHIM run -- cat; echo over");
    terminal.expect("is not found");
    terminal.expect(STARTS);
    repeats(&mut terminal, "one");
    terminal.type_in(CTRL_D);
    terminal.expect("over");
}

#[test]
fn ctrl_c_ends_the_script_around_the_shim_with_the_worker() {
    let mut terminal = script("while :; do SHIM run -- WORKER sleep; done");
    terminal.expect("\r\nready");
    interrupt(&mut terminal);
    last_code_is(&mut terminal, 130);
}

#[test]
fn a_signal_that_was_meant_for_the_shim_alone_does_not_end_the_script_around_it() {
    let mut terminal = script("SHIM run -- WORKER sleep; echo after $?");
    terminal.expect("\r\nready");
    let (shim, _) = shim_and_worker(only_child(terminal.pid()));
    kill(shim, libc::SIGINT);
    terminal.expect("after 130");
}

/// Both write to the terminal at the same time, each line at once. A pseudo-terminal holds 8 KiB that
/// nobody has read yet and then takes but a part of a line (pty(7)), so the worker waits for the reader
/// after every few lines.
#[test]
fn the_shims_lines_and_the_workers_stay_whole_on_a_terminal() {
    const ROUNDS: usize = 20;
    let folder = Folder::new();
    let fifo = folder.path("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let script = format!(
        "exec 3<>{}; i=0; while [ $i -lt 300 ]; do (: &); echo line $i; i=$((i + 1)); \
         [ $((i % 15)) -ne 0 ] || {{ echo read; read go <&3; }}; done; echo over",
        fifo.display()
    );
    let shim = Shim::command("run").options(["--warn-on-reap"]).worker(["sh", "-c", &script]);
    let mut terminal = Terminal::docker_run_it(shim);
    let mut go = File::options().read(true).write(true).open(&fifo).unwrap();
    terminal.expect(STARTS);
    let mut text = String::new();
    for _ in 0..ROUNDS {
        text += &terminal.expect("read\r\n");
        go.write_all(b"\n").unwrap();
    }
    text += &terminal.expect("over\r\n");
    let reaped = |line: &str| {
        line.starts_with("[version] Reaped process ") && line.ends_with(": exit status: 0")
    };
    let (by_shim, by_worker): (Vec<_>, Vec<_>) = text.lines().partition(|line| reaped(line));
    assert!(by_shim.len() > 200, "{by_shim:?}");
    assert_eq!(by_worker, (0..300).map(|i| format!("line {i}")).collect::<Vec<_>>());
}

#[test]
fn a_log_line_does_not_stop_the_shim_on_a_terminal_with_tostop() {
    let mut terminal = shell();
    terminal.type_in("stty tostop\n");
    // The worker has the foreground when its orphan is reaped, and the shim warns of that.
    terminal.type_in(&format!(
        "{} run --warn-on-reap -- sh -c '(sleep 0.01 &); cat'\n",
        binary().display()
    ));
    terminal.expect("Reaped process");
    terminal.type_in(CTRL_D);
    terminal.expect("$ ");
    last_code_is(&mut terminal, 0);
}

#[test]
fn without_a_terminal_the_worker_has_a_group_of_its_own_all_the_same() {
    let ended = Shim::run(["place"]).output();
    let (_, facts) = ended.stdout.split_once("pid ").unwrap();
    let mut words = facts.split_whitespace();
    let (pid, group) = (words.next().unwrap(), words.nth(3).unwrap());
    assert_eq!(pid, group, "{}", ended.stdout);
}
