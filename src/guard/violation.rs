//! A guard's "no", and the lines that operators search their logs for.

use std::fmt;

use crate::escape::Escape;

/// A guard's "no".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// Uncompiled code: the first argument that contains `tsx`.
    Tsx { argument: String },
    /// An image without a SHA, and why it has none.
    Unknown { reason: String },
    /// Code of no commit: the image's SHA says that its tree had uncommitted changes.
    Dirty { image: String },
    /// The image's policy asks for an `EXPECTED_GIT_SHA` and there is none.
    NoExpectation,
    /// Stale code: the image's SHA is not the expected one.
    Mismatch { image: String, expected: String },
}

impl Violation {
    /// The name of the guard that says no.
    pub fn guard(&self) -> &'static str {
        match self {
            Self::Tsx { .. } => "tsx",
            Self::Unknown { .. } | Self::Dirty { .. } => "unknown",
            Self::Mismatch { .. } | Self::NoExpectation => "mismatch",
        }
    }

    /// What the image says its SHA is, where the violation is about that.
    pub fn image_sha(&self) -> Option<&str> {
        match self {
            Self::Dirty { image } | Self::Mismatch { image, .. } => Some(image),
            _ => None,
        }
    }

    /// What the deployment expects, where the violation is about that.
    pub fn expected_sha(&self) -> Option<&str> {
        match self {
            Self::Mismatch { expected, .. } => Some(expected),
            _ => None,
        }
    }

    /// The argument of the worker command that is refused.
    pub fn argument(&self) -> Option<&str> {
        match self {
            Self::Tsx { argument } => Some(argument),
            _ => None,
        }
    }

    /// Why the image has no SHA.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Unknown { reason } => Some(reason),
            _ => None,
        }
    }

    /// The lines of a refusal, without their prefix: first exactly those of the deployment integrity
    /// document, then what helps.
    pub fn refusal(&self) -> String {
        match self {
            Self::Tsx { .. } => format!(
                "FATAL: Running via tsx in production!\n\
                 Workers must be compiled to JS and run with node.\n\
                 {self}"
            ),
            Self::Unknown { .. } => format!(
                "FATAL: GIT_SHA is 'unknown' in production!\n\
                 Image was built without --build-arg GIT_SHA\n\
                 This worker CANNOT run - may be stale code.\n\
                 {self}"
            ),
            Self::Dirty { image } => format!(
                "FATAL: GIT_SHA is '{}' in production!\n\
                 Image was built from a tree with uncommitted changes\n\
                 This worker CANNOT run - its code is in no commit.",
                Escape(image)
            ),
            Self::NoExpectation => "FATAL: EXPECTED_GIT_SHA is not set!\n\
                 Image was sealed with --require-expected\n\
                 This worker CANNOT run - may be stale code."
                .to_owned(),
            Self::Mismatch { image, expected } => {
                let hint = if is_abbreviation(image, expected) || is_abbreviation(expected, image) {
                    "\nOne is an abbreviation of the other: give the full SHA on both sides."
                } else {
                    ""
                };
                format!(
                    "FATAL: Version mismatch!\n  \
                     Image SHA:    {}\n  \
                     Expected SHA: {}\n\
                     This worker is running STALE code. Exiting.{hint}",
                    Escape(image),
                    Escape(expected)
                )
            }
        }
    }
}

impl fmt::Display for Violation {
    /// What was found, in one line.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Tsx { argument } => {
                write!(f, "The worker command has the argument {}", Escape(argument))
            }
            Self::Unknown { reason } => {
                write!(f, "The image's SHA is unknown: {}", Escape(reason))
            }
            Self::Dirty { image } => {
                write!(f, "The image's SHA is {}: its code is in no commit", Escape(image))
            }
            Self::NoExpectation => {
                f.write_str("EXPECTED_GIT_SHA is not set, and the image's seal requires it")
            }
            Self::Mismatch { image, expected } => {
                write!(f, "The image's SHA is {}, not {}", Escape(image), Escape(expected))
            }
        }
    }
}

/// Whether `short` is what git would take for `long`: a beginning of at least four hex digits.
fn is_abbreviation(short: &str, long: &str) -> bool {
    short.len() >= 4
        && short.len() < long.len()
        && long.starts_with(short)
        && long.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::Violation;

    fn mismatch(image: &str, expected: &str) -> String {
        Violation::Mismatch { image: image.into(), expected: expected.into() }.refusal()
    }

    #[test]
    fn an_abbreviation_on_either_side_gets_one_more_line() {
        for (image, expected) in [("a1b2c3d", "a1b2c3d4e5f6"), ("a1b2c3d4e5f6", "a1b2c3d")] {
            assert_eq!(mismatch(image, expected).lines().count(), 5);
        }
    }

    #[test]
    fn a_plain_mismatch_gets_four_lines() {
        for (image, expected) in [("a1b2c3d", "0f0f0f0f"), ("a1", "a1b2c3d"), ("main", "main-2")] {
            assert_eq!(mismatch(image, expected).lines().count(), 4, "{image} {expected}");
        }
    }

    #[test]
    fn a_sha_with_line_ends_in_it_can_not_forge_a_log_line() {
        assert_eq!(mismatch("a\n[version] all is well", "b").lines().count(), 4);
    }
}
