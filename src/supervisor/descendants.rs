//! The shim's descendants: the worker, what it starts and what it leaves behind.

use std::collections::HashSet;
use std::fmt;
use std::fs;

use nix::unistd::Pid;

use super::signal::Signal;
use crate::escape::Escape;
use crate::system::process::{Process, State, shows_own_namespace};
use crate::system::signals::kill;

/// Asks all descendants to end, but for those of a process group that has been asked already.
pub fn end(asked: Option<Pid>) {
    for Descendant { pid, group, .. } in descendants() {
        if asked != Some(group) {
            let _: nix::Result<()> = kill(pid, Signal::TERM.number());
        }
        // A stopped process takes the first only after this one, which also takes back a stop that is
        // on its way and that no state shows yet; to all of them, as systemd.kill(5).
        let _: nix::Result<()> = kill(pid, Signal::CONT.number());
    }
}

/// Those that have not ended, by their numbers.
pub fn living() -> Vec<Living> {
    let alive = descendants().into_iter().filter(|descendant| !descendant.has_ended);
    alive.map(|descendant| Living(descendant.pid)).collect()
}

/// A process that has not ended, shown by its number and the beginning of its command line: what stands
/// further behind may be secret.
#[derive(Debug)]
pub struct Living(Pid);

impl fmt::Display for Living {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        const WORDS: usize = 2;
        const CHARACTERS: usize = 80;
        let command_line = fs::read(format!("/proc/{}/cmdline", self.0)).unwrap_or_default();
        let mut words = command_line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        let shown: Vec<_> = words.by_ref().take(WORDS).map(String::from_utf8_lossy).collect();
        let shown = match &shown[..] {
            // One that is just being made.
            [] => fs::read_to_string(format!("/proc/{}/comm", self.0)).unwrap_or_default(),
            words => words.join(" "),
        };
        let shown = shown.trim_end();
        let mut rest = shown.chars();
        let shown: String = rest.by_ref().take(CHARACTERS).collect();
        let is_cut = rest.next().is_some() || words.next().is_some();
        write!(f, "{} ({}{})", self.0, Escape(&shown), if is_cut { " …" } else { "" })
    }
}

/// Kills all descendants that it sees. Those that one of them starts meanwhile, and some of those whose
/// parent ends meanwhile, it does not see: it is for calling again until none is left.
pub fn kill_all() {
    for pid in pids(usize::MAX) {
        let _: nix::Result<()> = kill(pid, Signal::KILL.number());
    }
}

/// At most so many of the shim's descendants, nearest first, and never another process. Cheap, and so
/// without those that change their parent while they are read; proc_tid_children(5).
pub fn pids(max: usize) -> Vec<Pid> {
    if !shows_own_namespace() {
        return Vec::new();
    }
    // Not every kernel has such lists (CONFIG_PROC_CHILDREN).
    let own = Pid::this();
    if !fs::exists(format!("/proc/{own}/task/{own}/children")).unwrap_or_default() {
        return descendants().into_iter().map(|descendant| descendant.pid).take(max).collect();
    }
    let mut found = children(own);
    let mut seen: HashSet<Pid> = found.iter().copied().collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).copied().filter(|_| found.len() < max) {
        found.extend(children(parent).into_iter().filter(|pid| seen.insert(*pid)));
        next += 1;
    }
    found.truncate(max);
    found
}

/// The children of a process, each in the list of the thread that is its parent.
fn children(parent: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let pids = |list: String| -> Vec<Pid> {
        list.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
    };
    lists.flat_map(pids).collect()
}

/// The shim's descendants, as far as /proc shows them. Never a process that is not its own, also in a
/// PID namespace that is shared with other containers.
fn descendants() -> Vec<Descendant> {
    if !shows_own_namespace() {
        return Vec::new();
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let Process { state, parent, group, .. } = Process::read(Pid::from_raw(pid)).ok()?;
        let has_ended = state == State::Ended;
        let descendant = Descendant { pid: Pid::from_raw(pid), group, has_ended };
        Some((pid, parent.as_raw(), descendant))
    });
    let processes: Vec<(i32, i32, Descendant)> = processes.collect();
    let pairs: Vec<(i32, i32)> = processes.iter().map(|(pid, parent, _)| (*pid, *parent)).collect();
    let below = below(Pid::this().as_raw(), &pairs);
    let found = processes.into_iter().filter(|(pid, ..)| below.contains(pid));
    found.map(|(.., descendant)| descendant).collect()
}

/// A child of the shim's, or a process below one.
#[derive(Debug, Clone, Copy)]
struct Descendant {
    pid: Pid,
    /// Its process group's id.
    group: Pid,
    /// It waits to be reaped.
    has_ended: bool,
}

/// All below an ancestor, of pairs of a process and its parent.
fn below(ancestor: i32, processes: &[(i32, i32)]) -> Vec<i32> {
    let mut found = vec![ancestor];
    let mut seen = HashSet::from([ancestor]);
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = processes.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid);
        found.extend(children.filter(|pid| seen.insert(*pid)));
        next += 1;
    }
    found.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn descendants_are_all_below_and_no_others() {
        let processes = [(1, 0), (2, 1), (3, 2), (4, 3), (5, 1), (6, 0), (7, 6)];
        assert_eq!(below(2, &processes), [3, 4]);
        assert_eq!(below(1, &processes), [2, 5, 3, 4]);
        assert!(below(7, &processes).is_empty());
    }
}
