//! A Redis Cluster of the test's own, and a Redis behind an address that stays when it fails over.

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
}

impl Cluster {
    pub fn start() -> Self {
        let masters: Vec<Redis> =
            (0..3).map(|_| Redis::with(["--cluster-enabled", "yes"])).collect();
        let addresses: Vec<String> =
            masters.iter().map(|master| format!("127.0.0.1:{}", master.port)).collect();
        let output = Command::new("redis-cli")
            .args(["--cluster-yes", "--cluster", "create"])
            .args(&addresses)
            .output()
            .expect("redis-cli");
        assert!(output.status.success(), "{output:?}");
        for master in &masters {
            eventually("a cluster", || {
                master.cli(["CLUSTER", "INFO"]).contains("cluster_state:ok").then_some(())
            });
        }
        Self { masters }
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
