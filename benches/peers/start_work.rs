//! What a start and end make the kernel and the processor do, counted and not timed: the shim's own
//! part, without its worker's.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::Setting;
use crate::figures::{Cells, Figure, Report};
use crate::proc::minor_faults;
use crate::shims::{Shim, in_container};
use crate::turns::in_turns;

pub const FAULTS: &str = "page faults of a start and end";
pub const CALLS: &str = "system calls of a start and end";
pub const INSTRUCTIONS: &str = "user instructions of a start and end";

/// Counts what a shim does for this task, by a tool that leaves files in this folder.
type Count = fn(&Shim, &[&str], &Path) -> f64;

pub fn measure(setting: &Setting, report: &mut Report) {
    // By a path that is as long on each machine: a shim that reads it does so byte for byte.
    let folder = TempDir::new().expect("a folder");
    let worker = folder.path().join("worker");
    fs::copy(&setting.programs.worker, &worker).expect("a copy");
    let task = [worker.to_str().expect("a path"), "exit", "0"];
    let mut shims: Vec<&Shim> = setting.shims.processes().collect();
    let rounds = setting.lengths.faulting_starts;
    let faults = in_turns(&mut shims, rounds, |shim| f64::from(page_faults(shim.command(&task))));
    let cells: Cells = shims.iter().map(|shim| shim.name).zip(faults).collect();
    report.figures.push(Figure::median(FAULTS, 0, cells));
    let tools: [(&str, &'static str, Count); 2] =
        [("strace", CALLS, system_calls), ("valgrind", INSTRUCTIONS, user_instructions)];
    for (tool, name, count) in tools {
        if is_installed(tool) {
            let cells =
                shims.iter().map(|shim| (shim.name, vec![count(shim, &task, folder.path())]));
            report.figures.push(Figure::median(name, 0, cells.collect()));
        } else {
            report.gap(name, &format!("{tool} is not installed"));
        }
    }
}

fn is_installed(tool: &str) -> bool {
    let mut command = Command::new(tool);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Of all its life: the kernel still tells of what has ended and was not waited for.
fn page_faults(mut command: Command) -> u32 {
    let mut child = command.spawn().expect("the shim starts");
    let pid = Pid::from_raw(child.id().cast_signed());
    waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).expect("waitid");
    let faults = minor_faults(pid);
    assert!(child.wait().expect("wait").success(), "{command:?}");
    faults
}

/// Of the shim's main thread, the one that there is without a registration.
fn system_calls(shim: &Shim, task: &[&str], folder: &Path) -> f64 {
    let trace = folder.join(format!("{}.strace", shim.name));
    let mut command = Command::new("strace");
    command.arg("-o").arg(&trace);
    run_below(command, shim, task);
    let trace = fs::read_to_string(trace).expect("a trace");
    // The others tell of signals and of the end.
    trace.lines().filter(|line| !line.starts_with(['+', '-'])).count() as f64
}

/// Of the shim's process alone. What it forks has a file of its own, until it executes the worker.
fn user_instructions(shim: &Shim, task: &[&str], folder: &Path) -> f64 {
    let stem = format!("{}.callgrind", shim.name);
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--trace-children=no", "--quiet"])
        .arg(format!("--callgrind-out-file={}/{stem}.%p", folder.display()));
    let pid = run_below(command, shim, task);
    let counts = fs::read_to_string(folder.join(format!("{stem}.{pid}"))).expect("counts");
    let total = counts.lines().find_map(|line| line.strip_prefix("totals: "));
    total.and_then(|total| total.trim().parse().ok()).expect("a total")
}

/// Gives the process's number.
fn run_below(mut tool: Command, shim: &Shim, task: &[&str]) -> u32 {
    tool.args(&shim.line).args(task);
    in_container(&mut tool);
    let mut child = tool.spawn().expect("the tool starts");
    assert!(child.wait().expect("wait").success(), "{tool:?}");
    child.id()
}
