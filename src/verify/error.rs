//! Why there is no verdict.

use std::io;

use thiserror::Error;

use crate::escape::Escape;
use crate::image::MIN_DIGITS;
use crate::log::causes;
use crate::registry::{Access, ConnectionError};

/// Why there is no verdict, and the way out.
#[derive(Debug, Error)]
pub enum CannotAsk {
    #[error(
        "There is no expected SHA: give --expected SHA or set EXPECTED_GIT_SHA, for example to $(git rev-parse HEAD), or publish it with version-guard expect SHA{}",
        odd.as_deref().unwrap_or_default()
    )]
    NoExpectedSha {
        /// What is published and doesn't count, as a sentence that follows.
        odd: Option<String>,
    },
    #[error(
        "The expected SHA is {word}, which says nothing: give the one of the deployment, for example $(git rev-parse HEAD)"
    )]
    NothingExpected { word: String },
    #[error(
        "{} abbreviates a SHA: publish all 40 or 64 digits of it, for example $(git rev-parse HEAD)",
        Escape(git_sha)
    )]
    Abbreviated { git_sha: String },
    #[error(
        "The expected SHA is '{}', too short to tell commits apart: give all of it, or at least {MIN_DIGITS} hex digits",
        Escape(git_sha)
    )]
    TooShort { git_sha: String },
    #[error("There is no Redis to ask: {reason}")]
    NoRedis { reason: String },
    #[error("The required types in {path} can't be read: {reason}")]
    Required { path: String, reason: String },
    #[error(
        "Redis at {redis} can't be reached: {reason}. See that it runs, that {variable} is right, and that no firewall stands between"
    )]
    Unreachable { redis: String, reason: String, variable: &'static str },
    #[error(
        "Redis at {redis} refuses the login: {reason}. Correct user and password in {variable}"
    )]
    Login { redis: String, reason: String, variable: &'static str },
    #[error(
        "Redis at {redis} doesn't permit it: {reason}. The user needs: {needs}, and +select where the URL names a database"
    )]
    NotPermitted { redis: String, reason: String, needs: String },
    #[error(
        "Redis at {redis}: {reason}. Give it more time with --timeout, or see what holds it up"
    )]
    TimedOut { redis: String, reason: String },
    #[error("Redis at {redis} can't be used: {reason}")]
    Answer { redis: String, reason: String },
    #[error("The verdict can't be written to standard output: {0}")]
    Output(io::Error),
    #[error("The keyboard can't be read: {0}")]
    Keyboard(io::Error),
    #[error("The verdict can't be expressed: {0}")]
    Json(#[from] serde_json::Error),
    #[error("Nothing to wait with: {0}")]
    Runtime(io::Error),
}

impl CannotAsk {
    /// `needs` is what a Redis user needs for it, as in an ACL rule.
    pub fn new(error: &ConnectionError, redis: &Access, needs: String) -> Self {
        let (variable, redis, reason) = (redis.variable(), redis.to_string(), causes(error));
        match error {
            ConnectionError::Redis { code, .. } => match code.as_str() {
                "NOPERM" => Self::NotPermitted { redis, reason, needs },
                _ => Self::Answer { redis, reason },
            },
            ConnectionError::Login { text } => {
                Self::Login { redis, reason: text.clone(), variable }
            }
            // A URL in a file may be right the next time, and so may what else is in files.
            ConnectionError::Url(_)
            | ConnectionError::Tls(_)
            | ConnectionError::Certificates { .. }
            | ConnectionError::NoSentinel(_)
            | ConnectionError::Redirected
            | ConnectionError::NoMaster { .. }
            | ConnectionError::Sentinel(_)
            | ConnectionError::NoRedis => Self::Answer { redis, reason },
            ConnectionError::TimedOut { .. } => Self::TimedOut { redis, reason },
            _ => Self::Unreachable { redis, reason, variable },
        }
    }

    /// Whether it can pass by itself, as a Redis that is being restarted does.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Answer { .. })
    }
}
