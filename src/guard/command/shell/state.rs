//! What a shell knows while it runs, and how it expands a word by that.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::lexer::{Piece, Word};
use super::syntax::Command;
use crate::guard::command::invocation::{Place, UNKNOWN};
use crate::guard::command::pattern;

/// Separates the elements of an array in its value.
pub const SEPARATOR: char = '\u{1f}';

/// How long a value may be of which a pattern is cut off, in bytes.
const MAX_CUT: usize = 4096;

#[derive(Debug, Clone)]
pub struct State<'a> {
    /// The folder, and the variables that commands get.
    pub place: Place<'a>,
    /// The variables that they don't get.
    pub own: BTreeMap<String, String>,
    /// `$0`.
    pub name: String,
    pub arguments: Vec<String>,
    pub functions: BTreeMap<String, Rc<Command>>,
    /// Whether all that is set is exported.
    pub exports_all: bool,
}

impl State<'_> {
    pub fn get(&self, name: &str) -> Option<String> {
        match name {
            "#" => Some(self.arguments.len().to_string()),
            "0" | "BASH_SOURCE" | "BASH_SOURCE[@]" => Some(self.name.clone()),
            "@" | "*" => Some(self.arguments.join(" ")),
            "PWD" => Some(self.place.folder.display().to_string()),
            "?" | "$" | "!" | "-" | "RANDOM" => Some(unknown(name)),
            _ => {
                if let Ok(place) = name.parse::<usize>() {
                    return self.arguments.get(place.checked_sub(1)?).cloned();
                }
                let name = name.strip_suffix("[@]").unwrap_or(name);
                self.own.get(name).cloned().or_else(|| self.place.variables.get(name))
            }
        }
    }

    pub fn assign(&mut self, name: &str, value: String) {
        if self.exports_all || self.place.variables.get(name).is_some() {
            self.place.variables.set(name, value);
        } else {
            self.own.insert(name.to_owned(), value);
        }
    }

    pub fn export(&mut self, name: &str) {
        if let Some(value) = self.own.remove(name) {
            self.place.variables.set(name, value);
        }
    }

    pub fn unset(&mut self, name: &str) {
        self.own.remove(name);
        self.place.variables.unset(name);
    }

    /// What it knows where either way may have been gone.
    pub fn merge(&mut self, other: &Self) {
        for (name, value) in &other.own {
            match self.own.get(name) {
                Some(own) if own != value => {
                    let either = unknown(&format!("{own} {value}"));
                    self.own.insert(name.clone(), either);
                }
                Some(_) => {}
                None => {
                    self.own.insert(name.clone(), value.clone());
                }
            }
        }
        self.functions.extend(other.functions.clone());
    }

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
        let is_set = match operator.strip_prefix(':') {
            Some(_) => value.as_ref().is_some_and(|value| !value.is_empty()),
            None => value.is_some(),
        };
        let value = value.unwrap_or_default();
        match operator.trim_start_matches(':') {
            "-" | "=" if !is_set => self.text(word, substitute),
            "+" if is_set => self.text(word, substitute),
            "+" => String::new(),
            "#" | "##" | "%" | "%%" if value.contains(UNKNOWN) || value.len() > MAX_CUT => value,
            "#" | "##" | "%" | "%%" => {
                let of = self.text(word, substitute);
                without(&value, &of, operator.starts_with('#'), operator.len() == 2)
            }
            _ => value,
        }
    }
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

/// Text that only an execution would tell, marked as such.
pub fn unknown(text: &str) -> String {
    format!("{UNKNOWN}{}{UNKNOWN}", text.replace(UNKNOWN, " "))
}

/// Fields in the making.
#[derive(Debug, Default)]
struct Fields {
    all: Vec<String>,
    current: Option<String>,
}

impl Fields {
    fn add(&mut self, text: &str) {
        self.current.get_or_insert_default().push_str(text);
    }

    fn add_each(&mut self, elements: &[String]) {
        for (place, element) in elements.iter().enumerate() {
            if place > 0 {
                self.all.extend(self.current.take());
            }
            self.add(element);
        }
    }

    /// Text whose blanks divide fields, but for those in what is unknown.
    fn split(&mut self, text: &str) {
        let mut is_unknown = false;
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
