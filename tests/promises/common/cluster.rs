//! A Redis Cluster of the test's own, and a Redis behind an address that stays when it fails over.

use std::fmt::Write;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread;

use super::{Redis, eventually};

/// Three masters on this machine, put together by redis-cli.
pub struct Cluster {
    pub masters: Vec<Redis>,
    /// One for each master, in the same order, or none.
    pub replicas: Vec<Redis>,
}

impl Cluster {
    pub fn start() -> Self {
        let masters = Self::nodes(&[]);
        Self::create(&masters);
        Self { masters, replicas: Vec::new() }
    }

    /// With a replica for each master, which takes its place some seconds after its end.
    pub fn with_replicas() -> Self {
        const OPTIONS: [&str; 6] = [
            "--cluster-node-timeout",
            "5000",
            "--repl-diskless-sync-delay",
            "0",
            // Each stays with its own master.
            "--cluster-allow-replica-migration",
            "no",
        ];
        let (masters, replicas) = (Self::nodes(&OPTIONS), Self::nodes(&OPTIONS));
        Self::create(&masters);
        // Everybody meets everybody: word of mouth takes much longer.
        let nodes: Vec<&Redis> = masters.iter().chain(&replicas).collect();
        for (place, node) in nodes.iter().enumerate() {
            for other in nodes.iter().skip(3.max(place + 1)) {
                node.cli(["CLUSTER", "MEET", "127.0.0.1", &other.port.to_string()]);
            }
        }
        for (master, replica) in masters.iter().zip(&replicas) {
            let id = master.cli(["CLUSTER", "MYID"]);
            eventually("a replica", || {
                (replica.cli(["CLUSTER", "REPLICATE", &id]) == "OK").then_some(())
            });
        }
        let cluster = Self { masters, replicas };
        for master in &cluster.masters {
            // They vote for those that they know.
            eventually("masters that know all replicas", || {
                let nodes = master.cli(["CLUSTER", "NODES"]);
                let are_connected = nodes.matches(" connected").count() == 6;
                (are_connected && nodes.matches("slave ").count() == 3).then_some(())
            });
        }
        for replica in &cluster.replicas {
            eventually("a replica that is up to date", || {
                let replication = replica.cli(["INFO", "replication"]);
                replication.contains("master_link_status:up").then_some(())
            });
        }
        cluster
    }

    fn nodes(options: &[&str]) -> Vec<Redis> {
        let options = ["--cluster-enabled", "yes"].iter().chain(options);
        (0..3).map(|_| Redis::with(options.clone())).collect()
    }

    fn create(masters: &[Redis]) {
        let addresses: Vec<String> =
            masters.iter().map(|master| format!("127.0.0.1:{}", master.port)).collect();
        let output = Command::new("redis-cli")
            .args(["--cluster-yes", "--cluster", "create"])
            .args(&addresses)
            .output()
            .expect("redis-cli");
        assert!(output.status.success(), "{output:?}");
        for master in masters {
            eventually("a cluster", || {
                master.cli(["CLUSTER", "INFO"]).contains("cluster_state:ok").then_some(())
            });
        }
    }

    /// What redis-cli prints, following redirects.
    pub fn cli<const N: usize>(&self, arguments: [&str; N]) -> String {
        let output = Command::new("redis-cli")
            .args(["-c", "-p", &self.masters[0].port.to_string()])
            .args(arguments)
            .output()
            .expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
    }

    /// All keys, of all masters.
    pub fn keys(&self) -> Vec<String> {
        self.masters.iter().flat_map(Redis::keys).collect()
    }

