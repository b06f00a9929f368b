//! What commands print whose output a script executes, where it can be told without executing them.

use super::builtin::behind_command;
use super::state::State;
use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::{Input, UNKNOWN};
use crate::guard::command::lookup::find_program;

/// What commands print.
#[derive(Debug)]
pub struct Printed {
    pub text: String,
    /// Whether that is all.
    pub is_told: bool,
}

impl Default for Printed {
    fn default() -> Self {
        Self { text: String::new(), is_told: true }
    }
}

/// What a command prints; `None` for one that prints nothing, an error where it can't be told.
pub fn printed(words: &[String], state: &State, files: &mut Files) -> Option<Result<String, ()>> {
    const SILENT: [&str; 21] = [
        ":", "true", "false", "test", "[", "[[", "cd", "set", "shift", "export", "readonly",
        "local", "declare", "typeset", "unset", "read", "exit", "return", "trap", "mkdir", "sleep",
    ];
    let (name, arguments) = behind_command(words).split_first()?;
    // What is read in tells for itself.
    let is_read_in = matches!(name.as_str(), "eval" | "." | "source");
    let is_silent = SILENT.contains(&name.as_str()) || name == "exec" && arguments.is_empty();
    if is_silent || is_read_in {
        return None;
    }
    Some(told(name, arguments, state, files).ok_or(()))
}

fn told(name: &str, arguments: &[String], state: &State, files: &mut Files) -> Option<String> {
    let operands: Vec<&str> =
        arguments.iter().filter(|word| !word.starts_with('-')).map(String::as_str).collect();
    let folder = &state.place.folder;
    let line = |text: &str| Some(format!("{text}\n"));
    if name == "echo" {
        let words =
            arguments.iter().skip_while(|word| ["-n", "-e", "-en", "-ne"].contains(&word.as_str()));
        return line(&words.cloned().collect::<Vec<_>>().join(" "));
    }
    if name == "printf" {
        let (format, values) = arguments.split_first()?;
        return formatted(format, values);
    }
    if operands.iter().any(|operand| operand.contains(UNKNOWN)) {
        return None;
    }
    match (name, operands.as_slice()) {
        ("pwd", []) => line(&folder.display().to_string()),
        ("dirname", [path]) => {
            let path = path.trim_end_matches('/');
            let parent = path.rsplit_once('/').map_or(".", |(parent, _)| parent);
            line(if parent.is_empty() { "/" } else { parent })
        }
        ("basename", [path]) => line(path.trim_end_matches('/').rsplit('/').next()?),
        ("readlink" | "realpath", [path]) => {
            line(&files.real(&join(folder, path)).display().to_string())
        }
        ("which" | "command" | "type", [name]) => match find_program(name, &state.place, files) {
            Some(path) => line(&path.display().to_string()),
            None => Some(String::new()),
        },
        ("cat", [path]) => Some(files.text(&join(folder, path))?.to_string()),
        // As in the links that npm and pnpm write: backslashes become slashes.
        ("cat", []) | ("sed", [r"s,\\,/,g"]) => input(state, files),
        ("head", []) => line(input(state, files)?.lines().next()?),
        _ => None,
    }
}

fn input(state: &State, files: &mut Files) -> Option<String> {
    match state.place.input.as_ref()? {
        Input::Text(text) => Some(text.clone()),
        Input::File(path) => files.text(path).map(|text| text.to_string()),
    }
}

/// printf(1) with texts alone.
fn formatted(format: &str, values: &[String]) -> Option<String> {
    let format = format.replace("\\n", "\n").replace("\\t", "\t");
    let parts: Vec<&str> = format.split("%s").collect();
    if parts.iter().any(|part| part.contains('%')) {
        return None;
    }
    let mut values = values.iter();
    let mut text = String::new();
    loop {
        for (place, part) in parts.iter().enumerate() {
            if place > 0 {
                text += values.next().map_or("", String::as_str);
            }
            text += part;
        }
        if values.as_slice().is_empty() || parts.len() < 2 {
            return Some(text);
        }
    }
}
