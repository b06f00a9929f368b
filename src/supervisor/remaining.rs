//! The end of everything below the shim: waited for once the worker has ended, or made.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use tracing::warn;

use super::descendants;
use super::options::Scope;
use super::reap;
use super::signal::Signal;
use super::signals::Signals;

/// How long killed processes may take to end: one that is of another user, or waits for a device, may not.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Until those are killed that were not seen, or were not there, the time before.
const KILL_PAUSE: Duration = Duration::from_millis(5);

/// What is left when the worker has ended.
#[derive(Debug, Clone, Copy)]
pub struct Remaining {
    /// The worker's pid, which was reaped.
    pub worker: Pid,
    pub until: Instant,
}

impl Remaining {
    /// Waits until it has ended, as long as was asked for, or until the shim is asked to end itself.
    pub fn outlast(self, signals: &mut Signals, warn_on_reap: bool) {
        loop {
            // First, so that the end of a child which is not reaped below is still to be read.
            while let Some(received) = signals.waiting() {
                if received.signal.asks_to_end() {
                    return;
                }
            }
            let reaped = reap::drain(self.worker, Scope::Worker, warn_on_reap);
            if reaped.childless || Instant::now() >= self.until {
                return;
            }
            signals.wait(None, Some(self.until));
        }
    }
}

/// Kills the worker and everything else below the shim, again and again until nothing is left of it; then
/// tells how the worker has ended.
pub fn kill_all(worker: Pid, signals: &mut Signals) -> ExitStatus {
    let deadline = Instant::now() + KILL_LIMIT;
    let mut status = ExitStatus::from_raw(Signal::KILL.number());
    loop {
        descendants::kill_all();
        // They are about a worker that is no more; read before the reaping, as above.
        while signals.waiting().is_some() {}
        let reaped = reap::drain(worker, Scope::Worker, false);
        status = reaped.ended.unwrap_or(status);
        if reaped.childless {
            return status;
        }
        if Instant::now() >= deadline {
            warn!("Not all of the worker's processes have ended when they were killed");
            return status;
        }
        signals.wait(None, Some(Instant::now() + KILL_PAUSE));
    }
}
