//! From an endpoint to a connection: name resolution, TLS and login.
//!
//! Nothing here calls libc's name service: a static glibc binary dies of it in images whose
//! nsswitch.conf names a module of another glibc, and with it, as PID 1, the container.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::future::{Either, select, select_ok};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::endpoint::{Address, Endpoint};
use super::error::{ConnectionError, Stage};

/// Connects and logs in; the connection closes when it is dropped.
///
/// # Errors
/// What failed.
pub async fn connect(
    endpoint: &Endpoint,
    stage: &Cell<Stage>,
) -> Result<MultiplexedConnection, ConnectionError> {
    let (host, port, tls) = match endpoint.address() {
        Address::Unix(path) => {
            stage.set(Stage::Connecting);
            let stream = UnixStream::connect(path).await.map_err(ConnectionError::Connect)?;
            return log_in(endpoint, stream, stage).await;
        }
        Address::Tcp { host, port, tls } => (host, *port, *tls),
    };
    let stream = match host.parse() {
        Ok(address) => connect_to_any([address], port, stage).await?,
        Err(_) => connect_by_name(host, port, stage).await?,
    };
    // A transaction is one write; waiting for more of it would only cost time.
    let _ = stream.set_nodelay(true);
    if tls {
        stage.set(Stage::Tls);
        log_in(endpoint, encrypt(stream, host).await?, stage).await
    } else {
        log_in(endpoint, stream, stage).await
    }
}

/// Authenticates and selects the database.
async fn log_in(
    endpoint: &Endpoint,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    stage: &Cell<Stage>,
) -> Result<MultiplexedConnection, ConnectionError> {
    stage.set(Stage::Talking);
    // The limit around everything is the only one.
    let no_limits =
        AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let (reader, writer) = tokio::io::split(stream);
    let stream = tokio::io::join(reader.take(endpoint.max_reply_bytes()), writer);
    let (connection, driver) =
        MultiplexedConnection::new_with_config(endpoint.login(), stream, no_limits)
            .await
            .map_err(|error| endpoint.redis_error(&error))?;
    tokio::spawn(driver);
    Ok(connection)
}

/// The first connection that any of the addresses accepts.
async fn connect_to_any(
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
        let no_name_servers = ResolverConfig::from_parts(None, vec![], vec![]);
        TokioResolver::builder_with_config(no_name_servers, TokioRuntimeProvider::default())
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
        connect_to_any(addresses, port, stage).await
    };
    let (ipv4, ipv6) = (Box::pin(family(RecordType::A)), Box::pin(family(RecordType::AAAA)));
    let (first, other) = match select(ipv4, ipv6).await {
        Either::Left((first, other)) | Either::Right((first, other)) => (first, other),
    };
    match first {
        Ok(stream) => Ok(stream),
        // The one that had an address has more to tell.
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
