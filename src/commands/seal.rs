//! `seal`: writes the image's identity into the image.

use tracing::{info, warn};

use crate::cli;
use crate::escape::Escape;
use crate::exit::Exit;
use crate::image::{Seal, is_commit, is_dirty, meaningful};
use crate::system::signals;

/// Seals what the options say.
///
/// # Errors
/// The seal can't be written.
pub fn seal(options: cli::Seal) -> anyhow::Result<Exit> {
    signals::restore_mask();
    let seal = Seal {
        git_sha: options.git_sha,
        build_date: options.build_date,
        enforce: options.policy.enforce,
        require_expected: options.policy.require_expected,
    };
    seal.write()?;
    announce(&seal);
    Ok(Exit::Done)
}

/// Logs what was sealed, and that production will refuse it when it says nothing.
fn announce(seal: &Seal) {
    let Seal { git_sha, build_date, .. } = seal;
    let policy = seal.policy();
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
