//! What a shell does itself, as far as it changes what is executed.

use super::condition::{self, Status};
use super::state::{SEPARATOR, State, unknown};
use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::{Input, UNKNOWN};
use crate::guard::command::lookup::find_program;

/// What comes of a command.
#[derive(Debug)]
pub struct Builtin {
    pub does: Does,
    pub status: Status,
}

#[derive(Debug)]
pub enum Does {
    /// It is done.
    Nothing,
    Return,
    Exit,
    /// Commands are read in, as by `eval` and `.`, the latter from a file.
    Read {
        text: String,
        source: Option<String>,
        arguments: Vec<String>,
    },
    /// Commands are executed at the end.
    Later(String),
    /// A program is executed; with `ends`, in the shell's place.
    Execute {
        words: Vec<String>,
        ends: bool,
    },
}

impl Builtin {
    fn done(status: Status) -> Self {
        Self { does: Does::Nothing, status }
    }

    fn does(does: Does) -> Self {
        Self { does, status: Status::Unknown }
    }
}

/// What a command does that is no function.
pub fn builtin(
    words: &[String],
    state: &mut State,
    input: Option<&Input>,
    files: &mut Files,
) -> Builtin {
    let words = behind_command(words);
    let (name, arguments) = match words.split_first() {
        Some((name, arguments)) => (name.as_str(), arguments),
        None => return Builtin::done(Status::True),
    };
    match name {
        ":" | "true" | "echo" | "printf" | "umask" | "ulimit" | "wait" | "alias" | "pwd" => {
            Builtin::done(Status::True)
        }
        "false" => Builtin::done(Status::False),
        "test" => Builtin::done(condition::status(arguments, false, &state.place.folder, files)),
        "[" | "[[" => {
            let words = arguments.split_last().map_or(arguments, |(_, words)| words);
            Builtin::done(condition::status(words, name == "[[", &state.place.folder, files))
        }
        "return" => Builtin { does: Does::Return, status: exit_status(arguments) },
        "exit" | "logout" => Builtin { does: Does::Exit, status: exit_status(arguments) },
        "cd" | "pushd" => cd(arguments, state, files),
        "set" => set(arguments, state),
        "shift" => shift(arguments, state),
        "export" | "readonly" | "local" | "declare" | "typeset" => declare(name, arguments, state),
        "read" => read(arguments, state, input),
        "unset" => unset(arguments, state),
        "trap" => trap(arguments),
        "type" | "which" | "hash" => found(arguments, state, files),
        "command"
            if arguments.first().is_some_and(|option| matches!(option.as_str(), "-v" | "-V")) =>
        {
            found(arguments, state, files)
        }
        "exec" => exec(arguments),
        "eval" => Builtin::does(Does::Read {
            text: arguments.join(" "),
            source: state.source.clone(),
            arguments: state.arguments.clone(),
        }),
        "." | "source" => read_in(arguments, state, files),
        _ => Builtin::does(Does::Execute { words: words.to_vec(), ends: false }),
    }
}

/// Without `command` and `builtin` before a command, which change nothing of what it does.
pub fn behind_command(mut words: &[String]) -> &[String] {
    while let [name, rest @ ..] = words
        && (name == "command" || name == "builtin")
        && !rest.first().is_some_and(|option| option == "-v" || option == "-V")
    {
        words = rest;
        while let [option, rest @ ..] = words
            && (option == "-p" || option == "--")
        {
            words = rest;
        }
    }
    words
}

fn exit_status(arguments: &[String]) -> Status {
    match arguments.first().map(String::as_str) {
        None => Status::Unknown,
        Some(code) if code.contains(UNKNOWN) => Status::Unknown,
        Some(code) => (code == "0").into(),
    }
}

fn shift(arguments: &[String], state: &mut State) -> Builtin {
    let count = arguments.first().and_then(|count| count.parse().ok()).unwrap_or(1);
    state.arguments.drain(..usize::min(count, state.arguments.len()));
    Builtin::done(Status::True)
}

fn unset(arguments: &[String], state: &mut State) -> Builtin {
    for name in arguments.iter().filter(|name| !name.starts_with('-')) {
        state.unset(name);
    }
    Builtin::done(Status::True)
}

/// What is done at the shell's end; what is done for a signal is not.
fn trap(arguments: &[String]) -> Builtin {
    match arguments {
        [text, signals @ ..] if signals.iter().any(|signal| signal == "EXIT" || signal == "0") => {
            Builtin::does(Does::Later(text.clone()))
        }
        _ => Builtin::done(Status::True),
    }
}

