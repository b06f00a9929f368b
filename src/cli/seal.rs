//! The options of `seal`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::run::Policy;
use super::value::{List, Value, duration, paths, switch, text, unless_empty};

#[derive(Debug, Args)]
#[command(after_help = SEAL_EXIT, mut_args(unless_empty))]
pub struct Seal {
    /// The commit that the image is built from
    #[arg(long, value_name = "SHA", default_value = "")]
    #[arg(env = "GIT_SHA", hide_env_values = true, hide_default_value = true)]
    #[arg(value_parser = Value(text))]
    pub git_sha: String,

    /// When the image is built, as RFC 3339
    #[arg(long, value_name = "DATE", default_value = "")]
    #[arg(env = "BUILD_DATE", hide_env_values = true, hide_default_value = true)]
    #[arg(value_parser = Value(text))]
    pub build_date: String,

    #[command(flatten)]
    pub policy: Policy,

    /// Seal nothing, instead of a warning, where the SHA is no whole one, the date is not RFC 3339, or the
    /// image holds packages of what --forbid-runners names
    #[arg(long, env = "VERSION_GUARD_STRICT", hide_env_values = true)]
    #[arg(value_parser = Value(switch))]
    pub strict: bool,

    /// An argument of the worker command that is no runner although it looks like one, exactly as it
    /// stands; repeatable
    // Not cleaned: blanks, quotes and line ends are part of an argument.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub allow_argument: Vec<String>,

    /// For how long at least the running worker's processes are looked at for forbidden runners; 0s is
    /// never [default: what run is told]
    #[arg(long, value_name = "DURATION")]
    #[arg(env = "VERSION_GUARD_RUNNER_WATCH", hide_env_values = true)]
    #[arg(value_parser = Value(duration))]
    pub runner_watch: Option<Duration>,

    /// Seal this folder or file: a worker whose code is another is refused; repeatable, or separated by
    /// colons
    #[arg(long, value_name = "PATH")]
    #[arg(env = "VERSION_GUARD_CODE", hide_env_values = true, value_parser = Value(paths))]
    pub code: Vec<List<PathBuf>>,

    /// Leave this out of the sealed code, such as a folder for data; repeatable, or separated by colons
    #[arg(long, value_name = "PATH")]
    #[arg(env = "VERSION_GUARD_CODE_EXCEPT", hide_env_values = true, value_parser = Value(paths))]
    pub except: Vec<List<PathBuf>>,
}

const SEAL_EXIT: &str = "\
Exit: 0 it is sealed; 125 it is not, and what was sealed before stays. Each option but --allow-argument has
a twin in the environment, named in its description; the option wins.";
