//! Signals: what is sent to the shim reaches the worker, at any moment, and nothing else does.

use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;

use crate::common::{
    Folder, Redis, Running, Shim, children, eventually, fixture, found_out, has_ended, holds, kill,
    silent_server, skip, status_field, try_kill,
};

/// Every signal that can be caught and is not about the shim's own children; SIGTERM, on which the
/// fixture ends, last.
fn to_be_forwarded() -> impl Iterator<Item = i32> {
    let others = (1..=64).filter(|signal| {
        ![libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD, libc::SIGTERM].contains(signal)
    });
    others.chain([libc::SIGTERM])
}

fn every_signal_reaches_the_worker(shim: Shim) -> Result<(), String> {
    let sender_is_pid_1 = shim.has_pid1();
    let mut running = shim.task(["echo"]).spawn();
    holds(running.try_line()? == "ready", || "not ready".into())?;
    let sender = if sender_is_pid_1 { 1 } else { running.try_pid()? };
    for signal in to_be_forwarded() {
        running.try_signal(signal)?;
        let line = running.try_line()?;
        let expected = format!("{signal} from {sender}");
        holds(line == expected, || format!("{line} and not {expected}"))?;
        if !sender_is_pid_1 && SUSPENDING.contains(&signal) {
            // The shim is suspended by it as well, and goes on together with the worker.
            is_in_state(&running, sender, "T")?;
            running.try_signal(libc::SIGCONT)?;
            let line = running.try_line()?;
            let expected = format!("{} from {sender}", libc::SIGCONT);
            holds(line == expected, || format!("{line} and not {expected}"))?;
        }
    }
    let ended = running.try_end()?;
    holds(ended.code == 0, || format!("{ended:?}"))
}

/// What suspends a job; signal(7).
const SUSPENDING: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// Waits until a process is in a state that begins with this letter; proc_pid_status(5).
fn is_in_state(running: &Running, pid: i32, letter: &str) -> Result<(), String> {
    running.within(&format!("{pid} in state {letter}"), || {
        status_field(pid, "State")?.starts_with(letter).then_some(())
    })
}

#[test]
fn every_signal_that_can_be_caught_reaches_the_worker() {
    use every_signal_reaches_the_worker as check;
    let redis = Redis::start();
    let run = Shim::command("run");
    // With a second thread, for which libc changes masks and dispositions.
    let registered = run.clone().registers("signals", redis.url());
    for shim in [run, registered] {
        assert_eq!(check(shim.clone()), Ok(()));
        assert_eq!(check(shim.pid1()), Ok(()));
    }
    found_out(check(Shim::faulty("no-forward").pid1()), "no line in time");
}

/// Each signal that a worker in this language can handle, one after the other: `{number}` on a line.
fn each_signal_reaches(worker: &[&str], signals: &[i32]) {
    for shim in [Shim::command("run"), Shim::command("run").pid1()] {
        // A shell can't trap what was ignored when it started.
        let mut running = shim.clone().worker(worker).under::<&str>([]).spawn();
        running.expect_line("ready");
        let is_pid_1 = shim.has_pid1();
        for signal in signals {
            running.signal(*signal);
            running.expect_line(&signal.to_string());
            if !is_pid_1 && SUSPENDING.contains(signal) {
                is_in_state(&running, running.pid(), "T").unwrap();
                running.signal(libc::SIGCONT);
                running.expect_line(&libc::SIGCONT.to_string());
            }
        }
        assert_eq!(running.end().code, 0);
    }
}

/// libc keeps 32 and 33 for itself, and lets no program handle them.
fn is_of_libc(signal: i32) -> bool {
    [32, 33].contains(&signal)
}

#[test]
fn a_worker_in_bash_gets_every_signal_that_bash_can_trap() {
    let script = "for s in {1..64}; do trap \"echo $s\" $s; done 2>/dev/null; trap - CHLD
        trap 'echo 15; kill $!; exit 0' TERM; sleep 1000 & echo ready; while :; do wait; done";
    let signals: Vec<i32> = to_be_forwarded().filter(|signal| !is_of_libc(*signal)).collect();
    each_signal_reaches(&["bash", "-c", script], &signals);
}

