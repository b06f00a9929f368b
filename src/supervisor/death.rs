//! Why a worker that a signal has killed may have been killed, in one line.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use tracing::warn;

use super::signal::Signal;
use crate::exit::code_of;

/// The container's own control group, by what the kernel counts there; cgroups(7).
const MEMORY_EVENTS: &str = "/sys/fs/cgroup/memory.events";

/// Warns of a worker that was killed by another signal than the last one that it was sent; but for what a
/// key does on a terminal, in front of which somebody sits.
pub fn warn_of(status: ExitStatus, last_sent: Option<Signal>, has_terminal: bool) {
    let code = code_of(status);
    let signal = status.signal().and_then(Signal::new);
    match signal {
        Some(signal) if last_sent == Some(signal) => {}
        Some(signal) if has_terminal && signal.is_an_interrupting_key() => {}
        Some(signal) => {
            let dump = if status.core_dumped() { ", and has left a core" } else { "" };
            warn!(
                signal = signal.number(),
                code,
                "The worker was killed by {signal}{dump}: exit code {code}{}",
                usual_cause(signal.number())
            );
        }
        None if code == KILLED => warn!(
            code,
            "The worker has exited with {code}, as a shell does whose program was killed by KILL{}",
            usual_cause(Signal::KILL.number())
        ),
        _ => {}
    }
}

/// 128 + KILL.
const KILLED: u8 = 137;

/// What is usually behind a signal that nobody is known to have sent, as the end of a sentence.
fn usual_cause(signal: i32) -> &'static str {
    use nix::libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGKILL, SIGSEGV, SIGSYS, SIGXCPU, SIGXFSZ};
    match signal {
        SIGKILL
            if has_run_out_of_memory(&fs::read_to_string(MEMORY_EVENTS).unwrap_or_default()) =>
        {
            ". The kernel has killed in this container for want of memory: raise its limit (--memory, resources.limits.memory), or have the worker use less"
        }
        SIGKILL => {
            ". Usually the kernel, for want of memory on the machine or in the container (docker inspect -f '{{.State.OOMKilled}}'), or somebody's kill -9"
        }
        SIGABRT => {
            ". It gave up by itself: its own last lines say why, such as a heap that is full"
        }
        SIGSEGV | SIGBUS | SIGILL | SIGFPE => {
            ". A fault in its own native code or in a library's, or one that was built for another processor"
        }
        SIGSYS => ". A system call that the container's seccomp profile forbids",
        SIGXCPU | SIGXFSZ => ". A limit of processor time or of a file's size (ulimit)",
        _ => "",
    }
}

/// Whether memory.events counts a kill for want of memory.
fn has_run_out_of_memory(events: &str) -> bool {
    let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    kills.is_some_and(|kills| kills.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::has_run_out_of_memory;

    #[test]
    fn a_kill_for_want_of_memory_is_read_from_the_groups_counts() {
        assert!(has_run_out_of_memory(
            "low 0\nhigh 0\nmax 31\noom 1\noom_kill 1\noom_group_kill 0\n"
        ));
        assert!(!has_run_out_of_memory("oom 3\noom_kill 0\noom_group_kill 2\n"));
        assert!(!has_run_out_of_memory(""));
    }
}
