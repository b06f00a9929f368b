//! Faults of the network between the shim and Redis.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::socket::{Backlog, listen};

use super::Stage;
use super::cases::{Case, Cases};
use super::trial::{ESCAPED, Trial};
use crate::common::proxy::{Behaviour, Fault, Proxy, Side, What};
use crate::common::redis::free_port;
use crate::common::{Folder, Redis};

const DRIP: What = What::Drip(Duration::from_millis(10));
const DELAY: What = What::Delay(Duration::from_millis(700));

/// What a conversation can suffer, with a word for it.
pub const ALL: [(&str, What); 7] = [
    ("cut", What::Cut),
    ("reset", What::Reset),
    ("half-closed", What::HalfClose),
    ("black-holed", What::BlackHole),
    ("corrupted", What::Corrupt(1)),
    ("delayed by 700 ms", DELAY),
    ("dripping", DRIP),
];

/// The URL of a proxy, with a login.
pub fn url(scheme: &str, port: u16) -> String {
    format!("{scheme}://worker:{ESCAPED}@127.0.0.1:{port}")
}

/// A shim in front of this Redis with a fault on the way, which is over when it is lifted.
pub fn faulty(scheme: &str, redis: &Arc<Redis>, fault: Fault) -> Trial {
    let port = redis.port;
    let proxy = Arc::new(Proxy::new(Behaviour::Fails(port, fault)));
    let lifted = proxy.clone();
    Trial::at(&url(scheme, proxy.port), redis)
        .lifted_by(move || lifted.leads_to(port))
        .keeping(proxy)
}

pub fn cases(stage: &Arc<Stage>) -> Vec<Case> {
    let mut cases = Cases::of("network", stage);
    for (side, whose) in [(Side::Request, "request"), (Side::Reply, "reply")] {
        for (name, what) in ALL {
            cases.add(format!("{name} in a {whose}"), move |stage| {
                // Amid the password, and at the first byte of what is said to it.
                let after = if side == Side::Request { 33 } else { 0 };
                faulty("redis", &stage.plain, Fault { side, after, what })
            });
            cases.add(format!("{name} in a {whose}, TLS"), move |stage| {
                // In the middle of a hello.
                let trial = faulty("rediss", &stage.tls, Fault { side, after: 60, what });
                trial.env("SSL_CERT_FILE", stage.authority.certificate())
            });
        }
    }
    cases.add("closed as soon as it is accepted", |stage| {
        let (proxy, port) = (Arc::new(Proxy::speaking(drop)), stage.plain.port);
        let lifted = proxy.clone();
        Trial::at(&url("redis", proxy.port), &stage.plain)
            .lifted_by(move || lifted.leads_to(port))
            .keeping(proxy)
    });
    cases.add("the connection is never accepted", |stage| never_accepted(&stage.plain));
    cases.add("the connection is refused", |stage| refused(&stage.plain));
    cases.add("the socket is missing", |stage| at_socket(&stage.plain, |_| ()));
    cases.add("the socket is a file", |stage| {
        at_socket(&stage.plain, |path| fs::write(path, "").expect("a file"))
    });
    cases.add("the socket is nobody's", |stage| {
        at_socket(&stage.plain, |path| drop(UnixListener::bind(path).expect("a socket")))
    });
    cases.all()
}

/// Nobody listens, until somebody does.
fn refused(redis: &Arc<Redis>) -> Trial {
    let (port, to) = (free_port(), redis.port);
    let healed = Arc::new(Mutex::new(None));
    let kept = healed.clone();
    Trial::at(&url("redis", port), redis)
        .lifted_by(move || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port");
            *healed.lock().expect("a lock") = Some(Proxy::on(listener, Behaviour::LeadsTo(to)));
        })
        .keeping(kept)
}

/// A shim before a socket in whose place is something else, until it leads to Redis.
fn at_socket(redis: &Arc<Redis>, make: fn(&Path)) -> Trial {
    let folder = Folder::new();
    let (path, right) = (folder.path("redis.sock"), redis.socket());
    make(&path);
    let url = format!("redis+unix://{}?user=worker&pass={ESCAPED}", path.display());
    Trial::at(&url, redis)
        .lifted_by(move || {
            let link = path.with_extension("new");
            symlink(right, &link).and_then(|()| fs::rename(link, path)).expect("the socket");
        })
        .keeping(folder)
}

/// A listener whose queue is full: what would connect hears nothing, as from a host that is gone.
fn never_accepted(redis: &Arc<Redis>) -> Trial {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listen(&listener, Backlog::new(0).expect("a queue")).expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    // The queue has room for one more than it was asked for.
    let waiting = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a place in the queue");
    let (healed, to) = (Arc::new(Mutex::new(None)), redis.port);
    let kept = healed.clone();
    Trial::at(&url("redis", port), redis)
        .lifted_by(move || {
            drop(waiting);
            *healed.lock().expect("a lock") = Some(Proxy::on(listener, Behaviour::LeadsTo(to)));
        })
        .keeping(kept)
}
