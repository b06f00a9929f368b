//! Faults of TLS: certificates that don't convince, handshakes that don't end, files that are none.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::Stage;
use super::certificates::{Authority, Certificate, FUTURE, NOW, PAST, Period};
use super::trial::{Case, Outcome, Trial, case};
use super::wire::url;
use crate::common::proxy::{Behaviour, Proxy};
use crate::common::{Folder, Redis};

/// The name in a certificate that convinces.
const RIGHT: &str = "IP:127.0.0.1";

/// Two settings that name who is trusted.
const TRUST: [&str; 2] = ["VERSION_GUARD_REDIS_CA", "SSL_CERT_FILE"];

/// A server with a certificate for this name and time, which a good one replaces in the end.
fn presenting(authority: &Arc<Authority>, stem: &str, name: &str, period: Period) -> Trial {
    let bad = authority.issue(stem, name, period);
    renewed(authority, &bad)
}

/// The same with this certificate.
fn renewed(authority: &Arc<Authority>, bad: &Certificate) -> Trial {
    let redis = bad.redis(authority, "no");
    let (server, vouches) = (redis.clone(), authority.clone());
    Trial::at(&url("rediss", redis.port), &redis)
        .env("SSL_CERT_FILE", authority.certificate())
        .lifted_by(move || vouches.issue("renewed", RIGHT, NOW).replaces_that_of(&server))
}

/// A server that is a Redis only once the fault is over; nothing may be told to it before.
fn impostor(stage: &Stage, behaviour: Behaviour) -> Trial {
    let port = stage.tls.port;
    let proxy = Arc::new(Proxy::new(behaviour));
    let (lifted, heard) = (proxy.clone(), proxy.clone());
    Trial::at(&url("rediss", proxy.port), &stage.tls)
        .env("SSL_CERT_FILE", stage.authority.certificate())
        .lifted_by(move || lifted.leads_to(port))
        .overheard(move || {
            (0..heard.connections()).flat_map(|n| heard.conversation(n)).flatten().collect()
        })
        .keeping(proxy)
}

/// Reads a hello and says this.
fn saying(words: &'static [u8]) -> Behaviour {
    Behaviour::Speaks(Arc::new(move |mut connection| {
        let mut hello = [0; 512];
        let _ = connection.read(&mut hello).and_then(|_| connection.write_all(words));
    }))
}

/// Reads whatever comes and says nothing.
fn silent() -> Behaviour {
    Behaviour::Speaks(Arc::new(|mut connection| {
        while connection.read(&mut [0; 512]).is_ok_and(|count| count > 0) {}
    }))
}

/// A server that wants to know who the client is, and stops wanting it.
fn wanting_to_know(stage: &Stage, protocol: &str) -> Trial {
    let certificate = stage.authority.issue("curious", RIGHT, NOW);
    let redis = certificate.redis(&stage.authority, "yes");
    assert_eq!(redis.cli(["CONFIG", "SET", "tls-protocols", protocol]), "OK");
    let server = redis.clone();
    Trial::at(&url("rediss", redis.port), &redis)
        .env("SSL_CERT_FILE", stage.authority.certificate())
        .lifted_by(move || {
            assert_eq!(server.cli(["CONFIG", "SET", "tls-auth-clients", "no"]), "OK");
        })
}

/// What can stand in a file's place.
const NO_FILES: [(&str, fn(&Path)); 6] = [
    ("is missing", |_| ()),
    ("is no PEM", |path| fs::write(path, "\0\u{7f}nothing of that kind\n").expect("a file")),
    ("is broken PEM", |path| {
        fs::write(path, "-----BEGIN CERTIFICATE-----\nMIIB!\n").expect("a file");
    }),
    ("is empty", |path| fs::write(path, "").expect("a file")),
    ("is a directory", |path| fs::create_dir(path).expect("a directory")),
    ("is a FIFO", |path| mkfifo(path, Mode::S_IRWXU).expect("a FIFO")),
];

/// In its place stands what it should be.
fn put_right(path: &Path, right: &Path) {
    let _ = fs::remove_dir(path);
    let copy = path.with_extension("new");
    fs::copy(right, &copy).and_then(|_| fs::rename(&copy, path)).expect("the right file");
}

/// A shim that trusts whoever is named in a file that is none yet.
fn trusting(stage: &Stage, setting: &str, make: fn(&Path)) -> Trial {
    let folder = Folder::new();
    let (path, right) = (folder.path("authorities.pem"), stage.authority.certificate());
    make(&path);
    Trial::at(&url("rediss", stage.tls.port), &stage.tls)
        .env(setting, &path)
        .lifted_by(move || put_right(&path, &right))
        .keeping(folder)
}

