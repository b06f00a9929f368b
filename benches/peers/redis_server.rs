//! A Redis of the bench's own, in memory alone.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use redis::{Client, Connection};

use crate::proc::until;

#[derive(Debug)]
pub struct RedisServer {
    server: Child,
    port: u16,
}

impl RedisServer {
    /// None where it is not installed.
    pub fn start() -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let server = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let server = Self { server, port };
        until("redis-server answers", || server.connection().is_some());
        Some(server)
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn connection(&self) -> Option<Connection> {
        Client::open(self.url()).expect("a URL").get_connection().ok()
    }

    pub fn forget_all(&self) {
        let mut connection = self.connection().expect("redis-server answers");
        redis::cmd("FLUSHALL").exec(&mut connection).expect("an answer");
    }

    pub fn wait_for_registration(&self) {
        let mut connection = self.connection().expect("redis-server answers");
        until("the registration", || {
            let mut keys = redis::cmd("KEYS");
            let keys: Vec<String> =
                keys.arg("fiskai:worker:*").query(&mut connection).expect("an answer");
            !keys.is_empty()
        });
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.server.kill().expect("kill");
        self.server.wait().expect("wait");
    }
}
