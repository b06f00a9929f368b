//! Programs that execute another one: how to find it among their arguments.

mod environment;
mod table;

use super::files::Files;
use super::invocation::{Invocation, Next, Place};
use super::manifest::without_version;
use super::words::{behind_options, operands, string_option};
use environment::{cross_env, env, with_file};
use table::Before::{Dashes, Options, Word};
use table::WRAPPERS;

/// How many commands of one find are followed.
const MAX_COMMANDS: usize = 16;

/// What a wrapper of this name executes; `None` where it is none.
pub fn wrapped<'a>(
    name: &str,
    invocation: &Invocation<'a>,
    files: &mut Files,
) -> Option<Vec<Next<'a>>> {
    let arguments = invocation.arguments();
    match name {
        "env" => return Some(env(invocation)),
        "cross-env" | "cross-env-shell" => return Some(cross_env(name, invocation)),
        "env-cmd" | "dotenv" => return Some(with_file(name, invocation, files)),
        "su" | "runuser" | "script" | "watch" => return Some(by_string(name, invocation)),
        "find" => return Some(found(invocation)),
        "corepack" => return Some(by_corepack(invocation)),
        "taskset" if arguments.iter().any(|word| word == "-c" || word == "--cpu-list") => {}
        "flock" if arguments.iter().any(|word| word == "-c" || word == "--command") => {
            return Some(by_string(name, invocation));
        }
        _ => {}
    }
    let (_, before) = WRAPPERS.iter().find(|(known, _)| *known == name)?;
    if let Some(text) = string_option(arguments, &["--command"]) {
        return Some(vec![invocation.by_shell(text)]);
    }
    let behind = |word: &str| {
        let at = arguments.iter().position(|argument| argument == word)?;
        arguments.get(at + 1..)
    };
    let words = match before {
        Options(values, operands) => behind_options(arguments, values, *operands),
        Dashes => behind("--").unwrap_or_default(),
        Word(word, values, operands) => {
            behind_options(behind(word).unwrap_or_default(), values, *operands)
        }
    };
    Some(vec![Next::Command(assigned(words, invocation.place.clone()))])
}

/// A command behind assignments, as sudo has them.
fn assigned<'a>(words: &[String], mut place: Place<'a>) -> Invocation<'a> {
    let mut rest = words;
    while let Some((word, others)) = rest.split_first()
        && let Some((name, value)) = word.split_once('=')
    {
        place.variables.set(name, value);
        rest = others;
    }
    Invocation { words: rest.to_vec(), place }
}

fn found<'a>(invocation: &Invocation<'a>) -> Vec<Next<'a>> {
    let words = invocation.arguments();
    let is_one = |word: &String| ["-exec", "-execdir", "-ok", "-okdir"].contains(&word.as_str());
    let each = words.iter().enumerate().filter(|(_, word)| is_one(word));
    let each = each.take(MAX_COMMANDS).filter_map(|(at, _)| {
        let behind = words.get(at + 1..)?;
        let end = behind.iter().position(|word| word == ";" || word == "+");
        Some(invocation.command(behind.get(..end.unwrap_or(behind.len()))?.to_vec()))
    });
    each.collect()
}

/// A package manager of a version: `yarn@4`.
fn by_corepack<'a>(invocation: &Invocation<'a>) -> Vec<Next<'a>> {
    let mut words = invocation.arguments().to_vec();
    if let Some(name) = words.first_mut() {
        *name = without_version(name).to_owned();
    }
    vec![invocation.command(words)]
}

/// Wrappers of a shell's commands.
fn by_string<'a>(name: &str, invocation: &Invocation<'a>) -> Vec<Next<'a>> {
    let arguments = invocation.arguments();
    if let Some(text) = string_option(arguments, &["-c", "--command"]) {
        return vec![invocation.by_shell(text)];
    }
    match name {
        "watch" => {
            let rest = behind_options(arguments, &["-n", "--interval"], 0);
            vec![invocation.by_shell(&rest.join(" "))]
        }
        "runuser" if string_option(arguments, &["-u", "--user"]).is_some() => {
            let rest = behind_options(arguments, &["-u", "--user", "-g", "-G"], 0);
            vec![invocation.command(rest.to_vec())]
        }
        "su" | "runuser" => {
            let shell = string_option(arguments, &["-s", "--shell"]).unwrap_or("sh");
            let others: Vec<String> =
                arguments.iter().filter(|word| *word != "-").cloned().collect();
            let operands = operands(&others, &["-s", "--shell", "-g", "-G", "-w"]);
            let own = operands.get(1..).unwrap_or_default();
            vec![invocation.command([&[shell.to_owned()], own].concat())]
        }
        _ => Vec::new(),
    }
}
