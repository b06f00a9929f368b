//! Shells as programs: what their own options say they execute.

use super::files::{Files, join};
use super::invocation::{Input, Invocation, Next, Script};

/// The programs that read a shell's language.
pub const SHELLS: [&str; 7] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh"];

/// What comes of a shell; sh(1).
pub fn shell<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let mut rest = invocation.arguments();
    let mut is_string = false;
    let mut is_input = false;
    while let Some((word, others)) = rest.split_first() {
        match word.as_str() {
            "--" | "-" => {
                rest = others;
                break;
            }
            "-o" | "+o" | "-O" | "+O" | "--rcfile" | "--init-file" => {
                rest = others.get(1..).unwrap_or_default();
            }
            _ if word.starts_with("--") || word.starts_with('+') => rest = others,
            _ if word.starts_with('-') => {
                is_string |= word.contains('c');
                is_input |= word.contains('s');
                let takes_value = word.ends_with('o');
                rest = others.get(usize::from(takes_value)..).unwrap_or_default();
            }
            _ => break,
        }
    }
    let Some((first, arguments)) = rest.split_first().filter(|_| !is_input) else {
        return from_input(invocation, rest, files).into_iter().collect();
    };
    let place = invocation.place.step(invocation.shown());
    if is_string {
        let (name, arguments) = match arguments.split_first() {
            Some((name, arguments)) => (name.clone(), arguments),
            None => ("sh".to_owned(), arguments),
        };
        let script = Script { text: first.clone(), name, arguments: arguments.to_vec(), place };
        return vec![Next::Shell(script)];
    }
    let path = join(&invocation.place.folder, first);
    let Some(text) = files.text(&path) else { return Vec::new() };
    if text.contains('\0') {
        return Vec::new();
    }
    let name = path.display().to_string();
    vec![Next::Shell(Script { text: text.to_string(), name, arguments: arguments.to_vec(), place })]
}

/// A shell that reads its commands from standard input.
fn from_input<'a>(
    invocation: &Invocation<'a>,
    arguments: &[String],
    files: &mut Files,
) -> Option<Next<'a>> {
    let mut place = invocation.place.step(invocation.shown());
    let text = match place.input.take()? {
        Input::Text(text) => text,
        Input::File(path) => files.text(&path)?.to_string(),
    };
    Some(Next::Shell(Script { text, name: "sh".into(), arguments: arguments.to_vec(), place }))
}
