//! What goes wrong with container inits, tried on this shim and on whichever peers are installed, in
//! one go. The table goes to standard error; none of its cases may be this shim's.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::terminal::{CTRL_BACKSLASH, CTRL_C, CTRL_Z, Terminal};
use crate::common::{Folder, Running, Shim, binary, children, fixture, left_behind, status_field};

/// How long a case may take before it counts as a hang.
const PATIENCE: Duration = Duration::from_secs(5);

/// A program to try, and how it is told to signal the whole group and to wait for what is left.
struct Peer {
    name: &'static str,
    program: PathBuf,
    plain: &'static [&'static str],
    group: &'static [&'static str],
    grace: &'static [&'static str],
}

impl Peer {
    fn all() -> Vec<Self> {
        let peer = |name, plain, group| Self {
            name,
            program: Path::new("/usr/bin").join(name),
            plain,
            group,
            grace: plain,
        };
        let ours = Self {
            name: "version-guard",
            program: binary(),
            plain: &["run"],
            group: &["run", "--signal-scope", "group"],
            grace: &["run", "--reap-grace", "5s"],
        };
        let peers = [
            peer("tini", &[], &["-g"]),
            peer("dumb-init", &["-c"], &[]),
            peer("catatonit", &[], &["-g"]),
        ];
        let peers = peers.into_iter().filter(|peer| peer.program.exists());
        let peers = peers.map(|peer| match peer.name {
            // Its plain mode is the group's; only there does it care for descendants.
            "dumb-init" => Self { grace: &[], ..peer },
            _ => peer,
        });
        [ours].into_iter().chain(peers).collect()
    }

    fn with(&self, arguments: &[&str], task: &[&str]) -> Shim {
        Shim::of(self.program.clone(), arguments)
            .env("GIT_SHA", "a1b2c3d")
            .worker([fixture("worker")])
            .arguments(task)
            .pid1()
    }

    fn plain(&self, task: &[&str]) -> Shim {
        self.with(self.plain, task)
    }
}

/// How a run ended, or `None` when it hangs.
fn code(shim: &Shim) -> Option<i32> {
    end(shim.spawn())
}

fn end(mut shim: Running) -> Option<i32> {
    let deadline = Instant::now() + PATIENCE;
    while shim.runs() {
        if Instant::now() > deadline {
            return None;
        }
        sleep(Duration::from_micros(200));
    }
    Some(shim.end().code)
}

type Case = (&'static str, fn(&Peer) -> Result<(), String>);

fn ended_with(expected: i32, code: Option<i32>) -> Result<(), String> {
    match code {
        Some(code) if code == expected => Ok(()),
        Some(code) => Err(format!("exits {code}")),
        None => Err("hangs".into()),
    }
}

fn death_by_a_real_time_signal(peer: &Peer) -> Result<(), String> {
    ended_with(128 + 40, code(&peer.plain(&["die", "40"])))
}

/// A shell that ignores SIGCHLD can't be had: bash and dash refuse. env(1) of coreutils does it.
fn started_with_sigchld_ignored(peer: &Peer) -> Result<(), String> {
    let shim = peer.plain(&["exit", "7"]).behind(["env", "--ignore-signal=CHLD"]);
    ended_with(7, code(&shim))
}

fn started_with_sigchld_blocked(peer: &Peer) -> Result<(), String> {
    let shim = peer.plain(&["exit", "7"]).behind(["env", "--block-signal=CHLD"]);
    ended_with(7, code(&shim))
}

/// 50 signals in the first 1.5 ms after the program has begun to care for SIGTERM, before which the
/// kernel itself throws it away; no more of them than it takes to lose three.
fn sigterm_at_the_start_in_group_mode(peer: &Peer) -> Result<(), String> {
    let program = peer.program.canonicalize().unwrap();
    let (mut tried, mut lost) = (0, 0);
    while tried < 50 && lost < 3 {
        let shim = peer.with(peer.group, &["sleep"]).spawn();
        let pid = shim.pid();
        let cares = |field| {
            let set = status_field(pid, field).unwrap_or_default();
            u64::from_str_radix(&set, 16).unwrap_or_default() & (1 << (15 - 1)) != 0
        };
        let deadline = Instant::now() + PATIENCE;
        // While tini waits for signals, /proc shows none of them as blocked; then it has a child.
        let in_charge = || cares("SigBlk") || cares("SigCgt") || !children(pid).is_empty();
        let executed =
            || std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program);
        while !(executed() && in_charge()) {
            assert!(Instant::now() < deadline, "{} never cares", peer.name);
        }
        // Every moment once, the early and the late in turns.
        let until = Instant::now() + Duration::from_micros(30 * (tried * 7 % 50));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        shim.signal(15);
        if end(shim).is_none() {
            lost += 1;
        }
        tried += 1;
    }
    if lost == 0 { Ok(()) } else { Err(format!("{lost} of {tried} lost")) }
}

