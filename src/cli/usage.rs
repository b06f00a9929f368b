//! What is wrong with a command line, and how to tell it, by as much of it as can be read.

use std::ffi::OsString;

use clap::{ArgMatches, Command, Error};

use super::value::word;
use crate::clean::clean;
use crate::log::{LogFormat, TerminationLog};
use crate::system::environment::Environment;

/// Why there is nothing to be done, or nothing but to print what was asked for.
#[derive(Debug)]
pub struct Usage {
    pub error: Error,
    /// How to tell it.
    pub log_format: LogFormat,
    /// Where to repeat it, if it is about `run`.
    pub termination_log: Option<TerminationLog>,
}

impl Usage {
    /// By the options that can be read, else by their twins: where one of those is what is wrong, the parser
    /// reads no others.
    pub fn new(
        error: Error,
        command: Command,
        arguments: &[OsString],
        environment: &Environment,
    ) -> Self {
        let twin = |name| environment.get(name)?.to_str().map(clean);
        let matches = command.ignore_errors(true).try_get_matches_from(arguments).ok();
        let log_format =
            matches.as_ref().and_then(|matches| matches.get_one("log_format").copied());
        let log_format = log_format
            .or_else(|| twin("VERSION_GUARD_LOG_FORMAT").and_then(|format| word(format).ok()));
        let run = matches.as_ref().and_then(|matches| matches.subcommand_matches("run"));
        let termination_log = run.and_then(termination_log).or_else(|| {
            let path = twin("VERSION_GUARD_TERMINATION_LOG").filter(|path| !path.is_empty());
            path.and_then(|path| path.parse().ok())
        });
        let is_of_run = arguments.iter().take_while(|word| *word != "--").any(|word| word == "run");
        Self {
            error,
            log_format: log_format.unwrap_or_default(),
            termination_log: is_of_run.then(|| termination_log.unwrap_or_default()),
        }
    }
}

fn termination_log(run: &ArgMatches) -> Option<TerminationLog> {
    run.try_get_one("termination_log").ok().flatten().cloned()
}
