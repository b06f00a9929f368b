//! Goes through a shell's commands as the shell would, and tells which programs it executes. Nothing is
//! executed: where it takes that to know which way is gone, both are.

use std::collections::BTreeMap;

use super::builtin::{Builtin, Does, builtin};
use super::condition::Status;
use super::cursor::Cursor;
use super::lexer::Word;
use super::output::output;
use super::parser::parse;
use super::state::{SEPARATOR, State, unknown};
use super::syntax::{Command, Redirected, Simple};
use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::{Input, Invocation, Next, Script, UNKNOWN, cut, named_in};

/// How many commands are gone through.
const MAX_STEPS: u32 = 4000;
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
        exports_all: false,
    };
    let mut evaluator = Evaluator { files, found: Vec::new(), steps_left: MAX_STEPS, nesting: 0 };
    evaluator.text(&script.text, &mut state);
    evaluator.found
}

/// Goes through the commands of one shell.
pub struct Evaluator<'a, 'f> {
    files: &'f mut Files,
    found: Vec<Next<'a>>,
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
    fn text(&mut self, text: &str, state: &mut State<'a>) -> Flow {
        if self.nesting >= MAX_NESTING {
            self.files.tell("it nests deeper than is followed".into());
            return UNKNOWN_STATUS;
        }
        let Ok(command) = parse(text, 0) else {
            self.doubt(text, state);
            return UNKNOWN_STATUS;
        };
        self.nesting += 1;
        let flow = self.command(&command, state);
        self.nesting -= 1;
        flow
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

    /// Commands side by side; what one prints may be what the next one executes.
    fn pipeline(&mut self, commands: &[Command], state: &State<'a>) -> Flow {
        let mut printed = None;
        for command in commands {
            let mut own = state.clone();
            own.place.input = printed.or(own.place.input);
            self.command(command, &mut own);
            printed = self.printed(command, state);
        }
        UNKNOWN_STATUS
    }

    fn printed(&mut self, command: &Command, state: &State<'a>) -> Option<Input> {
        if let Command::Simple(simple) = command
            && let [cat, path] = self.words(simple, state).as_slice()
            && cat == "cat"
        {
            return Some(Input::File(join(&state.place.folder, path)));
        }
        output(command, state, self.files).map(Input::Text)
    }

    /// What a command reads instead of what is there already.
    fn input(&mut self, simple: &Simple, state: &State<'a>) -> Option<Input> {
        match &simple.input {
            Some(Redirected::Here(here)) => {
                let text = here.text.get().cloned().unwrap_or_default();
                let word = Cursor::as_if_quoted(&text, 0).ok().filter(|_| here.is_expanded);
                let text = word.map_or(text, |word| self.expand(&word, state).join(" "));
                Some(Input::Text(text))
            }
            Some(Redirected::Text(word)) => Some(Input::Text(self.expand(word, state).join(" "))),
            Some(Redirected::File(word)) => {
                let path = self.expand(word, state).join(" ");
                Some(Input::File(join(&state.place.folder, path)))
            }
            None => None,
        }
    }

    pub fn expand(&mut self, word: &Word, state: &State<'a>) -> Vec<String> {
        let mut run = Vec::new();
        let files = &mut *self.files;
        let fields = state.expand(word, &mut |commands| {
            run.push(commands.to_owned());
            let told = parse(commands, 0).ok().and_then(|command| output(&command, state, files));
            told.unwrap_or_else(|| unknown(commands))
        });
        // It is executed, too, whatever it prints.
        for commands in run.iter().filter(|commands| !commands.is_empty()) {
            self.text(commands, &mut state.clone());
        }
        fields
    }

    fn words(&mut self, simple: &Simple, state: &State<'a>) -> Vec<String> {
        simple.words.iter().flat_map(|word| self.expand(word, state)).collect()
    }

    fn simple(&mut self, simple: &Simple, state: &mut State<'a>) -> Flow {
        let words = self.words(simple, state);
        let mut own = state.clone();
        for (name, values) in &simple.assignments {
            let values: Vec<String> =
                values.iter().flat_map(|word| self.expand(word, state)).collect();
            let value = values.join(&SEPARATOR.to_string());
            if words.is_empty() {
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
        self.execute(&words, own, state)
    }

    /// A command: a function, something that the shell does itself, or a program.
    fn execute(&mut self, words: &[String], own: State<'a>, state: &mut State<'a>) -> Flow {
        let name = words.first().map_or("", String::as_str);
        if let Some(body) = state.functions.get(name).cloned() {
            return self.call(&body, words, state);
        }
        let Builtin { does, status } = builtin(words, state, self.files);
        match does {
            Does::Nothing => Flow::On(status),
            Does::Return => Flow::Returned(status),
            Does::Exit => Flow::Ended,
            Does::Read { text, arguments } => {
                let before = std::mem::replace(&mut state.arguments, arguments);
                let flow = self.text(&text, state);
                state.arguments = before;
                flow
            }
            Does::Execute { words, ends } => {
                self.program(words, own);
                if ends { Flow::Ended } else { UNKNOWN_STATUS }
            }
        }
    }

    fn call(&mut self, body: &Command, words: &[String], state: &mut State<'a>) -> Flow {
        if self.nesting >= MAX_NESTING {
            return UNKNOWN_STATUS;
        }
        let arguments = words.get(1..).unwrap_or_default().to_vec();
        let before = std::mem::replace(&mut state.arguments, arguments);
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
