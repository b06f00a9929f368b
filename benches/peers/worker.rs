//! The bench's own workers, as which it starts itself. All of them end where the bench lets go of
//! their standard input.

use std::io::{Write, stdin, stdout};
use std::process::exit;
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use nix::time::{ClockId, clock_gettime};

use crate::orphans::make_orphans;

pub const WAIT: &str = "wait";
pub const SIGNALS: &str = "signals";
pub const ORPHANS: &str = "orphans";

/// Says ready, then does its task.
pub fn work(task: &str, arguments: &[String]) {
    match task {
        WAIT => {
            println!("ready");
            wait_for_end();
        }
        SIGNALS => tell_signals(),
        ORPHANS => {
            let count = arguments[0].parse().expect("a number");
            println!("ready");
            for _ in stdin().lines() {
                make_orphans(count);
                println!("made");
            }
        }
        other => panic!("no such task: {other}"),
    }
}

/// A line for each SIGUSR1: when it came.
fn tell_signals() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGUSR1);
    signals.thread_block().expect("a signal mask");
    thread::spawn(wait_for_end);
    println!("ready");
    loop {
        signals.wait().expect("a signal");
        let now = monotonic();
        let mut stdout = stdout().lock();
        writeln!(stdout, "{now}").and_then(|()| stdout.flush()).expect("standard output");
    }
}

#[allow(clippy::exit)]
fn wait_for_end() {
    for _ in stdin().lines() {}
    exit(0)
}

/// Nanoseconds of the clock that all processes have in common.
pub fn monotonic() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}
