//! What the registrar does: one attempt after the other, and what is said of them.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::mem;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use tokio::io::AsyncReadExt;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::client::{Client, Renewal};
use super::connection::ConnectionError;
use super::departure::WorkerEnd;
use super::drift_watch::DriftWatch;
use super::key::WorkerType;
use super::record::{Entry, InstanceId, Record};
use super::registration::Registration;
use super::report::{Overtaken, Report};
use super::standing::Standing;
use crate::escape::Escape;
use crate::image::ImageIdentity;
use crate::log::causes;
use crate::system::memory::let_code_go;

/// What an attempt in the background may take: it holds up nothing.
const BACKGROUND_LIMIT: Duration = Duration::from_secs(5);
pub const FIRST_PAUSE: Duration = Duration::from_millis(500);
pub const MAX_PAUSE: Duration = Duration::from_secs(30);
/// What leaving may take: no more than an operator who stops a container would wait for.
pub const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// The orders that the supervisor gives. The channel's end means that the shim is going.
pub const START: u8 = b's';
pub const ROLL_BACK: u8 = b'x';
pub const DRAIN: u8 = b'd';
/// The worker has been executed.
pub const EXECUTED: u8 = b'w';
/// Each with the exit code or the signal behind it.
pub const EXITED: u8 = b'e';
pub const KILLED: u8 = b'k';

/// What the thread works with.
pub struct Task {
    pub worker_type: WorkerType,
    pub client: Client,
    timeout: Duration,
    heartbeat: Duration,
    drift: DriftWatch,
    pub(super) has_failed: Cell<bool>,
    /// Whether the supervisor has said what to do instead of staying registered.
    pub(super) is_leaving: Cell<bool>,
    /// Ends a pause between two heartbeats.
    wake: Notify,
    /// Ends the wait for the worker to be executed.
    executed: Notify,
    /// See `Registrar`.
    pub told: Arc<AtomicBool>,
}

