//! The three guards: pure rules over who the image is, what the deploy expects and what would run.
//! They follow "Core Principle: Fail-Fast Version Enforcement" of the deployment integrity document.

mod check;
mod violation;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::image::{Enforce, GitSha, ImageIdentity, is_dirty};

pub use check::check;
pub use violation::Violation;

/// What the deployment asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// `NODE_ENV` is exactly `production`.
    pub production: bool,
    /// `EXPECTED_GIT_SHA`, trimmed; `None` when unset or empty.
    pub git_sha: Option<String>,
}

/// What one guard found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    Passed(&'static str),
    /// The worker must not start.
    Refused(Violation),
    /// What would be refused in production; here the worker starts.
    Tolerated(Violation),
    /// There was nothing to judge by.
    Off(&'static str),
}

/// What the three guards found, in the order in which they are applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub tsx: Finding,
    pub unknown: Finding,
    pub mismatch: Finding,
}

impl Verdict {
    /// Applies the three guards to a worker command, or to none (`check` without a command).
    pub fn new(identity: &ImageIdentity, expectation: &Expectation, command: &[OsString]) -> Self {
        Self {
            tsx: tsx(identity, expectation, command),
            unknown: unknown(identity, expectation),
            mismatch: mismatch(identity, expectation),
        }
    }