/// Node knows no real-time signals.
#[test]
fn a_worker_in_node_gets_every_signal_that_node_can_handle() {
    if !Path::new("/usr/bin/node").exists() && !Path::new("/usr/local/bin/node").exists() {
        return skip("node is not installed");
    }
    // Some numbers have two names.
    let script = "const names = new Map(Object.entries(require('os').constants.signals).map(([n, s]) => [s, n]));
        for (const [number, name] of names) {
            if (!['SIGKILL', 'SIGSTOP', 'SIGCHLD'].includes(name))
                process.on(name, () => {
                    require('fs').writeSync(1, number + '\\n');
                    if (name === 'SIGTERM') process.exit(0);
                });
        }
        setInterval(() => {}, 1 << 30); console.log('ready')";
    let signals: Vec<i32> = to_be_forwarded().filter(|signal| *signal < 32).collect();
    each_signal_reaches(&["node", "-e", script], &signals);
}

#[test]
fn signals_that_were_ignored_or_blocked_on_entry_are_forwarded_all_the_same() {
    for what in ["ignore", "block"] {
        let conditions: Vec<String> =
            to_be_forwarded().map(|signal| format!("{what}:{signal}")).collect();
        let shim = Shim::command("run").under(&conditions);
        assert_eq!(every_signal_reaches_the_worker(shim.clone()), Ok(()));
        assert_eq!(every_signal_reaches_the_worker(shim.pid1()), Ok(()));
    }
}

/// write(2): whoever writes to a pipe without a reader gets a SIGPIPE, here for the first log line.
fn what_the_shim_does_to_itself_stays_its_own(shim: Shim) -> Result<(), String> {
    let patience = shim.patience();
    let mut command = shim.task(["echo"]).pid1().to_command();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut running = Running::start(command.stderr(Stdio::from(writer)), true).with(patience);
    running.try_line()?;
    for signal in [libc::SIGUSR1, libc::SIGTERM] {
        running.try_signal(signal)?;
        let line = running.try_line()?;
        holds(line == format!("{signal} from 1"), || format!("the worker got {line}"))?;
    }
    running.try_end().map(drop)
}

#[test]
fn a_sigpipe_that_the_shim_raises_on_itself_is_not_forwarded() {
    use what_the_shim_does_to_itself_stays_its_own as check;
    assert_eq!(check(Shim::command("run")), Ok(()));
    found_out(check(Shim::faulty("forwards-its-own")), "the worker got 13");
}

/// Waits, without sleeping, until the shim has blocked every signal: until then, the kernel throws
/// away what is sent to a PID 1 that handles nothing (pid_namespaces(7)). Beside a worker it waits for
/// them, and then the kernel does not show that they are blocked; sigtimedwait(2).
fn in_charge(running: &Running) -> Result<i32, String> {
    let everything = format!("{:016x}", !(1_u64 << 8 | 1 << 18));
    let deadline = Instant::now() + running.patience();
    let shim = running.try_pid()?;
    let blocked = || status_field(shim, "SigBlk").is_some_and(|blocked| blocked == everything);
    while !blocked() && children(shim).is_empty() {
        if Instant::now() > deadline {
            return Err("the shim never takes charge of its signals".into());
        }
        thread::yield_now();
    }
    Ok(shim)
}

/// The time from there to the worker's first word, at least 3 ms: what a sweep has to go through. The median: with
/// one start that a busy machine has held up, most of the sweep would come too late to show anything.
fn start_up(shim: &Shim) -> Result<Duration, String> {
    let mut starts = Vec::new();
    for _ in 0..5 {
        let mut running = shim.spawn();
        let shim = in_charge(&running)?;
        let start = Instant::now();
        running.try_line()?;
        starts.push(start.elapsed());
        try_kill(shim, libc::SIGTERM)?;
        running.try_end()?;
    }
    starts.sort();
    Ok(starts[2].max(Duration::from_millis(3)))
}

/// 128 + 15, whether the worker has got it or was never started. That no worker is left behind shows
/// at its pipe, for whose end the harness waits.
fn sigterm_is_never_lost(shim: &Shim, runs: u32) -> Result<(), String> {
    let whole = start_up(shim)? * 3 / 2;
    let (mut with_worker, mut without) = (0, 0);
    for run in 0..runs {
        let moment = whole * run / runs;
        let mut running = shim.spawn();
        let shim = in_charge(&running)?;
        let start = Instant::now();
        while start.elapsed() < moment {
            std::hint::spin_loop();
        }
        try_kill(shim, libc::SIGTERM)?;
        let ended = running.try_end().map_err(|reason| format!("{moment:?}: {reason}"))?;
        holds(ended.code == 143, || format!("{moment:?}: {ended:?}"))?;
        *if ended.stdout.is_empty() { &mut without } else { &mut with_worker } += 1;
    }
    holds(with_worker > 0 && without > 0, || {
        format!("{with_worker} with and {without} without a worker: the sweep shows nothing")
    })
}

