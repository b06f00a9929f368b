//! A SHA: what says nothing, what is one, and when two are the same. Pure.

use crate::clean::clean;
use crate::escape::is_harmless;

/// Words that stand where a SHA should be and say nothing, without what separates their parts: the
/// defaults of build scripts and of languages, names of git's and of environments that move, and what
/// variables are called.
const EMPTY_WORDS: &[&str] = &[
    "unknown",
    "null",
    "undefined",
    "undefinedundefined",
    "none",
    "nil",
    "nan",
    "na",
    "empty",
    "void",
    "unset",
    "notset",
    "missing",
    "notavailable",
    "unspecified",
    "unversioned",
    "nogit",
    "default",
    "true",
    "false",
    "yes",
    "no",
    "error",
    "fatal",
    "todo",
    "tba",
    "tbd",
    "fixme",
    "wip",
    "changeme",
    "replaceme",
    "placeholder",
    "example",
    "yoursha",
    "yourgitsha",
    "gitshahere",
    "head",
    "fetchhead",
    "orighead",
    "latest",
    "main",
    "master",
    "trunk",
    "tip",
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
    "testing",
    "qa",
    "prod",
    "production",
    "staging",
    "sha",
    "gitsha",
    "expectedgitsha",
    "commit",
    "commitsha",
    "gitcommit",
    "commithash",
    "githash",
    "sourcecommit",
    "sourceversion",
    "cicommitsha",
    "githubsha",
    "vcsref",
    "revision",
    "version",
];

/// What no SHA, tag or build number has in it, and what was not expanded has: a blank, or a character of
/// `$(git rev-parse HEAD)`, `{{ .sha }}`, `<no value>`, `%GIT_SHA%`, `GIT_SHA=`, `HEAD~1`, a stray quote,
/// or anything that can't be seen.
fn is_of_a_placeholder(character: char) -> bool {
    character.is_whitespace()
        || "$(){}<>[]%\\`=~^\"'".contains(character)
        || !is_harmless(character)
}

/// The SHA without what surrounds it; see `clean`. Hex digits come in lower case.
///
/// # Errors
/// The quoted word, when it says nothing.
pub fn meaningful(sha: &str) -> Result<String, String> {
    let sha = clean(sha);
    if is_hex(sha) && sha.bytes().any(|byte| byte != b'0') {
        return Ok(sha.to_ascii_lowercase());
    }
    let says_nothing = sha.contains(is_of_a_placeholder)
        || !sha.contains(char::is_alphanumeric)
        || is_one_character(sha)
        || is_branch(sha)
        || is_variable(sha)
        || is_empty_word(sha);
    if says_nothing { Err(format!("{sha:?}")) } else { Ok(sha.to_owned()) }
}

/// As `xxxxxxx` and `0000000`.
fn is_one_character(sha: &str) -> bool {
    let mut characters = sha.chars();
    let first = characters.next();
    characters.all(|character| Some(character) == first)
}

/// A name of git's that moves, and no tag.
fn is_branch(sha: &str) -> bool {
    const MOVING: [&str; 5] = ["refs/", "heads/", "remotes/", "origin/", "upstream/"];
    MOVING.iter().any(|start| sha.starts_with(start)) && !sha.starts_with("refs/tags/")
}

/// A variable's name, also with the marks of a template around it: capitals alone, and no number, as a
/// release would have.
fn is_variable(sha: &str) -> bool {
    const ENDS: [&str; 8] =
        ["SHA", "SHA1", "COMMIT", "REF", "REVISION", "HASH", "VERSION", "NUMBER"];
    let name = sha.trim_matches(|character: char| !character.is_alphanumeric());
    let is_upper = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let mut parts = name.split('_');
    name.bytes().all(is_upper)
        && parts.clone().all(|part| !part.bytes().all(|byte| byte.is_ascii_digit()))
        && parts.any(|part| ENDS.iter().any(|end| part.ends_with(end)))
}

/// One of the words, or the last part of a path of names such as `process.env.GIT_SHA`.
fn is_empty_word(sha: &str) -> bool {
    let collapsed = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
    };
    let last = sha.rsplit('.').next().unwrap_or(sha);
    [sha, last].iter().any(|text| EMPTY_WORDS.contains(&collapsed(text).as_str()))
}

