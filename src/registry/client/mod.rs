//! One instance as a client of the registry: each attempt to register, renew, deregister or roll back.

mod goodbye;

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use redis::{Value, cmd};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::batch::{Batch, Replies, fields, is_lacking, time_of};
use super::connection::{Access, ConnectionError};
use super::drift::{Drift, judge};
use super::expectation::read_expectation;
use super::key::{KeyPrefix, WorkerType};
use super::record::{Entry, Life};
use super::session::Session;

/// What the worker's execution is waited for before the index says that the instance lives.
const MOMENT: Duration = Duration::from_millis(5);

/// What an attempt works with.
pub struct Client {
    pub entry: Entry,
    /// Of an attempt that is dropped, what it has sent stays known here.
    session: Mutex<Session>,
    /// Where Redis was when this was last known, without user and password.
    redis: RefCell<String>,
    /// Whether any attempt has come as far as to write.
    has_written: Cell<bool>,
    life: Cell<Life>,
    /// What the first record said that the index leads to.
    written: Cell<Option<Life>>,
    prefix: KeyPrefix,
    worker_type: WorkerType,
    /// How the worker stands to what is published, as it was last read, and when by Redis's clock.
    drift: RefCell<Option<(Drift, u64)>>,
    /// What Redis's clock said, in unix ms, and when it was heard.
    clock: Cell<Option<(u64, Instant)>>,
}

/// What a heartbeat found of this instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    Kept,
    /// Redis knew nothing of it: it was restarted empty, or the entry was deleted.
    Forgotten,
}

impl Client {
    pub fn new(access: Access, entry: Entry, prefix: KeyPrefix, worker_type: WorkerType) -> Self {
        Self {
            prefix,
            worker_type,
            drift: RefCell::new(None),
            redis: RefCell::new(access.to_string()),
            session: Mutex::new(Session::new(access)),
            entry,
            has_written: Cell::new(false),
            life: Cell::default(),
            written: Cell::default(),
            clock: Cell::new(None),
        }
    }

    /// How the worker stands to what is published, if that was read since this was last asked, and the
    /// time by Redis's clock.
    pub fn take_drift(&self) -> Option<(Drift, u64)> {
        self.drift.take()
    }

    /// From now on the instance says that its worker runs.
    pub fn executed(&self) {
        self.life.set(Life { is_executed: true, ..self.life.get() });
    }

    pub fn is_executed(&self) -> bool {
        self.life.get().is_executed
    }

    /// From now on the instance says that its worker was asked to stop.
    pub fn drain(&self) {
        self.life.set(Life { is_draining: true, ..self.life.get() });
    }

    pub fn is_draining(&self) -> bool {
        self.life.get().is_draining
    }

    pub fn has_written(&self) -> bool {
        self.has_written.get()
    }

    /// Where Redis is, without user and password.
    pub fn redis(&self) -> String {
        self.redis.borrow().clone()
    }

    async fn reach<T>(
        &self,
        limit: Duration,
        talk: impl AsyncFn(&mut Session) -> Result<T, ConnectionError>,
    ) -> Result<T, ConnectionError> {
        let mut session = self.session.lock().await;
        let reached = session.within(limit, async |redis: &mut Session| {
            self.has_written.set(true);
            talk(redis).await
        });
        let reached = reached.await;
        self.redis.replace(session.access().to_string());
        reached
    }

    /// Registers for the first time. The version key is that of the last instance to start: a late
    /// registration writes it only where no later one has.
    ///
    /// Tells as soon as Redis has acknowledged the instance; the index follows, and that the worker runs
    /// once it has been executed.
    ///
    /// # Errors
    /// What failed within the limit.
    pub async fn register(
        &self,
        late: bool,
        limit: Duration,
        acknowledged: impl AsyncFn(),
        executed: impl AsyncFn(),
    ) -> Result<Renewal, ConnectionError> {
        let acknowledged = async || {
            acknowledged().await;
            // Mostly it is a matter of a millisecond, and then one round trip says both.
            if !self.is_executed() {
                let _ = timeout(MOMENT, executed()).await;
            }
        };
        self.reach(limit, async |redis: &mut Session| {
            let mut first = vec![self.entry.enter_index()];
            first.extend((!late).then(|| self.entry.write_version()));
            let (renewal, _) = self.report(redis, first, &acknowledged).await?;
            if self.written.get().is_some_and(|life| !life.is_executed) {
                if !self.is_executed() {
                    executed().await;
                }
                let written = redis.send(vec![self.entry.write_instance(&self.life.get())]).await?;
                redis.all_ok(written)?;
            }
            if late {
                // Last on this connection: what it watches would make another transaction fail.
                self.write_version_if_latest(redis).await?;
            }
            Ok(renewal)
        })
        .await
    }

