//! One instance as a client of the registry: each attempt to register, renew, deregister or roll back.

use std::cell::Cell;
use std::time::Duration;

use redis::Value;

use super::batch::{fields, unix_ms};
use super::endpoint::Endpoint;
use super::error::ConnectionError;
use super::record::Entry;
use super::session::Session;

/// What an attempt works with.
#[derive(Debug)]
pub struct Client {
    pub endpoint: Endpoint,
    pub entry: Entry,
    /// Whether any attempt has come as far as to write.
    has_reached_redis: Cell<bool>,
}

/// What a heartbeat found of this instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    Kept,
    /// Redis knew nothing of it: it was restarted empty, or the entry was deleted.
    Forgotten,
}

impl Client {
    pub fn new(endpoint: Endpoint, entry: Entry) -> Self {
        Self { endpoint, entry, has_reached_redis: Cell::new(false) }
    }

    pub fn has_reached_redis(&self) -> bool {
        self.has_reached_redis.get()
    }

    async fn reach<T>(
        &self,
        limit: Duration,
        talk: impl AsyncFnOnce(&mut Session) -> Result<T, ConnectionError>,
    ) -> Result<T, ConnectionError> {
        Session::within(&self.endpoint, limit, async |redis| {
            self.has_reached_redis.set(true);
            talk(redis).await
        })
        .await
    }

    /// Registers for the first time. The version key is that of the last instance to start: a late
    /// registration writes it only where no later one has.
    ///
    /// # Errors
    /// What failed within the limit.
    pub async fn register(&self, late: bool, limit: Duration) -> Result<Renewal, ConnectionError> {
        self.reach(limit, async |redis| {
            let entry = &self.entry;
            let mut batches = vec![entry.write_instance(), entry.read_last_seen()];
            if !late {
                batches.insert(0, entry.write_version());
            }
            let replies = redis.send(batches).await?;
            let mut replies = redis.all_ok(replies)?;
            let renewal = self.write_last_seen(redis, &replies.pop().unwrap_or_default()).await?;
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
        self.reach(limit, async |redis| {
            let entry = &self.entry;
            let batches =
                vec![entry.renew_version(), entry.write_instance(), entry.read_last_seen()];
            let replies = redis.send(batches).await?;
            let mut replies = redis.all_ok(replies)?;
            let renewal = self.write_last_seen(redis, &replies.pop().unwrap_or_default()).await?;
            if replies.first().and_then(|renewed| renewed.first()) == Some(&Value::Int(0)) {
                self.write_version_if_latest(redis).await?;
            }
            Ok(renewal)
        })
        .await
    }

    /// Takes the replies that tell when this instance was last seen, and writes: now.
    async fn write_last_seen(
        &self,
        redis: &mut Session<'_>,
        replies: &[Value],
    ) -> Result<Renewal, ConnectionError> {
        let (last_seen, time) = (replies.first(), replies.get(1));
        let now = time.and_then(unix_ms).ok_or_else(|| ConnectionError::Redis {
            code: String::new(),
            text: "Redis doesn't tell the time".into(),
        })?;
        redis.send_one(self.entry.write_last_seen(now)).await?;
        Ok(if last_seen == Some(&Value::Nil) { Renewal::Forgotten } else { Renewal::Kept })
    }

    /// Writes the version key unless there is one of a worker that started later.
    async fn write_version_if_latest(
        &self,
        redis: &mut Session<'_>,
    ) -> Result<(), ConnectionError> {
        let standing = redis.send_one(self.entry.watch_version()).await?;
        let started_at = fields(&standing).nth(2).flatten();
        if started_at.is_none_or(|other| other <= self.entry.record.started_at.as_bytes()) {
            redis.send_one(self.entry.write_version()).await?;
        }
        Ok(())
    }

    /// Takes back what was written for a worker that never was. Another instance's version key stays.
    ///
    /// # Errors
    /// What failed within the limit.
    pub async fn roll_back(&self, limit: Duration) -> Result<(), ConnectionError> {
        self.reach(limit, async |redis| {
            let entry = &self.entry;
            let batches =
                vec![entry.delete_last_seen(), entry.delete_instance(), entry.watch_version()];
            let replies = redis.send(batches).await?;
            let standing = redis.all_ok(replies)?.pop().unwrap_or_default();
            let own = entry.record.version_fields().map(|(_, value)| Some(value.as_bytes()));
            if fields(&standing).eq(own) {
                redis.send_one(entry.delete_version()).await?;
            }
            Ok(())
        })
        .await
    }

    /// The instance goes; the version key stays, as in the document, and is marked as a leftover.
    ///
    /// The index entry goes before the instance, so that no reader can see the one without the other
    /// and take it for dead.
    ///
    /// # Errors
    /// What failed within the limit.
    pub async fn deregister(&self, limit: Duration) -> Result<(), ConnectionError> {
        self.reach(limit, async |redis| {
            let batches = vec![self.entry.write_left(), self.entry.delete_last_seen()];
            let replies = redis.send(batches).await?;
            redis.send_one(self.entry.delete_instance()).await?;
            redis.all_ok(replies).map(drop)
        })
        .await
    }
}
