//! How a shell expands a word.

use super::lexer::{Piece, Word};
use super::state::{SEPARATOR, State};
use crate::guard::command::invocation::UNKNOWN;
use crate::guard::command::pattern;

/// How long a value may be that is changed, in bytes.
const MAX_CUT: usize = 4096;
/// What a word expands to at most: what is more doubles itself, and is left out.
const MAX_BYTES: usize = 256 * 1024;
const MAX_FIELDS: usize = 4096;

impl State<'_> {
    /// The fields that a word expands to; `substitute` tells what commands print.
    pub fn expand(&self, word: &Word, substitute: &mut dyn FnMut(&str) -> String) -> Vec<String> {
        let mut fields = Fields::default();
        for (place, piece) in word.0.iter().enumerate() {
            match piece {
                Piece::Text { text, is_quoted } => {
                    let home =
                        (place == 0 && !is_quoted && (text == "~" || text.starts_with("~/")))
                            .then(|| self.get("HOME"))
                            .flatten();
                    match home {
                        Some(home) => {
                            fields.add(&format!("{home}{}", text.get(1..).unwrap_or_default()));
                        }
                        None => fields.add(text),
                    }
                }
                Piece::Parameter { name, operator, is_quoted } => {
                    let is_list = name == "@" || name.ends_with("[@]");
                    let elements = if is_list { self.elements(name) } else { Vec::new() };
                    let as_they_are = match operator.as_ref().map(|(operator, _)| operator.as_str())
                    {
                        None => is_list,
                        Some(":-" | "-") => !elements.is_empty(),
                        Some(_) => false,
                    };
                    if as_they_are && *is_quoted {
                        fields.add_each(&elements);
                        continue;
                    }
                    if let (true, Some((":", from))) =
                        (is_list, operator.as_ref().map(|(o, w)| (o.as_str(), w)))
                    {
                        // Counted from $0 on.
                        let from: usize = self.text(from, substitute).trim().parse().unwrap_or(1);
                        let from = if name == "@" { from.saturating_sub(1) } else { from };
                        fields.add_each(elements.get(from..).unwrap_or_default());
                        continue;
                    }
                    let value = self.parameter(name, operator.as_ref(), substitute);
                    let value = value.replace(SEPARATOR, " ");
                    if *is_quoted { fields.add(&value) } else { fields.split(&value) }
                }
                Piece::Substitution { commands, is_quoted } => {
                    let output = substitute(commands);
                    if *is_quoted { fields.add(&output) } else { fields.split(&output) }
                }
            }
        }
        // Without arguments, "$@" is no field.
        let is_list = |piece: &Piece| matches!(piece, Piece::Parameter { name, .. } if name == "@" || name.ends_with("[@]"));
        let is_none = fields.current.as_deref() == Some("") && word.0.iter().any(is_list);
        fields.all.into_iter().chain(fields.current.filter(|_| !is_none)).collect()
    }

    /// The same as one text.
    pub fn text(&self, word: &Word, substitute: &mut dyn FnMut(&str) -> String) -> String {
        self.expand(word, substitute).join(" ")
    }

    fn elements(&self, name: &str) -> Vec<String> {
        if name == "@" {
            return self.arguments.clone();
        }
        let value = self.get(name).unwrap_or_default();
        value.split(SEPARATOR).filter(|one| !one.is_empty()).map(str::to_owned).collect()
    }

    fn parameter(
        &self,
        name: &str,
        operator: Option<&(String, Word)>,
        substitute: &mut dyn FnMut(&str) -> String,
    ) -> String {
        let value = self.get(name);
        let Some((operator, word)) = operator else { return value.unwrap_or_default() };
        let is_set = self.is_set(name, operator);
        let value = value.unwrap_or_default();
        match operator.as_str() {
            "-" | ":-" | "=" | ":=" if !is_set => self.text(word, substitute),
            "+" | ":+" if is_set => self.text(word, substitute),
            "+" | ":+" => String::new(),
            "-" | ":-" | "=" | ":=" | "?" | ":?" => value,
            _ if value.contains(UNKNOWN) || value.len() > MAX_CUT => value,
            ",," | "," => value.to_lowercase(),
            "^^" | "^" => value.to_uppercase(),
            "/" | "//" => {
                let change = self.text(word, substitute);
                let (of, by) = change.split_once('/').unwrap_or((&change, ""));
                let count = if operator == "/" { 1 } else { usize::MAX };
                if of.is_empty() || by.len() > MAX_CUT {
                    value
                } else {
                    value.replacen(of, by, count)
                }
            }
            ":" => part(&value, &self.text(word, substitute)),
            _ => {
                let of = self.text(word, substitute);
                without(&value, &of, operator.starts_with('#'), operator.len() == 2)
            }
        }
    }

    /// Whether a variable is set, and with a colon before the operator, to something.
    pub fn is_set(&self, name: &str, operator: &str) -> bool {
        match operator.strip_prefix(':') {
            Some(_) => self.get(name).is_some_and(|value| !value.is_empty()),
            None => self.get(name).is_some(),
        }
    }
}

/// A part of a value: from a place on, as `OFFSET` or `OFFSET:LENGTH` say.
fn part(value: &str, places: &str) -> String {
    let (from, length) = places.split_once(':').unwrap_or((places, ""));
    let from = from.trim().parse().unwrap_or(0);
    let length = length.trim().parse().unwrap_or(usize::MAX);
    value.chars().skip(from).take(length).collect()
}

/// A value without what is of a pattern at its begin or at its end, the longest or the shortest.
fn without(value: &str, of: &str, at_begin: bool, is_longest: bool) -> String {
    let ends = value.char_indices().map(|(at, _)| at).chain([value.len()]);
    let mut ends: Vec<usize> = ends.collect();
    if at_begin == is_longest {
        ends.reverse();
    }
    let parts = ends.into_iter().filter_map(|at| value.split_at_checked(at));
    let mut parts = parts.map(|(left, right)| if at_begin { (left, right) } else { (right, left) });
    let rest = parts.find(|(gone, _)| pattern::matches(of, gone)).map(|(_, rest)| rest);
    rest.unwrap_or(value).to_owned()
}

/// Fields in the making.
#[derive(Debug, Default)]
struct Fields {
    all: Vec<String>,
    current: Option<String>,
    /// How much has been added.
    bytes: usize,
}

impl Fields {
    fn add(&mut self, text: &str) {
        self.bytes += text.len();
        if self.bytes <= MAX_BYTES {
            self.current.get_or_insert_default().push_str(text);
        }
    }

    fn add_each(&mut self, elements: &[String]) {
        let room = MAX_FIELDS.saturating_sub(self.all.len());
        for (place, element) in elements.iter().take(room).enumerate() {
            if place > 0 {
                self.all.extend(self.current.take());
            }
            self.add(element);
        }
    }

    /// Text whose blanks divide fields, but for those in what is unknown.
    fn split(&mut self, text: &str) {
        let mut is_unknown = false;
        self.bytes += text.len();
        if self.bytes > MAX_BYTES || self.all.len() > MAX_FIELDS {
            return;
        }
        for character in text.chars() {
            is_unknown ^= character == UNKNOWN;
            if character.is_whitespace() && !is_unknown {
                self.all.extend(self.current.take());
            } else {
                self.current.get_or_insert_default().push(character);
            }
        }
    }
}
