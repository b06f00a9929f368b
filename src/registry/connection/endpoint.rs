//! An endpoint: the Redis that a REDIS_URL names, and as whom to log in there. Pure.

use std::fmt;
use std::path::PathBuf;

use super::login::Login;
use crate::escape::Escape;

/// A Redis to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub place: Place,
    pub tls: bool,
    pub login: Login,
    /// The files of certificates that the URL names.
    pub files: CertificateFiles,
    /// What of the URL doesn't count, each as the rest of a sentence about it.
    pub odd: Vec<String>,
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Unix(PathBuf),
    /// One Redis; more of them are first contacts of one cluster, or take over from each other.
    Hosts(Vec<Host>),
    /// Where the Sentinels say that the master of this name is.
    Sentinels {
        hosts: Vec<Host>,
        master: String,
        /// Who logs in at the Sentinels that want that; where it is not said, whoever does at the master.
        login: Option<Login>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    pub port: u16,
}

/// Files of certificates in PEM, and the name to look for in the server's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The authorities that are trusted, in the place of the system's.
    pub ca: Option<PathBuf>,
    /// Where the system's are, if that is said.
    pub system: Option<PathBuf>,
    /// More of them, beside the system's; not to be had is no reason to fail, as in Node.
    pub extra_ca: Option<PathBuf>,
    /// The client's own certificate and its key.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub server_name: Option<String>,
}

impl CertificateFiles {
    /// These and, where one is not named, the others'.
    pub fn or(&self, others: &Self) -> Self {
        let one = self.clone();
        Self {
            ca: one.ca.or_else(|| others.ca.clone()),
            system: one.system.or_else(|| others.system.clone()),
            extra_ca: one.extra_ca.or_else(|| others.extra_ca.clone()),
            cert: one.cert.or_else(|| others.cert.clone()),
            key: one.key.or_else(|| others.key.clone()),
            server_name: one.server_name.or_else(|| others.server_name.clone()),
        }
    }
}

impl fmt::Display for Endpoint {
    /// Where it is, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let list = |hosts: &[Host]| hosts.iter().map(Host::to_string).collect::<Vec<_>>().join(",");
        match &self.place {
            Place::Unix(path) => write!(f, "{}", Escape(&path.to_string_lossy())),
            Place::Hosts(hosts) => f.write_str(&list(hosts)),
            Place::Sentinels { hosts, master, .. } => {
                write!(f, "{}/{}", list(hosts), Escape(master))
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (name, port) = (self.shown(), self.port);
        if name.contains(':') { write!(f, "[{name}]:{port}") } else { write!(f, "{name}:{port}") }
    }
}

impl Host {
    /// Its name, harmless: a server may have named it.
    pub fn shown(&self) -> String {
        Escape(&self.name).to_string()
    }
}

impl Endpoint {
    /// The hosts that it names.
    pub fn hosts(&self) -> &[Host] {
        match &self.place {
            Place::Unix(_) => &[],
            Place::Hosts(hosts) | Place::Sentinels { hosts, .. } => hosts,
        }
    }

    /// The names that a node's certificate may have in the place of an address that it announces.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let is_cluster = matches!(self.place, Place::Hosts(_));
        self.hosts().iter().filter(move |_| is_cluster).map(|host| host.name.as_str())
    }
}
