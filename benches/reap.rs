//! What a shim spends on each orphan that it reaps, beside its peers: time on the processor, as PID 1.
//!
//! All of them take turns in one run, on the same work; what counts are the ratios within one table.
//! It needs root, for the PID namespaces. Run it with `cargo bench --bench reap`;
//! VERSION_GUARD_BIN names another build, such as the one that ships.
#![allow(clippy::print_stdout, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::disallowed_macros, unsafe_code)]

#[path = "../tests/fixtures/worker/orphans.rs"]
mod orphans;

use std::fs;
use std::io::{BufRead, BufReader, Write, stdin};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// 20,000 orphans of each shape for each shim.
const ROUNDS: usize = 40;
const ORPHANS: i32 = 500;

/// How the orphans come.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// One after the other, while the shim runs.
    Stream,
    /// All at once: they end while the shim is stopped.
    Burst,
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        return worker();
    }
    let ours = std::env::var("VERSION_GUARD_BIN")
        .unwrap_or_else(|_| env!("CARGO_BIN_EXE_version-guard").to_owned());
    let shims: Vec<(&str, Vec<&str>)> = [
        ("version-guard", vec![&ours, "run", "--"]),
        ("tini", vec!["/usr/bin/tini", "--"]),
        ("dumb-init", vec!["/usr/bin/dumb-init", "--"]),
        ("catatonit", vec!["/usr/bin/catatonit", "--"]),
    ]
    .into_iter()
    .filter(|(_, line)| Path::new(line[0]).exists())
    .collect();
    let group = ControlGroup::make();
    let shapes = [Shape::Stream, Shape::Burst];
    let mut times = shapes.map(|_| vec![Vec::new(); shims.len()]);
    for _ in 0..ROUNDS {
        for (index, (_, line)) in shims.iter().enumerate() {
            let mut container = Container::start(line, &group);
            for (shape, times) in shapes.iter().zip(&mut times) {
                times[index].push(container.reaps(*shape));
            }
            container.end();
        }
    }
    for (shape, times) in shapes.iter().zip(&mut times) {
        let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
        println!("{:15} {:>12} {:>20}", format!("{shape:?}"), "us an orphan", "ratio to the first");
        for ((name, _), time) in shims.iter().zip(&medians) {
            let each = time / 1000.0 / f64::from(ORPHANS);
            println!("{name:15} {each:12.2} {:20.2}", time / medians[0]);
        }
    }
}

/// A PID namespace with a shim as its PID 1 and the worker below.
struct Container {
    namespace: Child,
    shim: Pid,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Container {
    fn start(line: &[&str], group: &ControlGroup) -> Self {
        let mut namespace = Command::new("sh")
            .args(["-c", "echo 0 > \"$0/cgroup.procs\" && exec unshare \"$@\""])
            .arg(&group.0)
            .args(["--fork", "--pid", "--mount-proc", "--kill-child", "--"])
            .args(line)
            .arg(std::env::current_exe().expect("a path"))
            .arg("worker")
            .env("GIT_SHA", "a1b2c3d")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare");
        let asks = namespace.stdin.take().expect("a pipe");
        let answers = BufReader::new(namespace.stdout.take().expect("a pipe"));
        let mut container = Self { namespace, shim: Pid::from_raw(0), asks, answers };
        container.answer();
        let [shim] = children(Pid::from_raw(container.namespace.id().cast_signed()))[..] else {
            panic!("no shim alone below unshare")
        };
        Self { shim, ..container }
    }

    /// The shim's time on the processor for all orphans, in nanoseconds.
    fn reaps(&mut self, shape: Shape) -> u64 {
        if let Shape::Burst = shape {
            kill(self.shim, Signal::SIGSTOP).expect("kill");
        }
        let before = self.on_the_processor();
        writeln!(self.asks).expect("the worker reads");
        self.answer();
        if let Shape::Burst = shape {
            kill(self.shim, Signal::SIGCONT).expect("kill");
        }
        while children(self.shim).len() > 1 {
            sleep(Duration::from_millis(5));
        }
        self.on_the_processor() - before
    }

    fn end(mut self) {
        drop(self.asks);
        self.namespace.wait().expect("wait");
    }

    fn answer(&mut self) {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "the worker has ended");
    }

    /// The first field of /proc/PID/schedstat.
    fn on_the_processor(&self) -> u64 {
        let times = fs::read_to_string(format!("/proc/{}/schedstat", self.shim)).expect("/proc");
        times.split(' ').next().and_then(|time| time.parse().ok()).expect("a time")
    }
}

fn children(pid: Pid) -> Vec<Pid> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("/proc");
    children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().expect("a pid"))).collect()
}

/// Says ready, then makes orphans for each line that it reads.
fn worker() {
    println!("ready");
    for _ in stdin().lines() {
        orphans::make_orphans(ORPHANS);
        println!("made");
    }
}

/// A control group of the processor's time, such as every container has.
///
/// Outside of one the kernel schedules each session apart (sched_autogroup). dumb-init alone makes its
/// worker a session, and it would be that which is measured: it then spends a quarter less, and what
/// `dumb-init -c` spends is everyone's.
struct ControlGroup(PathBuf);

impl ControlGroup {
    fn make() -> Self {
        let roots = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists());
        let root = root.expect("control groups");
        // Version 2 gives out the controller on request, version 1 has no such file.
        let _ = fs::write(root.join("cgroup.subtree_control"), "+cpu");
        let group = root.join(format!("reap-{}", std::process::id()));
        fs::create_dir(&group).expect("a control group");
        Self(group)
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).expect("an empty control group");
    }
}

#[allow(clippy::cast_precision_loss)]
fn median(times: &mut [u64]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2] as f64
}
