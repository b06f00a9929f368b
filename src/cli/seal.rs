//! The options of `seal`.

use std::path::PathBuf;

use clap::Args;

use super::run::Policy;
use super::value::{List, Value, paths, text, unless_empty};

#[derive(Debug, Args)]
#[command(mut_args(unless_empty))]
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
