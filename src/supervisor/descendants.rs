//! What a worker leaves behind: the processes that the shim has inherited, and all below them.

use std::collections::HashSet;
use std::fs;

use nix::unistd::Pid;

/// The shim's descendants, as far as /proc shows them. Never a process that is not its own, also in a
/// PID namespace that is shared with other containers, or where /proc is of another namespace and shows
/// other processes under the same numbers.
pub fn descendants() -> Vec<Pid> {
    if fs::read_link("/proc/self").ok() != Some(Pid::this().to_string().into()) {
        return Vec::new();
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        Some((pid, parent(&stat)?))
    });
    below(Pid::this().as_raw(), &processes.collect::<Vec<_>>())
        .into_iter()
        .map(Pid::from_raw)
        .collect()
}

/// The fourth field of /proc/PID/stat; the second can hold blanks and parentheses; proc_pid_stat(5).
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
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
    use super::{below, parent};

    #[test]
    fn the_parent_is_read_past_any_name() {
        assert_eq!(parent("42 (a) b (c) S 7 42 42 0"), Some(7));
        assert_eq!(parent("42 (a"), None);
    }

    #[test]
    fn descendants_are_all_below_and_no_others() {
        let processes = [(1, 0), (2, 1), (3, 2), (4, 3), (5, 1), (6, 0), (7, 6)];
        assert_eq!(below(2, &processes), [3, 4]);
        assert_eq!(below(1, &processes), [2, 5, 3, 4]);
        assert!(below(7, &processes).is_empty());
    }
}
