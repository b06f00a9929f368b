//! The registrar: a thread of its own that owns everything which can block or fail on the way to
//! Redis. It shares one channel with the supervisor and never waits for children.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::{info, warn};

use super::connection::{ConnectionError, Endpoint};
use super::record::{Record, VERSION_TTL, WorkerType, transaction, version_key};
use crate::config::Registration;
use crate::image::ImageIdentity;
use crate::kernel;
use crate::supervisor::Exit;
use crate::telemetry::{Printable, causes};

/// What an attempt in the background may take: it holds up nobody.
const BACKGROUND_LIMIT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The registrar as the supervisor sees it.
#[derive(Debug)]
pub struct Registrar {
    channel: UnixStream,
    timeout: Duration,
}

impl Registrar {
    /// Starts registering. `None`, after one warning, where the worker runs unregistered.
    pub fn start(registration: Registration, identity: &ImageIdentity) -> Option<Self> {
        let (worker_type, endpoint) = match registration.target {
            Ok(target) => target,
            Err(reason) => {
                warn!("Not registered in Redis: {reason}");
                return None;
            }
        };
        let thread = Thread {
            key: version_key(&registration.key_prefix, &worker_type),
            record: Record::new(identity, SystemTime::now(), std::process::id()),
            worker_type,
            endpoint,
            timeout: registration.timeout,
            sent: Cell::new(false),
        };
        match thread.start() {
            Ok(channel) => Some(Self { channel, timeout: registration.timeout }),
            Err(error) => {
                warn!("Not registered in Redis: {error:#}");
                None
            }
        }
    }

    /// A descriptor that is readable once the first attempt is over, whatever came of it.
    pub fn first_attempt(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// How long to wait for that: the time limit, and a little for the thread to say that it is over.
    pub fn patience(&self) -> Duration {
        self.timeout + Duration::from_millis(50)
    }

    /// The run is over. A registration of a worker that never was is taken back, within a bound that
    /// an operator who stops a container does not notice where Redis does not answer; that of a worker
    /// stays, as in the document.
    pub fn leave(mut self, exit: &Exit) {
        let limit = match exit {
            Exit::Worker(_) => return,
            Exit::Interrupted(_) if !self.is_registered() => Duration::from_millis(75),
            _ => Duration::from_secs(1),
        };
        let asked = self.channel.write_all(&[RETRACT]);
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

/// The one order that the supervisor gives. The channel's end means that the shim is going.
const RETRACT: u8 = b'x';
/// What the registrar reports: that an attempt is over, and what came of it.
const REGISTERED: u8 = b'r';
const FAILED: u8 = b'f';

/// What the thread works with.
struct Thread {
    worker_type: WorkerType,
    endpoint: Endpoint,
    key: String,
    record: Record,
    timeout: Duration,
    /// Whether a transaction has been sent: it may have been executed, answer or not.
    sent: Cell<bool>,
}

impl Thread {
    fn start(self) -> anyhow::Result<UnixStream> {
        let (supervisors, registrars) =
            UnixStream::pair().context("no channel to the registrar")?;
        registrars.set_nonblocking(true)?;
        let started =
            thread::Builder::new().name("registrar".into()).spawn(move || self.run(registrars));
        // Making the first thread has unblocked some of the supervisor's.
        kernel::block_signals();
        started.context("no thread for the registrar")?;
        Ok(supervisors)
    }

    fn run(self, channel: UnixStream) {
        kernel::block_signals();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let served = runtime.and_then(|runtime| runtime.block_on(self.serve(channel)));
        if let Err(error) = served {
            warn!("The registrar of {} gave up: {error}", self.worker_type.as_str());
        }
    }

    /// Registers, however long it takes, until the supervisor says what to do instead.
    async fn serve(&self, channel: UnixStream) -> io::Result<()> {
        let (mut orders, mut reports) = tokio::net::UnixStream::from_std(channel)?.into_split();
        let register = async {
            if let Err(error) = self.register(self.timeout).await {
                let error = causes(&error);
                warn!(
                    worker_type = self.worker_type.as_str(),
                    redis = %self.endpoint,
                    "{} is not registered in Redis at {}: {}. It runs all the same; trying again in the background",
                    self.worker_type.as_str(), self.endpoint, Printable(&error),
                );
                let _ = reports.write_all(&[FAILED]).await;
                self.register_in_the_background().await;
            }
            info!(
                worker_type = self.worker_type.as_str(),
                redis = %self.endpoint,
                key = self.key,
                "{} is registered in Redis at {}", self.worker_type.as_str(), self.endpoint,
            );
            let _ = reports.write_all(&[REGISTERED]).await;
            std::future::pending::<()>().await;
        };
        let order = tokio::select! {
            biased;
            order = orders.read_u8() => order,
            () = register => return Ok(()),
        };
        if matches!(order, Ok(RETRACT)) && self.sent.get() {
            let _ = self.endpoint.within(BACKGROUND_LIMIT, |redis| self.delete_own(redis)).await;
        }
        Ok(())
    }

    async fn register(&self, limit: Duration) -> Result<(), ConnectionError> {
        let transaction = self.record.write(&self.key, VERSION_TTL);
        self.endpoint
            .within(limit, async |mut redis| {
                self.sent.set(true);
                transaction.exec_async(&mut redis).await
            })
            .await
    }

    async fn register_in_the_background(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
            if self.register(BACKGROUND_LIMIT).await.is_ok() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Deletes the version key if it is still this shim's; somebody else's later record stays.
    async fn delete_own(&self, mut redis: MultiplexedConnection) -> redis::RedisResult<()> {
        redis::cmd("WATCH").arg(&self.key).exec_async(&mut redis).await?;
        let fields = self.record.fields();
        let names = fields.map(|(name, _)| name);
        let stands: Vec<Option<String>> = redis.hmget(&self.key, &names).await?;
        if stands.iter().map(Option::as_deref).eq(fields.map(|(_, value)| Some(value))) {
            transaction([redis::Cmd::del(&self.key)]).exec_async(&mut redis).await?;
        }
        Ok(())
    }
}
