//! The servers of the table, each by its name there.

use std::any::Any;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use super::old;
use crate::common::net::{self, own_address};
use crate::common::redis::free_port;
use crate::common::{Folder, Redis, eventually};

/// The passwords of the server that has one: any of them will do, for the default user and for `worker`.
const PASSWORDS: [&str; 16] = [
    "secret",
    "a#b",
    "a?b",
    "a/b",
    "a@b",
    "a%b",
    "a b",
    "grün€",
    "a:b",
    "100%",
    "a+b",
    "a=b",
    "a&b",
    "a!b",
    "#?/@:% &=+",
    "%23",
];

/// How redis-cli logs in where the one password is `secret`, and where there are users.
const SECRET: &[&str] = &["--pass", "secret", "--no-auth-warning"];
const ADMIN: &[&str] = &["--user", "admin", "--pass", "admin", "--no-auth-warning"];

/// How a server says that it takes `secret`, and gives it to its master.
const TAKES_SECRET: [&str; 4] = ["--requirepass", "secret", "--masterauth", "secret"];

/// Certificates, keys and authorities, as tests/fixtures/clients/certificates.sh makes them for the first
/// who asks.
#[derive(Default)]
pub struct Certificates(OnceLock<Folder>);

impl Certificates {
    pub fn path(&self, name: &str) -> String {
        let path = self.0.get_or_init(Self::make).path(name);
        assert!(path.exists(), "{name} is none of the certificates");
        path.display().to_string()
    }

    fn make() -> Folder {
        let folder = Folder::new();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/clients/certificates.sh");
        net::run(&folder.path(""), &["sh", script]);
        folder
    }
}

/// A server, or several that belong together.
pub struct Place {
    /// Where what the clients have written is found.
    redises: Vec<Redis>,
    login: &'static [&'static str],
    /// What the row's URL and names call it by: `{port}` and the like.
    pub words: Vec<(&'static str, String)>,
    kept: Vec<Box<dyn Any + Send + Sync>>,
}

impl Place {
    /// The server of this name.
    pub fn start(name: &str, certificates: &Certificates) -> Self {
        let words: Vec<&str> = name.split(' ').collect();
        match words[..] {
            ["open"] => Self::of(Redis::with(["--bind", "127.0.0.1 ::1"])),
            ["ipv4"] => Self::of(Redis::start()),
            ["ipv6"] => Self::of(Redis::with(["--bind", "::1"])),
            ["default-port"] => on_the_default_port(),
            ["password"] => with_passwords(),
            ["requirepass"] => {
                Self { login: SECRET, ..Self::of(Redis::with(["--requirepass", "secret"])) }
            }
            ["few-rights"] => with_few_rights(),
            ["old"] => behind_an_old_front(&[], &[]),
            ["old", "password"] => behind_an_old_front(&["--requirepass", "secret"], SECRET),
            ["tls", certificate, ref more @ ..] => {
                let (port, arguments) = tls(certificate, more, certificates);
                Self::of(Redis::on(port, arguments))
            }
            ["front", certificate] => behind_a_front(certificate, certificates),
            ["replica-and-master"] => replica_and_master(),
            ["cluster", ref more @ ..] => cluster(more, certificates),
            ["sentinel", ref more @ ..] => sentinel(more, certificates),
            _ => panic!("no such server: {name}"),
        }
    }

    fn of(redis: Redis) -> Self {
        let words = vec![("port", redis.port.to_string()), ("socket", redis.socket())];
        Self { redises: vec![redis], login: &[], words, kept: Vec::new() }
    }

    /// What redis-cli says of one of them, logged in.
    fn cli(&self, number: usize, words: &[&str]) -> String {
        self.redises[number].cli(self.login.iter().chain(words))
    }

