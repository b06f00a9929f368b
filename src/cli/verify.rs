//! The options of `verify`.

use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Error};

use super::keys::Keys;
use super::value::{List, Value, count, duration, list, switch, text, unless_empty, word};
use crate::registry::WorkerType;
use crate::verify::{Format, Requirement};

// Each switch is an option of its own.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Args)]
#[command(after_help = VERIFY_ENVIRONMENT, mut_args(unless_empty))]
pub struct Verify {
    /// The SHA that workers should run, or at least 7 hex digits of it
    #[arg(long, value_name = "SHA")]
    #[arg(env = "EXPECTED_GIT_SHA", hide_env_values = true)]
    #[arg(value_parser = Value(text))]
    pub expected: Option<String>,

    /// Whether that stands on the command line, and not in the environment.
    #[arg(skip)]
    pub expected_is_typed: bool,

    /// Worker types that have to be there, separated by commas: TYPE, TYPE=3 for at least three, or
    /// TYPE=0..2 for what may be scaled to nothing
    #[arg(long, value_name = "TYPES")]
    #[arg(env = "VERSION_GUARD_REQUIRE", hide_env_values = true)]
    #[arg(value_parser = Value(list::<Requirement>))]
    pub require: Option<List<Requirement>>,

    /// Judge these types alone, separated by commas
    #[arg(long, value_name = "TYPES")]
    #[arg(env = "VERSION_GUARD_ONLY", hide_env_values = true)]
    #[arg(value_parser = Value(list::<WorkerType>))]
    pub only: Option<List<WorkerType>>,

    /// A file that names more of them, one a line
    #[arg(long, value_name = "FILE")]
    #[arg(env = "VERSION_GUARD_REQUIRE_FILE", hide_env_values = true)]
    #[arg(value_parser = Value(text))]
    pub require_file: Option<String>,

    /// Read until the fleet is as expected, at most this long
    #[arg(long, value_name = "DURATION")]
    #[arg(env = "VERSION_GUARD_WAIT", hide_env_values = true)]
    #[arg(value_parser = Value(duration))]
    pub wait: Option<Duration>,

    /// With --wait: be content only with what has been registered for this long, and when nothing has
    /// ended by itself meanwhile
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    #[arg(env = "VERSION_GUARD_STABLE_FOR", hide_env_values = true)]
    #[arg(value_parser = Value(duration))]
    pub stable_for: Duration,

    /// With --wait: give up once a required type has ended by itself so often on the expected SHA
    #[arg(long, value_name = "N", default_value = "5")]
    #[arg(env = "VERSION_GUARD_CRASHES", hide_env_values = true, value_parser = Value(count))]
    pub crashes: usize,

    /// Draw a table that is kept up to date, until q is pressed
    #[arg(long, env = "VERSION_GUARD_WATCH", hide_env_values = true)]
    #[arg(value_parser = Value(switch))]
    pub watch: bool,

    /// Name each instance and its host
    #[arg(long, env = "VERSION_GUARD_INSTANCES", hide_env_values = true)]
    #[arg(value_parser = Value(switch))]
    pub instances: bool,

    /// The verdict as text, json or prometheus
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    #[arg(env = "VERSION_GUARD_FORMAT", hide_env_values = true)]
    #[arg(value_parser = Value(word::<Format>))]
    pub format: Format,

    /// The same as --format json
    #[arg(long)]
    json: bool,

    /// Report an instance as dead for this long after it was last seen
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    #[arg(env = "VERSION_GUARD_DEAD_FOR", hide_env_values = true)]
    #[arg(value_parser = Value(duration))]
    pub dead_for: Duration,

    /// Accept workers of one SHA with different sealed code, as of two builds of one commit
    #[arg(long, env = "VERSION_GUARD_ALLOW_DIVERGED", hide_env_values = true)]
    #[arg(value_parser = Value(switch))]
    pub allow_diverged: bool,

    /// Don't search all of Redis's keys for workers without a shim, which takes half a second a million
    #[arg(long, env = "VERSION_GUARD_NO_SCAN", hide_env_values = true)]
    #[arg(value_parser = Value(switch))]
    pub no_scan: bool,

    /// At most this long for one reading
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    #[arg(env = "VERSION_GUARD_VERIFY_TIMEOUT", hide_env_values = true)]
    #[arg(value_parser = Value(duration))]
    pub timeout: Duration,

    #[command(flatten)]
    pub keys: Keys,
}

impl Verify {
    /// Of the ways to read and to print, which exclude each other, lets the command line win over a
    /// twin. clap's own conflicts take a twin for as good as an option.
    pub fn settle(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.expected_is_typed = matches.value_source("expected") == Some(ValueSource::CommandLine);
        let is_typed = |id: &&&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let conflict = |one: &str, other: &str| {
            let text = format!("the argument '--{one}' cannot be used with '--{other}'");
            Err(Error::raw(ErrorKind::ArgumentConflict, text))
        };
        let other = ["wait", "format", "json"].iter().find(is_typed);
        match (is_typed(&&"watch"), other) {
            (true, Some(other)) => return conflict("watch", other),
            (false, Some(_)) => self.watch = false,
            _ => {}
        }
        if self.json && is_typed(&&"format") {
            return conflict("json", "format");
        }
        if self.json {
            self.format = Format::Json;
        }
        Ok(())
    }
}

const VERIFY_ENVIRONMENT: &str = "\
Environment:
  REDIS_URL  redis://, rediss://, redis+unix:// or redis+sentinel://; or REDIS_URL_FILE, a file that holds it;
             VERSION_GUARD_REDIS_URL and VERSION_GUARD_REDIS_URL_FILE win over both
  EXPECTED_GIT_SHA_FILE  a file that holds the expected SHA
  NO_COLOR   not empty: no colour on a terminal
Exit: 0 all workers run the expected version; 1 one is stale, missing or dead, or there is none;
2 Redis could not be asked; 125 usage error. Each option has a twin in the environment; the option wins.";
