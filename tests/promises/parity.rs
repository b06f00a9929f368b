//! Where a worker's own Redis client connects, its shim registers: ways to say where a Redis is, each
//! tried with redis-cli, redis-py, ioredis and the shim on real servers.

mod clients;
mod names;
mod old;
mod row;
mod servers;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use clients::{Batch, Trial};
use names::{NameServers, Network};
use row::{CLIENTS, Row, rows};
use servers::{Certificates, Place};

use crate::common::net::own_address;
use crate::common::{Sandbox, skip};

const TABLE: &str = include_str!("parity/table.txt");

/// How many processes are at work at a time: most of them wait.
const AT_ONCE: usize = 8;

/// What was found of one row: who has written to its Redis, and what each has said.
struct Found {
    clients: [Verdict; 3],
    shim: Verdict,
    took: Duration,
    said: [String; 4],
}

/// Whether something of a client's stands in the Redis, and in which database.
#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Connects,
    Nowhere,
    WrongDatabase(u32),
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Connects => f.pad("yes"),
            Self::Nowhere => f.pad("-"),
            Self::WrongDatabase(db) => f.pad(&format!("db {db}")),
        }
    }
}

#[test]
fn the_table_leaves_the_shim_behind_no_client_but_for_a_reason() {
    let rows = rows(TABLE);
    assert!(rows.len() >= 45, "{} rows", rows.len());
    for row in &rows {
        let excused = row.reason.is_some();
        let behind = row.clients.contains(&true) && !row.shim;
        assert_eq!(behind, excused, "{}: a reason is for what the shim refuses", row.name);
        let same = rows.iter().filter(|other| other.name == row.name).count();
        assert_eq!(same, 1, "{}: one row of a name", row.name);
    }
}

#[test]
fn where_a_redis_client_connects_the_shim_registers() {
    if let Some(why) = clients::missing() {
        return skip(&why);
    }
    let started = Instant::now();
    let rows = rows(TABLE);
    let found = tried(&rows);
    println!("{}", table(&rows, &found));
    println!("{} rows in {:.1} s", rows.len(), started.elapsed().as_secs_f32());
    let complaints = complaints(&rows, &found, clients::judged());
    assert!(complaints.is_empty(), "not as the table has it:\n{}", complaints.join("\n"));
}

/// The table's word is worth something only if it can be found wrong.
#[test]
fn a_row_that_says_what_is_not_so_is_found_out() {
    if let Some(why) = clients::missing() {
        return skip(&why);
    }
    let rows = rows(
        "connects | redis://127.0.0.1:{port} | open | | | nobody | no
         refused | redis://:wrong@127.0.0.1:{port} | password | | | cli py io | yes
         elsewhere | redis://127.0.0.1:{port}/3 | open | | | cli py io | yes",
    );
    let complaints = complaints(&rows, &tried(&rows), [true; 3]);
    assert_eq!(complaints.len(), 12, "{complaints:?}");
}

/// Tries each row with all four.
fn tried(rows: &[Row]) -> Vec<Found> {
    let certificates = Certificates::default();
    let mut servers: Vec<&str> = rows.iter().map(|row| row.server.as_str()).collect();
    servers.sort_unstable();
    servers.dedup();
    let places = at_once(servers, |name| (name, Place::start(name, &certificates)));
    let places: BTreeMap<&str, Place> = places.into_iter().collect();
    let surroundings = Surroundings::of(rows, &places);
    let trials: Vec<Trial> = rows
        .iter()
        .map(|row| Trial {
            row,
            url: with_files(filled(&row.url, &places[row.server.as_str()]), &certificates),
            wrapper: surroundings.wrapper(row),
            certificates: &certificates,
        })
        .collect();
    let batches = Batch::all("py", &trials).into_iter().chain(Batch::all("io", &trials));
    let mut jobs: Vec<Job> = batches.map(Job::Batch).collect();
    jobs.extend(trials.iter().map(Job::Shim));
    jobs.extend(trials.iter().map(Job::RedisCli));
    // What waits comes first, so that the others work meanwhile.
    jobs.sort_by_key(|job| !job.waits());
    let mut said: Vec<[String; 4]> = vec![Default::default(); rows.len()];
    let mut took = vec![Duration::ZERO; rows.len()];
    for (number, column, text, time) in at_once(jobs, Job::run).into_iter().flatten() {
        said[number][column] = text;
        took[number] = took[number].max(time);
    }
    let keys: BTreeMap<&str, _> =
        places.iter().map(|(name, place)| (*name, place.keys())).collect();
    let verdict = |trial: &Trial, key: &str| {
        let keys = &keys[trial.row.server.as_str()];
        match keys.iter().find(|(_, found)| found == key) {
            Some((db, _)) if *db == trial.row.with.db => Verdict::Connects,
            Some((db, _)) => Verdict::WrongDatabase(*db),
            None => Verdict::Nowhere,
        }
    };
    let found = trials.iter().zip(said).zip(took).map(|((trial, said), took)| Found {
        clients: CLIENTS.map(|client| verdict(trial, &trial.key(client))),
        shim: verdict(trial, &format!("fiskai:worker:{}:version", trial.worker_type())),
        took,
        said,
    });
    found.collect()
}

/// One process to start.
enum Job<'a> {
    RedisCli(&'a Trial<'a>),
    Shim(&'a Trial<'a>),
    Batch(Batch<'a>),
}

