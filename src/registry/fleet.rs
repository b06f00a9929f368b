//! Reads everything back: who runs what, and who has stopped saying so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use redis::{FromRedisValue, RedisError, Value, cmd};
use serde::Serialize;

use super::connection::ConnectionError;
use super::record::{
    DAY, WorkerType, in_ms, index_key, instance_key, left_key, type_and_id, type_in_version_key,
    version_key,
};
use super::session::{Question, Session};
use super::unix_ms;
use crate::config::KeyPrefix;
use crate::telemetry::Printable;

/// The whole fleet, at one time of Redis's clock.
#[derive(Debug, Default)]
pub struct Fleet {
    /// Unix time in ms, by Redis's clock.
    pub read_at: u64,
    pub instances: Vec<Instance>,
    /// What could not be read, one sentence each.
    pub complaints: Vec<String>,
}

/// One running shim and its worker; or a worker without a shim, of which there is only the
/// registration of its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub worker_type: Heard,
    /// `None` for a worker without a shim.
    pub id: Option<Heard>,
    /// `None` for one that has stopped reporting without a goodbye.
    pub record: Option<HeardRecord>,
    /// Unix time in ms, by Redis's clock; `None` for a worker without a shim.
    pub last_seen: Option<u64>,
}

/// What stands in a hash, field by field; what is not there or no text is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeardRecord {
    pub git_sha: Option<Heard>,
    pub build_date: Option<Heard>,
    pub started_at: Option<Heard>,
    pub pid: Option<Heard>,
    pub hostname: Option<Heard>,
}

/// Text that came out of Redis, and so is somebody's input: trimmed, escaped and cut, once and here,
/// so that nobody has to think of it later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Heard(Box<str>);

/// In characters, before escaping; a SHA-256 has 64.
const LONGEST: usize = 128;

