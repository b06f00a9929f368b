//! Programs that execute another one: how to find it among their arguments.

mod environment;
mod table;

use super::files::Files;
use super::invocation::{Invocation, Next};
use super::words::{behind_options, string_option};
use environment::{cross_env, env, with_file};
use table::Before::{Dashes, Options};
use table::WRAPPERS;

/// What a wrapper of this name executes; `None` where it is none.
pub fn wrapped<'a>(
    name: &str,
    invocation: &Invocation<'a>,
    files: &mut Files,
) -> Option<Vec<Next<'a>>> {
    let arguments = invocation.arguments();
    let with = |words: &[String]| {
        vec![Next::Command(Invocation { words: words.to_vec(), place: invocation.place.clone() })]
    };
    match name {
        "env" => return Some(env(invocation)),
        "cross-env" | "cross-env-shell" => return Some(cross_env(name, invocation)),
        "env-cmd" | "dotenv" => return Some(with_file(name, invocation, files)),
        "su" | "runuser" | "script" | "watch" => return Some(by_string(name, invocation)),
        "taskset" if arguments.iter().any(|word| word == "-c" || word == "--cpu-list") => {}
        "flock" if arguments.iter().any(|word| word == "-c" || word == "--command") => {
            return Some(by_string(name, invocation));
        }
        _ => {}
    }
    let (_, before) = WRAPPERS.iter().find(|(known, _)| *known == name)?;
    Some(match before {
        Options(values, operands) => with(behind_options(arguments, values, *operands)),
        Dashes(word) => {
            if let Some(text) = string_option(arguments, &["--command"]) {
                return Some(vec![invocation.by_shell(text)]);
            }
            let dashes = arguments.iter().position(|argument| argument == "--");
            let at = dashes.or_else(|| arguments.iter().position(|argument| argument == word));
            match at {
                Some(at) => with(arguments.get(at + 1..).unwrap_or_default()),
                None => Vec::new(),
            }
        }
    })
}

fn by_string<'a>(name: &str, invocation: &Invocation<'a>) -> Vec<Next<'a>> {
    let arguments = invocation.arguments();
    if let Some(text) = string_option(arguments, &["-c", "--command"]) {
        return vec![invocation.by_shell(text)];
    }
    let values: &[&str] = if name == "watch" { &["-n", "--interval"] } else { &["-u", "-g", "-s"] };
    let rest = behind_options(arguments, values, usize::from(name == "su"));
    match name {
        "watch" => vec![invocation.by_shell(&rest.join(" "))],
        "runuser" => {
            vec![Next::Command(Invocation {
                words: rest.to_vec(),
                place: invocation.place.clone(),
            })]
        }
        _ => Vec::new(),
    }
}
