//! Certificates and keys, out of files in PEM.

use std::path::Path;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::endpoint::CertificateFiles;
use super::error::ConnectionError;
use crate::escape::Escape;
use crate::input::read_small;

/// What is read of one file, in bytes; a system's whole bundle has a quarter of it.
const MAX_BYTES: u64 = 1024 * 1024;

/// How a file is called in a message.
const CA: &str = "--redis-ca";
const CERT: &str = "--redis-cert";
const KEY: &str = "--redis-key";

/// Who may vouch for a server, and what could not be read of those who may.
pub struct Roots {
    pub store: RootCertStore,
    /// As sentences; of weight only where the rest does not do.
    pub unread: Vec<String>,
}

impl Roots {
    /// Those of the file that is named; else the system's, for images that have none the bundled ones,
    /// and those that Node would take as well.
    ///
    /// # Errors
    /// That the file that is named can't be used.
    pub fn read(files: &CertificateFiles) -> Result<Self, ConnectionError> {
        let mut roots = Self { store: RootCertStore::empty(), unread: Vec::new() };
        if let Some(path) = &files.ca {
            roots.add(&certificates(CA, path)?);
            return Ok(roots);
        }
        if let Some(path) = files.system.as_ref().filter(|path| !path.is_file()) {
            // Named by SSL_CERT_FILE; to open a FIFO would take for ever.
            roots.unread.push(format!("SSL_CERT_FILE {} is no file", path.display()));
            return Ok(roots.with_extra(files));
        }
        let system = rustls_native_certs::load_native_certs();
        roots.add(&system.certs);
        roots.unread.extend(system.errors.iter().map(ToString::to_string));
        if system.certs.is_empty() && files.system.is_some() {
            roots.unread.push("SSL_CERT_FILE holds no certificate in PEM".into());
        }
        Ok(roots.with_extra(files))
    }

    fn with_extra(mut self, files: &CertificateFiles) -> Self {
        self.store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(path) = &files.extra_ca {
            match certificates("NODE_EXTRA_CA_CERTS", path) {
                Ok(certificates) => self.add(&certificates),
                Err(error) => self.unread.push(error.to_string()),
            }
        }
        self
    }

    fn add(&mut self, certificates: &[CertificateDer<'static>]) {
        self.store.add_parsable_certificates(certificates.iter().cloned());
    }
}

/// The client's own certificates, the chain behind it included, and its key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The client's identity, where it is to have one.
///
/// # Errors
/// That one of both files is not named or can't be used.
pub fn identity(files: &CertificateFiles) -> Result<Option<Identity>, ConnectionError> {
    let lonely = |what, path: &Path, missing| unusable(what, path, format!("{missing} is missing"));
    match (&files.cert, &files.key) {
        (None, None) => Ok(None),
        (Some(cert), None) => Err(lonely(CERT, cert, KEY)),
        (None, Some(key)) => Err(lonely(KEY, key, CERT)),
        (Some(cert), Some(key)) => Ok(Some((certificates(CERT, cert)?, private_key(key)?))),
    }
}

fn certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, ConnectionError> {
    let bytes = read(what, path)?;
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(what, path, error.to_string()))?;
    if certificates.is_empty() {
        return Err(unusable(what, path, "it holds no certificate in PEM".into()));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, ConnectionError> {
    let bytes = read(KEY, path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let is_encrypted = bytes.windows(9).any(|window| window == b"ENCRYPTED");
        let reason = match error {
            _ if is_encrypted => {
                "it is encrypted, and nobody is there to give the passphrase".into()
            }
            pem::Error::NoItemsFound => "it holds no private key in PEM".into(),
            error => error.to_string(),
        };
        unusable(KEY, path, reason)
    })
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, ConnectionError> {
    read_small(path, MAX_BYTES).map_err(|error| unusable(what, path, error.to_string()))
}

fn unusable(what: &'static str, path: &Path, reason: String) -> ConnectionError {
    let path = path.display().to_string();
    // Whoever gives the content in its place must not find it in the log.
    let path = if path.contains("-----BEGIN") || path.contains('\n') {
        "(which is the content of a file, and not its path)".into()
    } else {
        Escape(&path).to_string()
    };
    ConnectionError::Certificates { what, path, reason }
}
