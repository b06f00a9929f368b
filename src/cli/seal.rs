//! The options of `seal`.

use clap::Args;

use super::value::{Value, switch, text, unless_empty, word};
use crate::image::Enforce;

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

    /// always: the tsx and the unknown guard hold whatever NODE_ENV says [default: in production]
    #[arg(long, value_name = "WHEN")]
    #[arg(env = "VERSION_GUARD_ENFORCE", hide_env_values = true)]
    #[arg(value_parser = Value(word::<Enforce>))]
    pub enforce: Option<Enforce>,

    /// Refuse to start without EXPECTED_GIT_SHA
    #[arg(long, env = "VERSION_GUARD_REQUIRE_EXPECTED", hide_env_values = true)]
    #[arg(value_parser = Value(switch))]
    pub require_expected: bool,
}