#[test]
fn a_sigterm_in_the_first_milliseconds_is_never_lost_as_pid_1() {
    assert_eq!(sigterm_is_never_lost(&Shim::run(["sleep"]).pid1(), 1000), Ok(()));
    let faulty = Shim::faulty("forgets-early-signals").task(["sleep"]).pid1();
    found_out(sigterm_is_never_lost(&faulty, 400), "the shim's end");
}

#[test]
fn a_sigterm_while_the_worker_is_being_registered_is_never_lost() {
    let redis = Redis::start();
    let shim = Shim::run(["sleep"]).registers("early", redis.url());
    assert_eq!(sigterm_is_never_lost(&shim.clone().pid1(), 1000), Ok(()));
    assert_eq!(sigterm_is_never_lost(&shim, 1000), Ok(()));
}

/// Caught while it registers, at a server that accepts and says nothing, with all the time it wants.
fn registering(shim: Shim) -> (TcpStream, Running) {
    let (listener, url) = silent_server();
    let shim = shim.registers("slow", url).env("VERSION_GUARD_REGISTER_TIMEOUT", "1h");
    let running = shim.spawn();
    let (connection, _) = listener.accept().expect("the registrar");
    (connection, running)
}

#[test]
fn a_signal_that_ends_a_process_ends_the_run_at_once_and_no_worker_is_started() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGUSR1, libc::SIGTERM, 34, 64] {
        for pid1 in [true, false] {
            // With nothing ignored: a shell ignores SIGINT for what it runs in the background.
            let shim = Shim::run(["echo"]).under::<&str>([]);
            let (_connection, running) = registering(if pid1 { shim.pid1() } else { shim });
            running.signal(signal);
            let ended = running.end();
            assert_eq!(ended.code, 128 + signal, "{ended:?}");
            assert_eq!(ended.stdout, "", "{ended:?}");
        }
    }
}

/// signal(7): ignored by default, continues, or stops; and what the shim was told to ignore.
#[test]
fn a_signal_that_ends_no_process_does_not_end_the_run_before_the_worker_is_there() {
    let shim = Shim::run(["echo"]).under(["ignore:1", "ignore:34"]).pid1();
    let (_connection, running) = registering(shim);
    for signal in [libc::SIGWINCH, libc::SIGURG, libc::SIGCONT, libc::SIGTSTP, libc::SIGHUP, 34] {
        running.signal(signal);
    }
    // The highest number is read last, so that the others are already survived.
    running.signal(40);
    assert_eq!(running.end().code, 128 + 40);
}

/// A stop is the one that shows however early it comes: what a worker ignores, by default too, the
/// kernel throws away.
#[test]
fn a_signal_that_came_before_the_worker_and_ends_nobody_reaches_it() {
    for shim in [Shim::run(["sleep"]), Shim::run(["sleep"]).pid1()] {
        let (connection, mut running) = registering(shim);
        running.signal(libc::SIGTSTP);
        // The registration has failed: the worker starts.
        drop(connection);
        let worker = running.worker_pid();
        eventually("a stop", || status_field(worker, "State")?.starts_with('T').then_some(()));
        running.signal(libc::SIGCONT);
        running.expect_line("ready");
        running.signal(libc::SIGTERM);
        assert_eq!(running.end().code, 143);
    }
}

/// A search in tens of thousands of folders makes the time between clone and exec long enough.
#[test]
fn a_signal_that_comes_while_the_worker_is_being_executed_reaches_it() {
    let path = format!("PATH={}{}", "a:".repeat(60_000), fixture("").display());
    for shim in [Shim::command("run"), Shim::command("run").pid1()] {
        let shim = shim.worker(["worker", "sleep"]).behind(["env", &path]);
        let running = eventually("a worker that is not yet executed", || {
            let running = shim.spawn();
            let pid = running.pid();
            let child = eventually("a child", || children(pid).first().copied());
            (status_field(child, "Name")? != "worker").then_some(running)
        });
        running.signal(libc::SIGTERM);
        assert_eq!(running.end().code, 143);
    }
}

/// kill(2): EPERM, when the worker has become another user.
fn a_worker_that_can_not_be_signalled_does_not_end_the_shim(shim: Shim) -> Result<(), String> {
    let folder = Folder::new();
    let worker = folder.program("worker", &fixture("worker"), "4755");
    let shim = shim.worker([worker.as_os_str(), "root".as_ref()]).behind([
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ]);
    let mut running = shim.spawn();
    running.try_line()?;
    let worker = running.try_worker_pid()?;
    for signal in [libc::SIGUSR1, libc::SIGTERM, 40] {
        running.try_signal(signal)?;
    }
    // The worker is told by root itself, so the next line is all that it has got.
    try_kill(worker, libc::SIGTERM)?;
    let line = running.try_line()?;
    holds(line == "15 from 0", || format!("the worker got {line}"))?;
    let ended = running.try_end()?;
    holds(ended.code == 0, || format!("{ended:?}"))
}

