//! The clients that a shim is measured by, and the shim, each started as its users start it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::row::{CLIENTS, Row};
use super::servers::Certificates;
use crate::common::{SHA, Shim, within};

/// How long each may take to connect.
pub const LIMIT: Duration = Duration::from_secs(5);

/// How many rows one process tries at a time, so that none waits for the others.
const IN_ONE_PROCESS: usize = 12;

/// How long the start of an interpreter may take beside.
const START: Duration = Duration::from_secs(10);

/// What is told first of a shim that did not end as its worker did.
pub const FAILED: &str = "exit code";

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/clients");
const REDIS_PY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/redis-py");
const IOREDIS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/ioredis/node_modules");

/// Why the table can't be tried here, if it can't.
pub fn missing() -> Option<String> {
    let folders = [("redis-py", REDIS_PY, "redis"), ("ioredis", IOREDIS, "ioredis")];
    let is_missing = |(_, folder, module): &(_, &str, _)| !Path::new(folder).join(module).is_dir();
    let missing = folders.into_iter().find(is_missing);
    missing.map(|(name, ..)| format!("{name} is not in target/tools: tests/run.sh installs it"))
}

/// Which of the clients the table's words hold for: redis-cli comes with the system, and other releases
/// read URLs in other ways. Whatever it is, the shim may not be behind it.
pub fn judged() -> [bool; 3] {
    let output = Command::new("redis-cli").arg("--version").output().expect("redis-cli");
    [String::from_utf8_lossy(&output.stdout).starts_with("redis-cli 7.0."), true, true]
}

/// A row with everything in it that is only known once its server runs.
pub struct Trial<'a> {
    pub row: &'a Row,
    pub url: String,
    /// What stands before a client's command line: its surroundings.
    pub wrapper: Vec<OsString>,
    pub certificates: &'a Certificates,
}

