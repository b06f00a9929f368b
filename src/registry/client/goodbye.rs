//! How an instance leaves: after its worker's end, or because there never was one.

use std::time::{Duration, Instant};

use super::Client;
use crate::registry::batch::{Batch, fields};
use crate::registry::connection::ConnectionError;
use crate::registry::departure::WorkerEnd;
use crate::registry::key::in_ms;
use crate::registry::session::Session;

impl Client {
    /// Has Redis forget the instance right after what an attempt that was dropped has sent, whenever it
    /// comes to that: no late write brings the instance back. Gives what has to be held until the end.
    ///
    /// Of a worker that never was the version key goes as well: Redis comes to both one after the other.
    pub async fn follow_up(&self, was_there: bool) -> impl Sized + use<> {
        let version = (!was_there).then(|| self.entry.delete_version());
        let gone: Vec<Batch> = version.into_iter().chain(self.all_gone()).collect();
        // One that has acknowledged the instance answers soon.
        let answers = self.life.get().registered_at.is_some();
        let patience = Duration::from_millis(if answers { 500 } else { 20 });
        self.session.lock().await.follow_up(&gone, patience).await
    }

    /// The index entry goes first, so that no reader can see it without the record and take it for dead.
    fn all_gone(&self) -> Vec<Batch> {
        let entry = &self.entry;
        vec![entry.delete_last_seen(), entry.delete_instance(), entry.delete_last()]
    }

    /// Takes back what was written for a worker that never was. Another instance's version key stays.
    ///
    /// The version key goes before the index entry: alone it would be the word of a worker without a shim.
    ///
    /// # Errors
    /// What failed within the limit.
    pub async fn roll_back(&self, limit: Duration) -> Result<(), ConnectionError> {
        let entry = &self.entry;
        self.reach(limit, async |redis: &mut Session| {
            let watched = redis.send(vec![entry.watch_version()]).await?.pop();
            let standing = self.standing_version(redis, watched).await?;
            let own = entry.record.version_fields().map(|(_, value)| Some(value.as_bytes()));
            if fields(&standing).eq(own) {
                redis.send_unless_changed(entry.delete_version()).await?;
            }
            let gone = redis.send(self.all_gone()).await?;
            redis.all_ok(gone)?;
            Ok(())
        })
        .await
    }

    /// The instance goes, and leaves behind how its worker ended; the version key stays, as in the
    /// document, and is marked as a leftover by that.
    ///
    /// The index entry goes before the instance, so that no reader can see the one without the other
    /// and take it for dead.
    ///
    /// # Errors
    /// What failed within the limit.
    pub async fn deregister(&self, end: WorkerEnd, limit: Duration) -> Result<(), ConnectionError> {
        // Redis's clock goes on as this machine's does, and to ask it again would take a round trip.
        let elapsed = |(then, heard): (u64, Instant)| then.saturating_add(in_ms(heard.elapsed()));
        let now = self.clock.get().map_or(0, elapsed);
        let departure = self.entry.departure(end, self.is_draining(), now);
        let mut session = self.session.lock().await;
        if !session.has_been_answered() {
            // It would be waited for in vain.
            return Ok(());
        }
        // Twice, it would be two workers' ends.
        let once = session.once(limit, async |redis: &mut Session| {
            let left = self.entry.write_left(&departure);
            let mut first = vec![left.clone(), self.entry.delete_last_seen()];
            let mut last = vec![self.entry.delete_instance(), self.entry.delete_last()];
            if !redis.is_of_a_cluster {
                // One Redis takes them in their order.
                first.append(&mut last);
            }
            let replies = redis.send(first).await?;
            if redis.all_ok(replies).is_err() {
                // What stands there is no list: it was left by a shim of before.
                last.extend([self.entry.delete_left(), left]);
            }
            let replies = redis.send(last).await?;
            redis.all_ok(replies).map(drop)
        });
        once.await
    }
}
