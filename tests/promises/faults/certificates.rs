//! Certificates of the tests' own, good ones and bad ones, by openssl(1).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::common::redis::free_port;
use crate::common::{Folder, Redis, net};

use super::trial::{ADMIN, PASSWORD, admin};

/// When a certificate holds: from and to, as openssl-ca(1) wants it.
pub type Period = (&'static str, &'static str);

pub const NOW: Period = ("20250101000000Z", "20991231000000Z");
pub const PAST: Period = ("20200101000000Z", "20201231000000Z");
pub const FUTURE: Period = ("20980101000000Z", "20991231000000Z");

/// Who vouches for certificates.
pub struct Authority {
    folder: Folder,
    /// How many certificates there are.
    count: Mutex<u32>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let authority = Self { folder: Folder::new(), count: Mutex::new(0) };
        authority.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN={name}"
        ));
        authority.folder.file(
            "ca.cnf",
            "[ca]\ndefault_ca=a\n[a]\ndatabase=index\nnew_certs_dir=.\nserial=serial\npolicy=p\n\
             default_md=sha256\ncopy_extensions=copy\nunique_subject=no\n[p]\ncommonName=supplied\n",
        );
        authority.folder.file("index", "");
        authority.folder.file("serial", "01");
        authority
    }

    /// Where its own certificate is.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path("ca.crt")
    }

    /// A certificate for this name, such as `IP:127.0.0.1`, and its key. One at a time: openssl has
    /// one list of them.
    pub fn issue(&self, stem: &str, name: &str, period: Period) -> Certificate {
        let mut count = self.count.lock().expect("a lock");
        *count += 1;
        let stem = format!("{stem}-{count}");
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {stem}.key -out {stem}.csr -subj /CN={stem} -addext subjectAltName={name}"
        ));
        let (from, to) = period;
        self.openssl(&format!(
            "ca -batch -notext -config ca.cnf -keyfile ca.key -cert ca.crt -in {stem}.csr -out {stem}.crt -startdate {from} -enddate {to}"
        ));
        Certificate {
            chain: self.folder.path(&format!("{stem}.crt")),
            key: self.folder.path(&format!("{stem}.key")),
        }
    }

    /// The same certificate at the head of a chain of this many that have nothing to do with it.
    pub fn with_long_chain(&self, certificate: &Certificate, count: usize) -> Certificate {
        let own = std::fs::read_to_string(&certificate.chain).expect("a certificate");
        let other = std::fs::read_to_string(self.certificate()).expect("a certificate");
        let chain = self.folder.file(&format!("long-{count}.crt"), own + &other.repeat(count));
        Certificate { chain, key: certificate.key.clone() }
    }

    fn openssl(&self, line: &str) {
        net::openssl(&self.folder.path(""), line);
    }
}

/// A certificate, with its chain, and its key.
#[derive(Clone)]
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// The key, under the password of all cases.
    pub fn lock_key(&self, to: &Path) {
        let (key, to) = (self.key.display().to_string(), to.display().to_string());
        let password = format!("pass:{PASSWORD}");
        let line = ["openssl", "ec", "-aes256", "-passout", &password, "-in", &key, "-out", &to];
        net::run(Path::new("/"), &line);
    }

    /// A Redis that speaks TLS only, and knows the users of all cases.
    pub fn redis(&self, authority: &Authority, clients: &str) -> Arc<Redis> {
        let port = free_port();
        let path = |path: &PathBuf| path.display().to_string();
        let arguments = [
            ["--port", "0"],
            ["--tls-port", &port.to_string()],
            ["--tls-cert-file", &path(&self.chain)],
            ["--tls-key-file", &path(&self.key)],
            ["--tls-ca-cert-file", &path(&authority.certificate())],
            ["--tls-auth-clients", clients],
        ];
        let arguments = arguments.concat().into_iter().map(str::to_owned);
        Arc::new(Redis::on(port, arguments.chain(users()).collect()))
    }

    /// The server is given this certificate instead of its own.
    pub fn replaces_that_of(&self, redis: &Redis) {
        let path = |path: &PathBuf| path.display().to_string();
        let (key, chain) = (path(&self.key), path(&self.chain));
        let both = ["CONFIG", "SET", "tls-key-file", &key, "tls-cert-file", &chain];
        assert_eq!(admin(redis, both), "OK");
    }
}

/// Nobody but the user of all cases and who may do everything, for the command line of a redis-server.
pub fn users() -> Vec<String> {
    let user = |name: &str, password: &str| {
        ["--user", name, "on", &format!(">{password}"), "~*", "&*", "+@all"].map(str::to_owned)
    };
    let nobody = ["--user", "default", "off"].map(str::to_owned).to_vec();
    [nobody, user("worker", PASSWORD).into(), user(ADMIN, ADMIN).into()].concat()
}
