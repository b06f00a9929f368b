//! A SHA: what says nothing, what is one, and when two are the same. Pure.

use crate::clean::clean;

/// Words that stand where a SHA should be and say nothing: the defaults of build scripts, of JavaScript
/// and of other languages, names of git's that move, and variables' own names.
const EMPTY_WORDS: [&str; 56] = [
    "unknown",
    "null",
    "undefined",
    "none",
    "nil",
    "nan",
    "na",
    "n/a",
    "empty",
    "unset",
    "missing",
    "default",
    "true",
    "false",
    "yes",
    "no",
    "todo",
    "tbd",
    "fixme",
    "xxx",
    "changeme",
    "placeholder",
    "example",
    "head",
    "fetch_head",
    "orig_head",
    "latest",
    "main",
    "master",
    "trunk",
    "develop",
    "dev",
    "development",
    "stable",
    "edge",
    "nightly",
    "current",
    "snapshot",
    "local",
    "test",
    "prod",
    "production",
    "staging",
    "sha",
    "git_sha",
    "gitsha",
    "expected_git_sha",
    "commit",
    "commit_sha",
    "git_commit",
    "commit_hash",
    "source_commit",
    "source_version",
    "ci_commit_sha",
    "github_sha",
    "vcs_ref",
];

/// What no SHA, tag or build number has in it, and what somebody forgot to expand has: a blank, or a
/// character of `$(git rev-parse HEAD)`, `{{ .sha }}`, `<no value>`, `%GIT_SHA%`.
fn is_of_a_placeholder(character: char) -> bool {
    character.is_whitespace() || "$(){}<>%\\`".contains(character)
}

/// The SHA without what surrounds it; see `clean`. Hex digits come in lower case.
///
/// # Errors
/// The quoted word, when it says nothing.
pub fn meaningful(sha: &str) -> Result<String, String> {
    let sha = clean(sha);
    let word = sha.to_lowercase().replace('-', "_");
    let branch = ["refs/heads/", "origin/", "heads/"].iter().any(|start| word.starts_with(start));
    let says_nothing = EMPTY_WORDS.contains(&word.as_str())
        || branch
        || sha.contains(is_of_a_placeholder)
        || !sha.contains(char::is_alphanumeric)
        || sha.bytes().all(|byte| byte == b'0');
    match says_nothing {
        true => Err(format!("{sha:?}")),
        false if is_hex(sha) => Ok(sha.to_ascii_lowercase()),
        false => Ok(sha.to_owned()),
    }
}

/// Whether it is what git calls a commit by: at least four hex digits, 40 or 64 of them when whole. A
/// tree with uncommitted changes is called by its commit, too.
pub fn is_commit(sha: &str) -> bool {
    let sha = without_dirty(sha);
    (4..=64).contains(&sha.len()) && is_hex(sha)
}

/// Whether a SHA says of itself, as `git describe --dirty` does, that the code is in no commit.
pub fn is_dirty(sha: &str) -> bool {
    without_dirty(sha).len() < sha.len()
}

fn without_dirty(sha: &str) -> &str {
    const DIRTY: &str = "-dirty";
    match sha.len().checked_sub(DIRTY.len()).and_then(|at| sha.split_at_checked(at)) {
        Some((commit, end)) if end.eq_ignore_ascii_case(DIRTY) => commit,
        _ => sha,
    }
}

/// Whether two SHAs are the same: hex digits in any case, anything else byte for byte.
pub fn is_same(one: &str, other: &str) -> bool {
    one == other || is_hex(one) && is_hex(other) && one.eq_ignore_ascii_case(other)
}

/// Whether `short` abbreviates `long` in at least this many hex digits. A whole SHA, of 40 or 64 digits,
/// abbreviates no other.
pub fn abbreviates(short: &str, long: &str, min_digits: usize) -> bool {
    let begins = long.get(..short.len()).is_some_and(|start| start.eq_ignore_ascii_case(short));
    short.len() >= min_digits
        && short.len() < long.len()
        && short.len() != 40
        && begins
        && is_hex(long)
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::{abbreviates, is_commit, is_dirty, is_same, meaningful};

    const SHA1: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678";
    const SHA256: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678a1b2c3d4e5f60718293a4b5c";

    #[test]
    fn what_says_nothing_is_no_sha() {
        for word in [
            "",
            " ",
            "\u{feff}",
            "\"\"",
            "unknown",
            "Unknown",
            "NULL",
            "undefined",
            "none",
            "nil",
            "n/a",
            "N/A",
            "TODO",
            "HEAD",
            "latest",
            "main",
            "master",
            "origin/main",
            "refs/heads/release",
            "GIT_SHA",
            "git-sha",
            "SOURCE_COMMIT",
            "${GIT_SHA}",
            "$GIT_SHA",
            "$(git rev-parse HEAD)",
            "`git rev-parse HEAD`",
            "{{ .sha }}",
            "{{sha}}",
            "<no value>",
            "<sha>",
            "%GIT_SHA%",
            "\\$SHA",
            "a1b2 c3d4",
            "HEAD\nHEAD",
            "-",
            "...",
            "?",
            "0",
            "0000000",
            &"0".repeat(40),
            &"0".repeat(64),
            "'unknown'",
        ] {
            assert!(meaningful(word).is_err(), "{word:?}");
        }
    }

    #[test]
    fn what_says_something_is_kept_without_what_surrounds_it() {
        for (text, sha) in [
            (SHA1, SHA1),
            (SHA256, SHA256),
            ("A1B2C3D", "a1b2c3d"),
            (" \"a1b2c3d\"\r\n", "a1b2c3d"),
            ("v1.4.2", "v1.4.2"),
            ("Build-481", "Build-481"),
            ("unknown-1", "unknown-1"),
            ("nullable", "nullable"),
            ("HEAD~1", "HEAD~1"),
            ("main-2", "main-2"),
            ("00000001", "00000001"),
        ] {
            assert_eq!(meaningful(text).as_deref(), Ok(sha), "{text:?}");
        }
    }

    #[test]
    fn a_commit_is_hex_and_may_be_dirty() {
        for sha in [SHA1, SHA256, "a1b2c3d", "a1b2c3d-dirty"] {
            assert!(is_commit(sha), "{sha}");
        }
        for sha in ["v1.4.2", "build-481", "abc", "release", "-dirty", &format!("{SHA256}0")] {
            assert!(!is_commit(sha), "{sha}");
        }
        assert!(is_dirty("a1b2c3d-dirty") && is_dirty("a1b2c3d-Dirty") && !is_dirty("dirty"));
    }

    #[test]
    fn hex_is_the_same_in_any_case_and_nothing_else_is() {
        assert!(is_same(SHA1, &SHA1.to_uppercase()));
        assert!(is_same("v1.4.2", "v1.4.2") && !is_same("v1.4.2", "V1.4.2"));
        assert!(!is_same(SHA1, &SHA1[..39]) && !is_same("é", "É"));
    }

    #[test]
    fn an_abbreviation_is_the_beginning_of_a_longer_one() {
        for long in [SHA1, SHA256] {
            assert!(abbreviates(&SHA1[..7], long, 7), "{long}");
            assert!(abbreviates("A1B2C3D", long, 7), "{long}");
            assert!(!abbreviates(&SHA1[..6], long, 7), "{long}");
        }
        assert!(!abbreviates(SHA1, SHA256, 7), "a whole SHA-1 abbreviates no SHA-256");
        assert!(!abbreviates("release", "release-7", 4) && !abbreviates("a1é", SHA1, 2));
    }
}
