//! Reads the fleet back: which instances run what, and which have stopped reporting.

mod versions;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;
use std::time::Duration;

use redis::{RedisError, cmd};
use tokio::time::sleep;

use super::batch::{time_of, value};
use super::connection::ConnectionError;
use super::eviction::{complaint, evicted};
use super::fleet::{Complaint, EscapedText, FIELDS, Fleet, Instance, StoredRecord};
use super::key::{
    DAY, KeyPrefix, WorkerType, in_ms, index_key, instance_key, last_key, score_in_ms, type_and_id,
};
use super::keyspace::find_types;
use super::leftover::Type;
use super::session::Session;

/// Buckets of the index that are read at once.
const INDEX_PAGE: u32 = 2_000;
/// How often, and after which pause, a worker is looked at again that is just being executed.
const STARTING_LOOKS: u32 = 5;
const STARTING_PAUSE: Duration = Duration::from_millis(20);
/// Batches that go out together.
const BATCH: usize = 1_000;

/// Reads the fleet. The known types are looked up even where nothing leads to them; others of which
/// there is no more than a version key are found by a search of all keys, where it is wanted.
///
/// # Errors
/// A lost connection, or an error reply that concerns more than one odd key.
pub async fn read(
    redis: &mut Session,
    prefix: &KeyPrefix,
    known: &[WorkerType],
    searched: bool,
) -> Result<Fleet, ConnectionError> {
    let mut reader = Reader {
        redis,
        prefix,
        fleet: Fleet::default(),
        types: BTreeMap::new(),
        without_shim: BTreeMap::new(),
        starting: Vec::new(),
    };
    reader.read_index().await?;
    reader.wait_for_the_starting().await?;
    for known in known {
        reader.types.entry(known.as_str().into()).or_default();
    }
    let known: Vec<Vec<u8>> = reader.types.keys().cloned().collect();
    reader.read_versions(&known).await?;
    if searched {
        let found = find_types(reader.redis, prefix).await?.unwrap_or_else(|error| {
            reader.complain_of_search(&error);
            BTreeSet::new()
        });
        let unknown: Vec<_> =
            found.into_iter().filter(|found| !reader.types.contains_key(found)).collect();
        reader.read_versions(&unknown).await?;
    }
    reader.take_without_shim().await?;
    Ok(reader.fleet)
}

struct Reader<'r> {
    redis: &'r mut Session,
    prefix: &'r KeyPrefix,
    fleet: Fleet,
    types: BTreeMap<Vec<u8>, Type>,
    /// What the version keys say of types that have nothing else.
    without_shim: BTreeMap<Vec<u8>, StoredRecord>,
    /// Members of the index whose worker has not been executed yet.
    starting: Vec<Vec<u8>>,
}

