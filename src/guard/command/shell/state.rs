//! What a shell knows while it runs.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::syntax::Command;
use crate::guard::command::invocation::{Place, UNKNOWN};

/// Separates the elements of an array in its value.
pub const SEPARATOR: char = '\u{1f}';

/// How long a value may be, in bytes.
const MAX_VALUE: usize = 64 * 1024;
/// How long all of them may be together.
const MAX_VALUES: usize = 1024 * 1024;

#[derive(Debug, Clone)]
pub struct State<'a> {
    /// The folder, and the variables that commands get.
    pub place: Place<'a>,
    /// The variables that they don't get.
    pub own: BTreeMap<String, String>,
    /// `$0`.
    pub name: String,
    pub arguments: Vec<String>,
    /// The file that is read in, where one is.
    pub source: Option<String>,
    pub functions: BTreeMap<String, Rc<Command>>,
    /// Whether all that is set is exported.
    pub exports_all: bool,
}

impl State<'_> {
    pub fn get(&self, name: &str) -> Option<String> {
        match name {
            "#" => Some(self.arguments.len().to_string()),
            "0" => Some(self.name.clone()),
            "BASH_SOURCE" | "BASH_SOURCE[@]" | "BASH_SOURCE[0]" => {
                Some(self.source.as_ref().unwrap_or(&self.name).clone())
            }
            "@" | "*" => Some(self.arguments.join(" ")),
            "PWD" => Some(self.place.folder.display().to_string()),
            "?" | "$" | "!" | "-" | "RANDOM" => Some(unknown(name)),
            _ => {
                if let Ok(place) = name.parse::<usize>() {
                    return self.arguments.get(place.checked_sub(1)?).cloned();
                }
                if let Some(other) = name.strip_prefix('!') {
                    return self.get(&self.get(other).filter(|other| !other.starts_with('!'))?);
                }
                if let Some((array, index)) =
                    name.strip_suffix(']').and_then(|it| it.split_once('['))
                    && index != "@"
                {
                    return self.element(array, index);
                }
                let name = name.strip_suffix("[@]").unwrap_or(name);
                self.own.get(name).cloned().or_else(|| self.place.variables.get(name))
            }
        }
    }

    /// One of an array's values, by its place or by its key.
    fn element(&self, array: &str, index: &str) -> Option<String> {
        let values = self.get(array)?;
        let mut values = values.split(SEPARATOR);
        if let Ok(place) = index.parse::<usize>() {
            return values.nth(place).map(str::to_owned);
        }
        let index = index.trim_matches(['"', '\'']);
        let key = match index.strip_prefix('$') {
            Some(name) => self.get(name.trim_matches(['{', '}']))?,
            None => index.to_owned(),
        };
        let key = format!("[{key}]=");
        values.find_map(|value| value.strip_prefix(&key)).map(str::to_owned)
    }

    pub fn assign(&mut self, name: &str, value: String) {
        // Nobody's start script has such a value, but one that doubles itself.
        let all: usize = self.own.values().map(String::len).sum();
        let is_much = value.len() > MAX_VALUE || all + value.len() > MAX_VALUES;
        let value = if is_much { unknown("") } else { value };
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
        self.place.folder.clone_from(&other.place.folder);
        self.place.variables = other.place.variables.clone();
    }
}

/// Text that only an execution would tell, marked as such.
pub fn unknown(text: &str) -> String {
    format!("{UNKNOWN}{}{UNKNOWN}", text.replace(UNKNOWN, " "))
}
