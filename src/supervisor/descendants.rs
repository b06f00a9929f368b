//! What a worker leaves behind: the processes that the shim has inherited, and all below them.

use std::collections::HashSet;
use std::fs;

use nix::unistd::Pid;

use super::signal::Signal;
use crate::system::signals::kill;

/// Asks all descendants to end, but for those of a process group that has been asked already.
pub fn end(asked: Option<Pid>) {
    for Descendant { pid, group, is_stopped } in descendants() {
        // A stopped process takes the first only after the second.
        let signals = [(Signal::TERM, asked != Some(group)), (Signal::CONT, is_stopped)];
        for (signal, _) in signals.iter().filter(|(_, is_due)| *is_due) {
            let _: nix::Result<()> = kill(pid, signal.number());
        }
    }
}

/// The shim's descendants, as far as /proc shows them. Never a process that is not its own, also in a
/// PID namespace that is shared with other containers, or where /proc is of another namespace and shows
/// other processes under the same numbers.
fn descendants() -> Vec<Descendant> {
    if fs::read_link("/proc/self").ok() != Some(Pid::this().to_string().into()) {
        return Vec::new();
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (is_stopped, parent, group) = state_parent_and_group(&stat)?;
        let descendant = Descendant { pid: Pid::from_raw(pid), group, is_stopped };
        Some((pid, parent, descendant))
    });
    let processes: Vec<(i32, i32, Descendant)> = processes.collect();
    let pairs: Vec<(i32, i32)> = processes.iter().map(|(pid, parent, _)| (*pid, *parent)).collect();
    let below = below(Pid::this().as_raw(), &pairs);
    let found = processes.into_iter().filter(|(pid, ..)| below.contains(pid));
    found.map(|(.., descendant)| descendant).collect()
}

/// A process that the shim has inherited, or one below it.
#[derive(Debug, Clone, Copy)]
struct Descendant {
    pid: Pid,
    /// Its process group's id.
    group: Pid,
    is_stopped: bool,
}

/// The third to fifth field of /proc/PID/stat; the second can hold blanks and parentheses;
/// proc_pid_stat(5).
fn state_parent_and_group(stat: &str) -> Option<(bool, i32, Pid)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let is_stopped = fields.next()? == "T";
    Some((is_stopped, fields.next()?.parse().ok()?, Pid::from_raw(fields.next()?.parse().ok()?)))
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
    use nix::unistd::Pid;

    use super::{below, state_parent_and_group};

    #[test]
    fn the_fields_are_read_past_any_name() {
        let read = |stat| state_parent_and_group(stat);
        assert_eq!(read("42 (a) b (c) S 7 41 42 0"), Some((false, 7, Pid::from_raw(41))));
        assert_eq!(read("42 (a) T 7 41 42 0"), Some((true, 7, Pid::from_raw(41))));
        assert_eq!(read("42 (a"), None);
    }

    #[test]
    fn descendants_are_all_below_and_no_others() {
        let processes = [(1, 0), (2, 1), (3, 2), (4, 3), (5, 1), (6, 0), (7, 6)];
        assert_eq!(below(2, &processes), [3, 4]);
        assert_eq!(below(1, &processes), [2, 5, 3, 4]);
        assert!(below(7, &processes).is_empty());
    }
}
