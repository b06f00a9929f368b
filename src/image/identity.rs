//! From seal and environment to one identity.

use std::ffi::OsStr;
use std::fmt;

use super::code::SealedCode;
use super::policy::Policy;
use super::seal::{PATH, Seal, SealError};
use super::sha::{is_commit, meaningful};
use crate::clean::clean;
use crate::log::causes;

/// The commit that the image was built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GitSha {
    Known(String),
    /// No SHA, and the reason in words that follow "because".
    Unknown(String),
}

impl fmt::Display for GitSha {
    /// The SHA, or `unknown` as in the registry and in every message.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Known(sha) => f.write_str(sha),
            Self::Unknown(_) => f.write_str("unknown"),
        }
    }
}

/// Where an identity comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Sealed,
    Environment,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Sealed => "sealed",
            Self::Environment => "from the environment",
        })
    }
}

/// What the image says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageIdentity {
    pub git_sha: GitSha,
    /// As given at build time, usually RFC 3339; empty when it was not said.
    pub build_date: String,
    pub source: Source,
    /// A `GIT_SHA` in the environment that contradicts the seal and loses to it.
    pub overridden: Option<String>,
    /// What the seal asks of the guards; nothing without a seal.
    pub policy: Policy,
    /// Arguments of the worker command of which the seal says that they are no runner, as they stand.
    pub allowed_arguments: Vec<String>,
    /// What the seal says of the image's code, where that was sealed.
    pub code: Option<SealedCode>,
}

impl ImageIdentity {
    /// The seal's word if there is a seal, else that of `GIT_SHA` and `BUILD_DATE`. A seal that
    /// can't be relied on gives an unknown identity: the environment doesn't stand in for it.
    pub fn new(
        seal: Result<Option<Seal>, SealError>,
        git_sha: Option<&OsStr>,
        build_date: Option<&OsStr>,
    ) -> Self {
        let environment = from_environment(git_sha);
        let (sealed, build_date, policy, allowed_arguments, code) = match seal {
            Ok(None) => {
                let build_date = build_date.unwrap_or_default().to_string_lossy();
                return Self {
                    git_sha: environment,
                    build_date: clean(&build_date).to_owned(),
                    source: Source::Environment,
                    overridden: None,
                    policy: Policy::default(),
                    allowed_arguments: Vec::new(),
                    code: None,
                };
            }
            Ok(Some(seal)) => {
                let sha = meaningful(&seal.git_sha)
                    .map_err(|word| format!("the seal {PATH} says {word}"));
                let (build_date, policy) = (clean(&seal.build_date).to_owned(), seal.policy());
                (sha, build_date, policy, seal.allow_arguments, seal.code)
            }
            Err(error) => {
                (Err(causes(&error)), String::new(), Policy::UNREADABLE, Vec::new(), None)
            }
        };
        // Both in lower case, where they are hex.
        let overridden = match (&sealed, environment) {
            (Ok(sealed), GitSha::Known(other)) if *sealed == other => None,
            (_, GitSha::Known(other)) => Some(other),
            (_, GitSha::Unknown(_)) => None,
        };
        Self {
            git_sha: sealed.map_or_else(GitSha::Unknown, GitSha::Known),
            build_date,
            source: Source::Sealed,
            overridden,
            policy,
            allowed_arguments,
            code,
        }
    }

    /// Whether the SHA is accepted although it is no commit's, such as a tag.
    pub fn is_no_commit(&self) -> bool {
        matches!(&self.git_sha, GitSha::Known(sha) if !is_commit(sha))
    }
}

