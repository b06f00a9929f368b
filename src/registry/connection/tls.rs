//! TLS: whom to trust, and by whose certificate to be known.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::ServerName;

use super::certificates::{Roots, identity};
use super::ecdsa::provider;
use super::endpoint::CertificateFiles;
use super::error::ConnectionError;
use super::refusal::Refusal;
use super::verifier::Verifier;

/// What all connections share.
pub struct Trust {
    provider: Arc<CryptoProvider>,
    roots: Arc<WebPkiServerVerifier>,
    anchors: Arc<tokio_rustls::rustls::RootCertStore>,
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
            return Err(ConnectionError::Tls("the server has no name to check".into()));
        };
        let identity = identity(&self.files)?;
        let refusal = Refusal { has_identity: identity.is_some(), unread: &self.unread };
        let verifier = Verifier::new(self.roots.clone(), self.anchors.clone(), names);
        let config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map(|config| config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
            .and_then(|config| match identity {
                Some((chain, key)) => config.with_client_auth_cert(chain, key),
                None => Ok(config.with_no_client_auth()),
            })
            .map_err(|error| ConnectionError::Tls(refusal.of(&io::Error::other(error))))?;
        let connector = TlsConnector::from(Arc::new(config));
        let agreed = connector.connect(first, stream).await;
        agreed.map_err(|error| ConnectionError::Tls(refusal.of(&error)))
    }

    /// What an error after the handshake has to do with TLS, if anything: TLS 1.3 tells a client only then
    /// that its certificate is not liked.
    pub fn refusal(&self, error: &io::Error) -> Option<String> {
        let refusal = Refusal { has_identity: self.files.cert.is_some(), unread: &self.unread };
        Refusal::is_tls(error).then(|| refusal.of(error))
    }
}

/// As it stands in certificates: without the dot of an absolute name.
fn server_name(name: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(name.trim_end_matches('.').to_owned()).ok()
}
