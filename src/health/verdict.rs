//! From what is seen of a shim and its worker to a verdict. Pure.

use std::fmt;
use std::time::Duration;

use nix::unistd::Pid;
use thiserror::Error;

use crate::escape::Escape;
use crate::registry::Standing;
use crate::supervisor::Named;
use crate::system::process::{Process, State};

/// What is asked for beside a worker that runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// That the last heartbeat got through to Redis.
    pub registered: bool,
    /// That the worker has run at least this long.
    pub started_for: Option<Duration>,
}

/// What is seen at one moment.
#[derive(Debug, Clone)]
pub struct Sight {
    /// The shim's.
    pub pid: Pid,
    pub shim: Process,
    /// Whatever has the worker's pid.
    pub worker: Option<Process>,
    /// `None` where there is no registrar.
    pub standing: Option<Standing>,
    /// Since the machine's start, as when processes began.
    pub now: Duration,
}

/// A worker that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthy {
    worker: Pid,
    runs_for: Duration,
    standing: Option<Standing>,
}

/// Why a worker is not healthy, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unhealthy {
    #[error(
        "/proc is not mounted, or not this container's: there it stands which process the worker is"
    )]
    NoProc,
    #[error(
        "/proc does not show process {pid} to this user: {error}. It is mounted with hidepid: probe as the shim's own user"
    )]
    Hidden { pid: Pid, error: String },
    #[error(
        "There is no process {pid}, or /proc does not show it to this user (hidepid): expected the shim's pid"
    )]
    NoProcess { pid: Pid },
    #[error(
        "Process {pid} is {}, which is no version-guard, and this container has no other one with a worker: is the ENTRYPOINT replaced? --pid names a shim that is not PID 1",
        Escape(name)
    )]
    NoShim { pid: Pid, name: String },
    #[error(
        "PID 1 is not this container's shim, and more than one other is ({}): say with --pid which",
        list(pids)
    )]
    Several { pids: Vec<Pid> },
    #[error("The shim (process {pid}) {}", how(*state))]
    ShimStandsStill { pid: Pid, state: State },
    #[error("The worker has not started yet: the shim is at its guards or at its registration")]
    NotStarted,
    #[error(
        "The worker has ended; its shim is about to, or waits for what the worker has left behind"
    )]
    Ended,
    #[error(
        "The worker (process {worker}) is stopped, by a signal or a debugger: kill -CONT {worker} lets it go on"
    )]
    Stopped { worker: Pid },
    #[error(
        "The worker (process {worker}) has run for {}, and should for {}",
        humantime::format_duration(*runs_for),
        humantime::format_duration(*expected)
    )]
    TooYoung { worker: Pid, runs_for: Duration, expected: Duration },
    #[error("The worker (process {worker}) runs, and {}", why_unregistered(*standing))]
    Unregistered { worker: Pid, standing: Option<Standing> },
}

/// Judges what is seen.
///
/// # Errors
/// Why the worker is not healthy.
pub fn judge(sight: &Sight, asked: &Asked) -> Result<Healthy, Unhealthy> {
    let Sight { pid, shim, worker, standing, now } = sight;
    if shim.state != State::Runs {
        return Err(Unhealthy::ShimStandsStill { pid: *pid, state: shim.state });
    }
    let named = match Named::by(&shim.name) {
        None => return Err(Unhealthy::NotStarted),
        Some(Named::Ended) => return Err(Unhealthy::Ended),
        Some(Named::Worker(named)) => named,
    };
    // A pid that has become another process's is no longer the worker's.
    let Some(worker) = worker.as_ref().filter(|worker| worker.parent == *pid) else {
        return Err(Unhealthy::Ended);
    };
    match worker.state {
        State::Runs => {}
        State::Stopped => return Err(Unhealthy::Stopped { worker: named }),
        State::Ended => return Err(Unhealthy::Ended),
    }
    let runs_for = now.saturating_sub(worker.began);
    let healthy = Healthy { worker: named, runs_for, standing: *standing };
    match asked.started_for {
        Some(expected) if runs_for < expected => {
            Err(Unhealthy::TooYoung { worker: named, runs_for, expected })
        }
        _ if asked.registered && *standing != Some(Standing::Registered) => {
            Err(Unhealthy::Unregistered { worker: named, standing: *standing })
        }
        _ => Ok(healthy),
    }
}

