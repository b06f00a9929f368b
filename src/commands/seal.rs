//! `seal`: writes the image's identity into the image.

use std::path::PathBuf;

use tracing::{info, warn};

use crate::cli::{self, List};
use crate::escape::Escape;
use crate::exit::Exit;
use crate::image::{MANIFEST, Seal, is_commit, is_dirty, meaningful};
use crate::registry::OnDrift;
use crate::system::signals;

/// Seals what the options say.
///
/// # Errors
/// The seal can't be written.
pub fn seal(options: cli::Seal) -> anyhow::Result<Exit> {
    signals::restore_mask();
    let (code, except) = (flat(options.code), flat(options.except));
    if code.is_empty() && !except.is_empty() {
        anyhow::bail!(
            "--except names what is left out of sealed code, and no --code says what is sealed"
        );
    }
    let mut seal = Seal {
        git_sha: options.git_sha,
        build_date: options.build_date,
        enforce: options.policy.enforce,
        require_expected: options.policy.require_expected,
        stop_on_drift: options.policy.on_drift == OnDrift::Stop,
        code: None,
    };
    seal.write(&code, &except)?;
    // What a start would refuse is refused here, while somebody looks.
    Seal::read()?;
    announce(&seal);
    Ok(Exit::Done)
}

/// Logs what was sealed, and that production will refuse it when it says nothing.
fn flat(lists: Vec<List<PathBuf>>) -> Vec<PathBuf> {
    lists.into_iter().flat_map(|List(paths)| paths).collect()
}

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