impl Heard {
    pub fn new(bytes: &[u8]) -> Self {
        // Four bytes a character at most; a megabyte is not decoded to be thrown away.
        let start = bytes.get(..LONGEST * 4 + 4).unwrap_or(bytes);
        let text = String::from_utf8_lossy(start);
        let text = text.trim();
        let whole = text.chars().count() <= LONGEST && start.len() == bytes.len();
        let cut: String = text.chars().take(LONGEST).collect();
        Self(format!("{}{}", Printable(&cut), if whole { "" } else { "…" }).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Fields of the hashes, in the order in which they are asked for.
const FIELDS: [&str; 5] = ["gitSha", "buildDate", "startedAt", "pid", "hostname"];

/// Buckets of the index that are read at once.
const INDEX_PAGE: u32 = 2_000;
/// Buckets of the whole key space that are searched at once: some 20 ms of Redis's time at most.
const KEYS_PAGE: u32 = 20_000;
/// Questions that go out together.
const BATCH: usize = 1_000;
/// A Redis with fewer keys is searched whole, which takes a tenth of a second.
const SMALL: u64 = 100_000;
/// A shim renews its version key and says that it was seen within one attempt.
const ONE_ATTEMPT: u64 = 5_000;

/// What is known of a worker type while reading.
#[derive(Debug, Default)]
struct Type {
    lives: bool,
    /// When the last of its dead was last seen.
    last_death: Option<u64>,
}

/// Reads the fleet. The required types are looked up even where nothing leads to them.
///
/// # Errors
/// A lost connection, or a complaint of Redis's that concerns more than one odd key.
pub async fn read(
    redis: &mut Session<'_>,
    prefix: &KeyPrefix,
    required: &[WorkerType],
) -> Result<Fleet, ConnectionError> {
    let mut reader =
        Reader { redis, prefix, fleet: Fleet::default(), types: BTreeMap::new(), expiring: 0 };
    let before = reader.count_keys().await;
    reader.read_index().await?;
    for required in required {
        reader.types.entry(required.as_str().into()).or_default();
    }
    let known: Vec<Vec<u8>> = reader.types.keys().cloned().collect();
    reader.read_versions(&known).await?;
    let after = reader.count_keys().await;
    if !reader.nothing_else_expires(before, after) {
        let found = reader.find_types().await?;
        reader.read_versions(&found).await?;
    }
    Ok(reader.fleet)
}

struct Reader<'r, 's> {
    redis: &'r mut Session<'s>,
    prefix: &'r KeyPrefix,
    fleet: Fleet,
    types: BTreeMap<Vec<u8>, Type>,
    /// How many of the registry's keys with an expiry have been read.
    expiring: u64,
}

/// How many keys there are in all, and how many of them expire.
#[derive(Debug, Clone, Copy, Default)]
struct Keys {
    all: u64,
    expiring: u64,
}

impl Reader<'_, '_> {
    /// A page of the index after the other, each with its instances. The sorted set is walked by its
    /// hash table: heartbeats change the order of the scores all the time, and pages by rank or score
    /// would miss those that move.
    async fn read_index(&mut self) -> Result<(), ConnectionError> {
        let index = index_key(self.prefix);
        let mut last_seen: HashMap<Vec<u8>, f64> = HashMap::new();
        let mut cursor = b"0".to_vec();
        loop {
            let page: Question = vec![
                cmd("ZSCAN").arg(&index).arg(&cursor).arg("COUNT").arg(INDEX_PAGE).clone(),
                cmd("TIME"),
            ];
            let answer = self.redis.ask(vec![page]).await?.pop();
            let replies = match answer.unwrap_or_else(|| Ok(Vec::new())) {
                Ok(replies) => replies,
                Err(error) => return self.tolerate(&index, &error),
            };
            let (next, members): (Vec<u8>, Vec<(Vec<u8>, f64)>) = value(replies.first())?;
            self.fleet.read_at = replies.get(1).and_then(unix_ms).unwrap_or(self.fleet.read_at);
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
        self.expiring += u64::from(!last_seen.is_empty());
        Ok(())
    }

    async fn read_instances(
        &mut self,
        index: &[u8],
        members: &[Vec<u8>],
        last_seen: &HashMap<Vec<u8>, f64>,
    ) -> Result<(), ConnectionError> {
        let questions = members
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
        for (member, answer) in members.iter().zip(self.redis.ask(questions).await?) {
            let record = match answer {
                Ok(replies) => {
                    let record = heard(replies.first());
                    self.expiring += u64::from(record.is_some());
                    record
                }
                Err(error) => {
                    let (worker_type, id) = type_and_id(member);
                    self.tolerate(&instance_key(self.prefix, worker_type, id), &error)?;
                    Some(HeardRecord::default())
                }
            };
            match record {
                Some(record) => self.take(member, last_seen.get(member), Some(record)),
                None => silent.push(member),
            }
        }
        // An instance that says goodbye leaves the index first. So who is still in it is dead, and
        // who is not has gone in the moment between the two questions.
        let questions = silent
            .iter()
            .map(|member| vec![cmd("ZSCORE").arg(index).arg(*member).clone()])
            .collect();
        for (member, answer) in silent.iter().zip(self.redis.ask(questions).await?) {
            let replies = answer.map_err(|error| self.redis.complaint(&error))?;
            let score: Option<f64> = value(replies.first())?;
            if let Some(score) = score {
                self.take(member, Some(&score), None);
            }
        }
        Ok(())
    }

    fn take(&mut self, member: &[u8], score: Option<&f64>, record: Option<HeardRecord>) {
        let (worker_type, id) = type_and_id(member);
        let last_seen = score.copied().map_or(0, ms);
        if record.is_none() && last_seen.saturating_add(in_ms(DAY)) < self.fleet.read_at {
            // Forgotten; the next heartbeat of anybody removes it.
            return;
        }
        let known = self.types.entry(worker_type.to_vec()).or_default();
        if record.is_some() {
            known.lives = true;
        } else {
            known.last_death = known.last_death.max(Some(last_seen));
        }
        self.fleet.instances.push(Instance {
            worker_type: Heard::new(worker_type),
            id: Some(Heard::new(id)),
            record,
            last_seen: Some(last_seen),
        });
    }

    /// Where a type has no instance that lives, its version key may be the word of a worker without a
    /// shim; or what a worker with a shim has left behind.
    async fn read_versions(&mut self, types: &[Vec<u8>]) -> Result<(), ConnectionError> {
        for types in types.chunks(BATCH) {
            let questions = types
                .iter()
                .flat_map(|worker_type| {
                    let version = version_key(self.prefix, worker_type);
                    let left = left_key(self.prefix, worker_type);
                    [
                        vec![
                            cmd("PTTL").arg(&version).clone(),
                            cmd("HMGET").arg(&version).arg(&FIELDS).clone(),
                        ],
                        vec![cmd("PTTL").arg(left).clone()],
                    ]
                })
                .collect();
            let mut answers = self.redis.ask(questions).await?.into_iter();
            for worker_type in types {
                let (Some(version), Some(left)) = (answers.next(), answers.next()) else { break };
                let left = left.map_err(|error| self.redis.complaint(&error))?;
                let left: i64 = value(left.first())?;
                let (version, record) = match version {
                    Ok(replies) => (value(replies.first())?, heard(replies.get(1))),
                    Err(error) => {
                        self.tolerate(&version_key(self.prefix, worker_type), &error)?;
                        (FOR_EVER, None)
                    }
                };
                self.expiring += u64::from(left >= 0) + u64::from(version >= 0);
                let known = self.types.entry(worker_type.clone()).or_default();
                let stands = version != NO_KEY;
                if stands && !known.lives && !is_left_over(version, left, known, self.fleet.read_at)
                {
                    self.fleet.instances.push(Instance {
                        worker_type: Heard::new(worker_type),
                        id: None,
                        record: Some(record.unwrap_or_default()),
                        last_seen: None,
                    });
                }
            }
        }
        Ok(())
    }

    /// Worker types that have a version key and that nothing else has led to.
    async fn find_types(&mut self) -> Result<Vec<Vec<u8>>, ConnectionError> {
        let pattern = [literally(self.prefix.as_str()).as_str(), ":*:version"].concat();
        let mut found = BTreeSet::new();
        for master in self.redis.masters().await? {
            let mut cursor = b"0".to_vec();
            loop {
                let mut page = cmd("SCAN");
                page.arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(KEYS_PAGE);
                let reply = self.redis.ask_master(master, &page).await?;
                let (next, keys): (Vec<u8>, Vec<Vec<u8>>) = value(Some(&reply))?;
                found.extend(keys.iter().filter_map(|key| {
                    let worker_type = type_in_version_key(self.prefix, key)?;
                    (!self.types.contains_key(worker_type)).then(|| worker_type.to_vec())
                }));
                if next == b"0" {
                    break;
                }
                cursor = next;
            }
        }
        Ok(found.into_iter().collect())
    }

    /// The keys of all masters; `None` where Redis doesn't say, or is not allowed to.
    async fn count_keys(&mut self) -> Option<Keys> {
        let database = format!("db{}:", self.redis.database());
        let replies = self.redis.ask_masters(cmd("INFO").arg("keyspace")).await.ok()?;
        let mut keys = Keys::default();
        for reply in &replies {
            let info: String = value(Some(reply)).ok()?;
            let line =
                info.lines().find_map(|line| line.strip_prefix(&database)).unwrap_or_default();
            let number = |name| {
                line.split(',')
                    .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
            };
            keys.all += number("keys").unwrap_or(0_u64);
            keys.expiring += number("expires").unwrap_or(0_u64);
        }
        Some(keys)
    }

    /// Whether a large Redis need not be searched. Every version key expires, in the document as here;
    /// where no more keys expire than have been read, there is no unknown one.
    ///
    /// Who comes and goes meanwhile is counted before and after.
    fn nothing_else_expires(&self, before: Option<Keys>, after: Option<Keys>) -> bool {
        let (Some(before), Some(after)) = (before, after) else { return false };
        before.all > SMALL && before.expiring.max(after.expiring) <= self.expiring
    }

    /// One key of the wrong type is no reason to say nothing of the others.
    fn tolerate(&mut self, key: &[u8], error: &RedisError) -> Result<(), ConnectionError> {
        let complaint = self.redis.complaint(error);
        if error.code() != Some("WRONGTYPE") {
            return Err(complaint);
        }
        self.fleet.complaints.push(format!(
            "{} can't be read: it holds another type of value",
            Heard::new(key).as_str()
        ));
        Ok(())
    }
}

/// PTTL's answers where there is no time to live.
const FOR_EVER: i64 = -1;
const NO_KEY: i64 = -2;

/// Whether a version key was last written or renewed by a shim that is gone: before the last one of its
/// type said goodbye, or while the last one that died was still alive. Both live for a day from then
/// on, so the time that is left tells which came first. In ms.
fn is_left_over(version: i64, left: i64, known: &Type, now: u64) -> bool {
    if version < 0 {
        return false;
    }
    let written = now.saturating_add(version.unsigned_abs()).saturating_sub(in_ms(DAY));
    version <= left
        || known.last_death.is_some_and(|death| written <= death.saturating_add(ONE_ATTEMPT))
}

/// `None` for a key that is not there, which HMGET answers with nothing but nils.
fn heard(fields: Option<&Value>) -> Option<HeardRecord> {
    let Some(Value::Array(fields)) = fields else { return None };
    let mut fields = fields.iter().map(|field| match field {
        Value::BulkString(bytes) => Some(Heard::new(bytes)),
        _ => None,
    });
    let mut next = || fields.next().flatten();
    let record = HeardRecord {
        git_sha: next(),
        build_date: next(),
        started_at: next(),
        pid: next(),
        hostname: next(),
    };
    (record != HeardRecord::default()).then_some(record)
}

/// A score as unix time in ms; one that is none becomes the nearest that is.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn ms(score: f64) -> u64 {
    score as u64
}

fn value<T: FromRedisValue>(reply: Option<&Value>) -> Result<T, ConnectionError> {
    redis::from_redis_value(reply.cloned().unwrap_or(Value::Nil)).map_err(|error| {
        ConnectionError::Redis { code: String::new(), text: format!("an odd reply: {error}") }
    })
}

/// For SCAN's MATCH, where a prefix may hold what has a meaning in a pattern.
fn literally(text: &str) -> String {
    text.chars().fold(String::new(), |mut pattern, character| {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(character);
        pattern
    })
}

/// The age of something last seen then, in whole seconds.
pub fn age(now: u64, then: u64) -> Duration {
    Duration::from_secs(now.saturating_sub(then) / 1000)
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::{FOR_EVER, Heard, Type, heard, is_left_over, literally, ms};

    const DAY: i64 = 86_400_000;

    #[test]
    fn what_is_heard_is_trimmed_escaped_and_cut() {
        assert_eq!(Heard::new(b" a1b2c3d\r\n").as_str(), "a1b2c3d");
        assert_eq!(Heard::new(b"\x1b]0;x\x07").as_str(), r"\u{1b}]0;x\u{7}");
        assert_eq!(Heard::new(b"\xff").as_str(), "\u{fffd}");
        for long in ["x".repeat(1_000_000), "é".repeat(1_000_000), "x".repeat(129)] {
            let heard = Heard::new(long.as_bytes());
            assert_eq!(heard.as_str().chars().count(), 129);
            assert!(heard.as_str().ends_with('…'));
        }
        assert_eq!(Heard::new("x".repeat(128).as_bytes()).as_str(), "x".repeat(128));
    }

    #[test]
    fn a_hash_without_any_of_the_fields_is_not_there() {
        assert_eq!(heard(Some(&Value::Array(vec![Value::Nil; 5]))), None);
        let odd = Value::Array(vec![Value::Nil, Value::Int(1), Value::BulkString(b"x".into())]);
        let record = heard(Some(&odd)).unwrap();
        assert_eq!((record.git_sha, record.started_at), (None, Some(Heard::new(b"x"))));
    }

    #[test]
    fn a_version_key_from_before_the_goodbye_is_left_over() {
        let nobody = Type::default();
        let now = 2_000_000_000_000;
        assert!(is_left_over(DAY - 9000, DAY - 8000, &nobody, now));
        assert!(!is_left_over(DAY - 8000, DAY - 9000, &nobody, now));
        assert!(!is_left_over(DAY, -2, &nobody, now));
        assert!(!is_left_over(FOR_EVER, DAY, &nobody, now));
    }

    #[test]
    fn a_version_key_from_before_the_death_is_left_over() {
        let now = 2_000_000_000_000;
        let known = Type { lives: false, last_death: Some(now - 100_000) };
        assert!(is_left_over(DAY - 100_000, -2, &known, now));
        assert!(is_left_over(DAY - 200_000, -2, &known, now));
        assert!(!is_left_over(DAY - 50_000, -2, &known, now));
    }

    #[test]
    fn odd_scores_become_times() {
        assert_eq!([ms(-1.0), ms(f64::NAN), ms(f64::INFINITY), ms(1.5)], [0, 0, u64::MAX, 1]);
    }

    #[test]
    fn a_prefix_is_no_pattern() {
        assert_eq!(literally("{a}:[b]*?\\"), r"{a}:\[b\]\*\?\\");
    }
}
