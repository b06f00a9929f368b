//! What an image asks of its guards, whatever the deployment forgets to say.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    pub enforce: Option<Enforce>,
    /// Without `EXPECTED_GIT_SHA` the worker must not start.
    pub require_expected: bool,
    /// A worker that a deployment has overtaken is stopped.
    pub stop_on_drift: bool,
}

impl Policy {
    /// The policy of an image whose seal can't be relied on: what it asked for is not lost with it.
    pub const UNREADABLE: Self =
        Self { enforce: Some(Enforce::Always), require_expected: false, stop_on_drift: false };

    /// What either of them asks for: a deployment can add to what is sealed, and take nothing away.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            enforce: self.enforce.or(other.enforce),
            require_expected: self.require_expected || other.require_expected,
            stop_on_drift: self.stop_on_drift || other.stop_on_drift,
        }
    }

    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Policy {
    /// The policy in the words of `seal`'s options, or `none`.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let words = [
            self.enforce.map(|Enforce::Always| "enforce always"),
            self.require_expected.then_some("require expected"),
            self.stop_on_drift.then_some("stop on drift"),
        ];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        f.write_str(if words.is_empty() { "none" } else { "" })?;
        f.write_str(&words.join(", "))
    }
}
