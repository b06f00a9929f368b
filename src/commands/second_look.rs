//! The second look of `run`: at the processes that the worker really becomes and starts.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use nix::unistd::Pid;

use crate::config::RunnerWatch;
use crate::guard::{Process, runners_in};
use crate::runner::Runner;
use crate::supervisor::{Sighting, Watch};

/// How much of a command line is shown, in characters.
const MAX_SHOWN: usize = 500;

/// Looks for forbidden runners, and keeps the first that it finds.
#[derive(Debug)]
pub struct SecondLook {
    watch: RunnerWatch,
    found: Option<FoundRunner>,
}

/// A process that is a forbidden runner.
#[derive(Debug)]
pub struct FoundRunner {
    pub runner: Runner,
    pub pid: Pid,
    pub command_line: String,
    /// What of the process shows it.
    pub shown_by: String,
}

impl SecondLook {
    pub fn new(watch: RunnerWatch) -> Self {
        Self { watch, found: None }
    }

    /// For which process all have been killed.
    pub fn found(&self) -> Option<&FoundRunner> {
        self.found.as_ref()
    }

    fn is_allowed(&self, sighting: &Sighting) -> bool {
        let is_allowed =
            |word: &OsString| self.watch.allowed.iter().any(|one| word == one.as_str());
        sighting.argv.iter().any(is_allowed)
    }
}

impl Watch for SecondLook {
    fn duration(&self) -> Duration {
        self.watch.duration
    }

    fn condemns(&mut self, sighting: &Sighting) -> bool {
        let process = Process {
            argv: sighting.argv.clone(),
            exe: sighting.exe.clone(),
            folder: sighting.folder.clone(),
            node_options: sighting.environment.get("NODE_OPTIONS").map(OsStr::to_owned),
        };
        let mut runs = runners_in(&process).into_iter();
        let found = runs
            .find(|run| self.watch.forbidden.contains(run.runner) && !self.is_allowed(sighting));
        self.found = found.map(|run| FoundRunner {
            runner: run.runner,
            pid: sighting.pid,
            command_line: shown(&sighting.argv),
            shown_by: run.chain.last().cloned().unwrap_or_default(),
        });
        self.found.is_some()
    }
}

fn shown(argv: &[OsString]) -> String {
    let line = argv.join(OsStr::new(" ")).to_string_lossy().into_owned();
    match line.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::{MAX_SHOWN, shown};

    #[test]
    fn a_long_command_line_is_cut() {
        let argv = ["node".into(), "ä".repeat(2 * MAX_SHOWN).into()];
        let line = shown(&argv);
        assert!(line.starts_with("node ä") && line.ends_with('…'), "{line}");
        assert_eq!(line.chars().count(), MAX_SHOWN + 1);
        assert_eq!(shown(&["a".into(), OsString::from("b c")]), "a b c");
    }
}
