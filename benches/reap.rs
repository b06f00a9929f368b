//! What a shim spends on each orphan that it reaps, beside its peers: time on the processor, as PID 1.
//!
//! All of them take turns in one run, on the same work; what counts are the ratios within one table.
//! dumb-init stands there twice: by default it makes the worker a session of its own, which the kernel
//! may schedule apart (sched_autogroup), so that some runs reap in larger batches.
//! It needs root, for the PID namespaces. Run it with `cargo bench --bench reap`;
//! VERSION_GUARD_BIN names another build, such as the one that ships.
#![allow(clippy::print_stdout, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::disallowed_macros)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const ROUNDS: usize = 11;
const ORPHANS: u32 = 1000;

fn main() {
    let ours = std::env::var("VERSION_GUARD_BIN")
        .unwrap_or_else(|_| env!("CARGO_BIN_EXE_version-guard").to_owned());
    let shims: Vec<(&str, Vec<&str>)> = [
        ("version-guard", vec![&ours, "run", "--"]),
        ("tini", vec!["/usr/bin/tini", "--"]),
        ("dumb-init", vec!["/usr/bin/dumb-init", "--"]),
        ("catatonit", vec!["/usr/bin/catatonit", "--"]),
        ("dumb-init -c", vec!["/usr/bin/dumb-init", "-c", "--"]),
    ]
    .into_iter()
    .filter(|(_, line)| Path::new(line[0]).exists())
    .collect();
    let mut times = vec![Vec::new(); shims.len()];
    for _ in 0..ROUNDS {
        for ((_, line), times) in shims.iter().zip(&mut times) {
            times.push(nanoseconds(line));
        }
    }
    let medians: Vec<u64> = times.iter_mut().map(|times| median(times)).collect();
    println!("{:15} {:>12} {:>20}", "", "us an orphan", "ratio to the first");
    for ((name, _), time) in shims.iter().zip(&medians) {
        let each = precise(*time) / 1000.0 / f64::from(ORPHANS);
        println!("{name:15} {each:12.2} {:20.2}", precise(*time) / precise(medians[0]));
    }
}

/// The shim's time on the processor while a shell makes orphans, one after the other.
fn nanoseconds(line: &[&str]) -> u64 {
    let script = format!(
        "echo ready; read line; i=0; while [ $i -lt {ORPHANS} ]; do (true &); i=$((i + 1)); done
         echo done; read line"
    );
    let mut namespace = Command::new("unshare")
        .args(["--fork", "--pid", "--mount-proc", "--kill-child", "--"])
        .args(line)
        .args(["sh", "-c", &script])
        .env("GIT_SHA", "a1b2c3d")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("unshare");
    let mut lines = BufReader::new(namespace.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().expect("a line").expect("a line");
    let mut stdin = namespace.stdin.take().expect("a pipe");
    line();
    let before = on_the_processor(namespace.id());
    std::io::Write::write_all(&mut stdin, b"\n").expect("the shell reads");
    line();
    let after = on_the_processor(namespace.id());
    drop(stdin);
    namespace.wait().expect("wait");
    after - before
}

/// The first field of /proc/PID/schedstat of the namespace's PID 1.
fn on_the_processor(namespace: u32) -> u64 {
    let children = fs::read_to_string(format!("/proc/{namespace}/task/{namespace}/children"));
    let pid1 = children.expect("/proc").trim().to_owned();
    let times = fs::read_to_string(format!("/proc/{pid1}/schedstat")).expect("/proc");
    times.split(' ').next().and_then(|time| time.parse().ok()).expect("a time")
}

fn median(times: &mut [u64]) -> u64 {
    times.sort_unstable();
    times[times.len() / 2]
}

#[allow(clippy::cast_precision_loss)]
fn precise(nanoseconds: u64) -> f64 {
    nanoseconds as f64
}