impl Trial<'_> {
    /// The key that this client sets.
    pub fn key(&self, client: &str) -> String {
        format!("parity:{}:{client}", self.row.number)
    }

    /// The type as which the shim registers.
    pub fn worker_type(&self) -> String {
        format!("row-{}", self.row.number)
    }

    fn file(&self, name: &str) -> String {
        self.certificates.path(name)
    }

    fn authorities(&self) -> Option<String> {
        let file = self.row.with.authorities();
        file.map(|name| self.file(&format!("{name}.crt")))
    }

    /// The variable by which the system says whom to trust.
    fn system(&self) -> Option<(&'static str, String)> {
        if self.row.with.folder {
            return Some(("SSL_CERT_DIR", self.file("system")));
        }
        let file = self.row.with.system.as_ref();
        file.map(|name| ("SSL_CERT_FILE", self.file(&format!("{name}.crt"))))
    }

    fn pair(&self) -> Option<[String; 2]> {
        let name = self.row.with.cert.as_ref()?;
        Some([self.file(&format!("{name}.crt")), self.file(&format!("{name}.key"))])
    }

    fn sentinel(&self) -> Option<Sentinel> {
        Sentinel::of(&self.url)
    }

    /// The last thing that redis-cli says.
    pub fn redis_cli(&self) -> String {
        let Some(sentinel) = self.sentinel() else { return self.redis_cli_with(&self.url) };
        // It knows nothing of sentinels; who has no other client asks them by hand.
        for (host, port) in &sentinel.hosts {
            let asked = ["-h", host, "-p", &port.to_string()].map(str::to_owned);
            let question = ["sentinel", "get-master-addr-by-name", &sentinel.name];
            let scheme: &[&str] = if self.url.starts_with("rediss") { &["--tls"] } else { &[] };
            let words = asked.into_iter().chain(scheme.iter().copied().map(str::to_owned));
            let words = words.chain(self.options()).chain(question.map(str::to_owned));
            let answer = self.run("redis-cli", words.collect(), &[], "", LIMIT);
            let mut lines = answer.lines();
            if let (Some(host), Some(port)) = (lines.next(), lines.next())
                && port.parse::<u16>().is_ok()
            {
                return self.redis_cli_with(&sentinel.master(&self.url, host, port));
            }
        }
        "no sentinel knows the master".into()
    }

    fn redis_cli_with(&self, url: &str) -> String {
        let words = ["-u", url].map(str::to_owned).into_iter().chain(self.options());
        let cluster = self.row.with.cluster.then(|| "-c".to_owned());
        let words = words.chain(cluster).chain(["SET".into(), self.key("cli"), "redis-cli".into()]);
        let environment: Vec<_> = self.system().into_iter().collect();
        self.run("redis-cli", words.collect(), &environment, "", LIMIT)
    }

    fn options(&self) -> Vec<String> {
        let with = &self.row.with;
        let authorities = self.authorities().map(|file| ["--cacert".into(), file]);
        let pair = self.pair().map(|[cert, key]| ["--cert".into(), cert, "--key".into(), key]);
        let name = with.server_name.clone().map(|name| ["--sni".into(), name]);
        let unverified = with.unverified.then(|| "--insecure".to_owned());
        let options = authorities.into_iter().flatten().chain(pair.into_iter().flatten());
        options.chain(name.into_iter().flatten()).chain(unverified).collect()
    }

    /// What the shim says of the registration, and how long it took.
    pub fn shim(&self) -> (String, Duration) {
        let with = &self.row.with;
        let mut shim = Shim::run(["exit", "0"])
            .env("GIT_SHA", SHA)
            .options(["--register-timeout", &format!("{}s", LIMIT.as_secs())])
            .registers(&self.worker_type(), self.url.clone());
        if with.ca.is_some() {
            shim = shim.options(["--redis-ca".into(), self.authorities().expect("a file")]);
        }
        if with.extra.is_some() {
            shim = shim.env("NODE_EXTRA_CA_CERTS", self.authorities().expect("a file"));
        }
        if let Some((name, value)) = self.system() {
            shim = shim.env(name, value);
        }
        if let Some([cert, key]) = self.pair() {
            shim = shim.options(["--redis-cert", &cert, "--redis-key", &key]);
        }
        if let Some(name) = &with.server_name {
            shim = shim.options(["--redis-server-name", name]);
        }
        let ended = shim.behind(&self.wrapper).output();
        if ended.code != 0 {
            return (format!("{FAILED} {}: {}", ended.code, ended.stderr), ended.took);
        }
        let said = ended.stderr.lines().find(|line| line.contains("egistered")).unwrap_or("");
        (said.to_owned(), ended.took)
    }

    /// Runs it to its end, which comes with the limit at the latest; all that it has said.
    fn run(
        &self,
        program: &str,
        words: Vec<String>,
        environment: &[(&str, String)],
        input: &str,
        limit: Duration,
    ) -> String {
        run(&self.wrapper, program, words, environment, input, limit)
    }

    /// The row as the scripts for redis-py and ioredis read it.
    fn as_json(&self, client: &str) -> Value {
        let with = &self.row.with;
        let pair = self.pair();
        let sentinel = self.sentinel().map(|sentinel| sentinel.as_json());
        json!({
            "row": self.row.number,
            "key": self.key(client),
            "url": self.url,
            "cluster": with.cluster,
            "sentinel": sentinel,
            "tls": {
                "ca": self.authorities(),
                "cert": pair.as_ref().map(|pair| &pair[0]),
                "key": pair.as_ref().map(|pair| &pair[1]),
                "passphrase": with.passphrase,
                "serverName": with.server_name,
                "unverified": with.unverified,
            },
        })
    }
}

/// Several rows that one process of a client can try, since they have its surroundings in common.
pub struct Batch<'a> {
    pub client: &'static str,
    environment: Vec<(&'static str, String)>,
    pub trials: Vec<&'a Trial<'a>>,
}