fn from_environment(git_sha: Option<&OsStr>) -> GitSha {
    let Some(git_sha) = git_sha else {
        return GitSha::Unknown("GIT_SHA is not set".into());
    };
    let Some(git_sha) = git_sha.to_str() else {
        return GitSha::Unknown("GIT_SHA is not UTF-8".into());
    };
    meaningful(git_sha)
        .map_or_else(|word| GitSha::Unknown(format!("GIT_SHA is {word}")), GitSha::Known)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::{GitSha, ImageIdentity, Policy, Seal, SealError, Source};

    fn unsealed(git_sha: &str) -> ImageIdentity {
        ImageIdentity::new(Ok(None), Some(OsStr::new(git_sha)), None)
    }

    fn sealed(sha: &str, environment: Option<&str>) -> ImageIdentity {
        let seal = Seal {
            git_sha: sha.into(),
            build_date: "2026-01-08T12:00:00Z".into(),
            require_expected: true,
            allow_arguments: vec!["tsx-previews".into()],
            ..Seal::default()
        };
        ImageIdentity::new(Ok(Some(seal)), environment.map(OsStr::new), Some(OsStr::new("today")))
    }

    #[test]
    fn a_sha_that_says_nothing_is_unknown() {
        for word in [
            "",
            " ",
            "\t\r\n",
            "unknown",
            "null",
            "undefined",
            "HEAD",
            "${GIT_SHA}",
            " unknown\n",
            "Unknown",
        ] {
            assert!(matches!(unsealed(word).git_sha, GitSha::Unknown(_)), "{word:?}");
        }
        let unset = ImageIdentity::new(Ok(None), None, None);
        assert_eq!(unset.git_sha, GitSha::Unknown("GIT_SHA is not set".into()));
    }

    #[test]
    fn surrounding_blanks_and_line_ends_are_trimmed() {
        assert_eq!(unsealed(" a1b2c3d\r\n").git_sha, GitSha::Known("a1b2c3d".into()));
        assert_eq!(sealed("a1b2c3d\n", None).git_sha, GitSha::Known("a1b2c3d".into()));
    }

    #[test]
    fn bytes_that_are_not_text_are_unknown() {
        let identity = ImageIdentity::new(Ok(None), Some(OsStr::from_bytes(b"a1\xff")), None);
        assert_eq!(identity.git_sha, GitSha::Unknown("GIT_SHA is not UTF-8".into()));
    }

    #[test]
    fn the_seal_wins_over_the_environment() {
        let identity = sealed("a1b2c3d", Some("0f0f0f0"));
        assert_eq!(identity.git_sha, GitSha::Known("a1b2c3d".into()));
        assert_eq!(identity.build_date, "2026-01-08T12:00:00Z");
        assert_eq!(identity.source, Source::Sealed);
        assert_eq!(identity.overridden.as_deref(), Some("0f0f0f0"));
    }

    #[test]
    fn an_environment_that_agrees_or_says_nothing_is_not_overridden() {
        for environment in [None, Some("a1b2c3d"), Some(" a1b2c3d\n"), Some("unknown"), Some("")] {
            assert_eq!(sealed("a1b2c3d", environment).overridden, None, "{environment:?}");
        }
    }

    #[test]
    fn a_seal_that_says_nothing_is_unknown_whatever_the_environment_says() {
        let identity = sealed("unknown", Some("a1b2c3d"));
        assert!(
            matches!(identity.git_sha, GitSha::Unknown(reason) if reason.contains("image.json"))
        );
    }

    #[test]
    fn the_policy_is_the_seals() {
        let policy = Policy { require_expected: true, ..Policy::NONE };
        assert_eq!(sealed("a1b2c3d", None).policy, policy);
        assert_eq!(sealed("unknown", None).policy, policy);
        assert_eq!(sealed("a1b2c3d", None).allowed_arguments, ["tsx-previews"]);
        assert!(unsealed("a1b2c3d").allowed_arguments.is_empty());
        assert!(unsealed("a1b2c3d").policy.is_none());
    }

    #[test]
    fn a_broken_seal_is_enforced_always() {
        let broken = ImageIdentity::new(Err(SealError::TooLong), None, None);
        assert_eq!(broken.policy.to_string(), "enforce always, forbid tsx,strip-types");
    }

    #[test]
    fn a_broken_seal_is_unknown_with_its_reason() {
        let broken = ImageIdentity::new(Err(SealError::NoFile), Some(OsStr::new("a1b2c3d")), None);
        assert_eq!(
            broken.git_sha,
            GitSha::Unknown("the seal /etc/version-guard/image.json is no regular file".into())
        );
    }
}
