//! The way to Redis: the URL, given or in a file, and the certificates.

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::endpoint::{CertificateFiles, Endpoint};
use super::error::ConnectionError;
use super::tls::Trust;
use crate::clean::clean;
use crate::escape::Escape;
use crate::input::read_small;

/// What a registration reads from one connection at most, in bytes: no server that never stops talking
/// can fill the memory of the worker's container.
const MAX_REPLY_BYTES: u64 = 16 * 1024 * 1024;
/// What is read of a file that holds a URL, in bytes.
const MAX_URL_BYTES: u64 = 64 * 1024;

/// How to get to Redis.
#[derive(Debug, Clone)]
pub struct Access {
    source: Source,
    /// What holds the URL, or with _FILE behind it names the file.
    variable: &'static str,
    files: CertificateFiles,
    /// What is read from one connection at most, in bytes.
    pub max_reply_bytes: u64,
    /// Where it was when this was last known, without user and password.
    shown: RefCell<String>,
    /// Whether a URL is set beside the file that counts.
    overrides_url: bool,
    /// Read once: the files may be gone, or mean others, once the worker runs.
    trust: OnceCell<Arc<Trust>>,
}

#[derive(Debug, Clone)]
enum Source {
    Url(Box<Endpoint>),
    /// Read anew for each connection: tokens rotate.
    File(PathBuf),
}

impl Access {
    /// By the URL that this variable holds.
    pub fn to(variable: &'static str, endpoint: Endpoint, files: CertificateFiles) -> Self {
        let shown = endpoint.to_string();
        Self::new(Source::Url(Box::new(endpoint)), variable, files, shown)
    }

    /// By the URL in this file, whatever stands there when it is needed.
    pub fn by_file(
        variable: &'static str,
        path: PathBuf,
        overrides_url: bool,
        files: CertificateFiles,
    ) -> Self {
        let shown = format!("the place that {} names", Escape(&path.display().to_string()));
        Self { overrides_url, ..Self::new(Source::File(path), variable, files, shown) }
    }

    fn new(source: Source, variable: &'static str, files: CertificateFiles, shown: String) -> Self {
        Self {
            source,
            variable,
            files,
            max_reply_bytes: MAX_REPLY_BYTES,
            shown: RefCell::new(shown),
            overrides_url: false,
            trust: OnceCell::new(),
        }
    }

    /// The same Redis, of which more is read: this many bytes at most from one connection.
    pub fn with_max_reply_bytes(self, max_reply_bytes: u64) -> Self {
        Self { max_reply_bytes, ..self }
    }

    /// The variable that holds the URL.
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    /// What of the URL doesn't count, as sentences. By a file, this is where it is first read; that it can't
    /// be is told where it is needed.
    pub fn odd(&self) -> Vec<String> {
        let of_url = self.endpoint().map(|endpoint| endpoint.odd).unwrap_or_default();
        let variable = self.variable;
        let twice =
            self.overrides_url.then(|| format!("is set beside {variable}_FILE, which counts"));
        of_url.into_iter().chain(twice).map(|odd| format!("{variable} {odd}")).collect()
    }

    /// The Redis that the URL names now.
    ///
    /// # Errors
    /// That the file can't be read, or what is wrong with the URL in it.
    pub fn endpoint(&self) -> Result<Endpoint, ConnectionError> {
        match &self.source {
            Source::Url(endpoint) => Ok(Endpoint::clone(endpoint)),
            Source::File(path) => {
                let unusable = |reason: &dyn fmt::Display| {
                    let path = path.display().to_string();
                    ConnectionError::Url(format!(
                        "{}_FILE {} can't be used: {reason}",
                        self.variable,
                        Escape(&path)
                    ))
                };
                let text = read_small(path, MAX_URL_BYTES).map_err(|error| unusable(&error))?;
                let text = String::from_utf8(text).map_err(|_| unusable(&"it is not UTF-8"))?;
                if clean(&text).is_empty() {
                    return Err(unusable(&"it is empty"));
                }
                let endpoint: Endpoint = text.parse().map_err(|reason| unusable(&reason))?;
                self.shown.replace(endpoint.to_string());
                Ok(endpoint)
            }
        }
    }

    /// Whom to trust at this endpoint, and by which certificates to be known there.
    ///
    /// # Errors
    /// A file that can't be read or used.
    pub fn trust(&self, endpoint: &Endpoint) -> Result<Arc<Trust>, ConnectionError> {
        if let Some(trust) = self.trust.get() {
            return Ok(Arc::clone(trust));
        }
        let trust = Arc::new(Trust::read(&self.files.or(&endpoint.files))?);
        if trust.is_whole() {
            return Ok(Arc::clone(self.trust.get_or_init(|| trust)));
        }
        // What could not be read may come yet.
        Ok(trust)
    }
}

impl fmt::Display for Access {
    /// Where it is, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.shown.borrow())
    }
}
