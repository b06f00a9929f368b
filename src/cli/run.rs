//! The options of `run` and `check`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::keys::Keys;
use super::value::{List, Value, duration, heartbeat, list, switch, unless_empty, word};
use crate::image::Enforce;
use crate::log::TerminationLog;
use crate::registry::OnDrift;
use crate::runner::Runners;
use crate::supervisor::{Remap, Rewrite, Scope, Signal};

#[derive(Debug, Args)]
#[command(after_help = format!("{ENVIRONMENT}\n{RUN_EXIT}"), mut_args(unless_empty))]
pub struct Run {
    /// At most this long for the registration before the worker starts; 0s: it is made beside the worker
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    #[arg(env = "VERSION_GUARD_REGISTER_TIMEOUT", hide_env_values = true)]
    #[arg(value_parser = Value(duration))]
    pub register_timeout: Duration,

    #[command(flatten)]
    pub keys: Keys,

    /// The time between two signs of life in Redis, give or take a tenth
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    #[arg(env = "VERSION_GUARD_HEARTBEAT", hide_env_values = true)]
    #[arg(value_parser = Value(heartbeat))]
    pub heartbeat: Duration,

    #[command(flatten)]
    pub policy: Policy,

    /// With --on-drift stop: so long after the publication, give or take a tenth, for a rolling deployment
    /// to replace the worker first
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    #[arg(env = "VERSION_GUARD_DRIFT_GRACE", hide_env_values = true)]
    #[arg(value_parser = Value(duration))]
    pub drift_grace: Duration,

    /// Where the tsx guard holds: for so long from its start on, look at the worker's processes for a
    /// forbidden runner, and kill all of them where one is found; 0s: don't [default: 15s, or as sealed]
    #[arg(long, value_name = "DURATION")]
    #[arg(env = "VERSION_GUARD_RUNNER_WATCH", hide_env_values = true)]
    #[arg(value_parser = Value(duration))]
    pub runner_watch: Option<Duration>,

    /// A file in which to repeat why the worker was not started, where it is there: Kubernetes shows it; or
    /// none
    #[arg(long, value_name = "PATH", default_value = "/dev/termination-log")]
    #[arg(env = "VERSION_GUARD_TERMINATION_LOG", hide_env_values = true)]
    #[arg(value_parser = Value(str::parse::<TerminationLog>))]
    pub termination_log: TerminationLog,

    #[command(flatten)]
    pub supervision: Supervision,

    /// The worker and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

#[derive(Debug, Default, Args)]
pub struct Supervision {
    /// Which processes get a forwarded signal: worker, or group for its whole process group
    #[arg(long, value_name = "SCOPE", default_value = "worker")]
    #[arg(env = "VERSION_GUARD_SIGNAL_SCOPE", hide_env_values = true)]
    #[arg(value_parser = Value(word::<Scope>))]
    pub signal_scope: Scope,

    /// Forward another signal in a signal's place, or none for a TO of 0; repeatable, or separated by
    /// commas
    #[arg(long, value_name = "FROM:TO")]
    #[arg(env = "VERSION_GUARD_REWRITE_SIGNAL", hide_env_values = true)]
    #[arg(value_parser = Value(list::<Rewrite>))]
    pub rewrite_signal: Vec<List<Rewrite>>,

    /// Signal that the shim gets when its parent dies
    #[arg(long, value_name = "SIGNAL")]
    #[arg(env = "VERSION_GUARD_PARENT_DEATH_SIGNAL", hide_env_values = true)]
    #[arg(value_parser = Value(str::parse::<Signal>))]
    pub parent_death_signal: Option<Signal>,

    /// Exit with TO (0 if it is not named) when the worker's exit code is CODE; repeatable, or
    /// separated by commas
    #[arg(long, value_name = "CODE[:TO]")]
    #[arg(env = "VERSION_GUARD_REMAP_EXIT", hide_env_values = true)]
    #[arg(value_parser = Value(list::<Remap>))]
    pub remap_exit: Vec<List<Remap>>,

    /// Warn of every process that the worker left behind and the shim reaped
    #[arg(long, env = "VERSION_GUARD_WARN_ON_REAP", hide_env_values = true)]
    #[arg(value_parser = Value(switch))]
    pub warn_on_reap: bool,

