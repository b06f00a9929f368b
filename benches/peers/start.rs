//! What a shim adds to the start and end of a worker that does nothing.

use std::process::Command;
use std::time::Instant;

use crate::Setting;
use crate::figures::{Cells, Figure, MEDIAN, Report};
use crate::shims::{NO_SHIM, OURS, registered};
use crate::statistics::quantile;
use crate::turns::in_turns;

const WHOLE: &str = "start and end of a worker that does nothing, ms";
const ADDED: &str = "adds to it, ms, median";
const ADDED_P90: &str = "adds to it, ms, p90";
const REGISTERED: &str = "adds to it, ms, median; version-guard registers in Redis";
const REGISTERED_P90: &str = "adds to it, ms, p90; version-guard registers in Redis";

pub fn measure(setting: &Setting, report: &mut Report) {
    let task = [&setting.programs.worker[..], "exit", "0"];
    let shims = &setting.shims;
    let mut commands: Vec<Command> = shims.all.iter().map(|shim| shim.command(&task)).collect();
    if let Some(redis) = &setting.redis {
        let mut command = shims.ours().command(&task);
        registered(&mut command, &redis.url());
        commands.push(command);
    } else {
        report.gap("a start with a registration", "redis-server is not installed");
    }
    let mut samples = in_turns(&mut commands, setting.lengths.starts, milliseconds);
    let with_redis = samples.split_off(shims.all.len()).pop();
    let whole: Cells = shims.all.iter().map(|shim| shim.name).zip(samples).collect();
    let bare = quantile(&whole[NO_SHIM], MEDIAN);
    let added = |samples: &[f64]| samples.iter().map(|time| time - bare).collect::<Vec<_>>();
    let mut plain: Cells = whole.iter().map(|(name, samples)| (*name, added(samples))).collect();
    plain.remove(NO_SHIM);
    report.figures.push(Figure::median(WHOLE, 3, whole));
    both_quantiles([ADDED, ADDED_P90], &plain, report);
    if let Some(samples) = with_redis {
        plain.insert(OURS, added(&samples));
        both_quantiles([REGISTERED, REGISTERED_P90], &plain, report);
    }
}

fn both_quantiles(names: [&'static str; 2], cells: &Cells, report: &mut Report) {
    for (name, part) in names.into_iter().zip([MEDIAN, 0.9]) {
        report.figures.push(Figure { name, digits: 3, part, cells: cells.clone() });
    }
}

fn milliseconds(command: &mut Command) -> f64 {
    let start = Instant::now();
    let status = command.status().expect("the shim starts");
    let time = start.elapsed();
    assert!(status.success(), "{command:?}");
    time.as_secs_f64() * 1000.0
}
