//! What the build that ships must not exceed, of the figures that repeat on any machine.

use std::process::ExitCode;

use crate::figures::Report;
use crate::shims::{BINARY_VARIABLE, OURS};
use crate::{idle, size, start_work};

const BOUNDS: [(&str, f64); 5] = [
    // 3 % more than was measured when it was written: what is added to each start shows here first.
    (start_work::INSTRUCTIONS, 78_300.0),
    // Of code, data, stack and heap, and what the kernel's loader touches. How many pages of a file the
    // kernel maps at once depends on how they came into its cache: hence the room.
    (start_work::FAULTS, 48.0),
    // Each one that is not needed is a start's time on a slow kernel, as under gVisor.
    (start_work::CALLS, 54.0),
    // In KiB: it is in each worker's image.
    (size::NAME, 3.5 * 1024.0),
    // An idle worker's container must leave the processor asleep.
    (idle::NAME, 0.0),
];

/// Only the build that VERSION_GUARD_BIN names is held to them.
pub fn verdict(report: &Report) -> ExitCode {
    if std::env::var_os(BINARY_VARIABLE).is_none() {
        println!("No bound was held: {BINARY_VARIABLE} names no build.");
        return ExitCode::SUCCESS;
    }
    let mut code = ExitCode::SUCCESS;
    for (name, bound) in BOUNDS {
        match report.value(name, OURS) {
            None => println!("Not held to its bound, since it was not measured: {name}"),
            Some(value) if value > bound => {
                println!("Above its bound of {bound}: {name}, {value:.0}");
                code = ExitCode::FAILURE;
            }
            Some(_) => {}
        }
    }
    code
}
