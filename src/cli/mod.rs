//! Commands, options, their environment twins and help texts.

mod expect;
mod health;
mod keys;
mod misspelt;
mod plain;
mod refused;
mod run;
mod seal;
mod usage;
mod value;
mod verify;

#[cfg(test)]
mod manual;
#[cfg(test)]
mod properties;

use std::env;
use std::ffi::OsString;
use std::mem::ManuallyDrop;

use clap::{CommandFactory, Error, FromArgMatches, Parser, Subcommand};

use crate::log::{LogFormat, LogLevel};
use crate::system::environment::Environment;

pub use expect::Expect;
pub use health::Health;
pub use keys::Keys;
pub use refused::ENTRYPOINT;
pub use run::{Check, Policy, Run, Supervision};
pub use seal::Seal;
pub use usage::Usage;
pub use value::{List, list};
pub use verify::Verify;

use misspelt::misspelt;
use plain::plain;
use refused::in_the_users_words;
use value::{Value, unless_empty, word};

/// The version, and of which commit and for which target it was built.
const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("VERSION_GUARD_BUILD"), ")");

/// Refuses to start stale or unknown code, registers what runs in Redis, then runs the real worker.
#[derive(Debug, Parser)]
#[command(name = "version-guard", version, long_version = BUILD, propagate_version = true)]
#[command(arg_required_else_help = true, after_help = EXIT_CODES)]
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

    /// Sentences about variables that look like an option's twin and are none.
    #[arg(skip)]
    pub misspelt: Vec<String>,
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
    /// Say whether the worker of this container runs, for HEALTHCHECK and probes
    Health(Health),
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
        Self::parse(&arguments, environment)
            .map_err(|error| Usage::new(error, Self::command(), &arguments, environment))
    }

    fn without_options(run: Run) -> Self {
        let (log_format, log_level) = (LogFormat::default(), LogLevel::default());
        Self { command: Command::Run(run), log_format, log_level, misspelt: Vec::new() }
    }

    // Not on the stack of a run, which has no use for it: each page of a stack costs.
    #[cold]
    #[inline(never)]
    fn parse(arguments: &[OsString], environment: &Environment) -> Result<Self, Error> {
        // Never dropped: it would be taken apart piece by piece, a twentieth of a start.
        let mut command = ManuallyDrop::new(Self::command());
        let matches = command
            .try_get_matches_from_mut(arguments)
            .map_err(|error| in_the_users_words(error, arguments))?;
        let mut cli = Self::from_arg_matches(&matches)?;
        let called = matches.subcommand_name().and_then(|name| command.find_subcommand(name));
        cli.misspelt = misspelt(environment, called, Self::command);
        if let (Command::Verify(verify), Some((_, matches))) =
            (&mut cli.command, matches.subcommand())
        {
            verify.settle(matches)?;
        }
        Ok(cli)
    }
}

const EXIT_CODES: &str = "\
Exit: run: the worker's code, or 128 + the signal that killed it; before there is a worker: 1 a guard said no,
127 the worker is not found, 126 it can't be executed, 125 usage, configuration or the shim's own failure.
check, health: 0 or 1. seal: 0 or 125. verify, expect: 0, 1, or 2 where Redis could not be asked.
'version-guard help COMMAND' says more.";
