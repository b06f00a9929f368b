//! How long a signal takes from its sender through a shim to the worker.

use nix::sys::signal::{Signal, kill};

use crate::Setting;
use crate::figures::{Cells, Figure, MEDIAN, Report};
use crate::proc::{children, sleeps, until};
use crate::shims::{Kind, NO_SHIM, past_second_look};
use crate::supervised::Supervised;
use crate::worker::{SIGNALS, monotonic};

pub const BLOCK: usize = 50;

const P50: &str = "a signal's way to the worker, µs, p50";
const P99: &str = "a signal's way to the worker, µs, p99";

pub fn measure(setting: &Setting, report: &mut Report) {
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
