//! `seal`: writes the image's identity into the image.

use std::path::PathBuf;
use std::time::Duration;

use tracing::{info, warn};

use crate::cli::{self, List};
use crate::escape::Escape;
use crate::exit::Exit;
use crate::image::{MANIFEST, Place, Seal, is_commit, is_dirty, is_whole, meaningful, packages_of};
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
    let doubts = [doubt_of_sha(&options.git_sha), doubt_of_date(&options.build_date)];
    if let (true, Some(doubt)) = (options.strict, doubts.iter().flatten().next()) {
        anyhow::bail!("Not sealed: with --strict the image has to say what it is. {doubt}");
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
    announce(&seal, &doubts);
    Ok(Exit::Done)
}

/// What is odd about an image's SHA, and what would be right.
fn doubt_of_sha(git_sha: &str) -> Option<String> {
    let shown = Escape(git_sha);
    match meaningful(git_sha) {
        Err(_) => Some(format!(
            "GIT_SHA is '{shown}', which is no SHA: production will refuse this image. Build it with --build-arg GIT_SHA=$(git rev-parse HEAD)"
        )),
        Ok(_) if is_dirty(git_sha) => {
            Some(format!("GIT_SHA is '{shown}': production will refuse this image. Commit first"))
        }
        Ok(sha) if !is_commit(&sha) || !is_whole(&sha) => Some(format!(
            "GIT_SHA is '{shown}', which is not the 40 or 64 hex digits of a commit: accepted, and to be expected in the same words. Better is GIT_SHA=$(git rev-parse HEAD)"
        )),
        Ok(_) => None,
    }
}

/// The same of its build date, where there is one.
fn doubt_of_date(build_date: &str) -> Option<String> {
    (!build_date.is_empty() && !is_rfc3339(build_date)).then(|| {
        format!(
            "BUILD_DATE is '{}', which is not RFC 3339, such as 2026-01-08T12:00:00Z: accepted as it is. Better is BUILD_DATE=$(date -u +%Y-%m-%dT%H:%M:%SZ)",
            Escape(build_date)
        )
    })
}

/// Whether it is a time of RFC 3339, with `Z` or the zone's distance.
fn is_rfc3339(date: &str) -> bool {
    let date = date.to_ascii_uppercase();
    let (time, zone) = match date.strip_suffix('Z') {
        Some(time) => (time, "+00:00"),
        None => date.split_at(date.rfind(['+', '-']).unwrap_or(date.len())),
    };
    let is_zone = |zone: &str| match zone.split_once(':') {
        Some((hours, minutes)) => {
            let below = |text: &str, limit: u8| {
                text.len() == 2 && text.parse().is_ok_and(|number: u8| number < limit)
            };
            below(hours, 24) && below(minutes, 60)
        }
        None => false,
    };
    let utc = format!("{time}Z");
    zone.get(1..).is_some_and(is_zone) && humantime::parse_rfc3339(&utc).is_ok()
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

/// Logs what was sealed, and what is odd about it.
fn announce(seal: &Seal, [of_sha, of_date]: &[Option<String>; 2]) {
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
    match of_sha {
        None => {
            info!(git_sha, build_date, %policy, "Sealed as {}; policy: {policy}", Escape(git_sha));
        }
        Some(doubt) => warn!(git_sha, build_date, %policy, "Sealed; policy: {policy}. {doubt}"),
    }
    if let Some(doubt) = of_date {
        warn!(git_sha, build_date, "{doubt}");
    }
}

#[cfg(test)]
mod tests {
    use super::{doubt_of_date, doubt_of_sha, is_rfc3339};

    #[test]
    fn a_time_is_rfc_3339_in_any_zone_and_nothing_else_is() {
        for date in [
            "2026-01-08T12:00:00Z",
            "2026-01-08T12:00:00.123Z",
            "2026-01-08t12:00:00z",
            "2026-01-08T12:00:00+02:00",
            "2026-01-08T12:00:00-11:30",
        ] {
            assert!(is_rfc3339(date), "{date}");
        }
        for date in [
            "yesterday",
            "2026-01-08",
            "2026-01-08T12:00:00",
            "2026-01-08T12:00:00+0200",
            "2026-01-08T12:00:00+24:00",
            "2026-01-08T12:00:00+2:00",
            "2026-13-08T12:00:00Z",
            "Thu Jan  8 12:00:00 UTC 2026",
            "1767873600",
            "",
        ] {
            assert!(!is_rfc3339(date), "{date}");
        }
    }

    #[test]
    fn a_whole_commit_and_a_date_or_none_leave_no_doubt() {
        let whole = "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678";
        assert_eq!([doubt_of_sha(whole), doubt_of_sha(&"ab".repeat(32))], [None, None]);
        assert_eq!([doubt_of_date(""), doubt_of_date("2026-01-08T12:00:00Z")], [None, None]);
        for sha in ["a1b2c3d", "v1.4.2", "", "unknown", &format!("{whole}-dirty")] {
            assert!(doubt_of_sha(sha).is_some(), "{sha}");
        }
        assert!(doubt_of_date("today").is_some());
    }
}
