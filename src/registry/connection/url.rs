//! From a REDIS_URL to an endpoint, in the dialects of the usual clients. Pure.
//!
//! The Redis library reads one host and one dialect, and where a password holds a `#`, `?` or `/` it takes
//! what stands before that for the host, which then goes into a log line and a question to a name server.

use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::form_urlencoded::parse as pairs;

use super::dialect::{INSECURE, database, unknown};
use super::endpoint::{CertificateFiles, Endpoint, Host, Place};
use super::login::{Login, Secret};
use crate::clean::clean;

const EXPECTED: &str = "expected redis://[[user][:password]@]host[:port][/database], rediss://, redis+unix:///path or redis+sentinel://host[:port]/master";
const CUT: &str = "the host is cut off by a '#', '?', '/' or '@' of the user or the password: write it as %23, %3F, %2F or %40";
const NO_HOST: &str = "what stands where the host should is none: expected names or addresses, each with a port from 1 to 65535 or none";
const NO_OPTION: &str =
    "has behind its password what is no option: write a '&' of the password as %26";
const NO_MASTER: &str = "the Sentinels are not told which master is meant: expected redis+sentinel://host[:port]/master";
const NO_SOCKET: &str = "the path of the socket is not absolute: expected redis+unix:///path";

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// What kind of place a scheme names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hosts,
    Socket,
    Sentinels,
}

impl FromStr for Endpoint {
    type Err = &'static str;

    /// The reason of a refusal never repeats any of the URL.
    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let url = with_scheme(clean(url));
        let (scheme, rest) = url.split_once("://").ok_or(EXPECTED)?;
        let (kind, tls) = kind(&scheme.to_ascii_lowercase()).ok_or(EXPECTED)?;
        let parts = Parts::of(rest);
        if parts.is_cut(kind) {
            return Err(CUT);
        }
        let mut endpoint = Self {
            place: place(kind, &parts)?,
            tls,
            login: login(&parts),
            files: CertificateFiles::default(),
            odd: Vec::new(),
        };
        if kind == Kind::Hosts {
            endpoint.login.database = database(parts.path.trim_matches('/'))?;
        } else if kind == Kind::Sentinels {
            endpoint.login.database = database(parts.master_and_database()?.1)?;
        }
        let mut is_behind_a_password = false;
        for (name, value) in pairs(parts.query.as_bytes()) {
            if !endpoint.heed(&name, &value)? {
                // It may be a piece of the password.
                let told = if is_behind_a_password { NO_OPTION.into() } else { unknown(&name) };
                endpoint.odd.push(told);
            }
            is_behind_a_password |=
                ["pass", "password"].contains(&name.to_ascii_lowercase().as_str());
        }
        match parts.fragment {
            "" => Ok(endpoint),
            "insecure" => Err(INSECURE),
            _ if kind == Kind::Sentinels => Ok(endpoint),
            _ => {
                endpoint.odd.push("has a part behind a '#', which doesn't count".into());
                Ok(endpoint)
            }
        }
    }
}

/// A URL's parts, as they stand there.
struct Parts<'a> {
    /// What stands before the last `@`, which is the one before the hosts; a password may hold others.
    user: Option<&'a str>,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
    fragment: &'a str,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Self {
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        let (tail, fragment) = tail.split_once('#').unwrap_or((tail, ""));
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        Self { user, hosts, path, query, fragment }
    }

    /// Whether there is an `@` behind what was taken for the host: then that is a piece of a password.
    fn is_cut(&self, kind: Kind) -> bool {
        let is_behind_a_password = self.user.is_some_and(|user| user.contains(':'));
        self.fragment.contains('@')
            || (kind != Kind::Socket && self.query.contains('@'))
            || (is_behind_a_password && self.query.contains('@'))
            || ((kind != Kind::Socket || is_behind_a_password) && self.path.contains('@'))
    }

    /// The Sentinels' name of the master, and the database: `/master/0`, or `/0#master` as Lettuce has
    /// it.
    fn master_and_database(&self) -> Result<(&'a str, &'a str), &'static str> {
        let path = self.path.trim_matches('/');
        let (master, database) = match self.fragment {
            "" => path.split_once('/').unwrap_or((path, "")),
            master => (master, path),
        };
        if master.is_empty() { Err(NO_MASTER) } else { Ok((master, database)) }
    }
}

/// `host:port` is what ioredis takes, too, and so are a path and a mere port.
fn with_scheme(url: &str) -> String {
    if url.contains("://") {
        url.into()
    } else if let Some(rest) = url.strip_prefix("//") {
        format!("redis://{rest}")
    } else if url.starts_with('/') {
        format!("redis+unix://{url}")
    } else if !url.is_empty() && url.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("redis://localhost:{url}")
    } else {
        format!("redis://{url}")
    }
}