/// The variables get the words of the first line, where that is known.
fn read(arguments: &[String], state: &mut State, input: Option<&Input>) -> Builtin {
    let is_list = arguments.iter().any(|word| word.starts_with('-') && word.contains('a'));
    let names: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    let Some(Input::Text(text)) = input else {
        for name in names {
            state.assign(name, unknown(name));
        }
        return Builtin::done(Status::Unknown);
    };
    let mut rest = text.lines().next().unwrap_or_default().trim();
    let last = names.len().saturating_sub(1);
    for (place, name) in names.into_iter().enumerate() {
        let (word, others) = match rest.split_once(char::is_whitespace) {
            Some((word, others)) if place < last => (word, others.trim_start()),
            _ => (rest, ""),
        };
        let words: Vec<&str> = word.split_whitespace().collect();
        let value = if is_list { words.join(&SEPARATOR.to_string()) } else { word.to_owned() };
        state.assign(name, value);
        rest = others;
    }
    Builtin::done(Status::True)
}

fn cd(arguments: &[String], state: &mut State, files: &mut Files) -> Builtin {
    let folder = arguments.iter().find(|word| !word.starts_with('-'));
    let folder = folder.cloned().or_else(|| state.get("HOME")).unwrap_or_default();
    if folder.contains(UNKNOWN) {
        return Builtin::done(Status::Unknown);
    }
    let path = join(&state.place.folder, &folder);
    // One that is not there may come yet.
    let status = if files.is_folder(&path) { Status::True } else { Status::Unknown };
    state.place.folder = path;
    Builtin::done(status)
}

fn set(arguments: &[String], state: &mut State) -> Builtin {
    let mut rest = arguments;
    while let Some((option, others)) = rest.split_first() {
        let exports =
            |all: &State, to: bool| if option.contains('a') { to } else { all.exports_all };
        match option.as_str() {
            "--" => {
                state.arguments = others.to_vec();
                return Builtin::done(Status::True);
            }
            "-o" | "+o" => {
                if others.first().is_some_and(|name| name == "allexport") {
                    state.exports_all = option == "-o";
                }
                rest = others.get(1..).unwrap_or_default();
                continue;
            }
            _ if option.starts_with('-') => {
                state.exports_all = exports(state, true);
                // `-euo pipefail`.
                if option.ends_with('o') {
                    rest = others.get(1..).unwrap_or_default();
                    continue;
                }
            }
            _ if option.starts_with('+') => state.exports_all = exports(state, false),
            _ => {
                state.arguments = rest.to_vec();
                return Builtin::done(Status::True);
            }
        }
        rest = others;
    }
    Builtin::done(Status::True)
}

fn declare(name: &str, arguments: &[String], state: &mut State) -> Builtin {
    let is_exported = name == "export"
        || arguments.iter().any(|word| word.starts_with('-') && word.contains('x'));
    for word in arguments.iter().filter(|word| !word.starts_with('-')) {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        if let Some(value) = value {
            state.assign(name, value.to_owned());
        }
        if is_exported {
            state.export(name);
        }
    }
    Builtin::done(Status::True)
}

fn found(arguments: &[String], state: &State, files: &mut Files) -> Builtin {
    let mut names = arguments.iter().filter(|word| !word.starts_with('-'));
    let all = names.all(|name| {
        state.functions.contains_key(name) || find_program(name, &state.place, files).is_some()
    });
    Builtin::done(all.into())
}

fn exec(arguments: &[String]) -> Builtin {
    let mut rest = arguments;
    while let Some((option, others)) = rest.split_first() {
        rest = match option.as_str() {
            "-a" => others.get(1..).unwrap_or_default(),
            "-c" | "-l" | "-cl" | "--" => others,
            _ => return Builtin::does(Does::Execute { words: rest.to_vec(), ends: true }),
        };
    }
    // With redirections alone.
    Builtin::done(Status::True)
}

fn read_in(arguments: &[String], state: &State, files: &mut Files) -> Builtin {
    let Some((name, rest)) = arguments.split_first() else { return Builtin::done(Status::False) };
    let path = join(&state.place.folder, name);
    let arguments = if rest.is_empty() { state.arguments.clone() } else { rest.to_vec() };
    match files.text(&path) {
        Some(text) => Builtin::does(Does::Read {
            text: text.to_string(),
            source: Some(path.display().to_string()),
            arguments,
        }),
        None => Builtin::done(Status::Unknown),
    }
}
