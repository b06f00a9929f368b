//! What a shim adds to the start and end of a worker that does nothing, beside its peers.
//!
//! All of them take turns in one run, so that whatever else the machine does meets each alike; what
//! counts are the ratios within one table. Run it with `cargo bench`; VERSION_GUARD_BIN names another build,
//! such as the one that ships.
#![allow(clippy::print_stdout, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::disallowed_macros)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 500;

fn main() {
    let ours = std::env::var("VERSION_GUARD_BIN")
        .unwrap_or_else(|_| env!("CARGO_BIN_EXE_version-guard").to_owned());
    let shims: Vec<(&str, Vec<&str>)> = [
        ("no shim", vec![]),
        ("version-guard", vec![&ours, "run", "--"]),
        ("tini", vec!["/usr/bin/tini", "-s", "--"]),
        ("tini-static", vec!["/usr/bin/tini-static", "-s", "--"]),
        ("dumb-init", vec!["/usr/bin/dumb-init", "--"]),
        ("catatonit", vec!["/usr/bin/catatonit", "--"]),
    ]
    .into_iter()
    .filter(|(_, line)| line.first().is_none_or(|program| Path::new(program).exists()))
    .collect();
    let mut times = vec![Vec::new(); shims.len()];
    for _ in 0..ROUNDS {
        for ((_, line), times) in shims.iter().zip(&mut times) {
            times.push(time(line));
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    println!("{:15} {:>10} {:>10} {:>8}", "", "median ms", "adds ms", "ratio");
    for ((name, _), time) in shims.iter().zip(&medians) {
        let (added, ours) = (time - medians[0], medians[1] - medians[0]);
        println!("{name:15} {time:10.3} {added:10.3} {:8.2}", added / ours);
    }
}

fn time(line: &[&str]) -> Duration {
    let line = [line, &["/bin/true"]].concat();
    let start = Instant::now();
    let status = Command::new(line[0])
        .args(&line[1..])
        .env_clear()
        .env("GIT_SHA", "a1b2c3d")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the shim starts");
    assert!(status.success(), "{line:?}");
    start.elapsed()
}

/// In milliseconds.
fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}
