//! What a shim costs, beside its peers: one table of figures, a column for each shim.
//!
//! All of them take turns in one run, so that whatever else the machine does meets each alike; what
//! counts are the ratios within one row. It needs root, for the PID namespaces. Run it with
//! `cargo bench --bench peers`; `-- --quick` is the short form. VERSION_GUARD_BIN names another build,
//! such as the one that ships, which is then held to the bounds in bounds.rs.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::disallowed_macros, clippy::cast_precision_loss)]
#![allow(unsafe_code)]

mod bounds;
mod by_hand;
mod control_group;
mod figures;
mod idle;
mod lengths;
mod memory;
mod proc;
mod programs;
mod reaping;
mod redis_server;
mod shims;
mod signals;
mod size;
mod start;
mod start_work;
mod statistics;
mod supervised;
mod table;
mod turns;
mod worker;

#[path = "../../tests/fixtures/worker/orphans.rs"]
mod orphans;

use std::process::ExitCode;
use std::time::Instant;

use figures::Report;
use lengths::{FULL, Lengths, QUICK};
use programs::Programs;
use redis_server::RedisServer;
use shims::Shims;

/// What all measurements have in common.
struct Setting {
    lengths: Lengths,
    programs: Programs,
    shims: Shims,
    /// None where it is not installed.
    redis: Option<RedisServer>,
}

fn main() -> ExitCode {
    // cargo adds one of its own, --bench.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [worker, task, rest @ ..] = &arguments[..]
        && worker == "worker"
    {
        worker::work(task, rest);
        return ExitCode::SUCCESS;
    }
    // What shells and cargo leave open is in no container, and a shim has to look at each.
    // SAFETY: no memory is passed, and nothing is closed before a program is executed.
    unsafe {
        nix::libc::syscall(nix::libc::SYS_close_range, 3, u32::MAX, nix::libc::CLOSE_RANGE_CLOEXEC)
    };
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    let programs = Programs::build();
    let shims = Shims::installed(&programs);
    // Until it is on the disk, a file that was just written counts as its process's own dirty memory.
    nix::unistd::sync();
    let setting = Setting {
        lengths: if is_quick { QUICK } else { FULL },
        shims,
        redis: RedisServer::start(),
        programs,
    };
    let report = measured(&setting);
    print!("{}", table::rendered(&setting, &report));
    bounds::verdict(&report)
}

/// Takes one group of figures, or tells the report why it can't.
type Measurement = fn(&Setting, &mut Report);

fn measured(setting: &Setting) -> Report {
    let mut report = Report::default();
    let groups: [(&str, Measurement); 8] = [
        ("start", start::measure),
        ("start, guards by hand", by_hand::measure),
        ("work of a start", start_work::measure),
        ("signals", signals::measure),
        ("orphans", reaping::measure),
        ("memory", memory::measure),
        ("wake-ups", idle::measure),
        ("size", size::measure),
    ];
    for (name, measure) in groups {
        let start = Instant::now();
        measure(setting, &mut report);
        eprintln!("measured: {name} ({:.1} s)", start.elapsed().as_secs_f64());
    }
    report
}
