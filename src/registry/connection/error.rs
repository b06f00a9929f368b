//! Why Redis could not be used, and what was going on when time ran out.

use std::fmt;
use std::io;
use std::time::Duration;

use hickory_net::NetError;
use thiserror::Error;

/// Why Redis could not be used. No message holds the password, and what another program said is made
/// harmless.
#[derive(Debug, Error)]
pub enum ConnectionError {
    #[error("{0}")]
    Url(String),
    #[error("the name {host} can't be resolved")]
    Resolve { host: String, source: NetError },
    #[error("no name server and no hosts file knows an address of {host}")]
    NoAddress { host: String },
    #[error("no connection")]
    Connect(#[source] io::Error),
    #[error("the connection broke off")]
    Broken(#[source] io::Error),
    #[error(
        "it closed the connection without a word. Does it speak TLS alone? Then the URL begins with rediss://"
    )]
    Closed,
    #[error(
        "what it answers is no reply of a Redis. Does it speak TLS alone? Then the URL begins with rediss://"
    )]
    NoRedis,
    #[error("{what} {path} can't be used: {reason}")]
    Certificates { what: &'static str, path: String, reason: String },
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("{text}")]
    Redis {
        /// The first word of the complaint, such as NOPERM; empty when it is not the server's.
        code: String,
        text: String,
    },
    #[error("the login is refused: {text}")]
    Login { text: String },
    #[error("no Sentinel knows a master named {master}")]
    NoMaster { master: String },
    #[error(
        "it is a Sentinel, which holds no keys itself: write redis+sentinel://{0}/MASTER, with the master's name"
    )]
    Sentinel(String),
    #[error("it is no Sentinel: write redis://{0} for a Redis that is asked itself")]
    NoSentinel(String),
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
            Self::Tls => "agreeing on TLS, if it speaks that at all",
            Self::Talking => "waiting for its reply",
        })
    }
}

impl ConnectionError {
    /// Whether another address of the same Redis could do better.
    pub fn is_of_this_address(&self) -> bool {
        !matches!(
            self,
            Self::Url(_) | Self::Certificates { .. } | Self::Login { .. } | Self::Redirected
        )
    }
}
