//! A guard's "no", and the lines that operators search their logs for.

use std::fmt::{self, Write};

use super::command::Run;
use crate::escape::Escape;
use crate::image::{Difference, Inspection, abbreviates, meaningful};

/// The deployment integrity document's lines about uncompiled code.
pub const RUNNING_VIA_TSX: &str = "\
FATAL: Running via tsx in production!
Workers must be compiled to JS and run with node.";

/// A guard's "no".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// Uncompiled code, by a forbidden runner.
    Tsx { found: Run },
    /// An image without a SHA, and why it has none.
    Unknown { reason: String },
    /// Code of no commit: the image's SHA says that its tree had uncommitted changes.
    Dirty { image: String },
    /// The policy asks for an `EXPECTED_GIT_SHA` and there is none.
    NoExpectation {
        /// Whether it is the image's policy, and not the deployment's alone.
        sealed: bool,
    },
    /// Stale code: the image's SHA is not the expected one.
    Mismatch { image: String, expected: String },
    /// Other code than the image has sealed.
    Code { found: Inspection },
}

impl Violation {
    /// The name of the guard that says no.
    pub fn guard(&self) -> &'static str {
        match self {
            Self::Tsx { .. } => "tsx",
            Self::Unknown { .. } | Self::Dirty { .. } => "unknown",
            Self::Mismatch { .. } | Self::NoExpectation { .. } => "mismatch",
            Self::Code { .. } => "code",
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

    /// By which runner the worker's code would run.
    pub fn runner(&self) -> Option<&'static str> {
        match self {
            Self::Tsx { found } => Some(found.runner.name()),
            _ => None,
        }
    }

    /// How the worker's command leads there.
    pub fn chain(&self) -> Option<String> {
        match self {
            Self::Tsx { found } => Some(found.shown()),
            _ => None,
        }
    }

    /// How many paths differ from the sealed code.
    pub fn differences(&self) -> Option<u64> {
        match self {
            Self::Code { found } => Some(found.total),
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
            Self::Tsx { .. } => format!("{RUNNING_VIA_TSX}\n{self}"),
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
            Self::NoExpectation { sealed } => format!(
                "FATAL: EXPECTED_GIT_SHA is not set!\n\
                 {}\n\
                 This worker CANNOT run - may be stale code.",
                if *sealed {
                    "Image was sealed with --require-expected"
                } else {
                    "VERSION_GUARD_REQUIRE_EXPECTED or --require-expected asks for it"
                }
            ),
            Self::Code { found } => code_refusal(found),
            Self::Mismatch { image, expected } => {
                let hint = hint(image, expected);
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
            Self::Tsx { found } => write!(f, "{found}"),
            Self::Unknown { reason } => {
                write!(f, "The image's SHA is unknown: {}", Escape(reason))
            }
            Self::Dirty { image } => {
                write!(f, "The image's SHA is {}: its code is in no commit", Escape(image))
            }
            Self::NoExpectation { sealed: true } => {
                f.write_str("EXPECTED_GIT_SHA is not set, and the image's seal requires it")
            }
            Self::NoExpectation { sealed: false } => {
                f.write_str("EXPECTED_GIT_SHA is not set, and the deployment requires it")
            }
            Self::Code { found } => {
                let Some(Difference { path, what }) = found.named.first() else {
                    return f.write_str("The code differs from the image's seal");
                };
                let path = String::from_utf8_lossy(path);
                write!(
                    f,
                    "The code differs from the image's seal: {}: {}",
                    Escape(&path),
                    Escape(what)
                )?;
                match found.total - 1 {
                    0 => Ok(()),
                    more => write!(f, ", and {more} more"),
                }
            }
            Self::Mismatch { image, expected } => {
                write!(f, "The image's SHA is {}, not {}", Escape(image), Escape(expected))
            }
        }
    }
}

fn code_refusal(found: &Inspection) -> String {
    let mut text = String::from("FATAL: Worker code differs from the image's seal!\n");
    for Difference { path, what } in &found.named {
        let path = String::from_utf8_lossy(path);
        let _ = writeln!(text, "  {}: {}", Escape(&path), Escape(what));
    }
    let named = found.named.len() as u64;
    if found.total > named {
        let _ = writeln!(text, "  and {} more", found.total - named);
    }
    text += "This worker is NOT running the code of its image. Exiting.\n";
    text + if found.is_hidden {
        "A volume or mount hides the code: take it out of the deployment, or renew it with the image (docker compose up --renew-anon-volumes, docker volume rm). What is no code is left out with seal --except."
    } else {
        "Recreate the container from its image (docker compose up -d --force-recreate --no-deps SERVICE), and change code by a new image alone."
    }
}

/// The usual cause of a mismatch, as one more line, where it shows.
fn hint(image: &str, expected: &str) -> &'static str {
    let abbreviated = |short, long| abbreviates(short, long, 4);
    if meaningful(expected).is_err() {
        "\nThe expected SHA is a placeholder: whatever set EXPECTED_GIT_SHA did not put a SHA into it."
    } else if abbreviated(image, expected) || abbreviated(expected, image) {
        "\nOne is an abbreviation of the other: give the full SHA on both sides."
    } else {
        ""
    }
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

    #[test]
    fn an_expected_sha_that_is_a_placeholder_is_called_that() {
        for expected in ["$(git rev-parse HEAD)", "${GIT_SHA}", "latest", "<no value>"] {
            let lines = mismatch("a1b2c3d", expected);
            assert!(lines.lines().nth(4).unwrap().contains("placeholder"), "{lines}");
        }
    }
}
