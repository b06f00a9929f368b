//! How often a shim wakes while its worker runs and nothing happens.

use std::thread::sleep;
use std::time::Duration;

use crate::Setting;
use crate::figures::{Cells, Figure, Report};
use crate::proc::{context_switches, sleeps, until};
use crate::shims::past_second_look;
use crate::supervised::Supervised;
use crate::worker::WAIT;

pub const NAME: &str = "wake-ups while idle";

/// What a start has left to do once its worker runs is none of it.
const SETTLING: Duration = Duration::from_millis(200);

pub fn measure(setting: &Setting, report: &mut Report) {
    let task = [&setting.programs.bench[..], "worker", WAIT];
    let all: Vec<Supervised> = setting
        .shims
        .processes()
        .map(|shim| {
            let mut command = shim.command(&task);
            past_second_look(&mut command);
            Supervised::start(shim.name, &mut command)
        })
        .collect();
    sleep(SETTLING);
    for shim in &all {
        until("the shim waits", || sleeps(shim.pid()));
    }
    let switches = || all.iter().map(|shim| context_switches(shim.pid())).collect::<Vec<_>>();
    let before = switches();
    sleep(setting.lengths.idle);
    let cells: Cells = all
        .iter()
        .zip(switches().into_iter().zip(before))
        .map(|(shim, (after, before))| (shim.name, vec![f64::from(after - before)]))
        .collect();
    report.figures.push(Figure::median(NAME, 0, cells));
}
