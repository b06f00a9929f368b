//! From a REDIS_URL to a connection: name resolution, TLS and one time limit around all of it.
//!
//! Nothing here calls libc's name service: a static glibc binary dies of it in images whose
//! nsswitch.conf names a module of another glibc, and with it, as PID 1, the container.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select, select_ok};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, RedisConnectionInfo, RedisError,
};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::session::Session;

/// What a registration reads from one connection at most, in bytes: no server that never stops talking
/// can fill the memory of the worker's container.
const LONGEST_ANSWER: u64 = 16 * 1024 * 1024;

/// A Redis to connect to, and as whom.
#[derive(Debug, Clone)]
pub struct Endpoint {
    address: Address,
    login: RedisConnectionInfo,
    /// What is read from one connection at most, in bytes.
    longest_answer: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    Tcp { host: String, port: u16, tls: bool },
    Unix(PathBuf),
}

/// Why Redis could not be used. No message holds the password.
#[derive(Debug, Error)]
pub enum ConnectionError {
    #[error("the name {host} can't be resolved")]
    Resolve { host: String, source: NetError },
    #[error("no name server and no hosts file knows an address of {host}")]
    NoAddress { host: String },
    #[error("no connection")]
    Connect(#[source] io::Error),
    #[error("no certificate authorities and no TLS")]
    TlsSetUp(#[source] tokio_rustls::rustls::Error),
    #[error("TLS failed")]
    Tls(#[source] io::Error),
    #[error("{text}")]
    Redis {
        /// The first word of the complaint, such as NOPERM; empty when it is not the server's.
        code: String,
        text: String,
    },
    #[error("the cluster goes on redirecting")]
    Redirected,
    #[error("no answer within {} while {stage}", humantime::format_duration(*limit))]
    TimedOut { limit: Duration, stage: Stage },
}

/// What a connection was at when time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Resolving,
    Connecting,
    Tls,
    Talking,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Resolving => "resolving its name",
            Self::Connecting => "connecting",
            Self::Tls => "agreeing on TLS",
            Self::Talking => "waiting for its reply",
        })
    }
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
        Ok(Self { address, login, longest_answer: LONGEST_ANSWER })
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
    /// Connects, logs in and gives the session to `talk`, all of it within the limit. Every
    /// connection of the session closes at the end.
    ///
    /// # Errors
    /// What failed, or what was going on when time ran out.
    pub async fn within<T>(
        &self,
        limit: Duration,
        talk: impl AsyncFnOnce(&mut Session) -> Result<T, ConnectionError>,
    ) -> Result<T, ConnectionError> {
        let stage = Cell::new(Stage::Resolving);
        let all = async { talk(&mut Session::open(self, &stage).await?).await };
        match tokio::time::timeout(limit, all).await {
            Ok(result) => result,
            Err(_) => Err(ConnectionError::TimedOut { limit, stage: stage.get() }),
        }
    }

    /// The same Redis, of which more is read: this many bytes at most from one connection.
    pub fn with_longest_answer(self, longest_answer: u64) -> Self {
        Self { longest_answer, ..self }
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

    /// The number of the database that is selected.
    pub(super) fn database(&self) -> i64 {
        self.login.db()
    }

    pub(super) async fn connect(
        &self,
        stage: &Cell<Stage>,
    ) -> Result<MultiplexedConnection, ConnectionError> {
        let (host, port, tls) = match &self.address {
            Address::Unix(path) => {
                stage.set(Stage::Connecting);
                let stream = UnixStream::connect(path).await.map_err(ConnectionError::Connect)?;
                return self.log_in(stream, stage).await;
            }
            Address::Tcp { host, port, tls } => (host, *port, *tls),
        };
        let stream = match host.parse() {
            Ok(address) => connect([address], port, stage).await?,
            Err(_) => connect_by_name(host, port, stage).await?,
        };
        // A transaction is one write; waiting for more of it would only cost time.
        let _ = stream.set_nodelay(true);
        if tls {
            stage.set(Stage::Tls);
            self.log_in(encrypt(stream, host).await?, stage).await
        } else {
            self.log_in(stream, stage).await
        }
    }

    /// Authenticates and selects the database; the connection closes when it is dropped.
    async fn log_in(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        stage: &Cell<Stage>,
    ) -> Result<MultiplexedConnection, ConnectionError> {
        stage.set(Stage::Talking);
        // The limit around everything is the only one.
        let no_limits =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let (reader, writer) = tokio::io::split(stream);
        let stream = tokio::io::join(reader.take(self.longest_answer), writer);
        let (connection, driver) =
            MultiplexedConnection::new_with_config(&self.login, stream, no_limits)
                .await
                .map_err(|error| self.redis_error(&error))?;
        tokio::spawn(driver);
        Ok(connection)
    }

    /// The server's complaint in its own words, or what else went wrong.
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

/// A server's complaint can quote the command, and with it the password, which it may cut short:
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

/// The first connection that any of the addresses accepts.
async fn connect(
    addresses: impl IntoIterator<Item = IpAddr>,
    port: u16,
    stage: &Cell<Stage>,
) -> Result<TcpStream, ConnectionError> {
    stage.set(Stage::Connecting);
    let attempts = addresses
        .into_iter()
        .map(|address| Box::pin(TcpStream::connect(SocketAddr::new(address, port))));
    let (stream, _) = select_ok(attempts).await.map_err(ConnectionError::Connect)?;
    Ok(stream)
}

/// A connection to a host by way of the hosts file and the name servers of resolv.conf.
///
/// IPv4 and IPv6 each for itself: some name servers never answer for one of them, and the hosts file
/// often has an address of one alone, for which the other must not wait.
async fn connect_by_name(
    host: &str,
    port: u16,
    stage: &Cell<Stage>,
) -> Result<TcpStream, ConnectionError> {
    let no_address = || ConnectionError::NoAddress { host: host.to_owned() };
    let failed = |source: NetError| {
        if source.is_no_records_found() {
            no_address()
        } else {
            ConnectionError::Resolve { host: host.to_owned(), source }
        }
    };
    // Relaxed: compose services are often called something_like_this.
    let name = Name::from_str_relaxed(host).map_err(|error| failed(error.into()))?;
    // Without a usable resolv.conf the hosts file is left.
    let builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
        let nobody_to_ask = ResolverConfig::from_parts(None, vec![], vec![]);
        TokioResolver::builder_with_config(nobody_to_ask, TokioRuntimeProvider::default())
    });
    let resolver = builder.build().map_err(failed)?;
    let family = async |kind| {
        let answer = resolver.lookup(name.clone(), kind).await.map_err(failed)?;
        let addresses: Vec<IpAddr> =
            answer.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
        // An alias of a name without addresses is an answer, too.
        if addresses.is_empty() {
            return Err(no_address());
        }
        connect(addresses, port, stage).await
    };
    let (ipv4, ipv6) = (Box::pin(family(RecordType::A)), Box::pin(family(RecordType::AAAA)));
    let (first, other) = match select(ipv4, ipv6).await {
        Either::Left((first, other)) | Either::Right((first, other)) => (first, other),
    };
    match first {
        Ok(stream) => Ok(stream),
        // Who had an address has more to tell.
        Err(refused @ ConnectionError::Connect(_)) => other.await.map_err(|_| refused),
        Err(_) => other.await,
    }
}

/// TLS, trusting the authorities of the system and, for images that have none, the bundled ones.
async fn encrypt(stream: TcpStream, host: &str) -> Result<TlsStream<TcpStream>, ConnectionError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ConnectionError::TlsSetUp)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| ConnectionError::Tls(io::Error::other(error)))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(ConnectionError::Tls)
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
    fn a_complaint_shows_neither_the_password_nor_its_beginning() {
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