/// A shim with this in the place of its own certificate or key, before a server that wants to see it.
fn identified(stage: &Stage, server: &Arc<Redis>, bad: &str, make: impl Fn(&Path)) -> Trial {
    let folder = Folder::new();
    let own = stage.authority.issue("client", "DNS:client", NOW);
    let (certificate, key) = (folder.path("certificate"), folder.path("key"));
    for (name, path, right) in [("certificate", &certificate, &own.chain), ("key", &key, &own.key)]
    {
        if name == bad { make(path) } else { put_right(path, right) }
    }
    let wrong = folder.path(bad);
    let right = if bad == "key" { own.key.clone() } else { own.chain.clone() };
    let lines = fs::read_to_string(&own.key).expect("a key");
    Trial::at(&url("rediss", server.port), server)
        .env(TRUST[0], stage.authority.certificate())
        .env("VERSION_GUARD_REDIS_CERT", &certificate)
        .env("VERSION_GUARD_REDIS_KEY", &key)
        .secret(lines.lines().nth(1).expect("a key's first line"))
        .lifted_by(move || put_right(&wrong, &right))
        .keeping(folder)
}

/// A key of somebody else's, and the right one under a passphrase that nobody tells.
fn keys(stage: &Stage) -> [(&'static str, Box<dyn Fn(&Path) + Send + Sync>); 2] {
    let (authority, other) = (stage.authority.clone(), stage.authority.clone());
    [
        (
            "is another's",
            Box::new(move |path: &Path| {
                fs::copy(authority.issue("other", "DNS:other", NOW).key, path)
                    .map(drop)
                    .expect("a key");
            }),
        ),
        (
            "has a passphrase",
            Box::new(move |path: &Path| {
                other.issue("locked", "DNS:locked", NOW).lock_key(path);
            }),
        ),
    ]
}

pub fn cases(stage: &Arc<Stage>) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, make: Box<dyn Fn(&Arc<Stage>) -> Trial + Send + Sync>| {
        let stage = stage.clone();
        cases.push(case(format!("TLS: {name}"), move || make(&stage)));
    };
    for (name, who, period) in [
        ("for another host", "IP:127.0.0.2,DNS:redis.test", NOW),
        ("expired", RIGHT, PAST),
        ("not valid yet", RIGHT, FUTURE),
    ] {
        add(name.into(), Box::new(move |stage| presenting(&stage.authority, "bad", who, period)));
    }
    add(
        "unknown issuer".into(),
        Box::new(|stage| {
            let stranger = Authority::new("stranger");
            let bad = stranger.issue("stranger", RIGHT, NOW);
            renewed(&stage.authority, &bad).keeping(stranger)
        }),
    );
    add(
        "a chain of 600 certificates".into(),
        Box::new(|stage| {
            let own = stage.authority.issue("long", RIGHT, NOW);
            renewed(&stage.authority, &stage.authority.with_long_chain(&own, 600))
        }),
    );
    add(
        "a chain of 20 certificates".into(),
        Box::new(|stage| {
            let own = stage.authority.issue("longish", RIGHT, NOW);
            let chain = stage.authority.with_long_chain(&own, 20);
            renewed(&stage.authority, &chain).outcome(Outcome::NoFault)
        }),
    );
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let name = format!("wants a client certificate, {protocol}");
        add(name, Box::new(move |stage| wanting_to_know(stage, protocol)));
    }
    add(
        "speaks none".into(),
        Box::new(|stage| impostor(stage, Behaviour::LeadsTo(stage.plain.port))),
    );
    add(
        "speaks none, and says so".into(),
        Box::new(|stage| impostor(stage, saying(b"-ERR Protocol error\r\n"))),
    );
    add(
        "speaks HTTP".into(),
        Box::new(|stage| impostor(stage, saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"))),
    );
    add("closes after the hello".into(), Box::new(|stage| impostor(stage, saying(b""))));
    add(
        "an alert after the hello".into(),
        Box::new(|stage| impostor(stage, saying(b"\x15\x03\x03\x00\x02\x02\x28"))),
    );
    add("says nothing".into(), Box::new(|stage| impostor(stage, silent())));
    add(
        "speaks nothing else".into(),
        Box::new(|stage| {
            let proxy = Arc::new(Proxy::new(Behaviour::LeadsTo(stage.tls.port)));
            let (lifted, to) = (proxy.clone(), stage.plain.port);
            Trial::at(&url("redis", proxy.port), &stage.plain)
                .lifted_by(move || lifted.leads_to(to))
                .keeping(proxy)
        }),
    );
    for (what, make) in NO_FILES {
        for setting in TRUST {
            let name = format!("{setting} {what}");
            add(name, Box::new(move |stage| trusting(stage, setting, make)));
        }
    }
    let curious = stage.authority.issue("curious", RIGHT, NOW).redis(&stage.authority, "yes");
    for bad in ["certificate", "key"] {
        for (what, make) in NO_FILES {
            let curious = curious.clone();
            let name = format!("the client's {bad} {what}");
            add(name, Box::new(move |stage| identified(stage, &curious, bad, make)));
        }
    }
    for (what, make) in keys(stage) {
        let curious = curious.clone();
        let name = format!("the client's key {what}");
        add(name, Box::new(move |stage| identified(stage, &curious, "key", &make)));
    }
    cases
}
