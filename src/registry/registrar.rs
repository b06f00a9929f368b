//! The registrar: a thread of its own that owns everything which can block or fail on the way to
//! Redis. It shares one channel with the supervisor and never waits for children.

use std::cell::Cell;
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::{info, warn};

use super::client::{Client, Renewal};
use super::endpoint::Endpoint;
use super::error::ConnectionError;
use super::key::{KeyPrefix, WorkerType};
use super::record::{Entry, InstanceId, Record};
use crate::escape::Escape;
use crate::image::ImageIdentity;
use crate::log::causes;
use crate::system::signals::block_all;

/// What an attempt in the background may take: it holds up nothing.
const BACKGROUND_LIMIT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// What leaving may take: no more than an operator who stops a container would wait for.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);
/// The same where the first attempt is not over and a signal has ended the run: not to be noticed.
const LEAVE_AT_ONCE_LIMIT: Duration = Duration::from_millis(75);

/// Where and as what the worker registers.
#[derive(Debug)]
pub struct Registration {
    /// What is needed to register, or why the worker runs unregistered.
    pub target: Result<(WorkerType, Endpoint), String>,
    pub key_prefix: KeyPrefix,
    /// At most this long for the first attempt.
    pub timeout: Duration,
    /// The time between two signs of life.
    pub heartbeat: Duration,
}

/// The registrar as the supervisor's thread sees it.
#[derive(Debug)]
pub struct Registrar {
    channel: UnixStream,
    timeout: Duration,
}

impl Registrar {
    /// Starts registering. `None`, after one warning, where the worker runs unregistered.
    pub fn start(registration: Registration, identity: &ImageIdentity) -> Option<Self> {
        let timeout = registration.timeout;
        let started = Task::new(registration, identity)
            .and_then(|task| task.start().map_err(|error| format!("{error:#}")));
        started
            .inspect_err(|reason| warn!("Not registered in Redis: {reason}"))
            .ok()
            .map(|channel| Self { channel, timeout })
    }

    /// A descriptor that is readable once the first attempt is over, whatever came of it.
    pub fn first_attempt(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// How long to wait for that: the time limit, and a little for the thread to say that it is over.
    pub fn patience(&self) -> Duration {
        self.timeout + Duration::from_millis(50)
    }

    /// The worker has ended: its instance leaves the registry.
    pub fn deregister(self) {
        self.leave(DEREGISTER, LEAVE_LIMIT);
    }

    /// There never was a worker: everything is taken back.
    pub fn roll_back(self) {
        self.leave(ROLL_BACK, LEAVE_LIMIT);
    }

    /// The same after a signal that has ended the run, which waits for no Redis that is slow.
    pub fn roll_back_at_once(mut self) {
        let limit = if self.is_registered() { LEAVE_LIMIT } else { LEAVE_AT_ONCE_LIMIT };
        self.leave(ROLL_BACK, limit);
    }

    fn leave(mut self, order: u8, limit: Duration) {
        let asked = self.channel.write_all(&[order]);
        if asked.and(self.channel.set_read_timeout(Some(limit))).is_ok() {
            // Ends with the thread, which closes its end of the channel, or with the time limit.
            let _ = self.channel.read_to_end(&mut Vec::new());
        }
    }

    /// Whether the first attempt is over and Redis has the registration.
    fn is_registered(&mut self) -> bool {
        let mut report = [0];
        let read = self.channel.set_nonblocking(true).and_then(|()| self.channel.read(&mut report));
        let _ = self.channel.set_nonblocking(false);
        read.is_ok() && report == [REGISTERED]
    }
}

/// The orders that the supervisor gives. The channel's end means that the shim is going.
const START: u8 = b's';
const ROLL_BACK: u8 = b'x';
const DEREGISTER: u8 = b'd';
/// What the registrar reports: that the first attempt is over, and what came of it.
const REGISTERED: u8 = b'r';
const FAILED: u8 = b'f';

/// What the thread works with.
struct Task {
    worker_type: WorkerType,
    client: Client,
    timeout: Duration,
    heartbeat: Duration,
    has_failed: Cell<bool>,
}

/// What is known of this instance's place in the registry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unregistered,
    Registered,
    /// Was registered; the last heartbeat did not get through.
    Lost,
}

impl Task {
    /// What the thread works with, or why there is nothing to register as or at. A reason and no
    /// error: to run unregistered is usual, and an error would take the time for a backtrace.
    fn new(registration: Registration, identity: &ImageIdentity) -> Result<Self, String> {
        let (worker_type, endpoint) = registration.target?;
        let id = InstanceId::random();
        let hostname = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into();
        let record = Record::new(identity, SystemTime::now(), std::process::id(), hostname);
        let heartbeat = registration.heartbeat;
        let entry = Entry::new(&registration.key_prefix, &worker_type, &id, heartbeat, record);
        Ok(Self {
            worker_type,
            client: Client::new(endpoint, entry),
            timeout: registration.timeout,
            heartbeat,
            has_failed: Cell::new(false),
        })
    }

