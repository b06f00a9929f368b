//! An endpoint: the Redis that a REDIS_URL names. Pure.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use redis::{ConnectionAddr, ConnectionInfo, RedisConnectionInfo, RedisError};

use super::error::ConnectionError;

/// What a registration reads from one connection at most, in bytes: no server that never stops talking
/// can fill the memory of the worker's container.
const MAX_REPLY_BYTES: u64 = 16 * 1024 * 1024;

/// A Redis to connect to, and as whom.
#[derive(Debug, Clone)]
pub struct Endpoint {
    address: Address,
    login: RedisConnectionInfo,
    /// What is read from one connection at most, in bytes.
    max_reply_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp { host: String, port: u16, tls: bool },
    Unix(PathBuf),
}

impl FromStr for Endpoint {
    type Err = String;

    /// Takes `redis://`, `rediss://` and `redis+unix://` URLs; the reason of a refusal never repeats
    /// the URL.
    fn from_str(url: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "expected redis://[user][:password@]host[:port][/database], rediss:// or redis+unix://";
        let info: ConnectionInfo =
            url.trim().parse().map_err(|_: RedisError| EXPECTED.to_owned())?;
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                Address::Tcp { host: host.clone(), port: *port, tls: false }
            }
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                return Err("#insecure would send the password to anybody".into());
            }
            ConnectionAddr::TcpTls { host, port, .. } => {
                Address::Tcp { host: host.clone(), port: *port, tls: true }
            }
            ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
            _ => return Err(EXPECTED.into()),
        };
        let login = info.redis_settings().clone().set_skip_set_lib_name();
        Ok(Self { address, login, max_reply_bytes: MAX_REPLY_BYTES })
    }
}

impl fmt::Display for Endpoint {
    /// Where it is, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.address {
            Address::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Endpoint {
    /// The same Redis, of which more is read: this many bytes at most from one connection.
    pub fn with_max_reply_bytes(self, max_reply_bytes: u64) -> Self {
        Self { max_reply_bytes, ..self }
    }

    /// Another node of the same cluster: the same login, the same encryption.
    pub(super) fn node(&self, host: &str, port: u16) -> Self {
        let (own_host, tls) = match &self.address {
            Address::Tcp { host, tls, .. } => (host.as_str(), *tls),
            Address::Unix(_) => ("127.0.0.1", false),
        };
        // A node that doesn't know its own address means: where you asked.
        let host = if matches!(host, "" | "?") { own_host } else { host };
        let address = Address::Tcp { host: host.to_owned(), port, tls };
        Self { address, ..self.clone() }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.address == other.address
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// User, password and database.
    pub(super) fn login(&self) -> &RedisConnectionInfo {
        &self.login
    }

    pub(super) fn max_reply_bytes(&self) -> u64 {
        self.max_reply_bytes
    }

    /// An error reply in the server's own words, or what else went wrong.
    pub(super) fn redis_error(&self, error: &RedisError) -> ConnectionError {
        let text = match (error.kind(), error.code(), error.detail()) {
            (redis::ErrorKind::AuthenticationFailed, ..) | (_, None, _) => error.to_string(),
            (_, Some(code), detail) => format!("{code} {}", detail.unwrap_or_default()),
        };
        // The library gives a refused login a kind of its own and no code.
        let code = match error.kind() {
            redis::ErrorKind::AuthenticationFailed => "WRONGPASS",
            _ => error.code().unwrap_or_default(),
        };
        let password = self.login.password().unwrap_or_default();
        ConnectionError::Redis { code: code.to_owned(), text: without(text.trim_end(), password) }
    }
}

/// An error reply can quote the command, and with it the password, which it may cut short:
/// Redis itself shows no more than 128 bytes. The text without both.
fn without(text: &str, password: &str) -> String {
    /// Less of it is no secret, but a part of many a word.
    const SHORTEST: usize = 4;
    let beginnings = (SHORTEST..password.len()).rev().filter_map(|end| password.get(..end));
    [password]
        .into_iter()
        .chain(beginnings)
        .filter(|part| !part.is_empty())
        .fold(text.to_owned(), |text, part| text.replace(part, "***"))
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, without};

    #[test]
    fn an_endpoint_shows_neither_user_nor_password() {
        for (url, shown) in [
            ("redis://user:hunter2@redis.internal/3", "redis.internal:6379"),
            ("rediss://:hunter2@10.0.0.1:6380", "10.0.0.1:6380"),
            ("redis://[::1]:7000", "[::1]:7000"),
            ("redis+unix:///run/redis.sock?pass=hunter2&db=1", "/run/redis.sock"),
        ] {
            let endpoint: Endpoint = url.parse().unwrap();
            assert_eq!(endpoint.to_string(), shown);
            assert!(!format!("{endpoint:?}").contains("hunter2"));
        }
    }

    #[test]
    fn an_error_reply_shows_neither_the_password_nor_its_beginning() {
        for (text, password, shown) in [
            ("ERR 'AUTH' 'hunter2'", "hunter2", "ERR 'AUTH' '***'"),
            ("ERR 'hunter2' 'hunt", "hunter2", "ERR '***' '***"),
            ("ERR 'dépôt' 'dépô", "dépôt", "ERR '***' '***"),
            ("ERR unknown", "", "ERR unknown"),
        ] {
            assert_eq!(without(text, password), shown);
        }
    }

    #[test]
    fn an_endpoint_without_certificate_checks_is_refused() {
        assert!("rediss://h/#insecure".parse::<Endpoint>().is_err());
    }
}
