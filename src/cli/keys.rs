//! Where in Redis the registry is, for all commands that use it.

use clap::Args;

use super::value::Value;
use crate::registry::KeyPrefix;

#[derive(Debug, Args)]
pub struct Keys {
    /// What the keys in Redis begin with
    #[arg(
        long = "key-prefix",
        id = "key_prefix",
        value_name = "PREFIX",
        default_value = "fiskai:worker"
    )]
    #[arg(env = "VERSION_GUARD_KEY_PREFIX", hide_env_values = true)]
    #[arg(value_parser = Value(str::parse::<KeyPrefix>))]
    pub prefix: KeyPrefix,
}