/// The shim is root without CAP_KILL, the worker another user.
fn a_worker_that_may_not_be_signalled(peer: &Peer) -> Result<(), String> {
    let worker = ["setpriv", "--reuid", "65534", "--clear-groups", "sh", "-c"];
    let shim = peer.plain(&[]).worker(worker).arguments(["echo ready; read line; exit 7"]);
    let (mut shim, stdin) = shim.behind(["setpriv", "--bounding-set", "-kill"]).spawn_with_stdin();
    // catatonit looks after its start whether it may signal the worker, and at times it is too late.
    shim.try_line()?;
    shim.try_signal(10)?;
    drop(stdin);
    ended_with(7, end(shim))
}

fn ctrl_c_arrives_once(peer: &Peer) -> Result<(), String> {
    let mut terminal = Terminal::docker_run_it(peer.plain(&["echo", "3"]));
    terminal.expect("ready");
    // The terminal's own comes from 0, what a shim forwards from 1. Where both come close together
    // they are one, of either kind, so it takes some tries.
    let mut seen = String::new();
    for _ in 0..20 {
        terminal.type_in(CTRL_C);
        seen += &terminal.expect("2 from");
        seen += "2 from";
    }
    terminal.type_in(CTRL_BACKSLASH);
    seen += &terminal.expect("3 from");
    let both = ["2 from 0", "2 from 1"].iter().all(|sender| seen.contains(sender));
    if both { Err("twice".into()) } else { Ok(()) }
}

fn mask_of_a_worker_on_a_terminal(peer: &Peer) -> Result<(), String> {
    let mut terminal = Terminal::docker_run_it(peer.plain(&["signals"]));
    terminal.expect("SigBlk:");
    let mask = terminal.expect("\r\n");
    if mask.trim().trim_matches('0').is_empty() {
        Ok(())
    } else {
        Err(format!("blocks {}", mask.trim()))
    }
}

/// With no shell above, nobody could continue what stops.
fn ctrl_z_stops_no_plain_worker(peer: &Peer) -> Result<(), String> {
    let mut terminal = Terminal::docker_run_it(peer.plain(&[]).worker(["cat"]));
    terminal.type_in("one\n");
    terminal.expect("one");
    terminal.expect("one");
    terminal.type_in(CTRL_Z);
    terminal.expect("^Z");
    terminal.type_in("two\n");
    if terminal.shows("two\r\ntwo", PATIENCE) { Ok(()) } else { Err("freezes".into()) }
}

fn signal_64(peer: &Peer) -> Result<(), String> {
    let mut shim = peer.plain(&["echo", "15"]).spawn().with(PATIENCE);
    shim.expect_line("ready");
    shim.signal(64);
    match shim.try_line() {
        Ok(line) if line.starts_with("64 from") => Ok(()),
        Ok(line) => Err(line),
        Err(_) => Err("is dropped".into()),
    }
}

