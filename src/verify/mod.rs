//! `verify`: reads the registry and says which workers run the expected version.

mod follow;
mod render;
mod verdict;

use std::io::{self, IsTerminal, Write};
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::cli;
use crate::config::{Environment, KeyPrefix, Verification};
use crate::kernel;
use crate::registry::{self, ConnectionError, Endpoint};
use crate::supervisor::Exit;
use crate::telemetry::causes;

pub use verdict::Expected;

use render::{Paint, Text};
use verdict::Report;

/// How the verdict looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// That of the deployment integrity document.
    #[default]
    Text,
    Json,
    /// For the node exporter's textfile collector.
    Prometheus,
}

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "prometheus" => Ok(Self::Prometheus),
            _ => Err("expected text, json or prometheus"),
        }
    }
}

/// Why there is no verdict, and the way out.
#[derive(Debug, Error)]
pub enum CannotAsk {
    #[error(
        "There is no expected SHA: give --expected SHA or set EXPECTED_GIT_SHA, for example to $(git rev-parse HEAD)"
    )]
    NoExpectedSha,
    #[error(
        "The expected SHA is {word}, which says nothing: give the one of the deployment, for example $(git rev-parse HEAD)"
    )]
    NothingExpected { word: String },
    #[error("There is no Redis to ask: {reason}. Set it to redis://[user][:password@]host[:port]")]
    NoRedis { reason: String },
    #[error("The required types in {path} can't be read: {reason}")]
    Required { path: String, reason: String },
    #[error(
        "Redis at {redis} can't be reached: {reason}. See that it runs, that REDIS_URL is right, and that no firewall stands between"
    )]
    Unreachable { redis: String, reason: String },
    #[error("Redis at {redis} refuses the login: {reason}. Correct user and password in REDIS_URL")]
    Login { redis: String, reason: String },
    #[error("Redis at {redis} doesn't permit it: {reason}. The user needs: ~{prefix}* {COMMANDS}")]
    NotPermitted { redis: String, reason: String, prefix: String },
    #[error(
        "Redis at {redis}: {reason}. Give it more time with --timeout, or see what holds it up"
    )]
    TimedOut { redis: String, reason: String },
    #[error("Redis at {redis} gave no usable answer: {reason}")]
    Answer { redis: String, reason: String },
    #[error("The verdict can't be written to standard output: {0}")]
    Output(io::Error),
    #[error("The verdict can't be expressed: {0}")]
    Json(#[from] serde_json::Error),
    #[error("Nothing to wait with: {0}")]
    Runtime(io::Error),
}

/// What is read from one connection at most, in bytes: enough for a million instances, or for a
/// thousand records with a megabyte in them.
const LONGEST_ANSWER: u64 = 1024 * 1024 * 1024;

/// What an ACL user needs for `verify`.
const COMMANDS: &str = "+zscan +zscore +hmget +pttl +time +scan +info +cluster|slots";

impl CannotAsk {
    fn new(error: &ConnectionError, redis: &Endpoint, prefix: &KeyPrefix) -> Self {
        let (redis, reason) = (redis.to_string(), causes(error));
        match error {
            ConnectionError::Redis { code, .. } => match code.as_str() {
                "NOPERM" => {
                    Self::NotPermitted { redis, reason, prefix: prefix.as_str().to_owned() }
                }
                "WRONGPASS" | "NOAUTH" => Self::Login { redis, reason },
                _ => Self::Answer { redis, reason },
            },
            ConnectionError::Redirected => Self::Answer { redis, reason },
            ConnectionError::TimedOut { .. } => Self::TimedOut { redis, reason },
            _ => Self::Unreachable { redis, reason },
        }
    }

    /// Whether it can pass by itself, as a Redis that is being restarted does.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Answer { .. })
    }
}

/// Reads the registry, as often as it takes, and prints the verdict.
///
/// # Errors
/// A malformed setting, or why there is no verdict.
pub fn run(options: cli::Verify, environment: &Environment) -> anyhow::Result<Exit> {
    kernel::end_on_signals();
    kernel::unblock_signals();
    let verification = Verification::new(options, environment)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let verdict = runtime.map_err(CannotAsk::Runtime)?.block_on(verification.verdict())?;
    Ok(verdict)
}

/// What a Redis that is well needs for its answers, and a little more.
const SHORTEST_READING: Duration = Duration::from_secs(1);

impl Verification {
    async fn verdict(&self) -> Result<Exit, CannotAsk> {
        let expected = self.expected()?;
        let redis = self.redis()?;
        // One reading of many takes no more of the time than is left, but the last one is a fair one.
        let read_within = |left: Duration| {
            self.read(redis, &expected, self.timeout.min(left.max(SHORTEST_READING)))
        };
        let read = || read_within(self.timeout);
        let report = match (self.watch, self.wait) {
            (true, _) => return follow::watch(read, self.paint()).await,
            (_, Some(limit)) => follow::wait(read_within, limit).await?,
            (_, None) => read().await?,
        };
        print(&self.rendered(&report)?)?;
        Ok(if report.is_as_expected() { Exit::Done } else { Exit::NotAsExpected })
    }

    async fn read(
        &self,
        redis: &Endpoint,
        expected: &Expected,
        limit: Duration,
    ) -> Result<Report, CannotAsk> {
        let fleet = redis
            .clone()
            .with_longest_answer(LONGEST_ANSWER)
            .within(limit, async |redis| {
                registry::read(redis, &self.key_prefix, &expected.required).await
            })
            .await
            .map_err(|error| CannotAsk::new(&error, redis, &self.key_prefix))?;
        Ok(Report::new(fleet, expected))
    }

    fn rendered(&self, report: &Report) -> Result<String, CannotAsk> {
        Ok(match self.format {
            Format::Text => {
                Text { report, instances: self.instances, paint: self.paint() }.to_string()
            }
            Format::Json => render::json(report, self.instances)? + "\n",
            Format::Prometheus => render::prometheus(report),
        })
    }

    /// Colour is for people: on a terminal, and unless they have asked for none (no-color.org).
    fn paint(&self) -> Paint {
        Paint(self.colour && io::stdout().is_terminal())
    }
}

/// Whether somebody reads on, after this was printed on standard output. A reader who has seen enough,
/// as `head` has, is no failure.
fn print(text: &str) -> Result<bool, CannotAsk> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CannotAsk::Output(error)),
    }
}
