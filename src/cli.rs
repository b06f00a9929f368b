//! Commands, options, their environment twins and help texts.

use std::ffi::OsString;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::config::{Bounded, Heartbeat, KeyPrefix, Required};
use crate::image::Enforce;
use crate::supervisor::{Exit, Remap, Rewrite, Scope, Signal};
use crate::telemetry::{LogFormat, Printable};
use crate::verify::Format;

/// Refuses to start stale or unknown code, registers what runs in Redis, then runs the real worker.
#[derive(Debug, Parser)]
#[command(name = "version-guard", version, propagate_version = true)]
#[command(arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// Log lines on standard error: text or json [env: VERSION_GUARD_LOG_FORMAT] [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Apply the guards, register, start the worker and supervise it until it ends
    Run(Run),
    /// Print every guard's verdict; start nothing, reach no network
    Check(Check),
    /// Write the image's identity into the image, at build time and as root
    Seal(Seal),
    /// Read the registry and say which workers run the expected version
    Verify(Verify),
}

#[derive(Debug, Args)]
#[command(after_help = ENVIRONMENT)]
pub struct Run {
    /// At most this long for the registration before the worker starts
    /// [env: VERSION_GUARD_REGISTER_TIMEOUT] [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub register_timeout: Option<Bounded>,

    /// What the keys in Redis begin with [env: VERSION_GUARD_KEY_PREFIX] [default: fiskai:worker]
    #[arg(long, value_name = "PREFIX")]
    pub key_prefix: Option<KeyPrefix>,

    /// The time between two signs of life in Redis, give or take a tenth
    /// [env: VERSION_GUARD_HEARTBEAT] [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub heartbeat: Option<Heartbeat>,

    #[command(flatten)]
    pub supervision: Supervision,

    /// The worker and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct Supervision {
    /// Who gets a forwarded signal: worker or group [env: VERSION_GUARD_SIGNAL_SCOPE] [default: worker]
    #[arg(long, value_name = "SCOPE")]
    pub signal_scope: Option<Scope>,

    /// Forward another signal in a signal's place, or none for a TO of 0; repeatable
    /// [env: VERSION_GUARD_REWRITE_SIGNAL, separated by commas]
    #[arg(long, value_name = "FROM:TO")]
    pub rewrite_signal: Vec<Rewrite>,

    /// Signal that the shim gets when its parent dies [env: VERSION_GUARD_PARENT_DEATH_SIGNAL]
    #[arg(long, value_name = "SIGNAL")]
    pub parent_death_signal: Option<Signal>,

    /// Exit with TO (0 if it is not named) when the worker's exit code is CODE; repeatable
    /// [env: VERSION_GUARD_REMAP_EXIT, separated by commas]
    #[arg(long, value_name = "CODE[:TO]")]
    pub remap_exit: Vec<Remap>,

    /// Warn of every process that the worker left behind and the shim reaped
    /// [env: VERSION_GUARD_WARN_ON_REAP=true]
    #[arg(long)]
    pub warn_on_reap: bool,

    /// Kill the worker when it has not ended this long after a forwarded TERM or INT
    /// [env: VERSION_GUARD_STOP_TIMEOUT] [default: off]
    #[arg(long, value_name = "DURATION")]
    pub stop_timeout: Option<Bounded>,

    /// When the worker has ended, TERM what it left behind and wait at most this long for its end
    /// [env: VERSION_GUARD_REAP_GRACE] [default: off]
    #[arg(long, value_name = "DURATION")]
    pub reap_grace: Option<Bounded>,
}

#[derive(Debug, Args)]
#[command(after_help = ENVIRONMENT)]
pub struct Check {
    /// The worker and its arguments, for the tsx guard to look at
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct Seal {
    /// The commit that the image is built from [env: GIT_SHA]
    #[arg(long, value_name = "SHA")]
    pub git_sha: Option<String>,

    /// When the image is built, as RFC 3339 [env: BUILD_DATE]
    #[arg(long, value_name = "DATE")]
    pub build_date: Option<String>,

    /// always: the tsx and the unknown guard hold whatever NODE_ENV says
    /// [env: VERSION_GUARD_ENFORCE] [default: in production]
    #[arg(long, value_name = "WHEN")]
    pub enforce: Option<Enforce>,

    /// Refuse to start without EXPECTED_GIT_SHA [env: VERSION_GUARD_REQUIRE_EXPECTED]
    #[arg(long)]
    pub require_expected: bool,
}

#[derive(Debug, Args)]
#[command(after_help = VERIFY_ENVIRONMENT)]
pub struct Verify {
    /// The SHA that workers should run, or at least 7 hex digits of it [env: EXPECTED_GIT_SHA]
    #[arg(long, value_name = "SHA")]
    pub expected: Option<String>,

