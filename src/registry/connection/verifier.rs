//! When a server is the one that is meant.
//!
//! As for OpenSSL and Node, a certificate that is itself among the trusted ones will do, and one without
//! any alternative name of a host is known by its common name: certificates for a Redis of one's own are often
//! made so. The TLS library refuses both.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::common_name::common_names;

#[derive(Debug)]
pub struct Verifier {
    roots: Arc<WebPkiServerVerifier>,
    anchors: Arc<RootCertStore>,
    /// One of them has to be the server's.
    names: Vec<ServerName<'static>>,
}

impl Verifier {
    pub fn new(
        roots: Arc<WebPkiServerVerifier>,
        anchors: Arc<RootCertStore>,
        names: Vec<ServerName<'static>>,
    ) -> Self {
        Self { roots, anchors, names }
    }

    /// Whether the certificate's own key is one that is trusted.
    fn is_pinned(&self, certificate: &ParsedCertificate) -> bool {
        let key = certificate.subject_public_key_info();
        // An anchor holds what is within the outermost sequence.
        self.anchors.roots.iter().any(|root| key.as_ref().ends_with(&root.subject_public_key_info))
    }

    /// Whether the certificate has one of the names.
    fn check_names(&self, certificate: &CertificateDer) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let mut refused = Error::InvalidCertificate(CertificateError::NotValidForName);
        for name in &self.names {
            match verify_server_name(&parsed, name) {
                Ok(()) => return Ok(()),
                Err(error) => refused = error,
            }
        }
        let Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented, ..
        }) = &mut refused
        else {
            return Err(refused);
        };
        // Beside another name of a host they don't count; RFC 6125.
        if presented.iter().any(|name| name.starts_with("DnsName")) {
            return Err(refused);
        }
        let common = common_names(certificate);
        let fits = |name| common.iter().any(|common| is_called(name, common));
        if self.names.iter().any(fits) {
            return Ok(());
        }
        presented.extend(common);
        Err(refused)
    }
}

/// Whether a common name is this host's, or a wildcard for it; RFC 6125.
fn is_called(name: &ServerName, common: &str) -> bool {
    let ServerName::DnsName(name) = name else { return false };
    let name = name.as_ref();
    let parent = name.split_once('.').map(|(_, parent)| parent);
    let wildcard = common.strip_prefix("*.").filter(|parent| parent.contains('.'));
    name.eq_ignore_ascii_case(common)
        || wildcard.zip(parent).is_some_and(|(wild, parent)| wild.eq_ignore_ascii_case(parent))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use CertificateError as Why;
        let refused = match self.roots.verify_server_cert(certificate, others, name, ocsp, now) {
            Ok(verified) => return Ok(verified),
            Err(refused) => refused,
        };
        let is_its_own_issuer = |certificate: &CertificateDer| {
            ParsedCertificate::try_from(certificate).is_ok_and(|parsed| self.is_pinned(&parsed))
        };
        match &refused {
            // Its issuer and its dates were found right before.
            Error::InvalidCertificate(
                Why::NotValidForName | Why::NotValidForNameContext { .. },
            ) => {
                self.check_names(certificate)?;
            }
            // Its dates were.
            Error::InvalidCertificate(Why::UnknownIssuer | Why::Other(_))
                if is_its_own_issuer(certificate) =>
            {
                self.check_names(certificate)?;
            }
            _ => return Err(refused),
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.roots.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.roots.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.supported_verify_schemes()
    }
}
