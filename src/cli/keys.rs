//! Where in Redis the registry is, and by which certificates, for all commands that use it.

use std::path::PathBuf;

use clap::Args;

use super::value::{Value, path, text};
use crate::registry::KeyPrefix;

#[derive(Debug, Default, Args)]
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

    /// With rediss://: the authorities to trust, in PEM, in the place of the system's; or the server's own
    /// certificate
    #[arg(long, value_name = "FILE", env = "VERSION_GUARD_REDIS_CA", hide_env_values = true)]
    #[arg(value_parser = Value(path))]
    pub redis_ca: Option<PathBuf>,

    /// With rediss://: the client's certificate, in PEM, read anew for each connection
    #[arg(long, value_name = "FILE", env = "VERSION_GUARD_REDIS_CERT", hide_env_values = true)]
    #[arg(value_parser = Value(path))]
    pub redis_cert: Option<PathBuf>,

    /// The key of --redis-cert, in PEM
    #[arg(long, value_name = "FILE", env = "VERSION_GUARD_REDIS_KEY", hide_env_values = true)]
    #[arg(value_parser = Value(path))]
    pub redis_key: Option<PathBuf>,

    /// With rediss://: the name that the server's certificate has, where the URL and a cluster's nodes have
    /// another
    #[arg(
        long,
        value_name = "NAME",
        env = "VERSION_GUARD_REDIS_SERVER_NAME",
        hide_env_values = true
    )]
    #[arg(value_parser = Value(text))]
    pub redis_server_name: Option<String>,
}