    /// The name of each guard and what it found.
    pub fn findings(&self) -> [(&'static str, &Finding); 3] {
        [("tsx", &self.tsx), ("unknown", &self.unknown), ("mismatch", &self.mismatch)]
    }

    /// Why the worker must not start; empty when it may.
    pub fn violations(&self) -> Vec<&Violation> {
        self.findings()
            .into_iter()
            .filter_map(|(_, finding)| match finding {
                Finding::Refused(violation) => Some(violation),
                _ => None,
            })
            .collect()
    }
}

fn tsx(identity: &ImageIdentity, expectation: &Expectation, command: &[OsString]) -> Finding {
    let found = command
        .iter()
        .find(|argument| argument.as_bytes().windows(3).any(|window| window == b"tsx"));
    match found {
        None if command.is_empty() => Finding::Off("no worker command was given"),
        None => Finding::Passed("no argument of the worker command contains tsx"),
        Some(argument) => unless_enforced_tolerated(
            identity,
            expectation,
            Violation::Tsx { argument: argument.to_string_lossy().into_owned() },
        ),
    }
}

fn unknown(identity: &ImageIdentity, expectation: &Expectation) -> Finding {
    match &identity.git_sha {
        GitSha::Known(sha) if is_dirty(sha) => unless_enforced_tolerated(
            identity,
            expectation,
            Violation::Dirty { image: sha.clone() },
        ),
        GitSha::Known(_) => Finding::Passed("the image knows its SHA"),
        GitSha::Unknown(reason) => unless_enforced_tolerated(
            identity,
            expectation,
            Violation::Unknown { reason: reason.clone() },
        ),
    }
}

fn mismatch(identity: &ImageIdentity, expectation: &Expectation) -> Finding {
    let Some(expected) = &expectation.git_sha else {
        return if identity.policy.require_expected {
            Finding::Refused(Violation::NoExpectation)
        } else {
            Finding::Off("EXPECTED_GIT_SHA is not set")
        };
    };
    let image = match &identity.git_sha {
        GitSha::Unknown(_) if enforced(identity, expectation) => {
            return Finding::Off("the image has no SHA to compare");
        }
        sha => sha.to_string(),
    };
    if image == *expected {
        Finding::Passed("the image's SHA is the expected one")
    } else {
        Finding::Refused(Violation::Mismatch { image, expected: expected.clone() })
    }
}

fn unless_enforced_tolerated(
    identity: &ImageIdentity,
    expectation: &Expectation,
    violation: Violation,
) -> Finding {
    if enforced(identity, expectation) {
        Finding::Refused(violation)
    } else {
        Finding::Tolerated(violation)
    }
}

/// Whether the tsx and the unknown guard hold: in production, and where the seal says so.
fn enforced(identity: &ImageIdentity, expectation: &Expectation) -> bool {
    expectation.production || identity.policy.enforce == Some(Enforce::Always)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use super::{Expectation, Finding, Verdict, Violation};
    use crate::image::{Enforce, GitSha, ImageIdentity, Policy, Source};

    fn image(git_sha: &str) -> ImageIdentity {
        let git_sha = match git_sha {
            "unknown" => GitSha::Unknown("GIT_SHA is not set".into()),
            sha => GitSha::Known(sha.into()),
        };
        ImageIdentity {
            git_sha,
            build_date: String::new(),
            source: Source::Environment,
            overridden: None,
            policy: Policy::default(),
        }
    }

    fn under(policy: Policy, sha: &str, expected: Option<&str>, command: &[&str]) -> Verdict {
        let expectation = Expectation { production: false, git_sha: expected.map(String::from) };
        let command: Vec<OsString> = command.iter().map(OsString::from).collect();
        Verdict::new(&ImageIdentity { policy, ..image(sha) }, &expectation, &command)
    }

    const ALWAYS: Policy = Policy { enforce: Some(Enforce::Always), require_expected: false };
    const EXPECTED: Policy = Policy { enforce: None, require_expected: true };

    #[test]
    fn what_is_enforced_always_is_refused_outside_production() {
        let verdict = under(ALWAYS, "unknown", Some("a1b2c3d"), &["tsx"]);
        assert!(matches!(
            verdict.violations()[..],
            [Violation::Tsx { .. }, Violation::Unknown { .. }]
        ));
    }

    #[test]
    fn a_required_expectation_that_is_missing_is_refused_anywhere() {
        let missing = under(EXPECTED, "a1b2c3d", None, &["node"]);
        assert!(matches!(missing.violations()[..], [Violation::NoExpectation]));
        let met = under(EXPECTED, "a1b2c3d", Some("a1b2c3d"), &["node"]);
        assert!(met.violations().is_empty());
    }

    #[test]
    fn each_policy_leaves_the_other_guards_as_they_were() {
        assert!(under(ALWAYS, "a1b2c3d", None, &["node"]).violations().is_empty());
        let tolerated = under(EXPECTED, "unknown", Some("unknown"), &["tsx"]);
        assert!(tolerated.violations().is_empty());
    }

    #[test]
    fn a_dirty_tree_is_refused_in_production_even_when_it_is_expected() {
        for expected in [None, Some("a1b2c3d-dirty")] {
            let refused = verdict("production", "a1b2c3d-dirty", expected, &["node"]);
            assert!(matches!(refused.violations()[..], [Violation::Dirty { .. }]), "{expected:?}");
            let tolerated = verdict("", "a1b2c3d-dirty", expected, &["node"]);
            assert!(tolerated.violations().is_empty(), "{expected:?}");
        }
    }

    fn verdict(node_env: &str, sha: &str, expected: Option<&str>, command: &[&str]) -> Verdict {
        let expectation = Expectation {
            production: node_env == "production",
            git_sha: expected.map(String::from),
        };
        let command: Vec<OsString> = command.iter().map(OsString::from).collect();
        Verdict::new(&image(sha), &expectation, &command)
    }

    #[test]
    fn an_argument_that_contains_tsx_is_refused_in_production() {
        for command in [
            ["npx", "tsx", "w.ts"],
            ["node", "--import=tsx/esm", "w.js"],
            ["sh", "-c", "exec npx tsx w.ts"],
        ] {
            let verdict = verdict("production", "a1b2c3d", None, &command);
            assert!(matches!(verdict.violations()[..], [Violation::Tsx { .. }]), "{command:?}");
        }
    }

    #[test]
    fn compiled_code_passes_the_tsx_guard() {
        let verdict = verdict("production", "a1b2c3d", None, &["node", "dist/w.js"]);
        assert!(matches!(verdict.tsx, Finding::Passed(_)));
    }

    #[test]
    fn tsx_is_found_beside_bytes_that_are_not_text() {
        let expectation = Expectation { production: true, git_sha: None };
        let command = [OsString::from_vec(b"/\xff/tsx".to_vec())];
        let verdict = Verdict::new(&image("a1b2c3d"), &expectation, &command);
        assert!(matches!(verdict.tsx, Finding::Refused(_)));
    }

    #[test]
    fn outside_production_tsx_and_unknown_are_tolerated() {
        let verdict = verdict("development", "unknown", None, &["tsx"]);
        assert!(verdict.violations().is_empty());
        assert!(matches!(verdict.tsx, Finding::Tolerated(_)));
        assert!(matches!(verdict.unknown, Finding::Tolerated(_)));
    }

    #[test]
    fn a_mismatch_is_refused_in_any_environment() {
        for node_env in ["production", "development", ""] {
            let verdict = verdict(node_env, "a1b2c3d", Some("0f0f0f0"), &["node"]);
            assert!(matches!(verdict.violations()[..], [Violation::Mismatch { .. }]), "{node_env}");
        }
    }

    #[test]
    fn an_unknown_sha_that_is_expected_to_be_known_is_a_mismatch_outside_production() {
        let verdict = verdict("", "unknown", Some("a1b2c3d"), &["node"]);
        assert!(matches!(verdict.violations()[..], [Violation::Mismatch { .. }]));
    }

    #[test]
    fn of_unknown_and_mismatch_at_once_only_unknown_is_refused() {
        let verdict = verdict("production", "unknown", Some("a1b2c3d"), &["node"]);
        assert!(matches!(verdict.violations()[..], [Violation::Unknown { .. }]));
    }

    #[test]
    fn an_abbreviation_is_not_the_expected_sha() {
        let verdict = verdict("production", "a1b2c3d4e5f6", Some("a1b2c3d"), &["node"]);
        assert!(matches!(verdict.violations()[..], [Violation::Mismatch { .. }]));
    }

    #[test]
    fn every_violation_is_reported_not_only_the_first() {
        let verdict = verdict("production", "a1b2c3d", Some("0f0f0f0"), &["tsx"]);
        assert_eq!(verdict.violations().len(), 2);
    }

    #[test]
    fn without_an_expected_sha_the_mismatch_guard_is_off() {
        let verdict = verdict("production", "a1b2c3d", None, &["node"]);
        assert!(matches!(verdict.mismatch, Finding::Off(_)));
        assert!(verdict.violations().is_empty());
    }
}
