//! The guards: pure rules over what the image is, what the deploy expects and what would run.
//! They follow "Core Principle: Fail-Fast Version Enforcement" of the deployment integrity document.

mod command;
mod finding;
mod process;
mod production;
mod violation;

use crate::image::{GitSha, ImageIdentity, Inspection, Policy, is_dirty, is_same};

pub use command::{Reading, Run, read, shown};
pub use finding::{Finding, standing};
pub use process::{Process, runners_in};
pub use production::Production;
pub use violation::{RUNNING_VIA_TSX, Violation};

/// What the deployment asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    pub production: Production,
    /// `EXPECTED_GIT_SHA`, cleaned; `None` when unset or empty.
    pub git_sha: Option<String>,
    /// Whether `EXPECTED_GIT_SHA_FILE` has overridden an `EXPECTED_GIT_SHA`.
    pub is_overridden: bool,
    /// What it asks for beside what is sealed.
    pub policy: Policy,
}

impl Expectation {
    /// Whether all guards hold, and not the mismatch guard alone: in production, and where a policy says so,
    /// the deployment's or the one that is sealed.
    pub fn is_enforced(&self, sealed: Policy) -> bool {
        self.production.is_production() || sealed.and(self.policy).enforce.is_some()
    }
}

/// What each guard found, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    findings: Vec<(&'static str, Finding)>,
    /// What the tsx guard has to say beside.
    remarks: Vec<String>,
}

/// What the guards judge by.
struct Evidence<'a> {
    identity: &'a ImageIdentity,
    expectation: &'a Expectation,
    /// What the worker command executes; `None` without one (`check`).
    reading: Option<&'a Reading>,
    /// What differs from the sealed code; `None` where no code is sealed.
    code: Option<&'a Inspection>,
}

/// A guard: its name and its rule.
type Guard = (&'static str, fn(&Evidence) -> Finding);

/// The guards, in the order in which they are applied.
const GUARDS: [Guard; 4] =
    [("tsx", tsx), ("unknown", unknown), ("mismatch", mismatch), ("code", code)];

impl Verdict {
    /// Applies all guards to what a worker command executes, or to none (`check` without a command).
    pub fn new<'a>(
        identity: &'a ImageIdentity,
        expectation: &'a Expectation,
        reading: Option<&'a Reading>,
        code: Option<&'a Inspection>,
    ) -> Self {
        let evidence = Evidence { identity, expectation, reading, code };
        Self {
            findings: GUARDS.iter().map(|(name, guard)| (*name, guard(&evidence))).collect(),
            remarks: evidence.remarks(),
        }
    }

    /// The name of each guard and what it found.
    pub fn findings(&self) -> impl Iterator<Item = (&'static str, &Finding)> + Clone {
        self.findings.iter().map(|(name, finding)| (*name, finding))
    }

    /// What is no reason to refuse the worker, as sentences: where the guards are enforced, runners that
    /// are not forbidden, and what could not be read.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Why the worker must not start; empty when it may.
    pub fn violations(&self) -> Vec<&Violation> {
        self.findings()
            .filter_map(|(_, finding)| match finding {
                Finding::Refused(violation) => Some(violation),
                _ => None,
            })
            .collect()
    }

    /// Whether no other guard than the mismatch guard says no.
    pub fn is_about_the_expectation(&self) -> bool {
        self.violations().iter().all(|violation| violation.guard() == "mismatch")
    }

    /// Whether no guard says no.
    pub fn lets_start(&self) -> bool {
        self.violations().is_empty()
    }
}

fn tsx(evidence: &Evidence) -> Finding {
    let Some(reading) = evidence.reading else {
        return Finding::Off("no worker command was given");
    };
    match reading.runs.iter().find(|run| evidence.forbids(run)) {
        None => Finding::Passed("the worker command runs no forbidden runner"),
        Some(found) => evidence.refuse_where_enforced(Violation::Tsx { found: found.clone() }),
    }
}

fn unknown(evidence: &Evidence) -> Finding {
    match &evidence.identity.git_sha {
        GitSha::Known(sha) if is_dirty(sha) => {
            evidence.refuse_where_enforced(Violation::Dirty { image: sha.clone() })
        }
        GitSha::Known(_) => Finding::Passed("the image knows its SHA"),
        GitSha::Unknown(reason) => {
            evidence.refuse_where_enforced(Violation::Unknown { reason: reason.clone() })
        }
    }
}

fn mismatch(evidence: &Evidence) -> Finding {
    let Some(expected) = &evidence.expectation.git_sha else {
        return if evidence.policy().require_expected {
            let sealed = evidence.identity.policy.require_expected;
            Finding::Refused(Violation::NoExpectation { sealed })
        } else {
            Finding::Off("EXPECTED_GIT_SHA is not set")
        };
    };
    let image = match &evidence.identity.git_sha {
        GitSha::Unknown(_) if evidence.is_enforced() => {
            return Finding::Off("the image has no SHA to compare");
        }
        sha => sha.to_string(),
    };
    if is_same(&image, expected) {
        Finding::Passed("the image's SHA is the expected one")
    } else {
        Finding::Refused(Violation::Mismatch { image, expected: expected.clone() })
    }
}

