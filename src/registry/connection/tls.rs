//! TLS: whom to trust, and by whose certificate to be known.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SignatureScheme};

use super::certificates::{Identity, Roots, identity};
use super::ecdsa::provider;
use super::endpoint::CertificateFiles;
use super::error::ConnectionError;
use super::refusal::Refusal;
use super::verifier::Verifier;
use crate::escape::Escape;

/// What all connections share.
pub struct Trust {
    provider: Arc<CryptoProvider>,
    roots: Arc<WebPkiServerVerifier>,
    anchors: Arc<RootCertStore>,
    files: CertificateFiles,
    unread: Vec<String>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Trust").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Trust {
    /// Reads the roots.
    ///
    /// # Errors
    /// A file that can't be read or used, by its option's name.
    pub fn read(files: &CertificateFiles) -> Result<Self, ConnectionError> {
        let Roots { store, unread } = Roots::read(files)?;
        let (anchors, provider) = (Arc::new(store), Arc::new(provider()));
        let roots =
            WebPkiServerVerifier::builder_with_provider(anchors.clone(), provider.clone()).build();
        let roots = roots.map_err(|error| ConnectionError::Tls(error.to_string()))?;
        Ok(Self { provider, roots, anchors, files: files.clone(), unread })
    }

    /// Whether all authorities could be read that should be.
    pub fn is_whole(&self) -> bool {
        self.unread.is_empty()
    }

    /// Agrees on TLS with a server that has to be known by one of these names. The client's own
    /// certificate is read anew each time: it rotates.
    ///
    /// # Errors
    /// Why not, and which option could help.
    pub async fn agree(
        &self,
        stream: TcpStream,
        names: &[&str],
    ) -> Result<TlsStream<TcpStream>, ConnectionError> {
        let names: Vec<&str> = match &self.files.server_name {
            Some(name) => vec![name],
            None => names.to_vec(),
        };
        let names = names.iter().filter_map(|name| server_name(name)).collect::<Vec<_>>();
        let Some(first) = names.first().cloned() else {
            let given = self.files.server_name.as_deref().unwrap_or_default();
            return Err(ConnectionError::Tls(format!(
                "'{}' is no name of a server: see --redis-server-name, or the host of the URL",
                Escape(given)
            )));
        };
        let own = Arc::new(OwnCertificate::new(identity(&self.files)?, &self.provider)?);
        let refusal = |error: &io::Error| {
            let has_identity = own.certificate.is_some();
            let was_asked = own.was_asked.load(Ordering::Relaxed);
            ConnectionError::Tls(
                Refusal { has_identity, was_asked, unread: &self.unread }.of(error),
            )
        };
        let verifier = Verifier::new(self.roots.clone(), self.anchors.clone(), names);
        let config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| refusal(&io::Error::other(error)))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(own.clone());
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(first, stream).await.map_err(|error| refusal(&error))
    }

    /// What an error after the handshake has to do with TLS, if anything: TLS 1.3 tells a client only then
    /// that its certificate is not liked.
    pub fn refusal(&self, error: &io::Error) -> Option<String> {
        let has_identity = self.files.cert.is_some();
        // What a server has to say after the handshake is about that.
        let refusal = Refusal { has_identity, was_asked: true, unread: &self.unread };
        Refusal::is_tls(error).then(|| refusal.of(error))
    }
}

/// The client's certificate, and whether the server has asked for it.
#[derive(Debug)]
struct OwnCertificate {
    certificate: Option<Arc<CertifiedKey>>,
    was_asked: AtomicBool,
}

impl OwnCertificate {
    fn new(identity: Option<Identity>, provider: &CryptoProvider) -> Result<Self, ConnectionError> {
        let certified = identity
            .map(|(chain, key)| CertifiedKey::from_der(chain, key, provider).map(Arc::new))
            .transpose();
        let certificate = certified.map_err(|error| {
            let nothing = Refusal { has_identity: true, was_asked: false, unread: &[] };
            ConnectionError::Tls(nothing.of(&io::Error::other(error)))
        })?;
        Ok(Self { certificate, was_asked: AtomicBool::new(false) })
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.was_asked.store(true, Ordering::Relaxed);
        self.certificate.clone()
    }

    fn has_certs(&self) -> bool {
        self.certificate.is_some()
    }
}

/// As it stands in certificates: without the dot of an absolute name.
fn server_name(name: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(name.trim_end_matches('.').to_owned()).ok()
}
