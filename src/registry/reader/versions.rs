//! What the version keys say: of workers without a shim, and of how others have ended.

use std::collections::BTreeSet;
use std::mem;

use redis::{Value, cmd};

use super::{BATCH, INDEX_PAGE, Reader};
use crate::registry::batch::{Replies, value};
use crate::registry::connection::ConnectionError;
use crate::registry::departure::MAX_DEPARTURES;
use crate::registry::fleet::{Departed, EscapedText, FIELDS, Instance, StoredRecord};
use crate::registry::key::{index_key, left_key, type_and_id, version_key};
use crate::registry::leftover::{FOR_EVER, NO_KEY, is_left_over};
use crate::registry::session::Session;

impl Reader<'_> {
    /// Where a type has no instance that lives, its version key may be the word of a worker without a
    /// shim; or what a worker with a shim has left behind.
    pub(super) async fn read_versions(&mut self, types: &[Vec<u8>]) -> Result<(), ConnectionError> {
        for types in types.chunks(BATCH) {
            let batches = types
                .iter()
                .flat_map(|worker_type| {
                    let version = version_key(self.prefix, worker_type);
                    let left = left_key(self.prefix, worker_type);
                    [
                        vec![
                            cmd("PTTL").arg(&version).clone(),
                            cmd("HMGET").arg(&version).arg(&FIELDS).clone(),
                        ],
                        vec![cmd("PTTL").arg(&left).clone()],
                        // By itself: a key of a shim of before holds no list.
                        vec![cmd("LRANGE").arg(left).arg(0).arg(MAX_DEPARTURES - 1).clone()],
                    ]
                })
                .collect();
            let mut replies_of_all = self.redis.send(batches).await?.into_iter();
            for worker_type in types {
                let (Some(version), Some(left), departures) =
                    (replies_of_all.next(), replies_of_all.next(), replies_of_all.next())
                else {
                    break;
                };
                self.take_departures(worker_type, departures);
                let left = left.map_err(|error| self.redis.error_reply(&error))?;
                let left: i64 = value(left.first())?;
                let (version, record) = match version {
                    Ok(replies) => (value(replies.first())?, StoredRecord::new(replies.get(1))),
                    Err(error) => {
                        let key = version_key(self.prefix, worker_type);
                        self.tolerate(Some(worker_type), &key, &error)?;
                        (FOR_EVER, None)
                    }
                };
                let known = self.types.entry(worker_type.clone()).or_default();
                let stands = version != NO_KEY;
                if stands && !known.lives && !is_left_over(version, left, known, self.fleet.read_at)
                {
                    self.without_shim.insert(worker_type.clone(), record.unwrap_or_default());
                }
            }
        }
        Ok(())
    }

    /// Workers without a shim: those of which a version key tells, and no instance, not even one that has
    /// come meanwhile.
    pub(super) async fn take_without_shim(&mut self) -> Result<(), ConnectionError> {
        let without_shim = mem::take(&mut self.without_shim);
        if without_shim.is_empty() {
            return Ok(());
        }
        let types = without_shim.keys().cloned().collect();
        let index = index_key(self.prefix);
        let newcomers = types_with_instances(self.redis, &index, &types).await?;
        let left = without_shim.into_iter().filter(|(of, _)| !newcomers.contains(of));
        self.fleet.instances.extend(left.map(|(worker_type, record)| Instance {
            worker_type: EscapedText::new(&worker_type),
            id: None,
            record: Some(record),
            last: None,
            last_seen: None,
        }));
        Ok(())
    }

    fn take_departures(&mut self, worker_type: &[u8], replies: Option<Replies>) {
        let Some(Ok(replies)) = replies else { return };
        let Some(Value::Array(texts)) = replies.first() else { return };
        let texts = texts.iter().filter_map(|text| match text {
            Value::BulkString(json) => Departed::new(worker_type, json),
            _ => None,
        });
        let mut of_type: Vec<Departed> = Vec::new();
        for departed in texts {
            // What was said twice, over two connections, is one goodbye.
            if !of_type.iter().any(|known| known.id == departed.id) {
                of_type.push(departed);
            }
        }
        self.fleet.departures.append(&mut of_type);
    }
}

/// Those of these worker types that have an instance in the index now. An error reply is as good as none.
///
/// # Errors
/// A lost connection.
async fn types_with_instances(
    redis: &mut Session,
    index: &[u8],
    types: &BTreeSet<Vec<u8>>,
) -> Result<BTreeSet<Vec<u8>>, ConnectionError> {
    let mut found = BTreeSet::new();
    let mut cursor = b"0".to_vec();
    loop {
        let page = cmd("ZSCAN").arg(index).arg(&cursor).arg("COUNT").arg(INDEX_PAGE).clone();
        let Some(Ok(replies)) = redis.send(vec![vec![page]]).await?.pop() else { return Ok(found) };
        let (next, members): (Vec<u8>, Vec<(Vec<u8>, f64)>) = value(replies.first())?;
        let types_there = members.iter().map(|(member, _)| type_and_id(member).0);
        found.extend(types_there.filter(|there| types.contains(*there)).map(<[u8]>::to_vec));
        if next == b"0" {
            return Ok(found);
        }
        cursor = next;
    }
}
