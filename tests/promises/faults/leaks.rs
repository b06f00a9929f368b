//! Attempts that fail, one after the other, leave nothing behind in the shim: no descriptor, no thread,
//! no zombie, no memory.

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::libc;

use super::cases::{assert_no_harm, side_by_side};
use super::certificates::{Authority, NOW, users};
use super::trial::{ESCAPED, Trial, ask};
use super::wire::url;
use crate::common::dns::{NameServer, Packet, Tcp, message};
use crate::common::proxy::{Behaviour, Fault, Proxy, Side, What};
use crate::common::{Redis, Sandbox, Shim, children, eventually, holds, status_field};

/// So many attempts are made before it is looked at first, and until it is looked at again.
const WARM_UP: usize = 10;
const ATTEMPTS: usize = 50;
/// What the allocator may still be about to take, in kB.
const ROOM: u64 = 1024;

/// What a process holds.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    descriptors: usize,
    threads: String,
    zombies: usize,
    /// Of its own, in kB: pages of its code come and go.
    memory: u64,
}

impl Holdings {
    fn of(pid: i32) -> Self {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("/proc").count();
        let field = |name| status_field(pid, name).expect("a process");
        let is_zombie =
            |child: &i32| status_field(*child, "State").is_some_and(|state| state.starts_with('Z'));
        Self {
            descriptors,
            threads: field("Threads"),
            zombies: children(pid).iter().filter(|child| is_zombie(child)).count(),
            memory: field("RssAnon").trim_end_matches(" kB").parse().expect("a size"),
        }
    }

    /// What it holds while nothing is open for an attempt: the fewest of a few looks.
    fn at_rest(pid: i32) -> Self {
        let looks = (0..50).map(|_| {
            thread::sleep(Duration::from_millis(7));
            Self::of(pid)
        });
        looks.min_by_key(|holdings| holdings.descriptors).expect("a look")
    }

    fn have_not_grown_since(&self, before: &Self) -> Result<(), String> {
        let same = self.descriptors <= before.descriptors
            && self.threads == before.threads
            && self.zombies == 0
            && self.memory <= before.memory + ROOM;
        holds(same, || format!("{before:?} became {self:?}"))
    }
}

/// A shim whose attempts all fail, a count of them, and what ends it.
struct Failing {
    name: &'static str,
    shim: Shim,
    prefix: String,
    redis: Arc<Redis>,
    attempts: Box<dyn Fn() -> usize + Send + Sync>,
    heal: Box<dyn Fn() + Send + Sync>,
}

impl Failing {
    fn new(
        name: &'static str,
        trial: Trial,
        attempts: impl Fn() -> usize + Send + Sync + 'static,
        heal: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let Trial { shim, prefix, redis, .. } = trial;
        Self { name, shim, prefix, redis, attempts: Box::new(attempts), heal: Box::new(heal) }
    }
}

fn by_proxy(name: &'static str, scheme: &str, redis: &Arc<Redis>, behaviour: Behaviour) -> Failing {
    let (proxy, to) = (Arc::new(Proxy::new(behaviour)), redis.port);
    let (counts, heals) = (proxy.clone(), proxy.clone());
    let trial = Trial::at(&url(scheme, proxy.port), redis);
    Failing::new(name, trial, move || counts.connections(), move || heals.leads_to(to))
}

fn by_name(redis: &Arc<Redis>) -> Failing {
    let count = Arc::new(AtomicUsize::new(0));
    let counts = count.clone();
    let server = Arc::new(NameServer::new(Tcp::Answers, move |packet, question, _| {
        count.fetch_add(usize::from(!question.ipv6), Ordering::SeqCst);
        Some(Packet::new(message(packet, 2, &[])))
    }));
    let resolv_conf = format!("nameserver {}\n", server.address);
    let trial = Trial::at(&format!("redis://worker:{ESCAPED}@redis.test:{}", redis.port), redis)
        .with(|shim| shim.inside(Sandbox::new().over("/etc/resolv.conf", resolv_conf)));
    let attempts = move || counts.load(Ordering::SeqCst);
    Failing::new("no name", trial, attempts, move || server.comes_to_its_senses())
}

/// Whatever it holds after so many attempts it held after a few; once it is registered it is no more.
fn leaks_nothing(failing: &Failing) -> Result<(), String> {
    let said = |reason: String| format!("{}: {reason}", failing.name);
    let running = failing.shim.ready();
    let shim = running.pid();
    let after = |count: usize| {
        eventually(&format!("{count} attempts, {}", failing.name), || {
            ((failing.attempts)() >= count).then_some(())
        });
        Holdings::at_rest(shim)
    };
    let before = after(WARM_UP);
    after(WARM_UP + ATTEMPTS).have_not_grown_since(&before).map_err(said)?;
    (failing.heal)();
    eventually("a registration", || {
        let count = ask(&failing.redis, &format!("ZCARD {}s", failing.prefix))?;
        (count == ":1").then_some(())
    });
    Holdings::at_rest(shim).have_not_grown_since(&before).map_err(said)?;
    running.signal(libc::SIGTERM);
    let ended = running.end();
    holds(ended.code == 7, || said(format!("{ended:?}")))
}

#[test]
fn after_many_failed_attempts_and_a_good_one_nothing_has_leaked() {
    let authority = Authority::new("authority");
    let certificate = authority.issue("redis", "IP:127.0.0.1", NOW);
    let plain = Arc::new(Redis::with(users()));
    let tls = certificate.redis(&authority, "no");
    let fails = |redis: &Redis, what| {
        Behaviour::Fails(redis.port, Fault { side: Side::Reply, after: 0, what })
    };
    let mut by_tls = by_proxy("TLS", "rediss", &tls, fails(&tls, What::Corrupt(1)));
    by_tls.shim = by_tls.shim.env("SSL_CERT_FILE", authority.certificate());
    let all = [
        by_proxy("hung up", "redis", &plain, Behaviour::Speaks(Arc::new(drop))),
        by_proxy("reset", "redis", &plain, fails(&plain, What::Reset)),
        by_proxy("nonsense", "redis", &plain, fails(&plain, What::Corrupt(1))),
        by_tls,
        by_name(&plain),
    ];
    assert_no_harm(side_by_side(&all, |one| leaks_nothing(one).err()));
}

/// The control: a process that keeps a descriptor is found out.
#[test]
fn who_keeps_a_descriptor_is_found_out() {
    let script = "echo ready; read line; exec 8</dev/null; echo kept; read line";
    let keeps = Shim::of("/bin/bash".into(), ["-c", script]);
    let (mut running, mut stdin) = keeps.spawn_with_stdin();
    running.expect_line("ready");
    let before = Holdings::at_rest(running.pid());
    stdin.write_all(b"\n").unwrap();
    running.expect_line("kept");
    Holdings::at_rest(running.pid()).have_not_grown_since(&before).unwrap_err();
}
