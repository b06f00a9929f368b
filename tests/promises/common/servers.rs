//! Servers of other versions than the machine's own, and proxies in front of a Redis.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::net::Server;
use super::redis::free_port;
use super::{Folder, Redis, eventually};

/// A program that tests/servers.sh installs; `None` where it can't be had.
pub fn installed(name: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("VERSION_GUARD_TESTS_CACHE")
        .map_or_else(|| PathBuf::from("/var/cache/version-guard-tests"), PathBuf::from);
    let program = cache.join("servers").join(name);
    if !program.exists() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers.sh");
        let status = Command::new(script).arg(name).status();
        assert!(status.expect("tests/servers.sh").success(), "tests/servers.sh {name}");
    }
    program.exists().then_some(program)
}

/// A proxy of Redis's protocol, killed when it goes out of scope.
pub struct Proxy {
    child: Child,
    folder: Folder,
    pub port: u16,
}

impl Proxy {
    /// Envoy, with nothing configured but where Redis is.
    pub fn envoy(program: &Path, redis: &Redis) -> Self {
        let config = |port| {
            format!(
                r#"static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.redis_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
          stat_prefix: redis
          settings: {{ op_timeout: 5s }}
          prefix_routes: {{ catch_all_route: {{ cluster: redis }} }}
  clusters:
  - name: redis
    load_assignment:
      cluster_name: redis
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }} }}
"#,
                redis.port
            )
        };
        let options = ["--concurrency", "1", "--disable-hot-restart", "-l", "off", "-c"];
        Self::start(program, "envoy.yaml", config, &options)
    }

    /// Twemproxy, as its sample configuration has it.
    pub fn nutcracker(program: &Path, redis: &Redis) -> Self {
        let config = |port| {
            format!(
                "redis:\n  listen: 127.0.0.1:{port}\n  redis: true\n  servers:\n   - 127.0.0.1:{}:1\n",
                redis.port
            )
        };
        let stats = free_port().to_string();
        let options = ["-a", "127.0.0.1", "-s", &stats, "-o", "/dev/null", "-c"];
        Self::start(program, "nutcracker.yaml", config, &options)
    }

    fn start(program: &Path, name: &str, config: impl Fn(u16) -> String, options: &[&str]) -> Self {
        let (folder, port) = (Folder::new(), free_port());
        let config = folder.file(name, config(port));
        let child = Command::new(program)
            .args(options)
            .arg(config)
            .current_dir(folder.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let proxy = Self { child, folder, port };
        eventually("a proxy", || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
            stream.write_all(b"*1\r\n$4\r\nPING\r\n").ok()?;
            stream.read_exact(&mut [0; 7]).ok()
        });
        proxy
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A proxy that answers these commands by itself, each with this error line, and gives all others to
/// Redis.
pub fn refusing(redis: &Redis, refusals: &[(&'static str, &'static str)]) -> Server {
    let (port, refusals) = (redis.port, refusals.to_vec());
    Server::new(move |mut client, _| {
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("redis-server");
        let mut requests = BufReader::new(client.try_clone().expect("dup"));
        let mut replies = BufReader::new(server.try_clone().expect("dup"));
        let mut request = Vec::new();
        while value(&mut requests, &mut request).is_some() {
            // An array, its length, the first word's length, the first word.
            let name = request.split(|byte| *byte == b'\n').nth(2).unwrap_or_default();
            let name = String::from_utf8_lossy(name).trim_end().to_uppercase();
            let mut reply = Vec::new();
            match refusals.iter().find(|(refused, _)| *refused == name) {
                Some((_, line)) => write!(reply, "-{line}\r\n").expect("memory"),
                None if server.write_all(&request).is_err() => return,
                None if value(&mut replies, &mut reply).is_none() => return,
                None => {}
            }
            // What has arrived is done, also for a client that is gone.
            let _ = client.write_all(&reply);
            request.clear();
        }
    })
}

/// Appends one value of Redis's protocol, as it came.
fn value(from: &mut impl BufRead, bytes: &mut Vec<u8>) -> Option<()> {
    let start = bytes.len();
    from.read_until(b'\n', bytes).ok().filter(|count| *count > 0)?;
    let line = String::from_utf8_lossy(&bytes[start..]).into_owned();
    let count = || line[1..].trim_end().parse::<i64>().ok();
    match line.as_bytes()[0] {
        b'$' => {
            // The bytes and a line end; nothing follows a value that is none.
            let count = u64::try_from(count()? + 2).ok().filter(|count| *count > 1);
            let read = from.take(count.unwrap_or(0)).read_to_end(bytes).ok()?;
            (read as u64 == count.unwrap_or(0)).then_some(())
        }
        b'*' => (0..count()?).try_for_each(|_| value(from, bytes)),
        _ => Some(()),
    }
}
