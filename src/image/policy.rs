//! What an image asks of its guards, whatever the deployment forgets to say.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use humantime::format_duration;
use serde::{Deserialize, Serialize};

use crate::runner::Runners;

/// When the tsx and the unknown guard hold, other than in production.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "camelCase")]
pub enum Enforce {
    /// Whatever `NODE_ENV` says.
    Always,
}

impl fmt::Display for Enforce {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("always")
    }
}

/// The policy that is sealed into an image; nothing of it by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub enforce: Option<Enforce>,
    /// Without `EXPECTED_GIT_SHA` the worker must not start.
    pub require_expected: bool,
    /// A worker that a deployment has overtaken is stopped.
    pub stop_on_drift: bool,
    /// What must not run the worker's code; `None` where nothing is said of it.
    pub forbid_runners: Option<Runners>,
    /// For how long the running processes are looked at for these; zero is never.
    pub runner_watch: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self::NONE
    }
}

impl Policy {
    pub const NONE: Self = Self {
        enforce: None,
        require_expected: false,
        stop_on_drift: false,
        forbid_runners: None,
        runner_watch: None,
    };

    /// The policy of an image whose seal can't be relied on: what it asked for is not lost with it.
    pub const UNREADABLE: Self =
        Self { enforce: Some(Enforce::Always), forbid_runners: Some(Runners::USUAL), ..Self::NONE };

    /// What either of them asks for: a deployment can add to what is sealed, and take nothing away.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            enforce: self.enforce.or(other.enforce),
            require_expected: self.require_expected || other.require_expected,
            stop_on_drift: self.stop_on_drift || other.stop_on_drift,
            forbid_runners: match (self.forbid_runners, other.forbid_runners) {
                (Some(one), Some(other)) => Some(one.and(other)),
                (one, other) => one.or(other),
            },
            runner_watch: self.longest_watch(other.runner_watch),
        }
    }

    /// What must not run the worker's code, be it by default.
    pub fn runners(self) -> Runners {
        self.forbid_runners.unwrap_or(Runners::USUAL)
    }

    /// The longer of the sealed watch and the one that a deployment asks for; `None` where neither is said.
    pub fn longest_watch(self, asked: Option<Duration>) -> Option<Duration> {
        self.runner_watch.max(asked)
    }

    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl fmt::Display for Policy {
    /// The policy in the words of `seal`'s options, or `none`.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let words = [
            self.enforce.map(|enforce| format!("enforce {enforce}")),
            self.require_expected.then(|| "require expected".into()),
            self.stop_on_drift.then(|| "stop on drift".into()),
            self.forbid_runners.map(|runners| format!("forbid {runners}")),
            self.runner_watch.map(|watch| format!("runner watch {}", format_duration(watch))),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        f.write_str(if words.is_empty() { "none" } else { "" })?;
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Policy;
    use crate::runner::Runners;

    fn forbidding(names: Option<&str>) -> Policy {
        let forbid_runners = names.map(|names| names.parse().unwrap());
        Policy { forbid_runners, ..Policy::NONE }
    }

    #[test]
    fn forbidden_are_the_usual_runners_unless_a_list_is_given() {
        for (sealed, asked, forbidden) in [
            (None, None, "tsx,strip-types"),
            (None, Some("bun"), "bun"),
            (Some("ts-node"), None, "ts-node"),
            (Some("ts-node"), Some("tsx"), "tsx,ts-node"),
            (Some("tsx,bun"), Some("tsx"), "tsx,bun"),
        ] {
            let policy = forbidding(sealed).and(forbidding(asked));
            assert_eq!(policy.runners().to_string(), forbidden, "{sealed:?} and {asked:?}");
        }
    }

    #[test]
    fn a_sealed_watch_can_only_become_longer() {
        let seconds = |seconds: Option<u64>| seconds.map(Duration::from_secs);
        for (sealed, asked, watch) in [
            (None, None, None),
            (None, Some(0), Some(0)),
            (Some(0), None, Some(0)),
            (Some(0), Some(9), Some(9)),
            (Some(5), Some(0), Some(5)),
            (Some(5), Some(9), Some(9)),
        ] {
            let sealed = Policy { runner_watch: seconds(sealed), ..Policy::NONE };
            assert_eq!(sealed.longest_watch(seconds(asked)), seconds(watch));
        }
    }

    #[test]
    fn a_policy_is_told_in_the_words_of_the_options() {
        assert_eq!(Policy::NONE.to_string(), "none");
        assert_eq!(Policy::UNREADABLE.to_string(), "enforce always, forbid tsx,strip-types");
        let watch = Policy { runner_watch: Some(Duration::ZERO), ..forbidding(Some("bun,tsx")) };
        assert_eq!(watch.to_string(), "forbid tsx,bun, runner watch 0s");
        assert!(!watch.is_none() && Policy::default().is_none());
        assert_eq!(Policy::NONE.runners(), Runners::USUAL);
    }
}
