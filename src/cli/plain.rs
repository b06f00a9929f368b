//! The command line of every image, which needs no parser: `run -- COMMAND`, and no option's twin.
//!
//! To build all options for it, look for their twins and take them apart again would be half of a start.

use std::ffi::OsString;
use std::time::Duration;

use super::keys::Keys;
use super::run::{Policy, Run, Supervision};
use crate::log::TerminationLog;
use crate::system::environment::Environment;

/// What all twins begin with.
pub const TWIN: &str = "VERSION_GUARD_";

/// What the parser would make of it, or `None` where there is anything for the parser to do.
pub fn plain(arguments: &[OsString], environment: &Environment) -> Option<Run> {
    let [_, run, end_of_options, command @ ..] = arguments else { return None };
    let is_plain = run == "run" && end_of_options == "--" && !command.is_empty();
    (is_plain && !environment.has_any(TWIN)).then(|| Run {
        register_timeout: Duration::from_secs(1),
        keys: Keys::default(),
        heartbeat: Duration::from_secs(30),
        policy: Policy::default(),
        drift_grace: Duration::ZERO,
        runner_watch: None,
        termination_log: TerminationLog::default(),
        supervision: Supervision::default(),
        command: command.to_vec(),
    })
}
