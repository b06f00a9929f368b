//! The options of `expect`.

use std::time::Duration;

use clap::Args;

use super::keys::Keys;
use super::value::{List, Value, duration, name, some, switch, text, unless_empty};
use crate::registry::WorkerType;

#[derive(Debug, Args)]
#[command(after_help = EXPECT_ENVIRONMENT, mut_args(unless_empty))]
pub struct Expect {
    /// The SHA that the fleet should run from now on; without it, what is published is shown
    #[arg(value_name = "SHA", value_parser = Value(text))]
    pub git_sha: Option<String>,

    /// Of these worker types alone; repeatable, or separated by commas
    #[arg(long = "type", value_name = "TYPE", value_parser = Value(some::<WorkerType>))]
    pub types: Vec<List<WorkerType>>,

    /// Take back what is published: of these types, or all of it
    #[arg(long, conflicts_with = "git_sha")]
    pub clear: bool,

    /// Who publishes it [default: user and host]
    #[arg(long, value_name = "NAME")]
    #[arg(env = "VERSION_GUARD_BY", hide_env_values = true, value_parser = Value(name))]
    pub by: Option<String>,

    /// Show it as JSON
    #[arg(long, env = "VERSION_GUARD_EXPECT_JSON", hide_env_values = true)]
    #[arg(value_parser = Value(switch))]
    pub json: bool,

    /// At most this long for all of it
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    #[arg(env = "VERSION_GUARD_VERIFY_TIMEOUT", hide_env_values = true)]
    #[arg(value_parser = Value(duration))]
    pub timeout: Duration,

    #[command(flatten)]
    pub keys: Keys,
}

const EXPECT_ENVIRONMENT: &str = "\
Environment:
  REDIS_URL  redis://, rediss://, redis+unix:// or redis+sentinel://; or REDIS_URL_FILE, a file that holds it;
             VERSION_GUARD_REDIS_URL and VERSION_GUARD_REDIS_URL_FILE win over both
Exit: 0 it is published, shown or taken back; 1 nothing is published; 2 Redis could not be asked, or the
SHA is a placeholder or abbreviated; 125 usage error.";
