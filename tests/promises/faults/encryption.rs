//! Faults of TLS: certificates that don't convince, handshakes that don't end, files that are none.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::Stage;
use super::cases::{Case, Cases};
use super::certificates::{Authority, Certificate, FUTURE, NOW, PAST, Period};
use super::trial::{Outcome, Trial, admin};
use super::wire::url;
use crate::common::proxy::{Behaviour, Proxy};
use crate::common::{Folder, Redis};

/// The name in a certificate that convinces.
const RIGHT: &str = "IP:127.0.0.1";

/// Settings that name who is trusted.
const TRUST: [&str; 3] = ["VERSION_GUARD_REDIS_CA", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"];

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

/// A server whose certificate is followed by so many that have nothing to do with it.
fn chained(authority: &Arc<Authority>, count: usize) -> Trial {
    let own = authority.issue("chained", RIGHT, NOW);
    renewed(authority, &authority.with_long_chain(&own, count))
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
    assert_eq!(admin(&redis, ["CONFIG", "SET", "tls-protocols", protocol]), "OK");
    let server = redis.clone();
    Trial::at(&url("rediss", redis.port), &redis)
        .env("SSL_CERT_FILE", stage.authority.certificate())
        .lifted_by(move || {
            assert_eq!(admin(&server, ["CONFIG", "SET", "tls-auth-clients", "no"]), "OK");
        })
}

/// Puts something into a file's place, by way of an authority if need be.
type Misplace = fn(&Path, &Authority);

/// What can stand in a file's place.
const NO_FILES: [(&str, Misplace); 6] = [
    ("is missing", |_, _| ()),
    ("is no PEM", |path, _| fs::write(path, "\0\u{7f}nothing of that kind\n").expect("a file")),
    ("is broken PEM", |path, _| {
        fs::write(path, "-----BEGIN CERTIFICATE-----\nMIIB!\n").expect("a file");
    }),
    ("is empty", |path, _| fs::write(path, "").expect("a file")),
    ("is a directory", |path, _| fs::create_dir(path).expect("a directory")),
    ("is a FIFO", |path, _| mkfifo(path, Mode::S_IRWXU).expect("a FIFO")),
];

/// What can stand in the place of a key beside.
const NO_KEYS: [(&str, Misplace); 2] = [
    ("is another's", |path, authority| {
        fs::copy(authority.issue("other", "DNS:other", NOW).key, path).map(drop).expect("a key");
    }),
    ("has a passphrase", |path, authority| {
        authority.issue("locked", "DNS:locked", NOW).lock_key(path);
    }),
];

/// In its place stands what it should be.
fn put_right(path: &Path, right: &Path) {
    let _ = fs::remove_dir(path);
    let copy = path.with_extension("new");
    fs::copy(right, &copy).and_then(|_| fs::rename(&copy, path)).expect("the right file");
}

/// A shim that trusts whoever is named in a file that is none yet.
fn trusting(stage: &Stage, setting: &str, make: Misplace) -> Trial {
    let folder = Folder::new();
    let (path, right) = (folder.path("authorities.pem"), stage.authority.certificate());
    make(&path, &stage.authority);
    Trial::at(&url("rediss", stage.tls.port), &stage.tls)
        .env(setting, &path)
        .lifted_by(move || put_right(&path, &right))
        .keeping(folder)
}

/// A shim with this in the place of its own certificate or key, before a server that wants to see it.
fn identified(stage: &Stage, server: &Arc<Redis>, bad: &str, make: Misplace) -> Trial {
    let folder = Folder::new();
    let own = stage.authority.issue("client", "DNS:client", NOW);
    let (certificate, key) = (folder.path("certificate"), folder.path("key"));
    for (name, path, right) in [("certificate", &certificate, &own.chain), ("key", &key, &own.key)]
    {
        if name == bad { make(path, &stage.authority) } else { put_right(path, right) }
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

pub fn cases(stage: &Arc<Stage>) -> Vec<Case> {
    let mut cases = Cases::of("TLS", stage);
    for (name, who, period) in [
        ("for another host", "IP:127.0.0.2,DNS:redis.test", NOW),
        ("expired", RIGHT, PAST),
        ("not valid yet", RIGHT, FUTURE),
    ] {
        cases.add(name, move |stage| presenting(&stage.authority, "bad", who, period));
    }
    cases.add("unknown issuer", |stage| {
        let stranger = Authority::new("stranger");
        let bad = stranger.issue("stranger", RIGHT, NOW);
        renewed(&stage.authority, &bad).keeping(stranger)
    });
    cases.add("a chain of 600 certificates", |stage| chained(&stage.authority, 600));
    cases.add("a chain of 20 certificates", |stage| {
        chained(&stage.authority, 20).outcome(Outcome::NoFault)
    });
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let name = format!("wants a client certificate, {protocol}");
        cases.add(name, move |stage| wanting_to_know(stage, protocol));
    }
    cases.add("speaks none", |stage| impostor(stage, Behaviour::LeadsTo(stage.plain.port)));
    cases.add("speaks none, and says so", |stage| {
        impostor(stage, saying(b"-ERR Protocol error\r\n"))
    });
    cases.add("speaks HTTP", |stage| impostor(stage, saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")));
    cases.add("closes after the hello", |stage| impostor(stage, saying(b"")));
    cases.add("an alert after the hello", |stage| {
        impostor(stage, saying(b"\x15\x03\x03\x00\x02\x02\x28"))
    });
    cases.add("says nothing", |stage| impostor(stage, silent()));
    cases.add("speaks nothing else", |stage| {
        let proxy = Arc::new(Proxy::new(Behaviour::LeadsTo(stage.tls.port)));
        let (lifted, to) = (proxy.clone(), stage.plain.port);
        Trial::at(&url("redis", proxy.port), &stage.plain)
            .lifted_by(move || lifted.leads_to(to))
            .keeping(proxy)
    });
    for (what, make) in NO_FILES {
        for setting in TRUST {
            let name = format!("{setting} {what}");
            cases.add(name, move |stage| trusting(stage, setting, make));
        }
    }
    let curious = stage.authority.issue("curious", RIGHT, NOW).redis(&stage.authority, "yes");
    let certificates = NO_FILES.map(|(what, make)| ("certificate", what, make));
    let keys = NO_FILES.into_iter().chain(NO_KEYS).map(|(what, make)| ("key", what, make));
    for (bad, what, make) in certificates.into_iter().chain(keys) {
        let curious = curious.clone();
        let name = format!("the client's {bad} {what}");
        cases.add(name, move |stage| identified(stage, &curious, bad, make));
    }
    cases.all()
}