    /// Begins to move all slots, each master's to the next one: what is not there yet is made where it
    /// will be, and the master of today answers ASK.
    pub fn begins_to_move_everything(&self) {
        let ids = [0, 1, 2].map(|master| self.id(master));
        for (from, master) in self.masters.iter().enumerate() {
            let to = (from + 1) % 3;
            let nodes = master.cli(["CLUSTER", "NODES"]);
            let own = nodes.lines().find(|line| line.contains("myself")).expect("this node");
            // Behind them stand the slots that are on their way to it.
            let ranges = own.split(' ').skip(8).filter(|range| !range.starts_with('['));
            let slots = ranges.flat_map(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                first.parse().expect("a slot")..=last.parse::<u32>().expect("a slot")
            });
            let both = [(from, "MIGRATING", to), (to, "IMPORTING", from)];
            let mut script = both.map(|_| String::new());
            slots.for_each(|slot| {
                for ((_, state, other), script) in both.iter().zip(&mut script) {
                    let id = &ids[*other];
                    write!(script, "CLUSTER SETSLOT {slot} {state} {id}\r\n").expect("memory");
                }
            });
            for ((node, ..), script) in both.iter().zip(&script) {
                self.masters[*node].pipe(script);
            }
        }
    }

    /// Begins to move the slot of this key, and all keys in it, from its master to the next one.
    pub fn begins_to_move(&self, key: &str) -> Move<'_> {
        let from = self.master_of(key);
        let to = (from + 1) % 3;
        let (source, target) = (&self.masters[from], &self.masters[to]);
        let slot = source.cli(["CLUSTER", "KEYSLOT", key]);
        let states = [(target, "IMPORTING", self.id(from)), (source, "MIGRATING", self.id(to))];
        for (node, state, other) in states {
            assert_eq!(node.cli(["CLUSTER", "SETSLOT", &slot, state, &other]), "OK");
        }
        eventually("a slot without keys", || {
            let keys = source.cli(["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            for key in keys.lines().filter(|key| !key.is_empty()) {
                source.cli(["MIGRATE", "127.0.0.1", &target.port.to_string(), key, "0", "5000"]);
            }
            keys.is_empty().then_some(())
        });
        Move { cluster: self, slot, from, to }
    }

    fn id(&self, master: usize) -> String {
        self.masters[master].cli(["CLUSTER", "MYID"])
    }

    /// The master that holds this key.
    pub fn master_of(&self, key: &str) -> usize {
        let slot: u32 = self.cli(["CLUSTER", "KEYSLOT", key]).parse().expect("a slot");
        let slots = self.masters[0].cli(["CLUSTER", "NODES"]);
        let owner = slots.lines().find(|line| {
            line.split(' ').skip(8).any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                first.parse().is_ok_and(|first: u32| first <= slot)
                    && last.parse().is_ok_and(|last: u32| slot <= last)
            })
        });
        let owner = owner.unwrap_or_else(|| panic!("nobody has slot {slot}: {slots}"));
        let is_owner = |master: &Redis| owner.contains(&format!("127.0.0.1:{}@", master.port));
        self.masters.iter().position(is_owner).expect("a master of ours")
    }
}

/// A slot on its way.
pub struct Move<'a> {
    cluster: &'a Cluster,
    slot: String,
    pub from: usize,
    pub to: usize,
}

impl Move<'_> {
    /// The slot has arrived.
    pub fn ends(self) {
        let id = self.cluster.id(self.to);
        for node in [self.to, self.from] {
            self.cluster.masters[node].cli(["CLUSTER", "SETSLOT", &self.slot, "NODE", &id]);
        }
    }
}

/// An address that leads to one Redis now and to another one later.
pub struct Address {
    pub port: u16,
    target: Arc<AtomicU16>,
    stops: Arc<AtomicBool>,
}

impl Address {
    pub fn of(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let target = Arc::new(AtomicU16::new(redis.port));
        let stops = Arc::new(AtomicBool::new(false));
        let (to, stop) = (Arc::clone(&target), Arc::clone(&stops));
        thread::spawn(move || {
            for client in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(client) = client else { continue };
                let Ok(server) = TcpStream::connect(("127.0.0.1", to.load(Ordering::Relaxed)))
                else {
                    continue;
                };
                pass(&client, &server);
                pass(&server, &client);
            }
        });
        Self { port, target, stops }
    }

    pub fn leads_to(&self, redis: &Redis) {
        self.target.store(redis.port, Ordering::Relaxed);
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn pass(from: &TcpStream, to: &TcpStream) {
    let mut from = from.try_clone().expect("a socket");
    let mut to = to.try_clone().expect("a socket");
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
