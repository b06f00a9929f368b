//! From how a command ended to its exit code. A pure table.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The worker ended, which stands for this exit code.
    Worker(u8),
    /// A guard said no.
    Refused,
    /// The signal with this number, which ends a process, came before there was a worker.
    Interrupted(i32),
    /// The worker's program is not there.
    NotFound,
    /// The worker's program is there and can't be executed.
    NotExecutable,
    /// A command other than `run` did what it is for.
    Done,
    /// `verify`: not all workers run the expected version.
    NotAsExpected,
    /// `verify`: Redis could not be asked.
    NotAsked,
    /// `health`: the worker does not run, or not as was asked for.
    Unhealthy,
    /// Usage, configuration or the shim itself.
    Failed,
}

impl Exit {
    /// The exit code: a shell's conventions, as tini and docker-run(1) have them.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused | Self::NotAsExpected | Self::Unhealthy => 1,
            Self::NotAsked => 2,
            Self::Failed => 125,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
            Self::Interrupted(signal) => killed_by(signal),
            Self::Worker(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// The exit code that a status of waitpid(2) stands for: the worker's own, or 128 and its signal.
pub fn code_of(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => low_byte(code),
        (None, signal) => killed_by(signal.unwrap_or_default()),
    }
}

fn killed_by(signal: i32) -> u8 {
    low_byte(128 + signal)
}

fn low_byte(code: i32) -> u8 {
    code.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::code_of;

    #[test]
    fn a_workers_own_code_is_the_shims() {
        for code in 0..=255_u8 {
            let status = ExitStatus::from_raw(i32::from(code) << 8);
            assert_eq!(code_of(status), code);
        }
    }

    #[test]
    fn a_death_by_signal_is_128_and_the_signal() {
        for (raw, code) in [(9, 137), (15, 143), (0x8b, 139), (34, 162), (64, 192)] {
            assert_eq!(code_of(ExitStatus::from_raw(raw)), code);
        }
    }
}