impl Task {
    /// What the thread works with, or why there is nothing to register as or at. A reason and no
    /// error: to run unregistered is usual, and an error would take the time for a backtrace.
    pub fn new(
        registration: Registration,
        identity: &ImageIdentity,
    ) -> Result<Self, Option<String>> {
        let (worker_type, access) = registration.target?;
        let id = InstanceId::random();
        let place = registration.place;
        let record = Record::new(identity, SystemTime::now(), std::process::id(), place);
        let heartbeat = registration.heartbeat;
        let entry = Entry::new(&registration.key_prefix, &worker_type, &id, heartbeat, record);
        Ok(Self {
            client: Client::new(access, entry, registration.key_prefix, worker_type.clone()),
            worker_type,
            drift: DriftWatch::new(registration.on_drift, registration.drift_grace),
            timeout: registration.timeout,
            heartbeat,
            has_failed: Cell::new(false),
            is_leaving: Cell::new(false),
            wake: Notify::new(),
            executed: Notify::new(),
            told: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Registers and keeps registered until the supervisor says what to do instead.
    pub(super) async fn serve(&self, channel: &UnixStream) -> io::Result<()> {
        let mut orders = tokio::net::UnixStream::from_std(channel.try_clone()?)?;
        let mut stay = Box::pin(async {
            let mut standing = self.register_first(channel).await;
            standing.show();
            self.stay(&mut standing, channel).await
        });
        let order = loop {
            let order = tokio::select! {
                biased;
                order = orders.read_u8() => order,
                never = &mut stay => match never {},
            };
            match order {
                Ok(DRAIN) => {
                    self.client.drain();
                    self.wake.notify_one();
                }
                Ok(EXECUTED) => self.hear_of_execution(),
                order => break order,
            }
        };
        let end = match order {
            Ok(EXITED) => orders.read_u8().await.map(WorkerEnd::Exited).ok(),
            Ok(KILLED) => orders.read_u8().await.map(WorkerEnd::Killed).ok(),
            _ => None,
        };
        self.is_leaving.set(true);
        // An attempt in hand goes with it, and may have written before.
        drop(stay);
        if self.client.has_written() {
            let was_there = !matches!(order, Ok(ROLL_BACK));
            let _held = self.client.follow_up(was_there).await;
            let _ = match (order, end) {
                (Ok(ROLL_BACK), _) => self.client.roll_back(LEAVE_LIMIT).await,
                (_, Some(end)) => self.client.deregister(end, LEAVE_LIMIT).await,
                _ => Ok(()),
            };
        }
        // The supervisor waits for this, and has the processor before there is cleaning up.
        let _ = channel.shutdown(Shutdown::Write);
        thread::yield_now();
        Ok(())
    }

    /// The worker has been executed.
    pub(super) fn hear_of_execution(&self) {
        self.client.executed();
        self.executed.notify_one();
    }

    /// The first attempt. The supervisor tells of it, unless it could not wait for its end.
    async fn register_first(&self, reports: &UnixStream) -> Standing {
        // Whether the supervisor hears it.
        let report = |report: Report| {
            report.send(reports);
            !self.told.swap(true, Ordering::AcqRel)
        };
        let heard = Cell::new(None);
        let acknowledged = async || {
            if heard.get().is_none() {
                let by = self.overtaken();
                heard.set(Some(report(by.map_or(Report::Registered, Report::Overtaken))));
            }
        };
        // Nobody waits for one without time: it is like any other in the background.
        let late = self.has_failed.get() || self.timeout.is_zero();
        let limit = if self.timeout.is_zero() { BACKGROUND_LIMIT } else { self.timeout };
        let executed = async || self.executed.notified().await;
        let first = self.client.register(late, limit, acknowledged, executed).await;
        let first = match first {
            // To execute it took longer than an attempt may: no fault of Redis's.
            Err(_) if heard.get().is_some() && !self.client.is_executed() => {
                self.executed.notified().await;
                self.client.renew(BACKGROUND_LIMIT).await
            }
            first => first,
        };
        match (heard.get(), first) {
            (Some(true), Ok(_)) => Standing::Registered,
            (Some(true), first) => self.became(Standing::Registered, first),
            (None, Err(error)) => {
                if !report(Report::Failed(causes(&error))) {
                    return self.became(Standing::Unregistered, Err(error));
                }
                self.has_failed.set(true);
                Standing::Unregistered
            }
            (_, first) => self.became(Standing::Unregistered, first),
        }
    }

    /// One heartbeat after the other; while they don't get through, with growing pauses in between,
    /// but never longer ones than between heartbeats.
    async fn stay(&self, standing: &mut Standing, reports: &UnixStream) -> Infallible {
        let first_pause = FIRST_PAUSE.min(self.heartbeat);
        let max_pause = MAX_PAUSE.min(self.heartbeat);
        let (mut pause, mut has_reported) = (first_pause, false);
        loop {
            let wait = if *standing == Standing::Registered { self.heartbeat } else { pause };
            let wait = tokio::time::sleep(wait.mul_f64(0.9 + 0.2 * fastrand::f64()));
            tokio::select! {
                () = wait => {}
                // That it drains is said at once.
                () = self.wake.notified() => {}
            }
            let attempt = match *standing {
                Standing::Registering | Standing::Unregistered => {
                    let executed = async || self.executed.notified().await;
                    let late = self.has_failed.get();
                    self.client.register(late, BACKGROUND_LIMIT, async || (), executed).await
                }
                Standing::Registered | Standing::Lost => self.client.renew(BACKGROUND_LIMIT).await,
            };
            let_code_go();
            pause = if attempt.is_ok() { first_pause } else { (pause * 2).min(max_pause) };
            let before = mem::replace(standing, self.became(*standing, attempt));
            if *standing != before {
                standing.show();
            }
            // Once: the supervisor hears no more of it.
            if let Some(overdue) = self.overtaken()
                && !has_reported
            {
                has_reported = true;
                Report::Overtaken(overdue).send(reports);
            }
        }
    }

    /// What the worker is to be stopped for, by what was last read.
    fn overtaken(&self) -> Option<Overtaken> {
        let (drift, now) = self.client.take_drift()?;
        let own = &self.client.entry.record.git_sha;
        let published = self.drift.hear(self.worker_type.as_str(), own, drift, now)?;
        Some(Overtaken::from(&published))
    }

    /// The standing after an attempt. A change of it is worth a line, an attempt is not.
    fn became(&self, before: Standing, attempt: Result<Renewal, ConnectionError>) -> Standing {
        let worker_type = self.worker_type.as_str();
        let redis = self.redis();
        let key = String::from_utf8_lossy(&self.client.entry.version_key);
        match (before, attempt) {
            (Standing::Registered, Ok(Renewal::Kept)) => Standing::Registered,
            (_, Ok(renewal)) => {
                let is_registered = match (before, renewal) {
                    (Standing::Registering | Standing::Unregistered, _) => {
                        format!("is registered in Redis at {redis}")
                    }
                    (Standing::Lost, _) => format!("is registered again in Redis at {redis}"),
                    (Standing::Registered, _) => {
                        format!("is registered again in Redis at {redis}, which had forgotten it")
                    }
                };
                info!(worker_type, redis, %key, "{worker_type} {is_registered}");
                Standing::Registered
            }
            (Standing::Registered, Err(error)) => {
                self.warn_that("has lost its registration", &error);
                Standing::Lost
            }
            (Standing::Lost, Err(_)) => Standing::Lost,
            (Standing::Registering | Standing::Unregistered, Err(error)) => {
                if !self.has_failed.replace(true) {
                    self.warn_that("is not registered", &error);
                }
                Standing::Unregistered
            }
        }
    }

    fn warn_that(&self, it_is_not_registered: &str, error: &ConnectionError) {
        let why = causes(error);
        warn_that(it_is_not_registered, self.worker_type.as_str(), &self.redis(), &why);
    }

    /// Where it registers, without user and password.
    pub fn redis(&self) -> String {
        self.client.redis()
    }
}

/// Warns that a registration is missing or lost, and why.
pub fn warn_that(it_is_not_registered: &str, worker_type: &str, redis: &str, why: &str) {
    warn!(
        worker_type,
        redis,
        "{worker_type} {it_is_not_registered} in Redis at {redis}: {}. It runs all the same; trying again in the background",
        Escape(why),
    );
}
