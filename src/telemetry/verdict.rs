//! The lines that tell what the guards found, before anything else happens.

use tracing::{error, info, warn};

use super::Printable;
use crate::guard::{Expectation, Finding, Verdict, Violation};
use crate::image::{ImageIdentity, Seal, meaningful};

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
    if !verdict.violations().is_empty() {
        return;
    }
    if expectation.production && expectation.git_sha.is_none() {
        warn!(guard = "mismatch", "EXPECTED_GIT_SHA is not set: the mismatch guard is off");
    }
    let built = match identity.build_date.as_str() {
        "" => "build date unknown".to_owned(),
        date => format!("built {}", Printable(date)),
    };
    info!(
        git_sha = %identity.git_sha,
        source = %identity.source,
        build_date = identity.build_date,
        "GIT_SHA {} ({}), {built}: the guards let it start",
        Printable(&identity.git_sha.to_string()), identity.source,
    );
}

fn refused(violation: &Violation) {
    let guard = violation.guard();
    let refusal = violation.refusal();
    match violation {
        Violation::Tsx { argument } => error!(guard, argument, "{refusal}"),
        Violation::Unknown { reason } => error!(guard, reason, "{refusal}"),
        Violation::Mismatch { image, expected } => {
            error!(guard, image_sha = image, expected_sha = expected, "{refusal}");
        }
    }
}

/// Logs what was sealed, and that production will refuse it when it says nothing.
pub fn sealed(seal: &Seal) {
    let Seal { git_sha, build_date } = seal;
    if meaningful(git_sha).is_err() {
        warn!(
            git_sha,
            build_date,
            "Sealed without a SHA ('{}'): production will refuse this image. Build it with --build-arg GIT_SHA=$(git rev-parse HEAD)",
            Printable(git_sha),
        );
    } else {
        info!(git_sha, build_date, "Sealed as {}", Printable(git_sha));
    }
}
