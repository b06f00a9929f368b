//! Why Redis could not be used, and what was going on when time ran out.

use std::fmt;
use std::io;
use std::time::Duration;

use hickory_resolver::net::NetError;
use thiserror::Error;

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
