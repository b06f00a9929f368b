//! What commands print whose output a script executes, where it can be told without executing them.

use super::parser::parse;
use super::state::{State, unknown};
use super::syntax::{Command, Simple};
use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::UNKNOWN;
use crate::guard::command::lookup::find_program;

/// How deep substitutions nest that are told.
const MAX_NESTING: usize = 8;

/// What a command prints, without the last line end; `None` where that can't be told.
pub fn output(command: &Command, state: &State, files: &mut Files) -> Option<String> {
    of(command, &mut state.clone(), files, MAX_NESTING)
}

fn of(command: &Command, state: &mut State, files: &mut Files, nesting: usize) -> Option<String> {
    let nesting = nesting.checked_sub(1)?;
    match command {
        Command::Sequence(commands) => match commands.as_slice() {
            [one] => of(one, state, files, nesting),
            [first, second] if goes(first, state, files, nesting) => {
                of(second, state, files, nesting)
            }
            _ => None,
        },
        Command::And(first, second) if goes(first, state, files, nesting) => {
            of(second, state, files, nesting)
        }
        Command::Pipeline(commands) => match commands.as_slice() {
            // As in the links that npm and pnpm write: backslashes become slashes.
            [first, Command::Simple(sed)]
                if words(sed, state, files, nesting).ends_with(&[r"s,\\,/,g".into()]) =>
            {
                of(first, state, files, nesting)
            }
            _ => None,
        },
        Command::Simple(simple) if !simple.words.is_empty() => {
            let words = words(simple, state, files, nesting);
            let (name, arguments) = words.split_first()?;
            printed(name, arguments, state, files)
        }
        _ => None,
    }
}

/// Whether it is a change of folder, which is made.
fn goes(command: &Command, state: &mut State, files: &mut Files, nesting: usize) -> bool {
    let Command::Simple(simple) = command else { return false };
    match words(simple, state, files, nesting).as_slice() {
        [cd, .., folder] if cd == "cd" && !folder.contains(UNKNOWN) => {
            state.place.folder = join(&state.place.folder, folder);
            true
        }
        _ => false,
    }
}

fn words(simple: &Simple, state: &State, files: &mut Files, nesting: usize) -> Vec<String> {
    let mut substitute = |commands: &str| {
        let command = parse(commands, 0).ok();
        let told = command.and_then(|command| of(&command, &mut state.clone(), files, nesting));
        told.unwrap_or_else(|| unknown(commands))
    };
    simple.words.iter().flat_map(|word| state.expand(word, &mut substitute)).collect()
}

fn printed(name: &str, arguments: &[String], state: &State, files: &mut Files) -> Option<String> {
    let operands: Vec<&str> =
        arguments.iter().filter(|word| !word.starts_with('-')).map(String::as_str).collect();
    let folder = &state.place.folder;
    if operands.iter().any(|operand| operand.contains(UNKNOWN)) {
        return None;
    }
    match (name, operands.as_slice()) {
        ("echo", operands) => Some(operands.join(" ")),
        ("printf", [format]) if !format.contains('%') => Some(unescaped(format)),
        ("printf", ["%s" | "%s\\n", text]) => Some((*text).to_owned()),
        ("pwd", []) => Some(folder.display().to_string()),
        ("dirname", [path]) => {
            let parent =
                path.trim_end_matches('/').rsplit_once('/').map_or(".", |(parent, _)| parent);
            Some(if parent.is_empty() { "/" } else { parent }.to_owned())
        }
        ("basename", [path]) => path.trim_end_matches('/').rsplit('/').next().map(str::to_owned),
        ("readlink" | "realpath", [path]) => {
            Some(files.real(&join(folder, path)).display().to_string())
        }
        ("which" | "command" | "type", [name]) => {
            let found = find_program(name, &state.place, files);
            Some(found.map_or_else(String::new, |path| path.display().to_string()))
        }
        ("cat", [path]) => Some(files.text(&join(folder, path))?.trim_end().to_owned()),
        _ => None,
    }
}

fn unescaped(format: &str) -> String {
    format.replace("\\n", "\n").replace("\\t", "\t")
}
