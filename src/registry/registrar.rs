//! The registrar: a thread of its own that owns everything which can block or fail on the way to
//! Redis. It shares one channel with the supervisor and never waits for children.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use redis::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::{info, warn};

use super::connection::{ConnectionError, Endpoint};
use super::record::{Entry, InstanceId, Record, WorkerType};
use super::session::Session;
use super::unix_ms;
use crate::config::Registration;
use crate::image::ImageIdentity;
use crate::kernel;
use crate::supervisor::Exit;
use crate::telemetry::{Printable, causes};

/// What an attempt in the background may take: it holds up nobody.
const BACKGROUND_LIMIT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);

/// The registrar as the supervisor sees it.
#[derive(Debug)]
pub struct Registrar {
    channel: UnixStream,
    timeout: Duration,
}

impl Registrar {
    /// Starts registering. `None`, after one warning, where the worker runs unregistered.
    pub fn start(registration: Registration, identity: &ImageIdentity) -> Option<Self> {
        let timeout = registration.timeout;
        let started = Thread::new(registration, identity)
            .and_then(|thread| thread.start().map_err(|error| format!("{error:#}")));
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

    /// The run is over. The instance of a worker that has ended says goodbye; the registration of one
    /// that never was is taken back whole, within a bound that an operator who stops a container does
    /// not notice where Redis does not answer.
    pub fn leave(mut self, exit: &Exit) {
        let (order, limit) = match exit {
            Exit::Worker(_) => (GOODBYE, GOODBYE_LIMIT),
            Exit::Interrupted(_) if !self.is_registered() => (RETRACT, Duration::from_millis(75)),
            _ => (RETRACT, GOODBYE_LIMIT),
        };
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
const RETRACT: u8 = b'x';
const GOODBYE: u8 = b'g';
/// What the registrar reports: that the first attempt is over, and what came of it.
const REGISTERED: u8 = b'r';
const FAILED: u8 = b'f';

/// What the thread works with.
struct Thread {
    worker_type: WorkerType,
    endpoint: Endpoint,
    entry: Entry,
    timeout: Duration,
    heartbeat: Duration,
    /// Whether any attempt has come as far as to write.
    has_reached_redis: Cell<bool>,
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

/// What a heartbeat found.
enum Found {
    AsLeft,
    /// Redis knew nothing of this instance: it was restarted empty, or the entry was deleted.
    Forgotten,
}

impl Thread {
    /// What the thread works with, or why there is nothing to register as or at. A reason and no
    /// error: to run unregistered is usual, and an error would take the time for a backtrace.
    fn new(registration: Registration, identity: &ImageIdentity) -> Result<Self, String> {
        let (worker_type, endpoint) = registration.target?;
        let id = InstanceId::random();
        let hostname = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into();
        let record = Record::new(identity, SystemTime::now(), std::process::id(), hostname);
        let heartbeat = registration.heartbeat;
        Ok(Self {
            entry: Entry::new(&registration.key_prefix, &worker_type, &id, heartbeat, record),
            worker_type,
            endpoint,
            timeout: registration.timeout,
            heartbeat,
            has_reached_redis: Cell::new(false),
            has_failed: Cell::new(false),
        })
    }

    fn start(self) -> anyhow::Result<UnixStream> {
        let (mut supervisors, registrars) =
            UnixStream::pair().context("no channel to the registrar")?;
        let started =
            thread::Builder::new().name("registrar".into()).spawn(move || self.run(registrars));
        // Making the first thread has unblocked some of the supervisor's.
        kernel::block_signals();
        started.context("no thread for the registrar")?;
        supervisors.write_all(&[START]).context("no channel to the registrar")?;
        Ok(supervisors)
    }

    fn run(self, mut channel: UnixStream) {
        kernel::block_signals();
        // Nobody outside hears of this run before the supervisor has all its signals blocked again.
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
            let first = self.register(self.timeout).await;
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
        if self.has_reached_redis.get() {
            let _ = match order {
                Ok(RETRACT) => {
                    self.reach(GOODBYE_LIMIT, async |redis| self.retract(redis).await).await
                }
                Ok(GOODBYE) => {
                    self.reach(GOODBYE_LIMIT, async |redis| self.goodbye(redis).await).await
                }
                _ => Ok(()),
            };
        }
        Ok(())
    }

    /// One heartbeat after the other; while they don't get through, with growing pauses in between,
    /// but never longer ones than between heartbeats.
    async fn stay(&self, state: &mut State) -> std::convert::Infallible {
        let first_pause = FIRST_PAUSE.min(self.heartbeat);
        let longest_pause = LONGEST_PAUSE.min(self.heartbeat);
        let mut pause = first_pause;
        loop {
            let wait = if *state == State::Registered { self.heartbeat } else { pause };
            tokio::time::sleep(wait.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
            let found = match *state {
                State::Unregistered => self.register(BACKGROUND_LIMIT).await,
                State::Registered | State::Lost => self.renew().await,
            };
            pause = if found.is_ok() { first_pause } else { (pause * 2).min(longest_pause) };
            *state = self.became(*state, found);
        }
    }

    /// The state after an attempt. A change of state is worth a line, an attempt is not.
    fn became(&self, state: State, attempt: Result<Found, ConnectionError>) -> State {
        let worker_type = self.worker_type.as_str();
        let redis = &self.endpoint;
        let key = String::from_utf8_lossy(&self.entry.version_key);
        match (state, attempt) {
            (State::Unregistered, Ok(_)) => {
                info!(worker_type, %redis, %key, "{worker_type} is registered in Redis at {redis}");
                State::Registered
            }
            (State::Lost, Ok(_)) => {
                info!(worker_type, %redis, %key, "{worker_type} is registered again in Redis at {redis}");
                State::Registered
            }
            (State::Registered, Ok(Found::Forgotten)) => {
                info!(
                    worker_type, %redis, %key,
                    "{worker_type} is registered again in Redis at {redis}, which had forgotten it"
                );
                State::Registered
            }
            (State::Registered, Ok(Found::AsLeft)) => State::Registered,
            (State::Registered, Err(error)) => {
                let error = causes(&error);
                warn!(
                    worker_type, %redis,
                    "{worker_type} has lost its registration in Redis at {redis}: {}. It runs all the same; trying again in the background",
                    Printable(&error),
                );
                State::Lost
            }
            (State::Lost, Err(_)) => State::Lost,
            (State::Unregistered, Err(error)) => {
                if !self.has_failed.replace(true) {
                    let error = causes(&error);
                    warn!(
                        worker_type, %redis,
                        "{worker_type} is not registered in Redis at {redis}: {}. It runs all the same; trying again in the background",
                        Printable(&error),
                    );
                }
                State::Unregistered
            }
        }
    }

    async fn reach<T>(
        &self,
        limit: Duration,
        talk: impl AsyncFnOnce(&mut Session) -> Result<T, ConnectionError>,
    ) -> Result<T, ConnectionError> {
        self.endpoint
            .within(limit, async |redis| {
                self.has_reached_redis.set(true);
                talk(redis).await
            })
            .await
    }

    /// Registers for the first time: the version key is that of the last one to start.
    async fn register(&self, limit: Duration) -> Result<Found, ConnectionError> {
        self.reach(limit, async |redis| {
            let (entry, late) = (&self.entry, self.has_failed.get());
            let mut questions = vec![entry.write_instance(), entry.ask_last_seen()];
            if !late {
                questions.insert(0, entry.write_version());
            }
            let answers = redis.ask(questions).await?;
            let mut replies = redis.all_well(answers)?;
            let found = self.write_last_seen(redis, &replies.pop().unwrap_or_default()).await?;
            if late {
                // Last on this connection: what it watches would make another transaction fail.
                self.write_version_if_latest(redis).await?;
            }
            Ok(found)
        })
        .await
    }

    /// A heartbeat. The version key is renewed, whoever wrote it, and written only when it is gone.
    async fn renew(&self) -> Result<Found, ConnectionError> {
        self.reach(BACKGROUND_LIMIT, async |redis| {
            let entry = &self.entry;
            let questions =
                vec![entry.renew_version(), entry.write_instance(), entry.ask_last_seen()];
            let answers = redis.ask(questions).await?;
            let mut replies = redis.all_well(answers)?;
            let found = self.write_last_seen(redis, &replies.pop().unwrap_or_default()).await?;
            if replies.first().and_then(|renewed| renewed.first()) == Some(&Value::Int(0)) {
                self.write_version_if_latest(redis).await?;
            }
            Ok(found)
        })
        .await
    }

    /// Takes the reply to the question of when this instance was last seen, and says: now.
    async fn write_last_seen(
        &self,
        redis: &mut Session<'_>,
        reply: &[Value],
    ) -> Result<Found, ConnectionError> {
        let (last_seen, time) = (reply.first(), reply.get(1));
        let now = time.and_then(unix_ms).ok_or_else(|| ConnectionError::Redis {
            code: String::new(),
            text: "Redis doesn't tell the time".into(),
        })?;
        redis.ask_one(self.entry.write_last_seen(now)).await?;
        Ok(if last_seen == Some(&Value::Nil) { Found::Forgotten } else { Found::AsLeft })
    }

    /// Writes the version key unless there is one of a worker that started later.
    async fn write_version_if_latest(
        &self,
        redis: &mut Session<'_>,
    ) -> Result<(), ConnectionError> {
        let standing = redis.ask_one(self.entry.watch_version()).await?;
        let started_at = fields(&standing).nth(2).flatten();
        if started_at.is_none_or(|other| other <= self.entry.record.started_at.as_bytes()) {
            redis.ask_one(self.entry.write_version()).await?;
        }
        Ok(())
    }

    /// Takes back what was written for a worker that never was. Somebody else's version key stays.
    async fn retract(&self, redis: &mut Session<'_>) -> Result<(), ConnectionError> {
        let (entry, record) = (&self.entry, &self.entry.record);
        let questions =
            vec![entry.delete_last_seen(), entry.delete_instance(), entry.watch_version()];
        let answers = redis.ask(questions).await?;
        let standing = redis.all_well(answers)?.pop().unwrap_or_default();
        let own = record.version_fields().map(|(_, value)| Some(value.as_bytes()));
        if fields(&standing).eq(own) {
            redis.ask_one(entry.delete_version()).await?;
        }
        Ok(())
    }

    /// The instance goes; the version key stays, as in the document, and is said to be a leftover.
    ///
    /// The index entry goes before the instance, so that nobody can see the one without the other and
    /// take it for dead.
    async fn goodbye(&self, redis: &mut Session<'_>) -> Result<(), ConnectionError> {
        let answers =
            redis.ask(vec![self.entry.write_left(), self.entry.delete_last_seen()]).await?;
        redis.ask_one(self.entry.delete_instance()).await?;
        redis.all_well(answers).map(drop)
    }
}

/// The values in the reply to `watch_version`.
fn fields(standing: &[Value]) -> impl Iterator<Item = Option<&[u8]>> {
    let values = match standing.get(1) {
        Some(Value::Array(values)) => values.as_slice(),
        _ => &[],
    };
    values.iter().map(|value| match value {
        Value::BulkString(bytes) => Some(bytes.as_slice()),
        _ => None,
    })
}
