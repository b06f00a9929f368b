//! Commands of a shell's language: POSIX's, and what of bash(1) stands in start scripts.

use std::cell::OnceCell;
use std::rc::Rc;

use super::lexer::Word;

/// What a shell does.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Simple(Simple),
    Pipeline(Vec<Command>),
    Not(Box<Command>),
    And(Box<Command>, Box<Command>),
    Or(Box<Command>, Box<Command>),
    Sequence(Vec<Command>),
    Subshell(Box<Command>),
    /// Conditions, each with what is done where it holds, and what is done else.
    If(Vec<(Command, Command)>, Box<Command>),
    /// The condition, the body, and whether it goes on until the condition holds.
    Loop(Box<Command>, Box<Command>, bool),
    For(String, Vec<Word>, Box<Command>),
    Case(Word, Vec<(Vec<Word>, Command)>),
    Function(String, Rc<Command>),
    /// What stands between `((` and `))`.
    Arithmetic(Word),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Simple {
    pub assignments: Vec<Assignment>,
    pub words: Vec<Word>,
    /// The commands of process substitutions among its words.
    pub beside: Vec<String>,
    pub input: Option<Redirected>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Assignment {
    pub name: String,
    /// Whether the value comes behind the one that is there.
    pub appends: bool,
    /// Of an array, several.
    pub values: Vec<Word>,
}

/// What is redirected to standard input.
#[derive(Debug, PartialEq, Eq)]
pub enum Redirected {
    Here(Here),
    /// A here-string.
    Text(Word),
    File(Word),
}

/// A here-document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Here {
    /// Read when the line ends that names it.
    pub text: Rc<OnceCell<String>>,
    pub is_expanded: bool,
}