    /// The keys in it, each with its database.
    pub fn keys(&self) -> Vec<(u32, String)> {
        // A cluster has no other database than the first.
        const ALL: &str = "local found = {}
            for db = 0, 15 do
                if redis.pcall('SELECT', db).err then break end
                for _, key in ipairs(redis.call('KEYS', '*')) do
                    found[#found + 1] = db .. ' ' .. key
                end
            end
            return found";
        let found = (0..self.redises.len()).map(|number| self.cli(number, &["EVAL", ALL, "0"]));
        let lines = found.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
        let pair = |line: String| {
            let (db, key) = line.split_once(' ')?;
            Some((db.parse().unwrap_or_else(|_| panic!("a list of keys: {line}")), key.to_owned()))
        };
        lines.filter_map(pair).collect()
    }
}

/// At an address of its own, so that it is the only one with this port there.
fn on_the_default_port() -> Place {
    let address = own_address().to_string();
    let redis = Redis::on(6379, ["--bind", &address].map(str::to_owned).to_vec());
    Place { words: vec![("host", address)], ..Place::of(redis) }
}

fn with_passwords() -> Place {
    let redis = Redis::start();
    let passwords = PASSWORDS.map(|password| format!(">{password}"));
    for (user, more) in [
        ("admin", &[">admin".to_owned()][..]),
        ("worker", &passwords),
        // From here on nobody gets in without one.
        ("default", &[&["resetpass".to_owned()][..], &passwords].concat()),
    ] {
        let rights = ["ACL", "SETUSER", user, "on", "~*", "&*", "+@all"];
        let line = rights.into_iter().chain(more.iter().map(String::as_str));
        let answer = redis.cli(ADMIN.iter().copied().chain(line));
        assert!(answer.ends_with("OK"), "{answer}");
    }
    Place { login: ADMIN, ..Place::of(redis) }
}

/// The rights that the README has for the shims, and no others but what the clients' own key takes.
fn with_few_rights() -> Place {
    let rights = "resetpass >secret %R~fiskai:worker:expected ~fiskai:worker:*:* ~fiskai:workers \
        +multi +exec +watch +del +hset +hmget +lpush +ltrim +pexpire +zadd +zrem \
        +zremrangebyscore +zscore +time ~parity:* +set +ping";
    let redis = Redis::start();
    let line = ["ACL", "SETUSER", "shim", "on"].into_iter().chain(rights.split(' '));
    assert_eq!(redis.cli(line.filter(|word| !word.is_empty())), "OK");
    Place::of(redis)
}

/// A Redis of before 6, which knows no users.
fn behind_an_old_front(arguments: &[&str], login: &'static [&'static str]) -> Place {
    let place = Place::of(Redis::with(arguments));
    let front = old::front(place.redises[0].port);
    Place { login, words: vec![("port", front.to_string())], ..place }
}

/// The port and the options of a server that speaks TLS alone: its certificate, then a protocol or a
/// cipher that it keeps to, or `clients`, where those need a certificate.
fn tls(certificate: &str, more: &[&str], certificates: &Certificates) -> (u16, Vec<String>) {
    let port = free_port();
    let authenticates = if more.contains(&"clients") { "yes" } else { "no" };
    let mut options = vec![
        ("--port", "0".to_owned()),
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", certificates.path(&format!("{certificate}.crt"))),
        ("--tls-key-file", certificates.path(&format!("{certificate}.key"))),
        ("--tls-ca-cert-file", certificates.path("roots.crt")),
        ("--tls-auth-clients", authenticates.to_owned()),
        ("--bind", "127.0.0.1 ::1".to_owned()),
    ];
    if let Some(ciphers) = more.iter().find(|word| word.contains("-SHA")) {
        options.push(("--tls-ciphers", (*ciphers).to_owned()));
    }
    if let Some(protocol) = more.iter().find(|word| word.starts_with("TLSv1.")) {
        options.push(("--tls-protocols", (*protocol).to_owned()));
    }
    let words = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    (port, words.collect())
}