impl fmt::Display for Healthy {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let seconds = Duration::from_secs(self.runs_for.as_secs());
        let runs_for = humantime::format_duration(seconds);
        write!(f, "The worker (process {}) has run for {runs_for}", self.worker)?;
        f.write_str(match self.standing {
            Some(Standing::Registered) => ", registered",
            Some(Standing::Registering | Standing::Unregistered | Standing::Lost) | None => {
                ", not registered"
            }
        })
    }
}

fn how(state: State) -> &'static str {
    match state {
        State::Ended => "has ended",
        State::Runs | State::Stopped => {
            "is stopped, by a signal or a debugger: it forwards no signal and reaps nothing"
        }
    }
}

fn why_unregistered(standing: Option<Standing>) -> &'static str {
    match standing {
        None => {
            "unregistered: WORKER_TYPE or REDIS_URL was not set at its start or can't be used, as the shim's log says"
        }
        Some(Standing::Registering) => "the first attempt to register it is not over",
        Some(Standing::Unregistered) => {
            "is not registered: no attempt has got through yet, the shim's log says why"
        }
        Some(Standing::Lost) => {
            "has lost its registration: the last heartbeat did not get through, the shim's log says why"
        }
        Some(Standing::Registered) => "is registered",
    }
}

fn list(pids: &[Pid]) -> String {
    pids.iter().map(Pid::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::unistd::Pid;

    use super::{Asked, Process, Sight, Standing, State, Unhealthy, judge};

    const SHIM: Pid = Pid::from_raw(1);
    const WORKER: Pid = Pid::from_raw(7);

    fn process(name: &str, parent: i32) -> Process {
        Process {
            name: name.into(),
            state: State::Runs,
            parent: Pid::from_raw(parent),
            group: Pid::from_raw(parent),
            began: Duration::from_secs(90),
        }
    }

    fn sight() -> Sight {
        Sight {
            pid: SHIM,
            shim: process("version-guard:7", 0),
            worker: Some(process("node", 1)),
            standing: Some(Standing::Lost),
            now: Duration::from_secs(100),
        }
    }

    fn is_healthy(sight: &Sight) -> bool {
        judge(sight, &Asked::default()).is_ok()
    }

    #[test]
    fn a_worker_that_runs_is_healthy_whatever_redis_says() {
        for standing in [None, Some(Standing::Registering), Some(Standing::Lost)] {
            assert!(is_healthy(&Sight { standing, ..sight() }));
        }
    }

    #[test]
    fn a_worker_is_its_shims_child_that_runs() {
        let stopped = Process { state: State::Stopped, ..process("node", 1) };
        let ended = Process { state: State::Ended, ..process("node", 1) };
        for (worker, reason) in [
            (None, Unhealthy::Ended),
            (Some(process("node", 2)), Unhealthy::Ended),
            (Some(ended), Unhealthy::Ended),
            (Some(stopped), Unhealthy::Stopped { worker: WORKER }),
        ] {
            let verdict = judge(&Sight { worker, ..sight() }, &Asked::default());
            assert_eq!(verdict, Err(reason));
        }
    }

    #[test]
    fn a_shim_without_a_worker_is_not_healthy() {
        for (name, reason) in
            [("version-guard", Unhealthy::NotStarted), ("worker-ended", Unhealthy::Ended)]
        {
            let sight = Sight { shim: process(name, 0), ..sight() };
            assert_eq!(judge(&sight, &Asked::default()), Err(reason));
        }
        let stopped = Process { state: State::Stopped, ..process("version-guard:7", 0) };
        assert!(!is_healthy(&Sight { shim: stopped, ..sight() }));
    }

    #[test]
    fn what_is_asked_for_is_judged_to_the_second() {
        for (seconds, healthy) in [(0, true), (10, true), (11, false)] {
            let started_for = Some(Duration::from_secs(seconds));
            let asked = Asked { started_for, ..Asked::default() };
            assert_eq!(judge(&sight(), &asked).is_ok(), healthy, "{seconds}");
        }
        for (standing, healthy) in [
            (None, false),
            (Some(Standing::Registering), false),
            (Some(Standing::Unregistered), false),
            (Some(Standing::Lost), false),
            (Some(Standing::Registered), true),
        ] {
            let asked = Asked { registered: true, ..Asked::default() };
            let verdict = judge(&Sight { standing, ..sight() }, &asked);
            assert_eq!(verdict.is_ok(), healthy, "{verdict:?}");
        }
    }
}
