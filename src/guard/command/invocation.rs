//! A command, where it is executed, and what comes of reading it: values that pass between the readers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use crate::runner::Runner;
use crate::system::environment::Environment;

/// Stands around text that only an execution would tell, in a word that holds such text.
pub const UNKNOWN: char = '\u{fffc}';

/// How long all variables may be together that commands have set, in bytes.
const MAX_VARIABLES: usize = 1024 * 1024;

/// How many characters of a command a chain shows.
const MAX_SHOWN: usize = 160;

/// How a command came to be executed.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// The working directory.
    pub folder: PathBuf,
    pub variables: Variables<'a>,
    /// What has led here, from the worker's command on.
    pub chain: Vec<String>,
    /// How many commands have led here.
    pub depth: u32,
    /// What it reads from standard input, where that can be told.
    pub input: Option<Input>,
}

/// What stands on standard input.
#[derive(Debug, Clone)]
pub enum Input {
    Text(String),
    File(PathBuf),
}

impl Place<'_> {
    /// One step further.
    #[must_use]
    pub fn step(&self, step: impl Into<String>) -> Self {
        let mut next = self.clone();
        next.push(step.into());
        next
    }

    pub fn push(&mut self, step: String) {
        if self.chain.last() != Some(&step) {
            self.chain.push(step);
        }
    }
}

/// A command with its arguments.
#[derive(Debug, Clone)]
pub struct Invocation<'a> {
    pub words: Vec<String>,
    pub place: Place<'a>,
}

impl<'a> Invocation<'a> {
    /// A command that this one executes.
    pub fn command(&self, words: Vec<String>) -> Next<'a> {
        Next::Command(Invocation { words, place: self.place.step(self.shown()) })
    }

    /// Commands that this one has a shell execute.
    pub fn by_shell(&self, text: &str) -> Next<'a> {
        let place = self.place.step(self.shown());
        Next::Shell(Script { text: text.into(), name: "sh".into(), arguments: Vec::new(), place })
    }

    /// The program's name as it was given.
    pub fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    pub fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// As somebody would type it, cut where it is long.
    pub fn shown(&self) -> String {
        let mut shown = String::new();
        for word in &self.words {
            if shown.len() > 4 * MAX_SHOWN {
                break;
            }
            if !shown.is_empty() {
                shown.push(' ');
            }
            shown.push_str(&quoted(&cut(word)));
        }
        if shown.contains(UNKNOWN) {
            shown = shown.replace(UNKNOWN, "");
        }
        cut(&shown).into_owned()
    }

    /// The chain with this command at its end.
    pub fn chain(&self) -> Vec<String> {
        self.place.step(self.shown()).chain
    }
}

/// Text as a chain shows it.
pub fn cut(text: &str) -> Cow<'_, str> {
    let end = (text.len() > MAX_SHOWN).then(|| text.char_indices().nth(MAX_SHOWN)).flatten();
    match end {
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}

/// A word, in quotes where a shell would need them.
pub fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |character: char| {
        character.is_alphanumeric()
            || matches!(character, '@' | '%' | '+' | '=' | ':' | ',' | '.' | '/' | '-' | '_')
    };
    if !word.is_empty() && word.chars().all(is_plain) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

/// What reading a command has found.
#[derive(Debug, Clone)]
pub enum Next<'a> {
    /// It executes another one.
    Command(Invocation<'a>),
    /// It has a shell execute this.
    Shell(Script<'a>),
    /// It runs code by this runner; the words that show it, and what has led there.
    Runs { runner: Runner, words: Vec<String>, chain: Vec<String> },
    /// What it executes can't be told, and holds a runner's name.
    Doubt { runner: Runner, words: Vec<String>, chain: Vec<String> },
}

/// A shell's commands.
#[derive(Debug, Clone)]
pub struct Script<'a> {
    pub text: String,
    /// `$0`.
    pub name: String,
    /// `$1` and so on.
    pub arguments: Vec<String>,
    pub place: Place<'a>,
}

/// Environment variables: what the shim was given, and what commands have changed of it.
#[derive(Debug, Clone)]
pub struct Variables<'a> {
    given: Option<&'a Environment>,
    own: Rc<BTreeMap<String, Option<String>>>,
}

impl<'a> Variables<'a> {
    pub fn new(given: &'a Environment) -> Self {
        Self { given: Some(given), own: Rc::default() }
    }

    /// No variables but those that are set from now on.
    pub fn cleared() -> Self {
        Self { given: None, own: Rc::default() }
    }

    pub fn get(&self, name: &str) -> Option<String> {
        match self.own.get(name) {
            Some(value) => value.clone(),
            None => Some(self.given?.get(name)?.to_string_lossy().into_owned()),
        }
    }

    /// A text with the values of variables in the place of `${NAME}`.
    pub fn expanded(&self, text: &str) -> String {
        let mut parts = text.split("${");
        let mut expanded = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').unwrap_or(("", part));
            expanded += &self.get(name).unwrap_or_default();
            expanded += rest;
        }
        expanded
    }

    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let value = value.into();
        let all: usize = self.own.values().flatten().map(String::len).sum();
        // More than execve(2) takes.
        let value = if all + value.len() > MAX_VARIABLES { String::new() } else { value };
        Rc::make_mut(&mut self.own).insert(name.into(), Some(value));
    }

    pub fn unset(&mut self, name: &str) {
        Rc::make_mut(&mut self.own).insert(name.to_owned(), None);
    }
}

/// The runner whose name stands in text that can't be told, as a word of its own.
pub fn named_in(text: &str) -> Option<Runner> {
    let is_of_word = |character: char| character.is_alphanumeric() || "-_.*?".contains(character);
    let words = text.split(|character| !is_of_word(character));
    words.filter(|word| *word != "bun" && *word != "deno").find_map(Runner::of_program)
}
