//! The end of everything below the shim: waited for once the worker has ended, or made.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use tracing::warn;

use super::descendants;
use super::options::{Scope, Supervision};
use super::reap;
use super::signal::Signal;
use super::signals::Signals;

/// How long killed processes may take to end: one that is of another user, or waits for a device, may not.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// What is about to end anyway, such as a helper whose pipe closes with the worker, has this long for it.
const A_MOMENT: Duration = Duration::from_millis(100);

/// Until those are killed that were not seen, or were not there, the time before.
const KILL_PAUSE: Duration = Duration::from_millis(5);

/// How a worker came to its end.
#[derive(Debug, Clone, Copy)]
pub struct End {
    pub status: ExitStatus,
    /// The last signal that it was sent.
    pub sent: Option<Signal>,
    /// Whether it was asked to stop before, and when it would have been killed.
    pub stop: Option<Stop>,
    /// Whether nothing is left of it.
    pub is_childless: bool,
}

/// What a stop grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// The shim kills then; `None`: that is left to who has asked.
    pub kill_at: Option<Instant>,
}

/// How long what a worker has left behind is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    None,
    /// As was asked for.
    Until(Instant),
    /// As long as the stop goes on.
    Stop(Stop),
}

impl Patience {
    /// What was asked for, or else: as long as a stop goes on, and none where the worker has ended by
    /// itself.
    ///
    /// A shell or npm that is the worker dies of the signal that was meant for the program below it. That
    /// one has been asked nothing, and the end of PID 1 would kill it in the middle of its job, while who
    /// has asked for the stop still waits, and kills in the end. A worker that ends by itself is started
    /// again instead, and nothing is to hold that up.
    fn new(grace: Option<Duration>, stop: Option<Stop>) -> Self {
        match (grace, stop) {
            (Some(grace), _) => Self::Until(Instant::now() + grace),
            (None, Some(stop)) => Self::Stop(stop),
            (None, None) => Self::None,
        }
    }

    /// When it is over, where the least of it is until this moment; `None`: never.
    fn end(self, moment: Instant) -> Option<Instant> {
        match self {
            Self::None => Some(moment),
            Self::Until(until) => Some(until),
            Self::Stop(stop) => stop.kill_at,
        }
    }
}

/// What is left when the worker has ended.
#[derive(Debug, Clone, Copy)]
pub struct Remaining {
    /// The worker's pid, which was reaped.
    worker: Pid,
    patience: Patience,
}

impl Remaining {
    /// What is left of a worker, which is asked to end where it is waited for.
    pub fn of(worker: Pid, end: &End, options: &Supervision) -> Option<Self> {
        if end.is_childless {
            return None;
        }
        let patience = Patience::new(options.reap_grace, end.stop);
        if patience != Patience::None {
            // Those of the worker's group have been asked already, in group scope.
            descendants::end((options.scope == Scope::Group).then_some(worker));
        }
        Some(Self { worker, patience })
    }

    /// Whether it is waited for because of a stop.
    pub fn is_of_a_stop(&self) -> bool {
        matches!(self.patience, Patience::Stop(_))
    }

    /// Waits until it has ended, as long as it is waited for, or until the shim is asked to end itself.
    /// One warning names what still lives after a moment and was not meant to.
    pub fn outlast(self, signals: &mut Signals, warn_on_reap: bool) {
        let moment = Instant::now() + A_MOMENT;
        let end = self.patience.end(moment);
        let mut has_warned = matches!(self.patience, Patience::Until(_));
        loop {
            // First, so that the end of a child which is not reaped below is still to be read.
            while let Some(received) = signals.waiting() {
                if received.signal.asks_to_end() {
                    return;
                }
            }
            let reaped = reap::drain(self.worker, Scope::Worker, warn_on_reap);
            if reaped.childless {
                return;
            }
            let now = Instant::now();
            let is_over = end.is_some_and(|end| now >= end);
            let is_late = matches!(self.patience, Patience::Until(_)) && is_over;
            if is_late || (!has_warned && now >= moment) {
                self.warn(signals.is_of_pid_1());
                has_warned = true;
            }
            if is_over {
                return;
            }
            if !reaped.is_unfinished {
                signals.wait(None, if has_warned { end } else { Some(moment) });
            }
        }
    }

    /// Names what still lives, what becomes of it, and the cure.
    fn warn(self, is_pid_1: bool) {
        const NAMED: usize = 5;
        const CURE: &str = "If that takes the jobs, let it be the worker itself: no shell and no npm before it, or exec in the script";
        let living = descendants::living();
        let names: Vec<String> = living.iter().take(NAMED).map(ToString::to_string).collect();
        let more = match living.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names = names.join(", ") + &more;
        let fate = if is_pid_1 { "killed with the container" } else { "left without the shim" };
        match self.patience {
            _ if living.is_empty() => {}
            Patience::None => warn!(
                processes = living.len(),
                "The worker has ended, and what it has left behind is {fate}: {names}. {CURE}; or let --reap-grace 30s (VERSION_GUARD_REAP_GRACE) end it first"
            ),
            Patience::Stop(_) => warn!(
                processes = living.len(),
                "The worker has ended, and what it has left behind is asked to stop as well and waited for: {names}. {CURE}"
            ),
            Patience::Until(_) => warn!(
                processes = living.len(),
                "The reap grace is over, and what has not ended is {fate}: {names}"
            ),
        }
    }
}

/// Kills the worker and everything else below the shim, again and again until nothing is left of it; then
/// tells how the worker has ended.
pub fn kill_all(worker: Pid, signals: &mut Signals) -> End {
    let deadline = Instant::now() + KILL_LIMIT;
    let mut status = ExitStatus::from_raw(Signal::KILL.number());
    loop {
        descendants::kill_all();
        // They are about a worker that is no more; read before the reaping, as above.
        while signals.waiting().is_some() {}
        let reaped = loop {
            let reaped = reap::drain(worker, Scope::Worker, false);
            status = reaped.ended.unwrap_or(status);
            if !reaped.is_unfinished || Instant::now() >= deadline {
                break reaped;
            }
        };
        let has_given_up = !reaped.childless && Instant::now() >= deadline;
        if has_given_up {
            warn!("Not all of the worker's processes have ended when they were killed");
        }
        if reaped.childless || has_given_up {
            // Nothing more can be done about it.
            return End { status, sent: Some(Signal::KILL), stop: None, is_childless: true };
        }
        signals.wait(None, Some(Instant::now() + KILL_PAUSE));
    }
}