    fn start(self) -> anyhow::Result<UnixStream> {
        let (mut supervisors, registrars) =
            UnixStream::pair().context("no channel to the registrar")?;
        let started =
            thread::Builder::new().name("registrar".into()).spawn(move || self.run(registrars));
        // Making the first thread has unblocked some of the supervisor's.
        block_all();
        started.context("no thread for the registrar")?;
        supervisors.write_all(&[START]).context("no channel to the registrar")?;
        Ok(supervisors)
    }

    fn run(self, mut channel: UnixStream) {
        block_all();
        // Nothing outside hears of this run before the supervisor has all its signals blocked again.
        let told = channel.read_exact(&mut [0]).and_then(|()| channel.set_nonblocking(true));
        if told.is_err() {
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let served = runtime.and_then(|runtime| runtime.block_on(self.serve(channel)));
        if let Err(error) = served {
            warn!("The registrar of {} gave up: {error}", self.worker_type.as_str());
        }
    }

    /// Registers and keeps registered until the supervisor says what to do instead.
    async fn serve(&self, channel: UnixStream) -> io::Result<()> {
        let (mut orders, mut reports) = tokio::net::UnixStream::from_std(channel)?.into_split();
        let stay = async {
            let first = self.client.register(false, self.timeout).await;
            let mut state = self.became(State::Unregistered, first);
            let report = if state == State::Registered { REGISTERED } else { FAILED };
            let _ = reports.write_all(&[report]).await;
            self.stay(&mut state).await
        };
        let order = tokio::select! {
            biased;
            order = orders.read_u8() => order,
            never = stay => match never {},
        };
        // An attempt in hand was dropped by this, and may have written before.
        if self.client.has_reached_redis() {
            let _ = match order {
                Ok(ROLL_BACK) => self.client.roll_back(LEAVE_LIMIT).await,
                Ok(DEREGISTER) => self.client.deregister(LEAVE_LIMIT).await,
                _ => Ok(()),
            };
        }
        Ok(())
    }

    /// One heartbeat after the other; while they don't get through, with growing pauses in between,
    /// but never longer ones than between heartbeats.
    async fn stay(&self, state: &mut State) -> Infallible {
        let first_pause = FIRST_PAUSE.min(self.heartbeat);
        let max_pause = MAX_PAUSE.min(self.heartbeat);
        let mut pause = first_pause;
        loop {
            let wait = if *state == State::Registered { self.heartbeat } else { pause };
            tokio::time::sleep(wait.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
            let attempt = match *state {
                State::Unregistered => {
                    self.client.register(self.has_failed.get(), BACKGROUND_LIMIT).await
                }
                State::Registered | State::Lost => self.client.renew(BACKGROUND_LIMIT).await,
            };
            pause = if attempt.is_ok() { first_pause } else { (pause * 2).min(max_pause) };
            *state = self.became(*state, attempt);
        }
    }

    /// The state after an attempt. A change of state is worth a line, an attempt is not.
    fn became(&self, before: State, attempt: Result<Renewal, ConnectionError>) -> State {
        let worker_type = self.worker_type.as_str();
        let redis = &self.client.endpoint;
        let key = String::from_utf8_lossy(&self.client.entry.version_key);
        match (before, attempt) {
            (State::Registered, Ok(Renewal::Kept)) => State::Registered,
            (_, Ok(renewal)) => {
                let is_registered = match (before, renewal) {
                    (State::Unregistered, _) => format!("is registered in Redis at {redis}"),
                    (State::Lost, _) => format!("is registered again in Redis at {redis}"),
                    (State::Registered, _) => {
                        format!("is registered again in Redis at {redis}, which had forgotten it")
                    }
                };
                info!(worker_type, %redis, %key, "{worker_type} {is_registered}");
                State::Registered
            }
            (State::Registered, Err(error)) => {
                self.warn_that("has lost its registration", &error);
                State::Lost
            }
            (State::Lost, Err(_)) => State::Lost,
            (State::Unregistered, Err(error)) => {
                if !self.has_failed.replace(true) {
                    self.warn_that("is not registered", &error);
                }
                State::Unregistered
            }
        }
    }

    fn warn_that(&self, it_is_not_registered: &str, error: &ConnectionError) {
        let (worker_type, redis) = (self.worker_type.as_str(), &self.client.endpoint);
        warn!(
            worker_type, %redis,
            "{worker_type} {it_is_not_registered} in Redis at {redis}: {}. It runs all the same; trying again in the background",
            Escape(&causes(error)),
        );
    }
}