impl Reader<'_> {
    /// A page of the index after the other, each with its instances. The sorted set is walked by its
    /// hash table: heartbeats change the order of the scores all the time, and pages by rank or score
    /// would miss those that move.
    async fn read_index(&mut self) -> Result<(), ConnectionError> {
        let index = index_key(self.prefix);
        let mut last_seen: HashMap<Vec<u8>, f64> = HashMap::new();
        let mut cursor = b"0".to_vec();
        loop {
            let page = cmd("ZSCAN").arg(&index).arg(&cursor).arg("COUNT").arg(INDEX_PAGE).clone();
            let mut replies = self.redis.send(vec![vec![page], vec![cmd("TIME")]]).await?;
            let mut next = || replies.pop().unwrap_or_else(|| Ok(Vec::new()));
            let (time, page) = (next(), next());
            let time = time_of(&time).map_err(|error| self.redis.error_reply(&error))?;
            self.fleet.read_at = time;
            let page = match page {
                Ok(page) => page,
                Err(error) => return self.tolerate(None, &index, &error),
            };
            let (next, members): (Vec<u8>, Vec<(Vec<u8>, f64)>) = value(page.first())?;
            // What an element moved by a resizing of the table brings along twice counts once.
            let new: Vec<Vec<u8>> = members
                .into_iter()
                .filter_map(|(member, score)| {
                    last_seen.insert(member.clone(), score).is_none().then_some(member)
                })
                .collect();
            for members in new.chunks(BATCH) {
                self.read_instances(&index, members, &last_seen).await?;
            }
            if next == b"0" {
                break;
            }
            cursor = next;
        }
        Ok(())
    }

    /// Gives workers that are being executed a moment for it. What has not been by then is not counted.
    async fn wait_for_the_starting(&mut self) -> Result<(), ConnectionError> {
        let index = index_key(self.prefix);
        for _ in 0..STARTING_LOOKS {
            let starting = mem::take(&mut self.starting);
            if starting.is_empty() {
                break;
            }
            sleep(STARTING_PAUSE).await;
            let scores = self.last_seen(&index, starting.iter()).await?;
            let members: Vec<Vec<u8>> = scores.keys().cloned().collect();
            self.read_instances(&index, &members, &scores).await?;
        }
        Ok(())
    }

    /// When those of the members were last seen that are in the index now.
    async fn last_seen(
        &mut self,
        index: &[u8],
        members: impl Iterator<Item = &Vec<u8>> + Clone,
    ) -> Result<HashMap<Vec<u8>, f64>, ConnectionError> {
        let batches =
            members.clone().map(|member| vec![cmd("ZSCORE").arg(index).arg(member).clone()]);
        let replies = self.redis.send(batches.collect()).await?;
        let mut found = HashMap::new();
        for (member, reply) in members.zip(replies) {
            let replies = reply.map_err(|error| self.redis.error_reply(&error))?;
            let score: Option<f64> = value(replies.first())?;
            found.extend(score.map(|score| (member.clone(), score)));
        }
        Ok(found)
    }

    async fn read_instances(
        &mut self,
        index: &[u8],
        members: &[Vec<u8>],
        last_seen: &HashMap<Vec<u8>, f64>,
    ) -> Result<(), ConnectionError> {
        let batches = members
            .iter()
            .map(|member| {
                let (worker_type, id) = type_and_id(member);
                vec![
                    cmd("HMGET")
                        .arg(instance_key(self.prefix, worker_type, id))
                        .arg(&FIELDS)
                        .clone(),
                ]
            })
            .collect();
        let mut silent = Vec::new();
        for (member, reply) in members.iter().zip(self.redis.send(batches).await?) {
            let record = match reply {
                Ok(replies) => StoredRecord::new(replies.first()),
                Err(error) => {
                    let (worker_type, id) = type_and_id(member);
                    let key = instance_key(self.prefix, worker_type, id);
                    self.tolerate(Some(worker_type), &key, &error)?;
                    Some(StoredRecord::default())
                }
            };
            match record {
                Some(record) => self.take(member, last_seen.get(member), Some(record)),
                None => silent.push(member),
            }
        }
        self.take_dead(index, &silent).await
    }

    /// Takes those without a record that are still in the index for dead. An instance that deregisters
    /// leaves the index first: one that is no longer there has left between the two batches.
    async fn take_dead(
        &mut self,
        index: &[u8],
        silent: &[&Vec<u8>],
    ) -> Result<(), ConnectionError> {
        let scores = self.last_seen(index, silent.iter().copied()).await?;
        let missing: Vec<_> =
            silent.iter().filter_map(|member| Some((*member, *scores.get(*member)?))).collect();
        let evicted =
            evicted(self.redis, self.prefix, &self.types, &missing, self.fleet.read_at).await?;
        for (member, score) in missing {
            let record = evicted.contains(member).then(StoredRecord::default);
            if record.is_some() {
                self.fleet.complaints.push(complaint(type_and_id(member).0));
            }
            self.take(member, Some(&score), record);
        }
        self.read_last_of_the_dead().await
    }

    /// What is still known of those without a record.
    async fn read_last_of_the_dead(&mut self) -> Result<(), ConnectionError> {
        let Self { redis, prefix, fleet, .. } = self;
        let is_unread = |one: &&mut Instance| one.record.is_none() && one.last.is_none();
        let mut dead: Vec<&mut Instance> = fleet.instances.iter_mut().filter(is_unread).collect();
        let batch = |one: &&mut Instance| {
            let id = one.id.as_ref().map(EscapedText::as_str).unwrap_or_default();
            let key = last_key(prefix, one.worker_type.as_str().as_bytes(), id.as_bytes());
            vec![cmd("HMGET").arg(key).arg(&FIELDS).clone()]
        };
        let batches = dead.iter().map(batch).collect();
        for (one, reply) in dead.iter_mut().zip(redis.send(batches).await?) {
            let last = reply.ok().and_then(|replies| StoredRecord::new(replies.first()));
            one.last = Some(last.unwrap_or_default());
        }
        Ok(())
    }

    fn take(&mut self, member: &[u8], score: Option<&f64>, record: Option<StoredRecord>) {
        let (worker_type, id) = type_and_id(member);
        let last_seen = score.copied().map_or(0, score_in_ms);
        if record.is_none() && last_seen.saturating_add(in_ms(DAY)) < self.fleet.read_at {
            // Forgotten; the next heartbeat of any instance removes it.
            return;
        }
        let known = self.types.entry(worker_type.to_vec()).or_default();
        if let Some(record) = &record {
            known.lives = true;
            known.heartbeat = known.heartbeat.max(record.heartbeat);
            if record.is_starting() {
                self.starting.push(member.to_vec());
                return;
            }
        } else {
            known.last_death = known.last_death.max(Some(last_seen));
        }
        self.fleet.instances.push(Instance {
            worker_type: EscapedText::new(worker_type),
            id: Some(EscapedText::new(id)),
            record,
            last: None,
            last_seen: Some(last_seen),
        });
    }

    fn complain_of_search(&mut self, error: &RedisError) {
        let why = EscapedText::new(error.detail().unwrap_or_default().as_bytes());
        self.fleet.complaints.push(Complaint {
            worker_type: None,
            sentence: format!(
                "The keys can't be searched for workers without a shim: {}. --no-scan says that there are none",
                why.as_str()
            ),
        });
    }

    /// One key of the wrong type is no reason to say nothing of the others.
    fn tolerate(
        &mut self,
        worker_type: Option<&[u8]>,
        key: &[u8],
        error: &RedisError,
    ) -> Result<(), ConnectionError> {
        let complaint = self.redis.error_reply(error);
        if error.code() != Some("WRONGTYPE") {
            return Err(complaint);
        }
        let key = EscapedText::new(key);
        self.fleet.complaints.push(Complaint {
            worker_type: worker_type.map(EscapedText::new),
            sentence: format!("{} can't be read: it holds another type of value", key.as_str()),
        });
        Ok(())
    }
}