fn kind(scheme: &str) -> Option<(Kind, bool)> {
    Some(match scheme {
        "redis" | "valkey" | "tcp" => (Kind::Hosts, false),
        "rediss" | "valkeys" | "redis+tls" | "redis+ssl" | "tls" => (Kind::Hosts, true),
        "redis+unix" | "valkey+unix" | "unix" | "redis+socket" | "redis-socket" => {
            (Kind::Socket, false)
        }
        "redis+sentinel" | "valkey+sentinel" | "redis-sentinel" => (Kind::Sentinels, false),
        "rediss+sentinel" | "valkeys+sentinel" | "rediss-sentinel" => (Kind::Sentinels, true),
        _ => return None,
    })
}

fn place(kind: Kind, parts: &Parts) -> Result<Place, &'static str> {
    match kind {
        Kind::Socket if parts.hosts.is_empty() && parts.path.len() > 1 => {
            Ok(Place::Unix(PathBuf::from(decoded(parts.path))))
        }
        Kind::Socket => Err(NO_SOCKET),
        Kind::Hosts => Ok(Place::Hosts(hosts(parts.hosts, REDIS_PORT)?)),
        Kind::Sentinels => Ok(Place::Sentinels {
            hosts: hosts(parts.hosts, SENTINEL_PORT)?,
            master: decoded(parts.master_and_database()?.0),
            login: None,
        }),
    }
}

fn login(parts: &Parts) -> Login {
    let (user, password) = match parts.user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
        Some((user, password)) => (decoded(user), percent_decode_str(password).collect()),
        None => (String::new(), Vec::new()),
    };
    Login {
        user: Some(user).filter(|user| !user.is_empty()),
        password: Some(Secret(password)).filter(|Secret(password)| !password.is_empty()),
        database: 0,
    }
}

fn hosts(text: &str, default_port: u16) -> Result<Vec<Host>, &'static str> {
    let all = text.split(',').map(clean).filter(|host| !host.is_empty() || text.is_empty());
    let hosts: Vec<Host> =
        all.map(|host| read_host(host, default_port).ok_or(NO_HOST)).collect::<Result<_, _>>()?;
    if hosts.is_empty() { Err(NO_HOST) } else { Ok(hosts) }
}

