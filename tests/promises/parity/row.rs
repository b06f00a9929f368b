//! A row of the table: what is tried, and who is said to connect.

/// The clients beside the shim, by the names that the table has for them.
pub const CLIENTS: [&str; 3] = ["cli", "py", "io"];

/// One way to say where a Redis is, and the Redis that is there.
#[derive(Clone)]
pub struct Row {
    pub number: usize,
    pub name: String,
    pub url: String,
    pub server: String,
    pub with: With,
    /// The lines of resolv.conf and of the hosts file, with `; ` between them.
    pub names: String,
    /// Which of `CLIENTS` connect.
    pub clients: [bool; 3],
    pub shim: bool,
    /// Why the shim doesn't although a client does.
    pub reason: Option<String>,
}

/// What is said beside the URL, to each client in its own way.
#[derive(Clone, Default)]
pub struct With {
    /// A file of the authorities that count: `--cacert`, `ssl_ca_certs`, `--redis-ca`; for Node.js,
    /// which knows no such thing, `NODE_EXTRA_CA_CERTS`.
    pub ca: Option<String>,
    /// The same, for the shim in `NODE_EXTRA_CA_CERTS`, too.
    pub extra: Option<String>,
    /// The same for all of them in `SSL_CERT_FILE`, as a system has it.
    pub system: Option<String>,
    /// Whether they are in the folder `SSL_CERT_DIR`.
    pub folder: bool,
    /// The name of a client's certificate and key.
    pub cert: Option<String>,
    /// What opens the client's key.
    pub passphrase: Option<String>,
    /// The name that the server's certificate is held to.
    pub server_name: Option<String>,
    /// Whether the client is told to trust any certificate, for which the shim has no word.
    pub unverified: bool,
    /// Whether it is the client for a Redis Cluster, which follows redirects.
    pub cluster: bool,
    /// The database that it ends in.
    pub db: u32,
}

impl With {
    /// The file with the authorities, whatever way it is told.
    pub fn authorities(&self) -> Option<&String> {
        self.ca.as_ref().or(self.extra.as_ref())
    }
}

/// The rows of a table; a line that begins with `#` or `==` is for those who read it.
pub fn rows(table: &str) -> Vec<Row> {
    let lines = table.lines().filter(|line| !line.is_empty());
    let lines = lines.filter(|line| !line.starts_with('#') && !line.starts_with("=="));
    lines.enumerate().map(|(number, line)| row(number, line)).collect()
}

fn row(number: usize, line: &str) -> Row {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let [name, url, server, with, names, clients, shim] = cells[..] else {
        panic!("seven cells: {line}");
    };
    let said: Vec<&str> = clients.split(' ').collect();
    assert!(
        said == ["nobody"] || said.iter().all(|client| CLIENTS.contains(client)),
        "no such client: {line}"
    );
    let (shim, reason) = match shim.split_once(": ") {
        Some((shim, reason)) => (shim, Some(reason.to_owned())),
        None => (shim, None),
    };
    assert!(matches!(shim, "yes" | "no"), "yes or no: {line}");
    Row {
        number,
        name: name.to_owned(),
        url: url.replace("\\n", "\n").replace("\\t", "\t"),
        server: server.to_owned(),
        with: with_words(with),
        names: names.to_owned(),
        clients: CLIENTS.map(|client| said.contains(&client)),
        shim: shim == "yes",
        reason,
    }
}

fn with_words(cell: &str) -> With {
    let mut with = With::default();
    for word in cell.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let value = value.to_owned();
        match name {
            "ca" => with.ca = Some(value),
            "extra" => with.extra = Some(value),
            "system" => with.system = Some(value),
            "cert" => with.cert = Some(value),
            "passphrase" => with.passphrase = Some(value),
            "server-name" => with.server_name = Some(value),
            "db" => with.db = value.parse().expect("a database"),
            "folder" => with.folder = true,
            "unverified" => with.unverified = true,
            "cluster" => with.cluster = true,
            _ => panic!("no such word: {word}"),
        }
    }
    with
}