    /// Kill the worker when it has not ended this long after a forwarded TERM, INT, QUIT, HUP or RTMIN+3
    /// [default: off]
    #[arg(long, value_name = "DURATION")]
    #[arg(env = "VERSION_GUARD_STOP_TIMEOUT", hide_env_values = true)]
    #[arg(value_parser = Value(duration))]
    pub stop_timeout: Option<Duration>,

    /// When the worker has ended, TERM what it left behind, such as the program below a shell or npm, and
    /// wait at most this long for its end; 0s: never wait [default: after a stop until the engine kills,
    /// or --stop-timeout does; else not at all]
    #[arg(long, value_name = "DURATION")]
    #[arg(env = "VERSION_GUARD_REAP_GRACE", hide_env_values = true)]
    #[arg(value_parser = Value(duration))]
    pub reap_grace: Option<Duration>,
}

// What a deployment asks for beside what the image's seal does. A doc comment would be the command's help.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Policy {
    /// always: the tsx and the unknown guard hold whatever NODE_ENV says [default: in production]
    #[arg(long, value_name = "WHEN")]
    #[arg(env = "VERSION_GUARD_ENFORCE", hide_env_values = true)]
    #[arg(value_parser = Value(word::<Enforce>))]
    pub enforce: Option<Enforce>,

    /// Refuse to start without EXPECTED_GIT_SHA
    #[arg(long, env = "VERSION_GUARD_REQUIRE_EXPECTED", hide_env_values = true)]
    #[arg(value_parser = Value(switch))]
    pub require_expected: bool,

    /// What to do once another SHA than the worker's is published as expected: warn, or stop it as
    /// docker stop would
    #[arg(long, value_name = "HOW", default_value = "warn")]
    #[arg(env = "VERSION_GUARD_ON_DRIFT", hide_env_values = true)]
    #[arg(value_parser = Value(word::<OnDrift>))]
    pub on_drift: OnDrift,

    /// What must not run the worker's code, separated by commas: tsx, strip-types (node on a TypeScript
    /// file), ts-node, swc-node, esbuild-register, jiti, vite-node, babel-node, bun, deno, sucrase
    /// [default: tsx,strip-types]
    #[arg(long, value_name = "LIST")]
    #[arg(env = "VERSION_GUARD_FORBID_RUNNERS", hide_env_values = true)]
    #[arg(value_parser = Value(str::parse::<Runners>))]
    pub forbid_runners: Option<Runners>,
}

#[derive(Debug, Args)]
#[command(after_help = format!("{ENVIRONMENT}\n{CHECK_EXIT}"), mut_args(unless_empty))]
pub struct Check {
    #[command(flatten)]
    pub policy: Policy,

    /// The worker and its arguments, for the tsx guard to look at
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

const ENVIRONMENT: &str = "\
Environment:
  GIT_SHA, BUILD_DATE    the image's identity, where the image has no seal
  EXPECTED_GIT_SHA       the SHA that the deployment expects; unset: the mismatch guard is off
  EXPECTED_GIT_SHA_FILE  a file that holds it, and wins
  NODE_ENV               `production` turns the tsx and the unknown guard on
  WORKER_TYPE            names the worker in Redis; unset: runs unregistered
  REDIS_URL              redis://, rediss://, redis+unix:// or redis+sentinel://; unset: runs unregistered
  REDIS_URL_FILE         a file that holds it, and wins; read anew for each connection
  VERSION_GUARD_REDIS_URL, VERSION_GUARD_REDIS_URL_FILE
                         the same for the shim alone, such as with a user of its own; they win
  NODE_EXTRA_CA_CERTS    a file of more authorities for rediss://
Each option has a twin in the environment, named in its description; the option wins.";

const RUN_EXIT: &str = "\
Exit: what the worker exits with, or 128 + the signal that killed it. Where it was never started: 1 a guard
said no, 127 it is not found, 126 it can't be executed, 128 + a signal that came first, 125 usage or
configuration error, or the shim's own failure.";

const CHECK_EXIT: &str = "\
Exit: 0 the guards let it start; 1 one of them says no; 125 usage or configuration error.";
