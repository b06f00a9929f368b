//! One process by its line in /proc, which the kernel shows to every user; proc_pid_stat(5).

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::unistd::Pid;

/// What one unit of time is there, in ms: the kernel's USER_HZ, which is 100 on all machines that this
/// program is built for.
const TICK_MS: u64 = 10;

/// A process as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its main thread's name: at most 15 bytes, which it can choose itself.
    pub name: String,
    pub state: State,
    pub parent: Pid,
    /// Its process group's id.
    pub group: Pid,
    /// When it began, since the machine's start.
    pub began: Duration,
}

/// Whether a process can do anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Runs,
    /// By a signal or a debugger.
    Stopped,
    /// And waits to be reaped.
    Ended,
}

impl Process {
    /// The process with this pid.
    ///
    /// # Errors
    /// The kernel's, where it is not there or not shown; or that its line is none.
    pub fn read(pid: Pid) -> io::Result<Self> {
        let line = fs::read(format!("/proc/{pid}/stat"))?;
        let odd = || io::Error::other("its line in /proc can't be read");
        Self::new(&String::from_utf8_lossy(&line)).ok_or_else(odd)
    }

    /// From its line. The name can hold blanks and parentheses.
    fn new(line: &str) -> Option<Self> {
        let (before, behind) = line.rsplit_once(") ")?;
        let fields: Vec<&str> = behind.split_ascii_whitespace().collect();
        // The third field is the first behind the name.
        let field = |number: usize| fields.get(number - 3).copied();
        let threads: u32 = field(20)?.parse().ok()?;
        let ticks: u64 = field(22)?.parse().ok()?;
        Some(Self {
            name: before.split_once('(')?.1.to_owned(),
            state: State::new(field(3)?, threads),
            parent: Pid::from_raw(field(4)?.parse().ok()?),
            group: Pid::from_raw(field(5)?.parse().ok()?),
            began: Duration::from_millis(ticks.saturating_mul(TICK_MS)),
        })
    }
}

impl State {
    /// From the letter for the main thread, and how many threads there are: the main thread may have ended
    /// and the others go on; pthread_exit(3).
    fn new(letter: &str, threads: u32) -> Self {
        match letter {
            "T" | "t" => Self::Stopped,
            "Z" if threads > 1 => Self::Runs,
            "Z" | "X" | "x" => Self::Ended,
            _ => Self::Runs,
        }
    }
}

/// The name of the process or thread whose folder this is.
pub fn name(folder: &Path) -> Option<String> {
    let name = fs::read(folder.join("comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned())
}

/// Whether /proc shows the processes of this program's own namespace: in another one the same numbers are
/// other processes.
pub fn shows_own_namespace() -> bool {
    fs::read_link("/proc/self").ok() == Some(Pid::this().to_string().into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::unistd::Pid;

    use super::{Process, State};
    use crate::pieces;

    fn line(name: &str, letter: &str, threads: u32) -> String {
        format!("42 ({name}) {letter} 7 41 42 0 -1 4 1 2 3 4 5 6 7 8 20 0 {threads} 0 123 9 9 9\n")
    }

    #[test]
    fn the_fields_are_read_past_any_name() {
        for name in ["node", "a) b", "(", ") S 1 2", "version-guard:7"] {
            let process = Process::new(&line(name, "S", 1)).unwrap();
            assert_eq!(process.name, name);
            assert_eq!(process.parent, Pid::from_raw(7));
            assert_eq!(process.group, Pid::from_raw(41));
            assert_eq!(process.began, Duration::from_millis(1230));
        }
        for short in ["", ") ", "42 (a) S 7", "42 (a"] {
            assert_eq!(Process::new(short), None, "{short}");
        }
    }

    #[test]
    fn any_line_is_read_or_refused() {
        let pieces =
            &["42 ", "(node", ") ", ":7", "Z ", "1 ", "-1 ", "99999999999999999999 ", "\n"];
        bolero::check!().with_generator(pieces::text(pieces)).for_each(|line: &String| {
            let process = Process::new(line);
            assert!(process.is_none_or(|process| line.contains(&process.name)));
        });
    }

    #[test]
    fn a_process_runs_as_long_as_one_of_its_threads_does() {
        for (letter, threads, state) in [
            ("R", 1, State::Runs),
            ("S", 1, State::Runs),
            ("D", 1, State::Runs),
            ("I", 1, State::Runs),
            ("T", 4, State::Stopped),
            ("t", 1, State::Stopped),
            ("Z", 1, State::Ended),
            ("Z", 0, State::Ended),
            ("Z", 2, State::Runs),
            ("X", 1, State::Ended),
        ] {
            assert_eq!(Process::new(&line("w", letter, threads)).unwrap().state, state, "{letter}");
        }
    }
}