/// A descendant in the worker's group whose handler takes a moment.
fn a_descendant_may_end_in_its_own_time(peer: &Peer) -> Result<(), String> {
    let folder = Folder::new();
    let marker = folder.path("ended");
    let script = format!(
        "(trap 'sleep 0.1; touch {}; exit' TERM; echo ready; while :; do sleep 0.01; done) & read line; exit 0",
        marker.display()
    );
    let (mut shim, stdin) =
        peer.with(peer.grace, &[]).worker(["sh", "-c", &script]).spawn_with_stdin();
    shim.expect_line("ready");
    drop(stdin);
    end(shim);
    if left_behind(&marker) { Ok(()) } else { Err("is cut off".into()) }
}

fn a_script_without_an_interpreter_line(peer: &Peer) -> Result<(), String> {
    let folder = Folder::new();
    let script = folder.program("script", &folder.file("text", "exit 9\n"), "755");
    ended_with(9, code(&peer.plain(&[]).worker([script])))
}

fn a_worker_that_is_not_there_or_can_not_be_executed(peer: &Peer) -> Result<(), String> {
    ended_with(127, code(&peer.plain(&[]).worker(["/nowhere"])))?;
    ended_with(126, code(&peer.plain(&[]).worker(["/etc/passwd"])))
}

/// Voluntary context switches while nothing happens.
fn idle(peer: &Peer) -> Result<(), String> {
    let mut shim = peer.plain(&["sleep"]).spawn();
    shim.expect_line("ready");
    let pid = shim.pid();
    let switches = || status_field(pid, "voluntary_ctxt_switches").unwrap().parse::<u32>().unwrap();
    // What follows the start is over when nothing moves for a moment.
    let settled = crate::common::eventually("rest", || {
        let before = switches();
        sleep(Duration::from_millis(200));
        (switches() == before).then_some(before)
    });
    sleep(Duration::from_millis(2500));
    match switches() - settled {
        0 => Ok(()),
        wakes => Err(format!("{wakes} wakes in 2.5 s")),
    }
}

const CASES: [Case; 13] = [
    ("worker dies of a real-time signal", death_by_a_real_time_signal),
    ("started with SIGCHLD ignored", started_with_sigchld_ignored),
    ("started with SIGCHLD blocked", started_with_sigchld_blocked),
    ("SIGTERM in the first 1.5 ms, group mode", sigterm_at_the_start_in_group_mode),
    ("forwarding fails with EPERM", a_worker_that_may_not_be_signalled),
    ("Ctrl-C on a terminal", ctrl_c_arrives_once),
    ("Ctrl-Z, no shell above, plain worker", ctrl_z_stops_no_plain_worker),
    ("worker's mask on a terminal", mask_of_a_worker_on_a_terminal),
    ("signal 64", signal_64),
    ("descendant with a TERM handler", a_descendant_may_end_in_its_own_time),
    ("script without #!", a_script_without_an_interpreter_line),
    ("exec failure codes 127 and 126", a_worker_that_is_not_there_or_can_not_be_executed),
    ("idle", idle),
];

#[test]
fn none_of_the_faults_that_were_seen_on_the_peers_is_ours() {
    let peers = Peer::all();
    let mut table = format!("\n{:42}", "");
    for peer in &peers {
        write!(table, "{:20}", peer.name).unwrap();
    }
    let mut ours = Vec::new();
    for (name, case) in CASES {
        write!(table, "\n{name:42}").unwrap();
        for (index, peer) in peers.iter().enumerate() {
            let result = case(peer);
            let cell = result.as_ref().map_or_else(String::as_str, |()| "ok");
            write!(table, "{cell:20}").unwrap();
            if let (0, Err(fault)) = (index, &result) {
                ours.push(format!("{name}: {fault}"));
            }
        }
    }
    writeln!(std::io::stderr(), "{table}\n").unwrap();
    assert!(ours.is_empty(), "{ours:?}");
}
