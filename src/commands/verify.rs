//! `verify`: reads the registry and says which workers run the expected version.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal};
use std::time::Duration;

use tokio::sync::Mutex;
use tracing::warn;

use super::access::access;
use super::interrupt::end_on_signals;
use super::quit::quit;
use crate::cli::{self, List};
use crate::config;
use crate::exit::Exit;
use crate::image::{is_too_short, meaningful};
use crate::output::print;
use crate::registry::{self, ALL_TYPES, KeyPrefix, Published, Session, WorkerType, rfc3339};
use crate::system::environment::Environment;
use crate::verify::{
    CannotAsk, Expected, Format, Paint, Report, Requirement, Text, json, prometheus, wait, watch,
};

/// What is read from one connection at most, in bytes: enough for a million instances, or for a
/// thousand records with a megabyte in them.
const MAX_REPLY_BYTES: u64 = 1024 * 1024 * 1024;

/// What a Redis user needs for it.
const COMMANDS: &str =
    "+zscan +zscore +hmget +hgetall +lrange +pttl +time +scan +cluster|slots +info";

/// What a Redis that is well needs for its replies, and a little more.
const MIN_READING: Duration = Duration::from_secs(1);

/// Reads the registry, as often as it takes, and prints the verdict.
///
/// # Errors
/// Why there is no verdict.
#[inline(never)]
pub fn verify(options: &cli::Verify, environment: &Environment) -> anyhow::Result<Exit> {
    end_on_signals()?;
    let expected = expected(options, environment)?;
    let redis = access(environment, &options.keys)?;
    let registry = Registry {
        session: Mutex::new(Session::new(redis.with_max_reply_bytes(MAX_REPLY_BYTES))),
        key_prefix: options.keys.prefix.clone(),
        expected,
        searched: !options.no_scan,
    };
    // Colour is for people.
    let paint = Paint(config::colour(environment) && io::stdout().is_terminal());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let exit = runtime.map_err(CannotAsk::Runtime)?.block_on(judge(options, &registry, paint));
    Ok(exit?)
}

async fn judge(
    options: &cli::Verify,
    registry: &Registry,
    paint: Paint,
) -> Result<Exit, CannotAsk> {
    // One reading of many takes no more of the time than is left, but the last one is a fair one.
    let read_within = |left: Duration| registry.read(options.timeout.min(left.max(MIN_READING)));
    let read = || read_within(options.timeout);
    let report = match (options.watch, options.wait) {
        (true, _) => {
            let watched = watch(read, paint, options.instances);
            return tokio::select! {
                watched = watched => watched,
                quit = quit() => quit.map(|()| Exit::Done).map_err(CannotAsk::Keyboard),
            };
        }
        (_, Some(limit)) => wait(read_within, limit, options.crashes).await?,
        (_, None) => read().await?,
    };
    let text = match options.format {
        Format::Text => Text { report: &report, instances: options.instances, paint }.to_string(),
        Format::Json => json(&report, options.instances)? + "\n",
        Format::Prometheus => prometheus(&report),
    };
    print(&text).map_err(CannotAsk::Output)?;
    Ok(if report.is_as_expected() { Exit::Done } else { Exit::NotAsExpected })
}

/// What the fleet should be.
fn expected(options: &cli::Verify, environment: &Environment) -> anyhow::Result<Expected> {
    let given = if options.expected_is_typed {
        options.expected.clone()
    } else {
        let (git_sha, is_twice) = config::expected_sha(environment)?;
        if is_twice {
            warn!("{}", config::EXPECTED_TWICE);
        }
        git_sha
    };
    let git_sha = match given.as_deref().filter(|git_sha| !git_sha.is_empty()) {
        Some(git_sha) => {
            let sha = meaningful(git_sha).map_err(|word| CannotAsk::NothingExpected { word })?;
            if is_too_short(&sha) {
                anyhow::bail!(CannotAsk::TooShort { git_sha: sha });
            }
            sha
        }
        // Then it is what is published.
        None => String::new(),
    };
    let List(mut required) = options.require.clone().unwrap_or(List(Vec::new()));
    let List(only) = options.only.clone().unwrap_or(List(Vec::new()));
    if let Some(path) = &options.require_file {
        let types = read_types(path)
            .map_err(|reason| CannotAsk::Required { path: path.clone(), reason })?;
        required.extend(types);
    }
    Ok(Expected {
        git_sha,
        by_type: BTreeMap::new(),
        published: None,
        required,
        only,
        dead_for: options.dead_for,
        diverged_is_ok: options.allow_diverged,
        stable_for: options.stable_for,
        must_settle: options.wait.is_some() && !options.watch,
    })
}

/// What is expected by what is published.
fn as_published(expected: &Expected, published: &[Published]) -> Expected {
    let mut expected = expected.clone();
    for Published { of, git_sha, at, by } in published {
        if of.as_str() == ALL_TYPES {
            git_sha.as_str().clone_into(&mut expected.git_sha);
            expected.published = Some(format!("{} by {}", rfc3339(*at), by.as_str()));
        } else {
            expected.by_type.insert(of.as_str().to_owned(), git_sha.as_str().to_owned());
        }
    }
    expected
}

/// The worker types in a file, one a line, or several with commas; `#` begins a comment.
fn read_types(path: &str) -> Result<Vec<Requirement>, String> {
    let file = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let lines = file.lines().map(|line| line.split('#').next().unwrap_or_default());
    let List(types) = cli::list(&lines.collect::<Vec<_>>().join(","))?;
    Ok(types)
}

/// Where to read, and what is expected there.
struct Registry {
    session: Mutex<Session>,
    key_prefix: KeyPrefix,
    expected: Expected,
    /// Whether workers without a shim are searched for.
    searched: bool,
}

impl Registry {
    async fn read(&self, limit: Duration) -> Result<Report, CannotAsk> {
        let Self { session, key_prefix, expected, searched } = self;
        let mut session = session.lock().await;
        let required = expected.required.iter().map(|required| required.worker_type.clone());
        let types: Vec<WorkerType> = required.collect();
        let is_given = !expected.git_sha.is_empty();
        let read = session.within(limit, async |session: &mut Session| {
            let published = if is_given {
                (Vec::new(), Vec::new())
            } else {
                let now = registry::now(session).await?;
                registry::published(session, key_prefix, now).await?
            };
            Ok((registry::read(session, key_prefix, &types, *searched).await?, published))
        });
        match read.await {
            Ok((fleet, _)) if is_given => Ok(Report::new(fleet, expected)),
            Ok((_, (published, odd))) if published.is_empty() => {
                Err(CannotAsk::NoExpectedSha { odd: odd.first().map(|odd| format!(". {odd}")) })
            }
            Ok((fleet, (published, _))) => {
                Ok(Report::new(fleet, &as_published(expected, &published)))
            }
            Err(error) => {
                let needs = format!("~{}* {COMMANDS}", key_prefix.as_str());
                Err(CannotAsk::new(&error, session.access(), needs))
            }
        }
    }
}
