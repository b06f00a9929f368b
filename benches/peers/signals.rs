//! How long a signal takes from its sender through a shim to the worker.
//!
//! All three share one processor. Where the kernel may choose, it wakes some of them on another one,
//! which takes many times what a shim does, and chooses alike for all signals to a process.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Setting;
use crate::figures::{Cells, Figure, MEDIAN, Report};
use crate::proc::{children, sleeps, until};
use crate::shims::{Kind, NO_SHIM, past_second_look};
use crate::supervised::Supervised;
use crate::worker::{SIGNALS, monotonic};

pub const BLOCK: usize = 50;

const P50: &str = "a signal's way to the worker, µs, p50";
const P99: &str = "a signal's way to the worker, µs, p99";

const MYSELF: Pid = Pid::from_raw(0);

pub fn measure(setting: &Setting, report: &mut Report) {
    let everywhere = sched_getaffinity(MYSELF).expect("an affinity");
    sched_setaffinity(MYSELF, &one_of(&everywhere)).expect("one processor");
    let task = [&setting.programs.bench[..], "worker", SIGNALS];
    let forwarding = setting.shims.all.iter().filter(|shim| shim.kind != Kind::Floor);
    let mut all: Vec<(Supervised, Vec<f64>)> = forwarding
        .map(|shim| {
            let mut command = shim.command(&task);
            past_second_look(&mut command);
            (Supervised::start(shim.name, &mut command), Vec::new())
        })
        .collect();
    for _ in 0..setting.lengths.signal_blocks {
        for (supervised, times) in &mut all {
            times.extend((0..BLOCK).map(|_| microseconds(supervised)));
        }
    }
    let cells: Cells =
        all.into_iter().map(|(supervised, times)| (supervised.name, times)).collect();
    for (name, part) in [(P50, MEDIAN), (P99, 0.99)] {
        report.figures.push(Figure { name, digits: 1, part, cells: cells.clone() });
    }
}

/// What is started from now on inherits it.
fn one_of(processors: &CpuSet) -> CpuSet {
    let is_in = |index: &usize| processors.is_set(*index).unwrap_or(false);
    let last = (0..CpuSet::count()).rfind(is_in).expect("a processor");
    let mut one = CpuSet::new();
    one.set(last).expect("a processor");
    one
}

/// Both wait for it in the kernel, as most of the time.
fn microseconds(supervised: &mut Supervised) -> f64 {
    let shim = supervised.pid();
    if supervised.name != NO_SHIM {
        let worker = children(shim)[0];
        until("the worker waits", || sleeps(worker));
    }
    until("the shim waits", || sleeps(shim));
    let sent = monotonic();
    kill(shim, Signal::SIGUSR1).expect("kill");
    let received: i64 = supervised.answer().parse().expect("a time");
    (received - sent) as f64 / 1000.0
}
