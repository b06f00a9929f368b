//! The command line of every image, which needs no parser: `run -- COMMAND`, and no option's twin.
//!
//! To build all options for it, look for their twins and take them apart again would be half of a start.

use std::ffi::OsString;
use std::time::Duration;

use super::keys::Keys;
use super::run::{Policy, Run, Supervision};
use super::{Cli, Command};
use crate::log::{LogFormat, LogLevel};
use crate::system::environment::Environment;

/// What all twins begin with.
const TWIN: &str = "VERSION_GUARD_";

/// What the parser would make of it, or `None` where there is anything for the parser to do.
pub fn plain(arguments: &[OsString], environment: &Environment) -> Option<Cli> {
    let [_, run, end_of_options, command @ ..] = arguments else { return None };
    let is_plain = run == "run" && end_of_options == "--" && !command.is_empty();
    (is_plain && !environment.has_any(TWIN)).then(|| Cli {
        command: Command::Run(Run {
            register_timeout: Duration::from_secs(1),
            keys: Keys::default(),
            heartbeat: Duration::from_secs(30),
            policy: Policy::default(),
            drift_grace: Duration::ZERO,
            runner_watch: None,
            supervision: Supervision::default(),
            command: command.to_vec(),
        }),
        log_format: LogFormat::default(),
        log_level: LogLevel::default(),
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::{CString, OsString};

    use clap::Parser;

    use super::plain;
    use crate::cli::Cli;
    use crate::system::environment::Environment;

    fn environment(entries: &[&str]) -> Environment {
        entries.iter().map(|entry| CString::new(*entry).unwrap()).collect()
    }

    fn words(line: &[&str]) -> Vec<OsString> {
        line.iter().map(OsString::from).collect()
    }

    #[test]
    fn it_is_what_the_parser_makes_of_it() {
        for command in
            [&["node", "w.js"][..], &["--log-level", "warn"], &["--", "a"], &["", "run", "--"]]
        {
            let line = words(&[&["version-guard", "run", "--"], command].concat());
            let parsed = Cli::try_parse_from(&line).unwrap();
            let plain = plain(&line, &environment(&["PATH=/bin", "X_VERSION_GUARD_LOG=warn"]));
            assert_eq!(format!("{:?}", plain.unwrap()), format!("{parsed:?}"));
        }
    }

    #[test]
    fn whatever_needs_a_parser_gets_one() {
        for line in [
            &["version-guard"][..],
            &["version-guard", "run"],
            &["version-guard", "run", "--"],
            &["version-guard", "run", "node"],
            &["version-guard", "run", "--heartbeat", "1s", "--", "node"],
            &["version-guard", "--log-level", "warn", "run", "--", "node"],
            &["version-guard", "check", "--", "node"],
        ] {
            assert!(plain(&words(line), &environment(&[])).is_none(), "{line:?}");
        }
        let line = words(&["version-guard", "run", "--", "node"]);
        for entry in ["VERSION_GUARD_LOG=warn", "VERSION_GUARD_HEARTBEAT=", "VERSION_GUARD_X"] {
            assert!(plain(&line, &environment(&["A=1", entry])).is_none(), "{entry}");
        }
        assert!(plain(&line, &environment(&["A=VERSION_GUARD_"])).is_some());
    }
}
