//! Commands, options, their environment twins and help texts.

mod expect;
mod keys;
mod plain;
mod run;
mod seal;
mod value;
mod verify;

#[cfg(test)]
mod manual;
#[cfg(test)]
mod properties;

use std::env;
use std::ffi::OsString;
use std::mem::ManuallyDrop;

use clap::error::ErrorKind;
use clap::{CommandFactory, Error, FromArgMatches, Parser, Subcommand};

use crate::log::{LogFormat, LogLevel};
use crate::system::environment::Environment;

pub use expect::Expect;
pub use keys::Keys;
pub use run::{Check, Policy, Run, Supervision};
pub use seal::Seal;
pub use value::{List, list};
pub use verify::Verify;

use plain::plain;
use value::{Value, unless_empty, word};

/// The version, and of which commit and for which target it was built.
const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("VERSION_GUARD_BUILD"), ")");

/// Refuses to start stale or unknown code, registers what runs in Redis, then runs the real worker.
#[derive(Debug, Parser)]
#[command(name = "version-guard", version, long_version = BUILD, propagate_version = true)]
#[command(arg_required_else_help = true)]
#[command(mut_args(unless_empty))]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// Log lines on standard error: text or json
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        display_order = 1000
    )]
    #[arg(env = "VERSION_GUARD_LOG_FORMAT", hide_env_values = true, value_parser = Value(word::<LogFormat>))]
    pub log_format: LogFormat,

    /// The log lines that are wanted: error, warn or info, each with the more serious ones
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info", display_order = 1000)]
    #[arg(env = "VERSION_GUARD_LOG", hide_env_values = true, value_parser = Value(word::<LogLevel>))]
    pub log_level: LogLevel,
}

// Deferred: only the options of the command that is called are built.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// Apply the guards, register, start the worker and supervise it until it ends
    Run(Run),
    /// Print every guard's verdict; start nothing, reach no network
    Check(Check),
    /// Write the image's identity into the image, at build time and as root
    Seal(Seal),
    /// Read the registry and say which workers run the expected version
    Verify(Verify),
    /// Publish, show or take back what the fleet should run
    Expect(Expect),
}

impl Cli {
    /// Reads the command line and the options' twins.
    ///
    /// # Errors
    /// A usage error, or help and version where they were asked for.
    pub fn read(environment: &Environment) -> Result<Self, Usage> {
        let arguments: Vec<OsString> = env::args_os().collect();
        if let Some(run) = plain(&arguments, environment) {
            return Ok(Self::without_options(run));
        }
        Self::parse(arguments).map_err(|error| {
            // What could be read of it says how to tell the error.
            let matches = Self::command().ignore_errors(true).try_get_matches();
            let log_format =
                matches.ok().and_then(|matches| matches.get_one("log_format").copied());
            Usage { error, log_format: log_format.unwrap_or_default() }
        })
    }

    fn without_options(run: Run) -> Self {
        let (log_format, log_level) = (LogFormat::default(), LogLevel::default());
        Self { command: Command::Run(run), log_format, log_level }
    }

    // Not on the stack of a run, which has no use for it: each page of a stack costs.
    #[cold]
    #[inline(never)]
    fn parse(arguments: Vec<OsString>) -> Result<Self, Error> {
        // Never dropped: it would be taken apart piece by piece, a twentieth of a start.
        let mut command = ManuallyDrop::new(Self::command());
        let matches = command.try_get_matches_from_mut(arguments).map_err(|error| {
            let is_without = error.kind() == ErrorKind::MissingRequiredArgument;
            if is_without { Error::raw(error.kind(), NO_COMMAND) } else { error }
        })?;
        let mut cli = Self::from_arg_matches(&matches)?;
        if let (Command::Verify(verify), Some((_, matches))) =
            (&mut cli.command, matches.subcommand())
        {
            verify.settle(matches)?;
        }
        Ok(cli)
    }
}

/// The only argument that is required is the worker's.
const NO_COMMAND: &str = "\
There is no COMMAND to run as the worker after 'version-guard run --'. An ENTRYPOINT in a Dockerfile discards the CMD of the base image: repeat it after the ENTRYPOINT. Compose's entrypoint: and Kubernetes' command: replace the ENTRYPOINT and discard the CMD: use command: and args: there.
Usage: version-guard run [OPTIONS] -- COMMAND [ARG…]
For more information, try '--help'.";

/// Why there is nothing to be done, or nothing but to print what was asked for.
#[derive(Debug)]
pub struct Usage {
    pub error: Error,
    /// How to tell it.
    pub log_format: LogFormat,
}
