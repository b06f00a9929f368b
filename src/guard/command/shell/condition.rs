//! Conditions: what `test`, `[`, `[[` and `((` would say.

use std::io::{IsTerminal, stderr, stdin, stdout};
use std::path::Path;

use super::state::State;
use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::UNKNOWN;
use crate::guard::command::pattern;

/// How deep brackets nest.
const MAX_DEPTH: u32 = 16;

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
    let mut reader = Reader { rest: &words, is_double, folder, files, depth: 0 };
    match words.len() {
        // Whatever it is, it is the word alone.
        1 => reader.simple(&words),
        2 | 3 if words.first() != Some(&"!") && words.first() != Some(&"(") => {
            reader.simple(&words)
        }
        _ => reader.either(),
    }
}

struct Reader<'w, 'f> {
    rest: &'w [&'w str],
    is_double: bool,
    folder: &'w Path,
    files: &'f mut Files,
    depth: u32,
}

impl<'w> Reader<'w, '_> {
    fn take(&mut self, one_of: &[&str]) -> bool {
        match self.rest.split_first() {
            Some((word, rest)) if one_of.contains(word) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn either(&mut self) -> Status {
        let mut left = self.both();
        while self.take(&["-o", "||"]) {
            let right = self.both();
            left = decided(left, right, Status::True);
        }
        left
    }

    fn both(&mut self) -> Status {
        let mut left = self.one();
        while self.take(&["-a", "&&"]) {
            let right = self.one();
            left = decided(left, right, Status::False);
        }
        left
    }

    fn one(&mut self) -> Status {
        if self.depth >= MAX_DEPTH {
            self.rest = &[];
            return Status::Unknown;
        }
        self.depth += 1;
        let status = if self.take(&["!"]) {
            !self.one()
        } else if self.take(&["("]) {
            let inside = self.either();
            if self.take(&[")"]) { inside } else { Status::Unknown }
        } else {
            let ends = ["-o", "-a", "||", "&&", ")"];
            let length = self.rest.iter().position(|word| ends.contains(word));
            let (own, rest) = self.rest.split_at(length.unwrap_or(self.rest.len()));
            self.rest = rest;
            self.simple(own)
        };
        self.depth -= 1;
        status
    }

    fn simple(&mut self, words: &[&'w str]) -> Status {
        if words.iter().any(|word| word.contains(UNKNOWN)) {
            return Status::Unknown;
        }
        match words {
            [word] | ["-n", word] => (!word.is_empty()).into(),
            ["-z", word] => word.is_empty().into(),
            ["-t", number] => match *number {
                "0" => stdin().is_terminal().into(),
                "1" => stdout().is_terminal().into(),
                "2" => stderr().is_terminal().into(),
                _ => Status::Unknown,
            },
            [] | [_, ""] => Status::False,
            [test, path] => self.file(test, path),
            [left, "=~", right] => matched(left, right),
            [left, "=" | "==", right] if self.is_double => pattern::matches(right, left).into(),
            [left, "!=", right] if self.is_double => (!pattern::matches(right, left)).into(),
            [left, "=" | "==", right] => (left == right).into(),
            [left, "!=", right] => (left != right).into(),
            [left, comparison, right] => match (left.parse::<i64>(), right.parse::<i64>()) {
                (Ok(left), Ok(right)) => compared(left, comparison, right),
                _ => Status::Unknown,
            },
            _ => Status::Unknown,
        }
    }

    fn file(&mut self, test: &str, path: &str) -> Status {
        let path = join(self.folder, path);
        match test {
            "-f" => self.files.is_file(&path).into(),
            "-d" => self.files.is_folder(&path).into(),
            "-e" | "-r" | "-w" => self.files.exists(&path).into(),
            "-s" => self.files.holds_something(&path).into(),
            "-x" => (self.files.is_executable(&path) || self.files.is_folder(&path)).into(),
            "-L" | "-h" => self.files.is_link(&path).into(),
            _ => Status::Unknown,
        }
    }
}

fn decided(left: Status, right: Status, decisive: Status) -> Status {
    match (left, right) {
        _ if left == decisive || right == decisive => decisive,
        (Status::Unknown, _) | (_, Status::Unknown) => Status::Unknown,
        _ => !decisive,
    }
}

/// A regular expression of texts, alternatives and anchors alone.
fn matched(text: &str, expression: &str) -> Status {
    let inside = expression.trim_start_matches('^').trim_end_matches('$');
    let inside = inside.strip_prefix('(').and_then(|it| it.strip_suffix(')')).unwrap_or(inside);
    if !inside.chars().all(|one| one.is_alphanumeric() || "|-_ /:@,".contains(one)) {
        return Status::Unknown;
    }
    let (begins, ends) = (expression.starts_with('^'), expression.ends_with('$'));
    let mut alternatives = inside.split('|');
    let is_one = alternatives.any(|one| match (begins, ends) {
        (true, true) => text == one,
        (true, false) => text.starts_with(one),
        (false, true) => text.ends_with(one),
        (false, false) => text.contains(one),
    });
    is_one.into()
}

fn compared(left: i64, comparison: &str, right: i64) -> Status {
    match comparison {
        "-eq" | "==" => (left == right).into(),
        "-ne" | "!=" => (left != right).into(),
        "-lt" | "<" => (left < right).into(),
        "-le" | "<=" => (left <= right).into(),
        "-gt" | ">" => (left > right).into(),
        "-ge" | ">=" => (left >= right).into(),
        _ => Status::Unknown,
    }
}

/// The status of one number, or of two compared.
pub fn arithmetic(text: &str, state: &State) -> Status {
    let number = |text: &str| {
        let text = text.trim();
        let is_name = text.starts_with(|first: char| first.is_alphabetic() || first == '_');
        let value = if is_name { state.get(text).unwrap_or_default() } else { text.to_owned() };
        if value.is_empty() { Some(0) } else { value.trim().parse::<i64>().ok() }
    };
    let comparisons = ["==", "!=", "<=", ">=", "<", ">"];
    let compared_by = comparisons.iter().find_map(|one| Some((one, text.split_once(one)?)));
    let status = match compared_by {
        Some((comparison, (left, right))) => {
            number(left).zip(number(right)).map(|(left, right)| compared(left, comparison, right))
        }
        None => number(text).map(|number| (number != 0).into()),
    };
    status.unwrap_or(Status::Unknown)
}
