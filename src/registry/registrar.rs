//! The registrar as the supervisor's thread sees it: a thread of its own, reached by one channel.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::warn;

use super::departure::WorkerEnd;
use super::registration::Registration;
use super::report::{Overtaken, Report};
use super::task::{DRAIN, EXECUTED, EXITED, KILLED, LEAVE_LIMIT, ROLL_BACK, Task, warn_that};
use crate::image::ImageIdentity;

/// The same where the first attempt is not over and a signal has ended the run: not to be noticed.
const LEAVE_AT_ONCE_LIMIT: Duration = Duration::from_millis(75);

/// What registers the worker and keeps it registered.
#[derive(Debug)]
pub struct Registrar {
    pub worker_type: String,
    /// Where it registers, without user and password.
    pub redis: String,
    /// Its version key.
    pub key: String,
    channel: UnixStream,
    timeout: Duration,
    first_attempt: FirstAttempt,
    overtaken: Option<Overtaken>,
    is_gone: bool,
    /// Whether it is settled which side tells of the first attempt: the one that comes second.
    told: Arc<AtomicBool>,
}

/// What the supervisor's thread knows of the first attempt.
#[derive(Debug)]
enum FirstAttempt {
    /// It was not over when the worker could not wait any longer; the registrar's thread tells of it.
    Pending,
    Registered,
    /// Why not.
    Failed(String),
}

impl Registrar {
    /// Starts registering. `None` where the worker runs unregistered: after one warning, or silently
    /// where neither WORKER_TYPE nor REDIS_URL asks for a registration.
    pub fn start(registration: Registration, identity: &ImageIdentity) -> Option<Self> {
        if matches!(registration.target, Err(None)) {
            return None;
        }
        let started = Self::begin(registration, identity);
        started.inspect_err(|reason| warn!("Not registered in Redis: {reason}")).ok()
    }

    /// On a part of the stack of its own: with it, a run without registration would touch pages for nothing.
    #[inline(never)]
    fn begin(registration: Registration, identity: &ImageIdentity) -> Result<Self, String> {
        let timeout = registration.timeout;
        if let Ok((_, access)) = &registration.target {
            access.odd().iter().for_each(|odd| warn!("{odd}"));
        }
        let task = Task::new(registration, identity).map_err(Option::unwrap_or_default)?;
        Ok(Self {
            worker_type: task.worker_type.as_str().to_owned(),
            redis: task.redis(),
            key: String::from_utf8_lossy(&task.client.entry.version_key).into_owned(),
            told: Arc::clone(&task.told),
            channel: task.start().map_err(|error| format!("{error:#}"))?,
            timeout,
            first_attempt: FirstAttempt::Pending,
            overtaken: None,
            is_gone: false,
        })
    }

    /// A descriptor that is readable once the first attempt is over, whatever came of it.
    pub fn first_attempt(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// How long to wait for that: the time limit, and a little for the thread to say that it is over; not at
    /// all where there is no time for it.
    pub fn patience(&self) -> Duration {
        if self.timeout.is_zero() {
            Duration::ZERO
        } else {
            self.timeout + Duration::from_millis(50)
        }
    }

    /// Hears what came of the first attempt; where it is not over, the registrar's thread is to tell.
    pub fn hear_of_first_attempt(&mut self) {
        self.read_report();
        if matches!(self.first_attempt, FirstAttempt::Pending)
            && self.told.swap(true, Ordering::AcqRel)
        {
            self.read_report();
        }
    }

    fn read_report(&mut self) {
        let mut report = [0; 4096];
        let read = self.channel.set_nonblocking(true).and_then(|()| self.channel.read(&mut report));
        let _ = self.channel.set_nonblocking(false);
        self.is_gone = matches!(read, Ok(0));
        for report in Report::all_in(report.get(..read.unwrap_or(0)).unwrap_or_default()) {
            self.first_attempt = match report {
                Report::Failed(why) => FirstAttempt::Failed(why),
                Report::Registered => FirstAttempt::Registered,
                Report::Overtaken(overtaken) => {
                    self.overtaken = Some(overtaken);
                    // The registration itself has got through.
                    FirstAttempt::Registered
                }
            };
        }
    }

    /// A descriptor that is readable when the registrar has something to say.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        (!self.is_gone).then(|| self.channel.as_fd())
    }

    /// Hears what the registrar says, and tells whether the worker is to be stopped.
    pub fn asks_to_stop(&mut self) -> bool {
        self.read_report();
        self.overtaken.is_some()
    }

    /// What has overtaken the worker, once that is a reason to stop it.
    pub fn overtaken(&self) -> Option<&Overtaken> {
        self.overtaken.as_ref()
    }

    /// Whether the first attempt is over and Redis has the registration.
    pub fn is_registered(&self) -> bool {
        matches!(self.first_attempt, FirstAttempt::Registered)
    }

    /// Warns where the first attempt has failed; the thread goes on trying.
    pub fn warn_of_failed_attempt(&self) {
        if let FirstAttempt::Failed(why) = &self.first_attempt {
            warn_that("is not registered", &self.worker_type, &self.redis, why);
        }
    }

    /// The worker has been executed: from now on its instance is one that readers find.
    pub fn executed(&mut self) {
        let _ = self.channel.write_all(&[EXECUTED]);
    }

    /// The worker was asked to stop: its instance says so until it has.
    pub fn drain(&mut self) {
        // The channel has room for more orders than there are.
        let _ = self.channel.write_all(&[DRAIN]);
    }

    /// The worker has ended: its instance leaves the registry.
    pub fn deregister(self, end: WorkerEnd) {
        let order = match end {
            WorkerEnd::Exited(code) => [EXITED, code],
            WorkerEnd::Killed(signal) => [KILLED, signal],
        };
        self.leave(&order, LEAVE_LIMIT);
    }

    /// There never was a worker: everything is taken back.
    pub fn roll_back(self) {
        self.leave(&[ROLL_BACK], LEAVE_LIMIT);
    }

    /// The same after a signal that has ended the run, which waits for no Redis that is slow.
    pub fn roll_back_at_once(self) {
        let limit = if self.is_registered() { LEAVE_LIMIT } else { LEAVE_AT_ONCE_LIMIT };
        self.leave(&[ROLL_BACK], limit);
    }

    fn leave(mut self, order: &[u8], limit: Duration) {
        let asked = self.channel.write_all(order);
        if asked.and(self.channel.set_read_timeout(Some(limit))).is_ok() {
            // Ends with the thread, which closes its end of the channel, or with the time limit.
            let _ = self.channel.read_to_end(&mut Vec::new());
        }
    }
}
