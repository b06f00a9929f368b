//! Goes through a shell's commands as the shell would, and tells which programs it executes. Nothing is
//! executed: where it takes that to know which way is gone, both are.

use std::collections::BTreeMap;
use std::mem;

use super::builtin::{Builtin, Does, builtin};
use super::condition::{self, Status};
use super::cursor::Unreadable;
use super::lexer::{Piece, Word};
use super::output::Printed;
use super::parser::parse;
use super::state::{SEPARATOR, State};
use super::syntax::{Assignment, Command, Simple};
use crate::guard::command::files::Files;
use crate::guard::command::invocation::{Invocation, Next, Script, UNKNOWN, cut, named_in};

/// How many commands are gone through.
const MAX_STEPS: u32 = 4000;
/// How many commands a shell may execute.
const MAX_FOUND: usize = 1000;
/// How deep functions, `eval` and files that are read in may nest.
const MAX_NESTING: u32 = 16;

/// What a shell executes.
pub fn executed<'a>(script: &Script<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let mut state = State {
        place: script.place.clone(),
        own: BTreeMap::new(),
        name: script.name.clone(),
        arguments: script.arguments.clone(),
        functions: BTreeMap::new(),
        source: None,
        exports_all: false,
    };
    let mut evaluator = Evaluator {
        files,
        found: Vec::new(),
        printed: Printed::default(),
        steps_left: MAX_STEPS,
        nesting: 0,
    };
    evaluator.text(&script.text, &mut state);
    evaluator.found
}

/// Goes through the commands of one shell.
pub struct Evaluator<'a, 'f> {
    pub files: &'f mut Files,
    found: Vec<Next<'a>>,
    pub printed: Printed,
    steps_left: u32,
    nesting: u32,
}

/// What a command leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    On(Status),
    /// The function is left.
    Returned(Status),
    /// The shell is left, or has become another program.
    Ended,
}

pub const UNKNOWN_STATUS: Flow = Flow::On(Status::Unknown);

