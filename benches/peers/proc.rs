//! What the kernel says of a process in /proc.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

const PAUSE: Duration = Duration::from_micros(200);
const LIMIT: Duration = Duration::from_secs(20);

/// Fields of /proc/PID/stat, counted from 0 behind the name.
const STATE: usize = 0;
const MINOR_FAULTS: usize = 7;

pub fn children(pid: Pid) -> Vec<Pid> {
    let children = read(&format!("/proc/{pid}/task/{pid}/children"));
    children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().expect("a pid"))).collect()
}

/// Nanoseconds on the processor: the first field of /proc/PID/schedstat.
pub fn on_the_processor(pid: Pid) -> u64 {
    let times = read(&format!("/proc/{pid}/schedstat"));
    times.split(' ').next().and_then(|time| time.parse().ok()).expect("a time")
}

/// The process's own, of all its threads.
pub fn minor_faults(pid: Pid) -> u32 {
    stat(pid, MINOR_FAULTS).parse().expect("a number")
}

pub fn sleeps(pid: Pid) -> bool {
    stat(pid, STATE) == "S"
}

/// A line of /proc/PID/smaps_rollup, in KiB.
pub fn memory(pid: Pid, line: &str) -> u32 {
    number(&read(&format!("/proc/{pid}/smaps_rollup")), line)
}

/// How often its threads have gone from a processor, by themselves or not.
pub fn context_switches(pid: Pid) -> u32 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("/proc");
    threads
        .map(|thread| {
            let status = read(&thread.expect("a thread").path().join("status").to_string_lossy());
            number(&status, "voluntary_ctxt_switches")
                + number(&status, "nonvoluntary_ctxt_switches")
        })
        .sum()
}

/// Asks until it is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(PAUSE);
    }
}

fn stat(pid: Pid, field: usize) -> String {
    let stat = read(&format!("/proc/{pid}/stat"));
    let (_, behind_name) = stat.rsplit_once(") ").expect("a name");
    behind_name.split(' ').nth(field).expect("a field").to_owned()
}

fn number(lines: &str, name: &str) -> u32 {
    let line = lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| value.split_whitespace().next()?.parse().ok()).expect("a number")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