#[test]
fn a_worker_that_the_shim_may_not_signal_leaves_the_shim_alive() {
    use a_worker_that_can_not_be_signalled_does_not_end_the_shim as check;
    assert_eq!(check(Shim::command("run").pid1()), Ok(()));
    found_out(check(Shim::faulty("dies-of-eperm").pid1()), "");
}

/// ESRCH can't be had as long as the worker's pid is not reaped: a zombie takes signals in silence.
#[test]
fn a_signal_for_a_worker_that_has_just_ended_does_no_harm() {
    for _ in 0..20 {
        let mut running = Shim::run(["sleep"]).spawn();
        running.expect_line("ready");
        let worker = running.worker_pid();
        running.signal(libc::SIGSTOP);
        kill(worker, libc::SIGKILL);
        for signal in [libc::SIGHUP, libc::SIGTERM, 40, 40] {
            running.signal(signal);
        }
        running.signal(libc::SIGCONT);
        assert_eq!(running.end().code, 137);
    }
}

/// As many real-time signals, which the kernel queues, as this machine can send.
fn the_workers_end_is_seen_in_a_storm(shim: Shim) -> Result<(), String> {
    let over = AtomicBool::new(false);
    let worker = [fixture("under").into_os_string(), "ignore:40".into(), "--".into()];
    let shim = shim.worker(worker).arguments(["sh", "-c", "echo ready; exec sleep 1000"]);
    // What waits counts for the whole user, and no more than the limit lets the others' tests starve.
    let mut running = shim.behind(["prlimit", "--sigpending=5000", "--"]).spawn();
    running.try_line()?;
    let (pid, worker) = (running.try_pid()?, running.try_worker_pid()?);
    thread::scope(|scope| {
        let storm = scope.spawn(|| {
            let (start, mut sent) = (Instant::now(), 0_u32);
            while !over.load(Ordering::Relaxed) {
                // The shim may have ended, but is not reaped before the storm is over.
                let _ = try_kill(pid, 40);
                sent += 1;
            }
            f64::from(sent) / start.elapsed().as_secs_f64()
        });
        let queued = || {
            let queue = status_field(pid, "SigQ")?;
            let waiting = queue.split('/').next()?.parse::<u32>().ok()?;
            (waiting > 500).then_some(())
        };
        let blown = running.within("a storm that the shim can't keep up with", queued);
        kill(worker, libc::SIGKILL);
        let killed = Instant::now();
        let gone = running.within("the shim's end in a storm", || has_ended(pid).then_some(()));
        let took = killed.elapsed();
        over.store(true, Ordering::Relaxed);
        let rate = storm.join().expect("a storm");
        blown.and(gone)?;
        holds(rate > 10_000.0, || format!("only {rate} signals a second"))?;
        holds(took < Duration::from_secs(1), || format!("the end took {took:?}"))
    })?;
    let ended = running.try_end()?;
    holds(ended.code == 137, || format!("{ended:?}"))
}

#[test]
fn a_storm_of_signals_does_not_delay_the_workers_end() {
    use the_workers_end_is_seen_in_a_storm as check;
    // The best of three, so that a busy machine is not taken for a slow shim.
    let verdict = || check(Shim::command("run"));
    assert_eq!(verdict().or_else(|_| verdict()).or_else(|_| verdict()), Ok(()));
    found_out(check(Shim::faulty("reaps-when-it-is-quiet")), "the shim's end in a storm");
}

/// signal(7): real-time signals are queued, and the lowest number comes first.
fn no_real_time_signal_is_lost(shim: Shim) -> Result<(), String> {
    const EACH: usize = 500;
    let mut running = shim.task(["echo"]).spawn();
    running.try_line()?;
    running.try_signal(libc::SIGSTOP)?;
    // What comes before it stands still, it forwards at once and in the order of the sender.
    let pid = running.try_pid()?;
    running.within("a stop", || status_field(pid, "State")?.starts_with('T').then_some(()))?;
    for _ in 0..EACH {
        for signal in [64, 34, 47] {
            running.try_signal(signal)?;
        }
    }
    running.try_signal(libc::SIGCONT)?;
    // SIGCONT itself is forwarded, too.
    let expected = [(libc::SIGCONT, 1), (34, EACH), (47, EACH), (64, EACH)];
    for signal in
        expected.into_iter().flat_map(|(signal, count)| std::iter::repeat_n(signal, count))
    {
        let line = running.try_line()?;
        holds(line.starts_with(&format!("{signal} ")), || format!("{line} and not {signal}"))?;
    }
    running.try_signal(libc::SIGTERM)?;
    let line = running.try_line()?;
    holds(line.starts_with("15 "), || format!("one too many: {line}"))
}