impl<'a> Evaluator<'a, '_> {
    /// A whole text, such as a file that is read in.
    pub fn text(&mut self, text: &str, state: &mut State<'a>) -> Flow {
        if self.nesting >= MAX_NESTING {
            self.files.tell("it nests deeper than is followed".into());
            return UNKNOWN_STATUS;
        }
        self.nesting += 1;
        let flow = match parse(text, 0) {
            Ok(command) => self.command(&command, state),
            Err(Unreadable) => self.lines(text, state),
        };
        self.nesting -= 1;
        flow
    }

    /// A text that can't be read as a whole: each line for itself, those in doubt that can't be either.
    fn lines(&mut self, text: &str, state: &mut State<'a>) -> Flow {
        for line in text.lines() {
            match parse(line, 0) {
                Ok(command) => {
                    self.maybe(&command, state);
                }
                Err(Unreadable) => self.doubt(line, state),
            }
        }
        UNKNOWN_STATUS
    }

    /// What can't be told is refused only where it holds a runner's name.
    fn doubt(&mut self, text: &str, state: &State<'a>) {
        if let Some(runner) = named_in(text) {
            let shown = text.replace(UNKNOWN, "");
            let chain = state.place.step(cut(shown.trim())).chain;
            self.found.push(Next::Doubt { runner, words: vec![text.to_owned()], chain });
        }
    }

    pub fn command(&mut self, command: &Command, state: &mut State<'a>) -> Flow {
        // Time is asked for now and then: that is a system call.
        if self.steps_left.is_multiple_of(64) && self.files.is_over() {
            return Flow::Ended;
        }
        if self.found.len() > MAX_FOUND {
            self.files.tell(format!("it leads to more than {MAX_FOUND} commands"));
            return Flow::Ended;
        }
        if self.steps_left == 0 {
            self.files.tell(format!("it has more than {MAX_STEPS} commands"));
            return Flow::Ended;
        }
        self.steps_left -= 1;
        match command {
            Command::Simple(simple) => self.simple(simple, state),
            Command::Pipeline(commands) => self.pipeline(commands, state),
            Command::Not(command) => match self.command(command, state) {
                Flow::On(status) => Flow::On(!status),
                flow => flow,
            },
            Command::And(left, right) => self.joined(left, right, Status::False, state),
            Command::Or(left, right) => self.joined(left, right, Status::True, state),
            Command::Sequence(commands) => self.sequence(commands, state),
            Command::Subshell(body) => match self.command(body, &mut state.clone()) {
                Flow::On(status) | Flow::Returned(status) => Flow::On(status),
                Flow::Ended => UNKNOWN_STATUS,
            },
            Command::If(branches, otherwise) => self.conditional(branches, otherwise, state),
            Command::Loop(condition, body, is_until) => {
                self.repeated(condition, body, *is_until, state)
            }
            Command::For(name, words, body) => self.for_each(name, words, body, state),
            Command::Case(word, arms) => self.case(word, arms, state),
            Command::Arithmetic(word) => {
                let text = self.expand(word, state).join(" ");
                Flow::On(condition::arithmetic(&text, state))
            }
            Command::Function(name, body) => {
                state.functions.insert(name.clone(), body.clone());
                Flow::On(Status::True)
            }
        }
    }

    fn sequence(&mut self, commands: &[Command], state: &mut State<'a>) -> Flow {
        let mut last = Flow::On(Status::True);
        for command in commands {
            last = self.command(command, state);
            if !matches!(last, Flow::On(_)) {
                break;
            }
        }
        last
    }

    pub fn expand(&mut self, word: &Word, state: &State<'a>) -> Vec<String> {
        let fields = state.expand(word, &mut |commands| self.substituted(commands, state));
        let is_pattern = |piece: &Piece| matches!(piece, Piece::Text { text, is_quoted: false } if text.contains(['*', '?', '[']));
        if word.0.iter().any(is_pattern) {
            let each = fields
                .into_iter()
                .flat_map(|field| self.files.matching(&state.place.folder, &field));
            return each.collect();
        }
        fields
    }

    fn words(&mut self, simple: &Simple, state: &mut State<'a>) -> Vec<String> {
        let mut words = Vec::new();
        for word in &simple.words {
            words.extend(self.expand(word, state));
            for piece in &word.0 {
                if let Piece::Parameter { name, operator: Some((operator, word)), .. } = piece
                    && operator.ends_with('=')
                    && !state.is_set(name, operator)
                {
                    let value = self.expand(word, state).join(" ");
                    state.assign(name, value);
                }
            }
        }
        words
    }

    fn simple(&mut self, simple: &Simple, state: &mut State<'a>) -> Flow {
        for commands in &simple.beside {
            self.text(commands, &mut state.clone());
        }
        let words = self.words(simple, state);
        let mut own = state.clone();
        for Assignment { name, appends, values } in &simple.assignments {
            let values: Vec<String> =
                values.iter().flat_map(|word| self.expand(word, state)).collect();
            let mut value = values.join(&SEPARATOR.to_string());
            if *appends {
                let joint = if values.len() > 1 { SEPARATOR.to_string() } else { String::new() };
                value = format!("{}{joint}{value}", state.get(name).unwrap_or_default());
            }
            // What is declared behind a command stays, too.
            if words.is_empty() || values.len() > 1 {
                state.assign(name, value);
            } else {
                own.place.variables.set(name, value);
            }
        }
        if words.is_empty() {
            return Flow::On(Status::True);
        }
        if let Some(input) = self.input(simple, state) {
            own.place.input = Some(input);
        }
        self.print(&words, &own);
        self.execute(&words, own, state)
    }

    /// A command: a function, something that the shell does itself, or a program.
    fn execute(&mut self, words: &[String], own: State<'a>, state: &mut State<'a>) -> Flow {
        let name = words.first().map_or("", String::as_str);
        if let Some(body) = state.functions.get(name).cloned() {
            return self.call(&body, words, state);
        }
        let input = own.place.input.clone();
        let Builtin { does, status } = builtin(words, state, input.as_ref(), self.files);
        match does {
            Does::Nothing => Flow::On(status),
            Does::Return => Flow::Returned(status),
            Does::Exit => Flow::Ended,
            Does::Read { text, source, arguments } => {
                let before = mem::replace(&mut state.arguments, arguments);
                let source = mem::replace(&mut state.source, source);
                let flow = self.text(&text, state);
                state.arguments = before;
                state.source = source;
                flow
            }
            Does::Later(text) => {
                self.trapped(&text, state);
                Flow::On(Status::True)
            }
            Does::Execute { words, ends } => {
                self.program(words, own);
                if ends { Flow::Ended } else { UNKNOWN_STATUS }
            }
        }
    }

    fn trapped(&mut self, text: &str, state: &State<'a>) {
        self.captured(|evaluator| {
            evaluator.text(text, &mut state.clone());
        });
    }

    fn call(&mut self, body: &Command, words: &[String], state: &mut State<'a>) -> Flow {
        if self.nesting >= MAX_NESTING {
            return UNKNOWN_STATUS;
        }
        let arguments = words.get(1..).unwrap_or_default().to_vec();
        let before = mem::replace(&mut state.arguments, arguments);
        self.nesting += 1;
        let flow = self.command(body, state);
        self.nesting -= 1;
        state.arguments = before;
        match flow {
            Flow::Returned(status) => Flow::On(status),
            flow => flow,
        }
    }

    fn program(&mut self, words: Vec<String>, own: State<'a>) {
        let name = words.first().cloned().unwrap_or_default();
        if name.contains(UNKNOWN) {
            self.doubt(&name, &own);
        } else if !name.is_empty() {
            self.found.push(Next::Command(Invocation { words, place: own.place }));
        }
    }
}
