//! `seal`: writes the image's identity into the image.

use std::path::PathBuf;
use std::time::Duration;

use tracing::{info, warn};

use crate::cli::{self, List};
use crate::escape::Escape;
use crate::exit::Exit;
use crate::image::{MANIFEST, Place, Seal, is_commit, is_dirty, meaningful, packages_of};
use crate::registry::OnDrift;
use crate::system::signals;

/// Seals what the options say.
///
/// # Errors
/// The seal can't be written, or the image is not to be sealed as the options have it.
#[inline(never)]
pub fn seal(options: cli::Seal) -> anyhow::Result<Exit> {
    signals::let_signals_end_it();
    let (code, except) = (flat(options.code), flat(options.except));
    if code.is_empty() && !except.is_empty() {
        anyhow::bail!(
            "--except names what is left out of sealed code, and no --code says what is sealed"
        );
    }
    let policy = options.policy;
    if options.strict && policy.forbid_runners.is_none() {
        anyhow::bail!(
            "--strict refuses an image that holds forbidden runners, and no --forbid-runners says which"
        );
    }
    let places = policy.forbid_runners.map(packages_of).unwrap_or_default();
    announce_places(&places);
    if options.strict && !places.is_empty() {
        anyhow::bail!(
            "Not sealed: with --strict no place in the image may hold a forbidden runner"
        );
    }
    let mut seal = Seal {
        git_sha: options.git_sha,
        build_date: options.build_date,
        enforce: policy.enforce,
        require_expected: policy.require_expected,
        stop_on_drift: policy.on_drift == OnDrift::Stop,
        forbid_runners: policy.forbid_runners,
        allow_arguments: options.allow_argument,
        runner_watch_ms: options.runner_watch.map(milliseconds),
        code: None,
    };
    seal.write(&code, &except)?;
    // What a start would refuse is refused here, while somebody looks.
    Seal::read()?;
    announce(&seal);
    Ok(Exit::Done)
}

fn flat(lists: Vec<List<PathBuf>>) -> Vec<PathBuf> {
    lists.into_iter().flat_map(|List(paths)| paths).collect()
}

/// In milliseconds, rounded up: what is not zero must not become it, which is never.
fn milliseconds(watch: Duration) -> u32 {
    watch.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u32::MAX)
}

/// Warns of each of the first places that hold forbidden runners, and of how many more there are.
fn announce_places(places: &[Place]) {
    const NAMED: usize = 10;
    for place in places.iter().take(NAMED) {
        let package = place.package.as_ref().ok();
        warn!(path = %place.path.display(), package, "{place}");
    }
    if let more @ 1.. = places.len().saturating_sub(NAMED) {
        warn!(places = places.len(), "and {more} more");
    }
}

/// Logs what was sealed, and that production will refuse it when it says nothing.
fn announce(seal: &Seal) {
    let Seal { git_sha, build_date, .. } = seal;
    let policy = seal.policy();
    if let Some(code) = &seal.code {
        info!(
            code_sha256 = code.sha256,
            files = code.files,
            links = code.links.len(),
            "Sealed the code: {} files, {} links; manifest {MANIFEST}",
            code.files,
            code.links.len(),
        );
    }
    let meaningful = meaningful(git_sha);
    if meaningful.is_err() {
        warn!(
            git_sha,
            build_date,
            %policy,
            "Sealed without a SHA ('{}'): production will refuse this image. Build it with --build-arg GIT_SHA=$(git rev-parse HEAD)",
            Escape(git_sha),
        );
    } else if is_dirty(git_sha) {
        warn!(
            git_sha,
            build_date,
            %policy,
            "Sealed as {}: production will refuse this image. Commit first",
            Escape(git_sha),
        );
    } else if meaningful.is_ok_and(|sha| !is_commit(&sha)) {
        warn!(
            git_sha,
            build_date,
            %policy,
            "Sealed as {}, which is no commit's SHA: accepted. Policy: {policy}",
            Escape(git_sha),
        );
    } else {
        info!(git_sha, build_date, %policy, "Sealed as {}; policy: {policy}", Escape(git_sha));
    }
}