fn read_host(text: &str, default_port: u16) -> Option<Host> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (address, port.strip_prefix(':').or(port.is_empty().then_some(""))?)
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let is_name = |name: &str| {
        name.len() <= 255 && name.chars().all(|char| char.is_alphanumeric() || "-_.".contains(char))
    };
    let port = match port {
        "" => default_port,
        port => port.parse().ok().filter(|port| *port != 0)?,
    };
    if text.starts_with('[') {
        return Some(Host { name: name.to_owned(), port });
    }
    match url::Host::parse(name) {
        // An address in one of the ways that libc reads, such as 127.1.
        Ok(url::Host::Ipv4(address)) => Some(Host { name: address.to_string(), port }),
        // A URL without a host means this one, to the usual clients.
        _ if name.is_empty() => Some(Host { name: "localhost".into(), port }),
        _ => is_name(name).then(|| Host { name: name.to_owned(), port }),
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::dialect::NO_DATABASE;
    use super::{CUT, Endpoint, INSECURE, NO_HOST, NO_MASTER, NO_SOCKET, Place, Secret};

    fn read(url: &str) -> Endpoint {
        url.parse().unwrap_or_else(|reason| panic!("{url}: {reason}"))
    }

    #[test]
    fn an_endpoint_shows_neither_user_nor_password() {
        for (url, shown) in [
            ("redis://user:hunter2@redis.internal/3", "redis.internal:6379"),
            ("rediss://:hunter2@10.0.0.1:6380", "10.0.0.1:6380"),
            ("redis://[::1]:7000", "[::1]:7000"),
            ("redis+unix:///run/redis.sock?pass=hunter2&db=1", "/run/redis.sock"),
            ("redis://:hunter2@a:1,b", "a:1,b:6379"),
            ("redis+sentinel://:hunter2@a,b:1/main/2", "a:26379,b:1/main"),
        ] {
            let endpoint = read(url);
            assert_eq!(endpoint.to_string(), shown);
            assert!(!format!("{endpoint:?}").contains("hunter2"));
        }
    }

    #[test]
    fn the_usual_clients_dialects_name_the_same_place() {
        for url in [
            "redis://localhost:6379/0",
            "redis://localhost",
            "REDIS://localhost/",
            "redis://",
            "redis://:6379",
            "valkey://localhost",
            "tcp://localhost",
            "localhost:6379",
            "//localhost",
            "6379",
            " \"redis://localhost\"\r\n",
            "redis://localhost?db=0&socket_timeout=5",
            "redis://localhost?ssl=false",
        ] {
            assert_eq!(read(url), read("redis://localhost:6379"), "{url}");
        }
        for url in [
            "valkeys://h",
            "redis+tls://h",
            "redis+ssl://h",
            "redis://h?ssl=true",
            "redis://h?tls=1",
            "redis://h?SSL=",
            "rediss://h?ssl_cert_reqs=required",
        ] {
            assert_eq!(read(url), read("rediss://h"), "{url}");
        }
        for url in ["unix:///r.sock", "redis+socket:///r.sock", "redis-socket:///r.sock", "/r.sock"]
        {
            assert_eq!(read(url), read("redis+unix:///r.sock"), "{url}");
        }
        for url in ["redis-sentinel://a,b/0#main", "redis+sentinel://a,b/main/"] {
            assert_eq!(read(url), read("redis+sentinel://a,b/main/0"), "{url}");
        }
        assert_eq!(read("redis://127.1"), read("redis://127.0.0.1"));
    }

    #[test]
    fn the_login_is_decoded_and_a_password_may_hold_what_does_not_cut_the_host_off() {
        for (url, user, password, database) in [
            ("redis://me:s3cr%2Ft-p%40ss@h/3", Some("me"), "s3cr/t-p@ss", 3),
            ("redis://:p@ss@h", None, "p@ss", 0),
            ("redis://:a:b+c&d=e%@h", None, "a:b+c&d=e%", 0),
            ("redis://h?username=me&password=p%40s+s&db=2", Some("me"), "p@s s", 2),
            ("unix://me:pw@/r.sock?db=1", Some("me"), "pw", 1),
        ] {
            let login = read(url).login;
            assert_eq!(login.user.as_deref(), user, "{url}");
            assert_eq!(login.password, Some(Secret(password.into())), "{url}");
            assert_eq!(login.database, database, "{url}");
        }
        assert_eq!(read("redis://secret@h").login.password, None);
    }

    #[test]
    fn what_is_wrong_is_named_and_not_repeated() {
        for (url, reason) in [
            ("redis://:hunt#er2@h", CUT),
            ("redis://:hunt?er2@h", CUT),
            ("redis://:hunt/er2@h:1/0", CUT),
            ("redis://:hu@nt/er2@h", CUT),
            ("redis://default:12#hunter2@h", CUT),
            ("redis://:hu@nt?password=er2@h", CUT),
            ("unix://me:hu@/nter2@/r.sock", CUT),
            ("redis://:hunter2@${REDIS_HOST}", NO_HOST),
            ("redis://:hunter2@h:x", NO_HOST),
            ("redis://:hunter2@h:0", NO_HOST),
            ("redis://:hunter2@[::1", NO_HOST),
            ("redis://h/hunter2", NO_DATABASE),
            ("redis://h?db=hunter2", NO_DATABASE),
            ("rediss://h/#insecure", INSECURE),
            ("redis+sentinel://h", NO_MASTER),
            ("unix://run/r.sock", NO_SOCKET),
        ] {
            assert_eq!(url.parse::<Endpoint>().unwrap_err(), reason, "{url}");
            assert!(!reason.contains("hunt"));
        }
        assert!("http://h".parse::<Endpoint>().unwrap_err().starts_with("expected redis://"));
    }

    #[test]
    fn what_does_not_count_is_named() {
        for (url, named) in [
            ("redis://h?foo=1", "foo"),
            ("redis://h?foo", "foo"),
            ("rediss://h?ssl_cert_reqs=none", "checked all the same"),
            ("rediss://h?ssl=false", "is used"),
            ("redis://h#main", "'#'"),
            ("redis://h?password=hunt&er2", "%26"),
        ] {
            let odd = read(url).odd;
            assert!(matches!(&odd[..], [odd] if odd.contains(named)), "{url}: {odd:?}");
        }
        assert!(read("redis://h?family=6&max_retries=3").odd.is_empty());
    }

    #[test]
    fn several_hosts_are_all_known() {
        let Place::Hosts(hosts) = read("redis://a:1,[::1]:2,c").place else { panic!("hosts") };
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["a:1", "[::1]:2", "c:6379"]);
    }
}
