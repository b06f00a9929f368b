//! The lines that tell what the guards found, before anything else happens.

use tracing::{error, info, warn};

use super::Printable;
use crate::guard::{Expectation, Finding, Verdict, Violation};
use crate::image::{ImageIdentity, Seal, is_dirty, meaningful};

/// Logs every violation, or that there is none and who the image is; and what was tolerated.
pub fn announce(identity: &ImageIdentity, expectation: &Expectation, verdict: &Verdict) {
    if let Some(overridden) = &identity.overridden {
        warn!(
            git_sha = %identity.git_sha,
            overridden,
            "GIT_SHA is {} in the environment and {} in the image's seal: the seal counts, also for the worker",
            Printable(overridden), Printable(&identity.git_sha.to_string()),
        );
    }
    for (_, finding) in verdict.findings() {
        match finding {
            Finding::Refused(violation) => refused(violation),
            Finding::Tolerated(violation) => {
                warn!(
                    guard = violation.guard(),
                    "{violation}. Production would refuse to start it"
                );
            }
            Finding::Passed(_) | Finding::Off(_) => {}
        }
    }
    let policy = identity.policy;
    if !verdict.violations().is_empty() {
        if !expectation.production && policy.enforce.is_some() {
            error!(
                enforce = "always",
                "NODE_ENV is not production; the image's seal holds the guards to it all the same"
            );
        }
        return;
    }
    if expectation.production && expectation.git_sha.is_none() {
        warn!(guard = "mismatch", "EXPECTED_GIT_SHA is not set: the mismatch guard is off");
    }
    let built = match identity.build_date.as_str() {
        "" => "build date unknown".to_owned(),
        date => format!("built {}", Printable(date)),
    };
    let sealed = if policy.is_none() { String::new() } else { format!(", {policy}") };
    info!(
        git_sha = %identity.git_sha,
        source = %identity.source,
        build_date = identity.build_date,
        %policy,
        "GIT_SHA {} ({}{sealed}), {built}: the guards let it start",
        Printable(&identity.git_sha.to_string()), identity.source,
    );
}

fn refused(violation: &Violation) {
    let guard = violation.guard();
    let refusal = violation.refusal();
    match violation {
        Violation::Tsx { argument } => error!(guard, argument, "{refusal}"),
        Violation::Unknown { reason } => error!(guard, reason, "{refusal}"),
        Violation::Dirty { image } => error!(guard, image_sha = image, "{refusal}"),
        Violation::NoExpectation => error!(guard, "{refusal}"),
        Violation::Mismatch { image, expected } => {
            error!(guard, image_sha = image, expected_sha = expected, "{refusal}");
        }
    }
}

/// Logs what was sealed, and that production will refuse it when it says nothing.
pub fn sealed(seal: &Seal) {
    let Seal { git_sha, build_date, .. } = seal;
    let policy = seal.policy();
    if meaningful(git_sha).is_err() {
        warn!(
            git_sha,
            build_date,
            %policy,
            "Sealed without a SHA ('{}'): production will refuse this image. Build it with --build-arg GIT_SHA=$(git rev-parse HEAD)",
            Printable(git_sha),
        );
    } else if is_dirty(git_sha) {
        warn!(
            git_sha,
            build_date,
            %policy,
            "Sealed as {}: production will refuse this image. Commit first",
            Printable(git_sha),
        );
    } else {
        info!(git_sha, build_date, %policy, "Sealed as {}; policy: {policy}", Printable(git_sha));
    }
}