impl<'a> Batch<'a> {
    /// As few of them as can be.
    pub fn all(client: &'static str, trials: &'a [Trial<'a>]) -> Vec<Self> {
        let mut batches: BTreeMap<_, Vec<&Trial>> = BTreeMap::new();
        for trial in trials {
            let environment = environment_of(client, trial);
            batches.entry((&trial.row.names, environment)).or_default().push(trial);
        }
        let parts = |((_, environment), trials): ((_, Vec<_>), Vec<&'a Trial>)| {
            let part = |trials: &[&'a Trial]| Self {
                client,
                environment: environment.clone(),
                trials: trials.to_vec(),
            };
            trials.chunks(IN_ONE_PROCESS).map(part).collect::<Vec<_>>()
        };
        batches.into_iter().flat_map(parts).collect()
    }

    /// Where it stands among the clients.
    pub fn column(&self) -> usize {
        CLIENTS.iter().position(|client| *client == self.client).expect("a client")
    }

    /// What the client says of each row, by its number.
    pub fn run(&self) -> Vec<(usize, String)> {
        let (program, script) = match self.client {
            "io" => ("node", "ioredis.js"),
            _ => ("python3", "redis_py.py"),
        };
        let rows: Vec<Value> = self.trials.iter().map(|trial| trial.as_json(self.client)).collect();
        let work = json!({ "limit": LIMIT.as_millis(), "rows": rows }).to_string();
        let words = vec![format!("{FIXTURES}/{script}")];
        let wrapper = &self.trials[0].wrapper;
        let said = run(wrapper, program, words, &self.environment, &work, LIMIT + START);
        let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let told: BTreeMap<u64, String> = lines
            .map(|line| {
                let said = line["said"].as_str().unwrap_or_default().to_owned();
                (line["row"].as_u64().expect("a row"), said)
            })
            .collect();
        let nothing = || format!("nothing within {LIMIT:?}");
        let of = |trial: &&Trial| {
            let number = trial.row.number;
            let key = u64::try_from(number).expect("a small number");
            (number, told.get(&key).cloned().unwrap_or_else(nothing))
        };
        self.trials.iter().map(of).collect()
    }
}

fn environment_of(client: &str, trial: &Trial) -> Vec<(&'static str, String)> {
    let system = trial.system();
    if client == "py" {
        return system.into_iter().chain([("PYTHONPATH", REDIS_PY.to_owned())]).collect();
    }
    // Only where it is told to does Node.js ask the system whom to trust.
    let asks = system.is_some().then(|| ("NODE_OPTIONS", "--use-openssl-ca".to_owned()));
    let extra = trial.authorities().map(|file| ("NODE_EXTRA_CA_CERTS", file));
    let modules = [("NODE_PATH", IOREDIS.to_owned())];
    modules.into_iter().chain(system).chain(asks).chain(extra).collect()
}

fn run(
    wrapper: &[OsString],
    program: &str,
    words: Vec<String>,
    environment: &[(&str, String)],
    input: &str,
    limit: Duration,
) -> String {
    let mut line = wrapper.to_vec();
    line.push(program.into());
    line.extend(words.into_iter().map(OsString::from));
    let mut child = Command::new(&line[0])
        .args(&line[1..])
        .env_clear()
        .env("PATH", PATH)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{line:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let (mut stdout, mut stderr) =
        (child.stdout.take().expect("one"), child.stderr.take().expect("one"));
    thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        let said = scope.spawn(move || text(&mut stdout));
        let complained = scope.spawn(move || text(&mut stderr));
        if within(limit, program, || child.try_wait().expect("wait")).is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        said.join().expect("text") + &complained.join().expect("text")
    })
}

fn text(from: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a URL for sentinels says, for clients that are told it in other ways.
struct Sentinel {
    login: Option<String>,
    hosts: Vec<(String, u16)>,
    name: String,
    db: u32,
}

impl Sentinel {
    fn of(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        scheme.contains("sentinel").then_some(())?;
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(login.to_owned()), rest),
            None => (None, rest),
        };
        let mut parts = rest.split('/');
        let hosts = parts.next()?.split(',').filter_map(|host| host.rsplit_once(':'));
        let hosts = hosts.map(|(host, port)| (host.to_owned(), port.parse().expect("a port")));
        let hosts = hosts.collect();
        let name = parts.next()?.to_owned();
        let db = parts.next().and_then(|db| db.parse().ok()).unwrap_or(0);
        Some(Self { login, hosts, name, db })
    }

    /// The URL of the master that a sentinel has named.
    fn master(&self, url: &str, host: &str, port: &str) -> String {
        let scheme = if url.starts_with("rediss") { "rediss" } else { "redis" };
        let login = self.login.as_ref().map(|login| format!("{login}@")).unwrap_or_default();
        format!("{scheme}://{login}{host}:{port}/{}", self.db)
    }

    fn as_json(&self) -> Value {
        let (user, password) =
            self.login.as_deref().and_then(|login| login.split_once(':')).unzip();
        json!({
            "hosts": self.hosts,
            "name": self.name,
            "db": self.db,
            "username": user.filter(|user| !user.is_empty()),
            "password": password,
        })
    }
}