fn code(evidence: &Evidence) -> Finding {
    match evidence.code {
        None => Finding::Off("the image has sealed no code"),
        Some(found) if found.total == 0 => Finding::Passed("the code is what was sealed"),
        Some(found) => evidence.refuse_where_enforced(Violation::Code { found: found.clone() }),
    }
}

impl Evidence<'_> {
    /// What the image and the deployment ask for together.
    fn policy(&self) -> Policy {
        self.identity.policy.and(self.expectation.policy)
    }

    fn is_enforced(&self) -> bool {
        self.expectation.is_enforced(self.identity.policy)
    }

    fn forbids(&self, run: &Run) -> bool {
        let allowed = &self.identity.allowed_arguments;
        let is_allowed = run.words.iter().any(|word| allowed.contains(word));
        self.policy().runners().contains(run.runner) && !is_allowed
    }

    fn remarks(&self) -> Vec<String> {
        let Some(reading) = self.reading.filter(|_| self.is_enforced()) else { return Vec::new() };
        let others = reading.runs.iter().filter(|run| !self.forbids(run) && !run.is_doubtful);
        let mut remarks: Vec<String> = Vec::new();
        for run in others {
            let name = run.runner;
            let remark = format!(
                "{run}. {name} compiles the code while it runs: compile it in the image, or have it refused by VERSION_GUARD_FORBID_RUNNERS"
            );
            if !remarks.contains(&remark) {
                remarks.push(remark);
            }
        }
        let unread = reading.unread.iter();
        remarks.extend(unread.map(|what| {
            format!("The tsx guard can't follow the worker command to its end: {what}")
        }));
        remarks
    }

    fn refuse_where_enforced(&self, violation: Violation) -> Finding {
        if self.is_enforced() { Finding::Refused(violation) } else { Finding::Tolerated(violation) }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    use super::{Expectation, Finding, Production, Reading, Verdict, Violation, read};
    use crate::image::{Enforce, GitSha, ImageIdentity, Policy, Source};
    use crate::system::environment::Environment;

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
            allowed_arguments: Vec::new(),
            code: None,
        }
    }

    fn expectation(node_env: &str, expected: Option<&str>) -> Expectation {
        Expectation {
            production: Production::new(node_env),
            git_sha: expected.map(String::from),
            is_overridden: false,
            policy: Policy::default(),
        }
    }

    fn reading(command: &[&str]) -> Reading {
        let command: Vec<OsString> = command.iter().map(OsString::from).collect();
        read(&command, &Environment::default(), Path::new("/"))
    }

    fn finding<'a>(verdict: &'a Verdict, guard: &str) -> &'a Finding {
        verdict.findings().find(|(name, _)| *name == guard).unwrap().1
    }

    fn under(policy: Policy, sha: &str, expected: Option<&str>, command: &[&str]) -> Verdict {
        let expectation = expectation("", expected);
        let image = ImageIdentity { policy, ..image(sha) };
        Verdict::new(&image, &expectation, Some(&reading(command)), None)
    }

    const ALWAYS: Policy = Policy { enforce: Some(Enforce::Always), ..Policy::NONE };
    const EXPECTED: Policy = Policy { require_expected: true, ..Policy::NONE };

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
        assert!(matches!(missing.violations()[..], [Violation::NoExpectation { sealed: true }]));
        let met = under(EXPECTED, "a1b2c3d", Some("a1b2c3d"), &["node"]);
        assert!(met.violations().is_empty());
    }

    #[test]
    fn a_deployment_can_add_to_the_policy_and_takes_nothing_away() {
        let judged = |sealed: Policy, policy: Policy| {
            let image = ImageIdentity { policy: sealed, ..image("unknown") };
            let expectation = Expectation { policy, ..expectation("", None) };
            let verdict = Verdict::new(&image, &expectation, None, None);
            verdict.violations().into_iter().cloned().collect::<Vec<_>>()
        };
        let [unknown, no_expectation] = &judged(Policy::default(), ALWAYS.and(EXPECTED))[..] else {
            panic!("two violations");
        };
        assert!(matches!(unknown, Violation::Unknown { .. }));
        assert_eq!(*no_expectation, Violation::NoExpectation { sealed: false });
        assert_eq!(judged(ALWAYS.and(EXPECTED), Policy::default()).len(), 2);
        assert!(judged(Policy::default(), Policy::default()).is_empty());
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
        let expectation = expectation(node_env, expected);
        Verdict::new(&image(sha), &expectation, Some(&reading(command)), None)
    }

    #[test]
    fn what_runs_tsx_is_refused_in_production() {
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
        assert!(matches!(finding(&verdict, "tsx"), Finding::Passed(_)));
    }

    #[test]
    fn outside_production_tsx_and_unknown_are_tolerated() {
        let verdict = verdict("development", "unknown", None, &["tsx"]);
        assert!(verdict.violations().is_empty());
        assert!(matches!(finding(&verdict, "tsx"), Finding::Tolerated(_)));
        assert!(matches!(finding(&verdict, "unknown"), Finding::Tolerated(_)));
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
        assert!(matches!(finding(&verdict, "mismatch"), Finding::Off(_)));
        assert!(verdict.violations().is_empty());
    }
}