impl Job<'_> {
    /// Whether it waits for name servers that say nothing.
    fn waits(&self) -> bool {
        let row = match self {
            Self::RedisCli(trial) | Self::Shim(trial) => trial.row,
            Self::Batch(batch) => batch.trials[0].row,
        };
        ["silent", "dead"].iter().any(|word| row.names.contains(word))
    }

    /// What was said of which row by whom, the shim being the last, and how long the shim took.
    fn run(self) -> Vec<(usize, usize, String, Duration)> {
        match self {
            Self::RedisCli(trial) => {
                vec![(trial.row.number, 0, trial.redis_cli(), Duration::ZERO)]
            }
            Self::Shim(trial) => {
                let (said, took) = trial.shim();
                vec![(trial.row.number, 3, said, took)]
            }
            Self::Batch(batch) => {
                let column = batch.column();
                let said = batch.run().into_iter();
                said.map(|(row, said)| (row, column, said, Duration::ZERO)).collect()
            }
        }
    }
}

/// Does all of this, several at a time.
fn at_once<T: Send, R: Send>(work: Vec<T>, each: impl Fn(T) -> R + Sync) -> Vec<R> {
    let work = Mutex::new(work.into_iter());
    let next = || work.lock().expect("work").next();
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(item) = next() {
                    let result = each(item);
                    results.lock().expect("results").push(result);
                }
            });
        }
    });
    results.into_inner().expect("results")
}

/// The text with the place's words in it.
fn filled(text: &str, place: &Place) -> String {
    place
        .words
        .iter()
        .fold(text.to_owned(), |text, (word, value)| text.replace(&format!("{{{word}}}"), value))
}

/// The text with the paths of certificates in it.
fn with_files(text: String, certificates: &Certificates) -> String {
    match text.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (name, after))) => format!("{before}{}{after}", certificates.path(name)),
        None => text,
    }
}

/// Name servers, and the files that lead to them, for as long as somebody asks.
struct Surroundings {
    wrappers: BTreeMap<String, Vec<OsString>>,
    _kept: (Option<NameServers>, Vec<Sandbox>, Option<Network>),
}

impl Surroundings {
    fn of(rows: &[Row], places: &BTreeMap<&str, Place>) -> Self {
        let word = |place: &str, word: &str| -> Option<Ipv4Addr> {
            let (_, value) = places.get(place)?.words.iter().find(|(name, _)| *name == word)?;
            value.parse().ok()
        };
        let pair = ["replica", "master"].map(|name| word("replica-and-master", name));
        let several = BTreeMap::from([
            ("half.test.".to_owned(), vec![own_address(), own_address(), Ipv4Addr::LOCALHOST]),
            ("pair.test.".to_owned(), pair.into_iter().flatten().collect()),
        ]);
        let mut name_servers = None;
        let mut network = None;
        let (mut wrappers, mut sandboxes) = (BTreeMap::new(), Vec::new());
        for row in rows.iter().filter(|row| !row.names.is_empty()) {
            let servers = name_servers.get_or_insert_with(|| NameServers::start(&several));
            let (sandbox, mut wrapper) = servers.wrapper(&row.names);
            if row.names.contains("nameserver ::1") {
                let place = &places[row.server.as_str()];
                let port = filled("{port}", place).parse().expect("a port");
                let network =
                    network.get_or_insert_with(|| Network::with(port, filled("{socket}", place)));
                wrapper = [network.wrapper.clone(), wrapper].concat();
            }
            wrappers.insert(row.names.clone(), wrapper);
            sandboxes.push(sandbox);
        }
        Self { wrappers, _kept: (name_servers, sandboxes, network) }
    }

    fn wrapper(&self, row: &Row) -> Vec<OsString> {
        self.wrappers.get(&row.names).cloned().unwrap_or_default()
    }
}

/// What was found, a line a row.
fn table(rows: &[Row], found: &[Found]) -> String {
    let mut text = format!(
        "{:<52} {:<10} {:<9} {:<8} {:<14} {}\n",
        "", "redis-cli", "redis-py", "ioredis", "version-guard", "why not"
    );
    for (row, found) in rows.iter().zip(found) {
        let [cli, py, io] = found.clients;
        let shim = match found.shim {
            Verdict::Connects => format!("yes {:>6} ms", found.took.as_millis()),
            other => other.to_string(),
        };
        let reason = row.reason.as_deref().unwrap_or_default();
        let line = format!("{:<52} {cli:<10} {py:<9} {io:<8} {shim:<14} {reason}", row.name);
        writeln!(text, "{}", line.trim_end()).expect("text");
    }
    text
}

/// A sentence for each that does otherwise than the table says, of the clients that are held to it, and
/// for each row in which the shim is behind.
fn complaints(rows: &[Row], found: &[Found], judged: [bool; 3]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (row, found) in rows.iter().zip(found) {
        let said = row.clients.into_iter().chain([row.shim]);
        let names = ["redis-cli", "redis-py", "ioredis", "version-guard"];
        let seen = found.clients.into_iter().chain([found.shim]);
        let judged = judged.into_iter().chain([true]);
        let columns = names.iter().zip(judged).zip(said).zip(seen).zip(&found.said);
        for ((((name, judged), said), seen), text) in columns {
            if judged && (seen == Verdict::Connects) != said {
                let expected = if said { "yes" } else { "-" };
                let text = text.trim().replace('\n', "; ");
                let name = format!("{}: {name}", row.name);
                complaints.push(format!("{name}: expected {expected}, found {seen}: {text}"));
            }
        }
        if found.said[3].starts_with(clients::FAILED) {
            complaints.push(format!("{}: no worker ran: {}", row.name, found.said[3]));
        }
        let some_connect = found.clients.contains(&Verdict::Connects);
        if some_connect && found.shim != Verdict::Connects && row.reason.is_none() {
            complaints.push(format!("{}: the shim is behind", row.name));
        }
    }
    complaints
}