#[test]
fn real_time_signals_arrive_all_and_in_order() {
    use no_real_time_signal_is_lost as check;
    let redis = Redis::start();
    let run = Shim::command("run");
    assert_eq!(check(run.clone()), Ok(()));
    assert_eq!(check(run.clone().pid1()), Ok(()));
    assert_eq!(check(run.registers("queue", redis.url())), Ok(()));
    found_out(check(Shim::faulty("merges-real-time").pid1()), "and not 34");
}

/// wait(2): a child that stops or goes on also sends SIGCHLD. That the shim has dealt with it shows at
/// a later signal, which waits at the worker.
fn a_stop_is_no_end(shim: Shim) -> Result<(), String> {
    let mut running = shim.task(["echo"]).spawn();
    running.try_line()?;
    let worker = running.try_worker_pid()?;
    for _ in 0..3 {
        try_kill(worker, libc::SIGSTOP)?;
        running.within("the worker's stop", || {
            status_field(worker, "State")?.starts_with('T').then_some(())
        })?;
        running.try_signal(40)?;
        running.within("a signal for the stopped worker", || {
            let waiting = status_field(worker, "ShdPnd")?;
            (u64::from_str_radix(&waiting, 16).ok()? == 1 << 39).then_some(())
        })?;
        try_kill(worker, libc::SIGCONT)?;
        for signal in [libc::SIGCONT, 40] {
            let line = running.try_line()?;
            holds(line.starts_with(&format!("{signal} ")), || format!("the worker got {line}"))?;
        }
    }
    running.try_signal(libc::SIGTERM)?;
    running.try_line()?;
    let ended = running.try_end()?;
    holds(ended.code == 0, || format!("{ended:?}"))
}

#[test]
fn a_worker_that_is_stopped_and_continued_has_not_ended() {
    use a_stop_is_no_end as check;
    assert_eq!(check(Shim::command("run")), Ok(()));
    assert_eq!(check(Shim::command("run").pid1()), Ok(()));
    found_out(check(Shim::faulty("takes-stops-for-ends").pid1()), "");
}

/// An entrypoint script that starts something in the background before it executes the shim.
fn earlier_children_are_buried(shim: Shim) -> Result<(), String> {
    let script = "(exit 3) & sleep 0.1 & exec \"$@\"";
    let mut running = shim.task(["orphans", "0"]).behind(["sh", "-c", script, "sh"]).spawn();
    running.try_line()?;
    let shim = running.try_pid()?;
    running.within("the burial of all children but the worker", || {
        (children(shim).len() == 1).then_some(())
    })?;
    running.try_signal(libc::SIGTERM)?;
    let ended = running.try_end()?;
    holds(ended.code == 7, || format!("another's end: {ended:?}"))
}

#[test]
fn children_from_before_the_shim_are_reaped_and_not_mistaken_for_the_worker() {
    use earlier_children_are_buried as check;
    let redis = Redis::start();
    let run = Shim::command("run");
    assert_eq!(check(run.clone()), Ok(()));
    assert_eq!(check(run.clone().pid1()), Ok(()));
    assert_eq!(check(run.registers("earlier", redis.url())), Ok(()));
    found_out(check(Shim::faulty("waits-first-child").pid1()), "");
}

/// waitpid(2): while SIGCHLD is ignored the kernel reaps, and the status is lost.
fn the_workers_status_arrives(shim: Shim, condition: &str) -> Result<(), String> {
    let ended = shim.task(["exit", "7"]).under([condition]).spawn().try_end()?;
    holds(ended.code == 7, || format!("{ended:?}"))
}

#[test]
fn a_sigchld_that_was_ignored_or_blocked_on_entry_costs_no_status() {
    use the_workers_status_arrives as check;
    for condition in ["ignore:17", "block:17"] {
        assert_eq!(check(Shim::command("run"), condition), Ok(()));
        assert_eq!(check(Shim::command("run").pid1(), condition), Ok(()));
    }
    found_out(check(Shim::faulty("trusts-sigchld").pid1(), "ignore:17"), "the shim's end");
}
