//! What a shim holds in memory while its worker runs.

use std::thread::sleep;
use std::time::Instant;

use crate::Setting;
use crate::figures::{Cells, Figure, Report};
use crate::proc::memory;
use crate::shims::registered;
use crate::supervised::Supervised;
use crate::worker::WAIT;

const LINES: [(&str, [&str; 2]); 2] = [
    ("Rss", ["memory, KiB", "memory, KiB, registered"]),
    ("Private_Dirty", ["memory, KiB, its own alone", "memory, KiB, its own alone, registered"]),
];

pub fn measure(setting: &Setting, report: &mut Report) {
    let mut cells = [[Cells::new(), Cells::new()], [Cells::new(), Cells::new()]];
    for _ in 0..setting.lengths.memory_rounds {
        let start = Instant::now();
        let task = [&setting.programs.bench[..], "worker", WAIT];
        let mut all: Vec<(usize, Supervised)> = setting
            .shims
            .processes()
            .map(|shim| (0, Supervised::start(shim.name, &mut shim.command(&task))))
            .collect();
        if let Some(redis) = &setting.redis {
            redis.forget_all();
            let ours = setting.shims.ours();
            let mut command = ours.command(&task);
            registered(&mut command, &redis.url());
            all.push((1, Supervised::start(ours.name, &mut command)));
            redis.wait_for_registration();
        }
        sleep(setting.lengths.memory_age.saturating_sub(start.elapsed()));
        for (is_registered, shim) in &all {
            for ((line, _), cells) in LINES.iter().zip(&mut cells) {
                let kibibytes = f64::from(memory(shim.pid(), line));
                cells[*is_registered].entry(shim.name).or_default().push(kibibytes);
            }
        }
    }
    for ((_, names), cells) in LINES.into_iter().zip(cells) {
        for (name, cells) in names.into_iter().zip(cells) {
            if !cells.is_empty() {
                report.figures.push(Figure::median(name, 0, cells));
            }
        }
    }
}