/// Whether it is what git calls a commit by: at least four hex digits, 40 or 64 of them when whole. A
/// tree with uncommitted changes is called by its commit, too.
pub fn is_commit(sha: &str) -> bool {
    let sha = without_dirty(sha);
    (4..=64).contains(&sha.len()) && is_hex(sha)
}

/// Whether it is no abbreviation: 40 or 64 hex digits, or no hex at all, such as a tag.
pub fn is_whole(sha: &str) -> bool {
    let commit = without_dirty(sha);
    !is_hex(commit) || matches!(commit.len(), 40 | 64)
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

/// The hex digits of git's own abbreviations: fewer may stand for more than one commit.
pub const MIN_DIGITS: usize = 7;

/// Whether it is hex of fewer digits than tell commits apart.
pub fn is_too_short(sha: &str) -> bool {
    let commit = without_dirty(sha);
    is_hex(commit) && commit.len() < MIN_DIGITS
}

/// Whether `short` abbreviates `long` in at least this many hex digits. A whole SHA, of 40 or 64 digits,
/// abbreviates no other.
pub fn abbreviates(short: &str, long: &str, min_digits: usize) -> bool {
    let begins = long.get(..short.len()).is_some_and(|start| start.eq_ignore_ascii_case(short));
    short.len() >= min_digits
        && short.len() < long.len()
        && !is_whole(short)
        && begins
        && is_hex(long)
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::{abbreviates, is_commit, is_dirty, is_same, is_whole, meaningful};
    use crate::escape::is_harmless;
    use crate::pieces;

    const PIECES: &[&str] = &[
        "a1b2c3d",
        "A1B2C3D",
        "4e5f60718293a4b5c6d7e8f9012345678",
        "0",
        "-dirty",
        "-DIRTY",
        "unknown",
        "HEAD",
        "v1.2",
        "refs/",
        "tags/",
        "GIT_SHA",
        ".",
        "_",
        "-",
        "/",
        "$",
        "{",
        "}",
        " ",
        "\n",
        "\"",
        "'",
        "é",
        "\u{200b}",
    ];

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
            ("refs/tags/v1", "refs/tags/v1"),
            ("BUILD_481", "BUILD_481"),
            ("sha256:a1b2c3d4", "sha256:a1b2c3d4"),
            ("1.0.0+build.5", "1.0.0+build.5"),
            ("1111111", "1111111"),
            ("release-2026-11", "release-2026-11"),
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
        assert!(
            !abbreviates(SHA256, &format!("{SHA256}0"), 7),
            "a whole SHA-256 abbreviates nothing"
        );
        assert!(!abbreviates("release", "release-7", 4) && !abbreviates("a1é", SHA1, 2));
    }

    #[test]
    fn any_sha_that_says_something_says_the_same_wherever_it_comes_from() {
        bolero::check!().with_generator(pieces::text(PIECES)).for_each(|text: &String| {
            let Ok(sha) = meaningful(text) else { return };
            assert!(
                !sha.is_empty() && sha.chars().all(is_harmless) && !sha.contains(' '),
                "{sha:?}"
            );
            for around in ["", " ", "\r\n", "\"", "'", "\u{feff}"] {
                assert_eq!(meaningful(&format!("{around}{sha}{around}")), Ok(sha.clone()));
            }
            assert!(is_same(&sha, &sha) && !abbreviates(&sha, &sha, 0));
        });
    }

    #[test]
    fn any_two_shas_are_the_same_or_one_abbreviates_the_other_or_neither() {
        let two = (pieces::text(PIECES), pieces::text(PIECES));
        bolero::check!().with_generator(two).for_each(|(one, other): &(String, String)| {
            assert_eq!(is_same(one, other), is_same(other, one));
            let _ = (is_commit(one), is_dirty(one));
            if abbreviates(one, other, 7) {
                assert!(!is_same(one, other) && !abbreviates(other, one, 0));
                assert!(one.len() >= 7 && !is_whole(one), "{one} {other}");
            }
        });
    }
}