/// A server whose certificate redis-server itself would not serve.
fn behind_a_front(certificate: &str, certificates: &Certificates) -> Place {
    let place = Place::of(Redis::start());
    let port = free_port();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/clients/tls_front.py");
    let file = |end: &str| certificates.path(&format!("{certificate}.{end}"));
    let words = [file("crt"), file("key"), port.to_string(), place.redises[0].socket()];
    let front = Killed::start(Command::new("python3").arg(script).args(words));
    eventually("a front", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
    Place { words: vec![("port", port.to_string())], kept: vec![Box::new(front)], ..place }
}

/// The two at addresses of their own, on one port, as behind one name.
fn replica_and_master() -> Place {
    let port = free_port();
    let [replica, master] = [own_address().to_string(), own_address().to_string()];
    let at = |address: &str| ["--bind", address].map(str::to_owned).to_vec();
    let mut of_master = at(&replica);
    of_master.extend(["--replicaof".to_owned(), format!("{master} {port}")]);
    let redis = Redis::on(port, at(&master));
    let kept: Vec<Box<dyn Any + Send + Sync>> = vec![Box::new(Redis::on(port, of_master))];
    let words = vec![("port", port.to_string()), ("replica", replica), ("master", master)];
    Place { words, kept, ..Place::of(redis) }
}

/// Two nodes, of which the one that is asked has no slot: each key is elsewhere.
fn cluster(more: &[&str], certificates: &Certificates) -> Place {
    let node = || {
        let mut port = free_port();
        let mut options: Vec<String> = ["--cluster-enabled", "yes"].map(str::to_owned).to_vec();
        if more.contains(&"tls") {
            (port, options) = tls("p-256", more, certificates);
            options.extend(["--cluster-enabled", "yes", "--tls-cluster", "yes"].map(str::to_owned));
        }
        if more.contains(&"password") {
            options.extend(TAKES_SECRET.map(str::to_owned));
        }
        // What it calls the others: by their addresses, else.
        let endpoint = match more {
            _ if more.contains(&"names") => "hostname",
            _ if more.contains(&"nowhere") => "unknown-endpoint",
            _ => "ip",
        };
        let announced = ["--cluster-announce-hostname", "localhost"];
        let preferred = ["--cluster-preferred-endpoint-type", endpoint];
        options.extend([announced, preferred].concat().into_iter().map(str::to_owned));
        Redis::on(port, options)
    };
    let (asked, owner) = (node(), node());
    let words = vec![("port", asked.port.to_string())];
    let port = owner.port.to_string();
    let login = if more.contains(&"password") { SECRET } else { &[] };
    let place = Place { redises: vec![owner, asked], login, words, kept: Vec::new() };
    assert_eq!(place.cli(0, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]), "OK");
    assert_eq!(place.cli(1, &["CLUSTER", "MEET", "127.0.0.1", &port]), "OK");
    eventually("a cluster", || {
        place.cli(1, &["CLUSTER", "INFO"]).contains("cluster_state:ok").then_some(())
    });
    place
}

/// A sentinel, the master that it knows and that master's replica.
fn sentinel(more: &[&str], certificates: &Certificates) -> Place {
    let is_tls = more.contains(&"tls");
    let server = |extra: &[&str]| {
        let (port, mut options) =
            if is_tls { tls("p-256", more, certificates) } else { (free_port(), Vec::new()) };
        if is_tls {
            options.extend(["--tls-replication", "yes"].map(str::to_owned));
        }
        options.extend(extra.iter().map(|word| (*word).to_owned()));
        Redis::on(port, options)
    };
    let password: &[&str] = if more.contains(&"password") { &TAKES_SECRET } else { &[] };
    let master = server(password);
    let replica =
        server(&[password, &["--replicaof", &format!("127.0.0.1 {}", master.port)]].concat());
    let (port, dead) = (free_port(), free_port());
    let folder = Folder::new();
    let socket = folder.path("sentinel.sock");
    let mut configuration = vec![
        format!("sentinel monitor main 127.0.0.1 {} 1", master.port),
        format!("unixsocket {}", socket.display()),
    ];
    if is_tls {
        let (_, options) = tls("p-256", more, certificates);
        let pairs = options.chunks(2).filter(|pair| !pair[0].ends_with("port"));
        let line = |pair: &[String]| format!("{} {}", pair[0].trim_start_matches('-'), pair[1]);
        configuration.extend(pairs.map(line));
        configuration.push(format!("port 0\ntls-port {port}\ntls-replication yes"));
    } else {
        configuration.push(format!("port {port}\nbind 127.0.0.1"));
    }
    if !password.is_empty() {
        configuration.push("sentinel auth-pass main secret".into());
    }
    let file = folder.file("sentinel.conf", configuration.join("\n"));
    let sentinel = Killed::start(Command::new("redis-server").arg(file).arg("--sentinel"));
    eventually("a sentinel", || knows_the_master(&socket).then_some(()));
    let words = vec![("port", port.to_string()), ("dead", dead.to_string())];
    let login = if password.is_empty() { &[] } else { SECRET };
    let kept: Vec<Box<dyn Any + Send + Sync>> =
        vec![Box::new(sentinel), Box::new(folder), Box::new(replica)];
    Place { redises: vec![master], login, words, kept }
}

fn knows_the_master(socket: &Path) -> bool {
    let output = Command::new("redis-cli")
        .arg("-s")
        .arg(socket)
        .args(["sentinel", "get-master-addr-by-name", "main"])
        .output()
        .expect("redis-cli");
    String::from_utf8_lossy(&output.stdout).starts_with("127.0.0.1")
}

/// A process that ends with the test.
struct Killed(Child);

impl Killed {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a server"))
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
