//! The options of `health`.

use std::time::Duration;

use clap::Args;

use super::value::{Value, duration, pid, switch, unless_empty};

#[derive(Debug, Args)]
#[command(after_help = EXIT, mut_args(unless_empty))]
pub struct Health {
    /// Also ask whether the worker is registered in Redis and its last heartbeat got through. For readiness
    /// and startup, not for liveness: a Redis that fails would restart all workers
    #[arg(long, env = "VERSION_GUARD_HEALTH_REGISTERED", hide_env_values = true)]
    #[arg(value_parser = Value(switch))]
    pub registered: bool,

    /// Also ask whether the worker has run at least this long
    #[arg(long, value_name = "DURATION")]
    #[arg(env = "VERSION_GUARD_HEALTH_STARTED_FOR", hide_env_values = true)]
    #[arg(value_parser = Value(duration))]
    pub started_for: Option<Duration>,

    /// The shim's process [default: PID 1; where that is no shim, as under docker run --init, the only one
    /// in this container]
    #[arg(long, value_name = "PID", env = "VERSION_GUARD_HEALTH_PID", hide_env_values = true)]
    #[arg(value_parser = Value(pid))]
    pub pid: Option<i32>,
}

const EXIT: &str = "\
Exit: 0 the worker runs; 1 it has not started yet, is stopped or has ended, or is not as asked for: one
line says which; 125 usage error. A worker that was asked to stop and finishes its job is healthy.
It reads /proc alone: no network, no file, no capability, any user. It does not look into the worker,
which may run and be stuck.
  HEALTHCHECK --interval=30s --timeout=5s CMD [\"/usr/local/bin/version-guard\", \"health\"]";