    /// Worker types that have to be there, separated by commas [env: VERSION_GUARD_REQUIRE]
    #[arg(long, value_name = "TYPES")]
    pub require: Option<Required>,

    /// A file that names more of them, one a line [env: VERSION_GUARD_REQUIRE_FILE]
    #[arg(long, value_name = "FILE")]
    pub require_file: Option<String>,

    /// Read until the fleet is as expected, at most this long [env: VERSION_GUARD_WAIT]
    #[arg(long, value_name = "DURATION")]
    pub wait: Option<Bounded>,

    /// Draw a table that is kept up to date [env: VERSION_GUARD_WATCH=true]
    #[arg(long, conflicts_with_all = ["wait", "format", "json"])]
    pub watch: bool,

    /// Name each instance and its host [env: VERSION_GUARD_INSTANCES=true]
    #[arg(long)]
    pub instances: bool,

    /// The verdict as text, json or prometheus [env: VERSION_GUARD_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,

    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,

    /// Report an instance as dead for this long after it was last seen
    /// [env: VERSION_GUARD_DEAD_FOR] [default: 24h]
    #[arg(long, value_name = "DURATION")]
    pub dead_for: Option<Bounded>,

    /// At most this long for one reading [env: VERSION_GUARD_VERIFY_TIMEOUT] [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<Bounded>,

    /// What the keys in Redis begin with [env: VERSION_GUARD_KEY_PREFIX] [default: fiskai:worker]
    #[arg(long, value_name = "PREFIX")]
    pub key_prefix: Option<KeyPrefix>,
}

/// Prints help and version, when they were asked for, on standard output.
///
/// # Errors
/// A usage error, in the parser's own words.
pub fn explain(usage: &clap::Error) -> anyhow::Result<Exit> {
    let text = usage.render().to_string();
    if usage.use_stderr() {
        let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        let lines: Vec<String> = lines.map(|line| Printable(line).to_string()).collect();
        anyhow::bail!("{}", lines.join("\n").trim_start_matches("error: "));
    }
    print(text.trim_end())?;
    Ok(Exit::Done)
}

/// Prints what a command was asked for on standard output. A reader who has seen enough, as `head`
/// has, is no failure.
///
/// # Errors
/// Standard output can't be written to.
pub fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("standard output can't be written to")
        }
        _ => Ok(()),
    }
}

/// The default of `--register-timeout`.
pub const REGISTER_TIMEOUT: Duration = Duration::from_secs(1);

/// The default of `--heartbeat`.
pub const HEARTBEAT: Duration = Duration::from_secs(30);

/// The default of `verify --timeout`.
pub const VERIFY_TIMEOUT: Duration = Duration::from_secs(10);

/// The default of `--dead-for`: as long as an instance is remembered.
pub const DEAD_FOR: Duration = Duration::from_hours(24);

const VERIFY_ENVIRONMENT: &str = "\
Environment:
  REDIS_URL  redis://, rediss:// or redis+unix://
  NO_COLOR   not empty: no colour on a terminal
Exit: 0 all workers run the expected version; 1 one is stale, missing or dead, or there is none;
2 Redis could not be asked. Each option has a twin in the environment; the option wins.";

const ENVIRONMENT: &str = "\
Environment:
  GIT_SHA, BUILD_DATE  the image's identity, where the image has no seal
  EXPECTED_GIT_SHA     the SHA that the deployment expects; unset: the mismatch guard is off
  NODE_ENV             `production` turns the tsx and the unknown guard on
  WORKER_TYPE          names the worker in Redis; unset: runs unregistered
  REDIS_URL            redis://, rediss:// or redis+unix://; unset: runs unregistered
Each option has a twin in the environment, named in its description; the option wins.";