    /// A heartbeat. The version key is renewed, whichever instance wrote it, and written only when it
    /// is gone.
    ///
    /// # Errors
    /// What failed within the limit.
    pub async fn renew(&self, limit: Duration) -> Result<Renewal, ConnectionError> {
        self.reach(limit, async |redis: &mut Session| {
            let first = vec![self.entry.renew_version()];
            let (renewal, replies) = self.report(redis, first, async || ()).await?;
            if replies.first().and_then(|renewed| renewed.first()) == Some(&Value::Int(0)) {
                self.write_version_if_latest(redis).await?;
            }
            Ok(renewal)
        })
        .await
    }

    /// A sign of life, with other batches before it, in two round trips; reads in the first of them what is
    /// published. Gives the replies to those batches and the instance's.
    async fn report(
        &self,
        redis: &mut Session,
        first: Vec<Batch>,
        acknowledged: impl AsyncFn(),
    ) -> Result<(Renewal, Vec<Vec<Value>>), ConnectionError> {
        let mut batches = first;
        batches.extend([
            self.entry.write_instance(&self.life.get()),
            self.entry.read_last_seen(),
            vec![cmd("TIME")],
            read_expectation(&self.prefix, &self.worker_type),
        ]);
        let mut replies = redis.send(batches).await?;
        let (expectation, time) = (replies.pop(), replies.pop());
        let mut replies = redis.all_ok(replies)?;
        let now = time_of(&time.unwrap_or_else(|| Ok(Vec::new())));
        let now = now.map_err(|error| redis.error_reply(&error))?;
        self.clock.set(Some((now, Instant::now())));
        self.hear_expectation(expectation);
        acknowledged().await;
        let last_seen = replies.pop().unwrap_or_default();
        let renewal = self.write_last_seen(redis, last_seen.first(), now).await?;
        Ok((renewal, replies))
    }

    /// Takes the reply that tells when this instance was last seen, and writes: now.
    async fn write_last_seen(
        &self,
        redis: &mut Session,
        last_seen: Option<&Value>,
        now: u64,
    ) -> Result<Renewal, ConnectionError> {
        let mut batches = vec![self.entry.write_last_seen(now), self.entry.write_last()];
        if self.life.get().registered_at.is_none() {
            // Since when is known only now.
            self.life.set(Life { registered_at: Some(now), ..self.life.get() });
            self.written.set(Some(self.life.get()));
            batches.push(self.entry.write_instance(&self.life.get()));
        }
        let written = redis.send(batches).await?;
        redis.all_ok(written)?;
        Ok(if last_seen == Some(&Value::Nil) { Renewal::Forgotten } else { Renewal::Kept })
    }

    /// What is published is nobody's complaint: an error reply is as good as nothing, but for a key that
    /// holds something else.
    fn hear_expectation(&self, replies: Option<Replies>) {
        let Some((now, _)) = self.clock.get() else { return };
        let drift = match replies {
            Some(Ok(replies)) => match replies.first() {
                Some(Value::Array(fields)) => {
                    judge(&self.entry.record.git_sha, &self.worker_type, fields, now)
                }
                _ => return,
            },
            Some(Err(error)) if error.code() == Some("WRONGTYPE") => Drift::Odd("is no hash"),
            _ => return,
        };
        self.drift.replace(Some((drift, now)));
    }

    /// Writes the version key unless there is one of a worker that started later.
    async fn write_version_if_latest(&self, redis: &mut Session) -> Result<(), ConnectionError> {
        let watched = redis.send(vec![self.entry.watch_version()]).await?.pop();
        let standing = self.standing_version(redis, watched).await?;
        let started_at = fields(&standing).nth(2).flatten();
        if started_at.is_none_or(|other| other <= self.entry.record.started_at.as_bytes()) {
            redis.send_unless_changed(self.entry.write_version()).await?;
        }
        Ok(())
    }

    /// What stands in the version key by the replies to `watch_version`, or by another reading where the
    /// server can't watch.
    async fn standing_version(
        &self,
        redis: &mut Session,
        watched: Option<Replies>,
    ) -> Result<Vec<Value>, ConnectionError> {
        match watched.unwrap_or_else(|| Ok(Vec::new())) {
            Ok(standing) => Ok(standing),
            Err(error) if is_lacking(&error) => redis.send_one(self.entry.read_version()).await,
            Err(error) => Err(redis.error_reply(&error)),
        }
    }
}
