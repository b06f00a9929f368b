//! Wrappers that change the environment of what they execute.

use crate::guard::command::dotenv;
use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::{Invocation, Next, Variables};
use crate::guard::command::words::{behind_options, split, string_option};

/// env(1): assignments, `-i`, `-u`, `-C` and `-S`, whose string is split into words.
pub fn env<'a>(invocation: &Invocation<'a>) -> Vec<Next<'a>> {
    let mut place = invocation.place.clone();
    let mut words: Vec<String> = invocation.arguments().to_vec();
    words.reverse();
    while let Some(word) = words.pop() {
        let attached = |name: &str| word.strip_prefix(name).map(str::to_owned);
        let mut value = |attached: Option<String>| {
            attached.filter(|text| !text.is_empty()).or_else(|| words.pop()).unwrap_or_default()
        };
        if word == "-" || word == "-i" || word == "--ignore-environment" {
            place.variables = Variables::cleared();
        } else if word == "-u" || word == "--unset" {
            place.variables.unset(&value(None));
        } else if word == "-C" || word == "--chdir" {
            place.folder = join(&place.folder, value(None));
        } else if let Some(text) = attached("--split-string=")
            .or_else(|| attached("--split-string"))
            .or_else(|| attached("-S"))
            .or_else(|| attached("-vS"))
        {
            let text = value(Some(text));
            words.extend(split(&text).into_iter().rev());
        } else if word.starts_with('-') {
            // What it says of signals and of itself.
        } else if let Some((name, value)) = word.split_once('=') {
            place.variables.set(name, value);
        } else {
            words.push(word);
            words.reverse();
            return vec![Next::Command(Invocation { words, place })];
        }
    }
    Vec::new()
}

/// cross-env: assignments, and a command or a shell's commands.
pub fn cross_env<'a>(name: &str, invocation: &Invocation<'a>) -> Vec<Next<'a>> {
    let mut place = invocation.place.clone();
    let mut rest = invocation.arguments();
    while let Some((word, others)) = rest.split_first() {
        match word.split_once('=') {
            Some((name, value)) if !word.starts_with('-') => place.variables.set(name, value),
            _ if word.starts_with('-') => {}
            _ => break,
        }
        rest = others;
    }
    let invocation = Invocation { words: rest.to_vec(), place };
    if name == "cross-env-shell" {
        return vec![invocation.by_shell(&rest.join(" "))];
    }
    vec![Next::Command(invocation)]
}

/// A file of variables before the command.
pub fn with_file<'a>(name: &str, invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let arguments = invocation.arguments();
    let mut place = invocation.place.clone();
    let (option, values): (&[&str], &[&str]) = if name == "dotenv" {
        (&["-e"], &["-e", "-v", "-c", "-p"])
    } else {
        (&["-f", "--file"], &["-f", "--file", "-e", "--environments", "-r", "--rc-file"])
    };
    let file = string_option(arguments, option).unwrap_or(".env");
    for (name, value) in dotenv::variables(&join(&place.folder, file), files) {
        if place.variables.get(&name).is_none() || name == "env-cmd" {
            place.variables.set(name, value);
        }
    }
    let words = behind_options(arguments, values, 0);
    // dotenv of Ruby and of Python.
    let words = words.strip_prefix(&["run".to_owned()]).unwrap_or(words);
    let words = words.strip_prefix(&["--".to_owned()]).unwrap_or(words);
    vec![Next::Command(Invocation { words: words.to_vec(), place })]
}
