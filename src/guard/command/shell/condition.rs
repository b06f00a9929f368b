//! Conditions: what `test`, `[` and `[[` would say.

use std::path::Path;

use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::UNKNOWN;
use crate::guard::command::pattern;

/// How a command ends, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    True,
    False,
    Unknown,
}

impl From<bool> for Status {
    fn from(is_true: bool) -> Self {
        if is_true { Self::True } else { Self::False }
    }
}

impl std::ops::Not for Status {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
        }
    }
}

/// The status of a condition in this folder; with `is_double`, of `[[`, whose right side is a pattern.
pub fn status(words: &[String], is_double: bool, folder: &Path, files: &mut Files) -> Status {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.iter().any(|word| word.contains(UNKNOWN)) {
        return Status::Unknown;
    }
    let joints = |either: &[&str]| words.iter().rposition(|word| either.contains(word));
    let (or, and) = (["-o", "||"], ["-a", "&&"]);
    if words.len() > 3
        && let Some(at) = joints(&or).or_else(|| joints(&and))
        && let (left, [joint, right @ ..]) = words.split_at(at)
    {
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let left = status(&own(left), is_double, folder, files);
        let right = status(&own(right), is_double, folder, files);
        let decisive = Status::from(or.contains(joint));
        return match (left, right) {
            _ if left == decisive || right == decisive => decisive,
            (Status::Unknown, _) | (_, Status::Unknown) => Status::Unknown,
            _ => !decisive,
        };
    }
    match words.as_slice() {
        [] => Status::False,
        ["!", rest @ ..] if !rest.is_empty() => {
            let rest: Vec<String> = rest.iter().map(|word| (*word).to_owned()).collect();
            !status(&rest, is_double, folder, files)
        }
        [word] | ["-n", word] => (!word.is_empty()).into(),
        ["-z", word] => word.is_empty().into(),
        ["-f", path] => files.is_file(&join(folder, path)).into(),
        ["-d", path] => files.is_folder(&join(folder, path)).into(),
        ["-e", path] => files.exists(&join(folder, path)).into(),
        ["-x", path] => files.is_executable(&join(folder, path)).into(),
        [left, "=" | "==", right] if is_double => pattern::matches(right, left).into(),
        [left, "!=", right] if is_double => (!pattern::matches(right, left)).into(),
        [left, "=" | "==", right] => (left == right).into(),
        [left, "!=", right] => (left != right).into(),
        [left, comparison, right] => match (left.parse::<i64>(), right.parse::<i64>()) {
            (Ok(left), Ok(right)) => compared(left, comparison, right),
            _ => Status::Unknown,
        },
        _ => Status::Unknown,
    }
}

fn compared(left: i64, comparison: &str, right: i64) -> Status {
    match comparison {
        "-eq" => (left == right).into(),
        "-ne" => (left != right).into(),
        "-lt" => (left < right).into(),
        "-le" => (left <= right).into(),
        "-gt" => (left > right).into(),
        "-ge" => (left >= right).into(),
        _ => Status::Unknown,
    }
}
