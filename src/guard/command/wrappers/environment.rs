//! Wrappers that change the environment of what they execute.

use crate::guard::command::dotenv;
use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::{Invocation, Next, Place, Variables};
use crate::guard::command::words::{behind_options, split, string_option};

/// How many words of env's own are read.
const MAX_STEPS: u32 = 1000;
/// How many words a string of its is split into.
const MAX_WORDS: usize = 1000;

/// env(1): assignments, `-i`, `-u`, `-C` and `-S`, whose string is split into words.
pub fn env<'a>(invocation: &Invocation<'a>) -> Vec<Next<'a>> {
    let mut place = invocation.place.clone();
    let mut words: Vec<String> = invocation.arguments().iter().rev().cloned().collect();
    // A variable may hold another `-S` of itself.
    let mut steps_left = MAX_STEPS;
    while let Some(word) = words.pop().filter(|_| steps_left > 0) {
        steps_left -= 1;
        let long = ["--unset", "--chdir", "--split-string"].iter().find_map(|name| {
            let value = word.strip_prefix(name)?;
            Some((name.get(2..3)?, value.strip_prefix('=').map(str::to_owned)))
        });
        if let Some((letter, value)) = long {
            let value = value.or_else(|| words.pop()).unwrap_or_default();
            changed(letter, &value, &mut place, &mut words);
        } else if word == "-" || word == "--ignore-environment" {
            place.variables = Variables::cleared();
        } else if word == "--" || word.starts_with("--") {
            // What it says of signals and of itself.
        } else if let Some(letters) = word.strip_prefix('-') {
            short(letters, &mut place, &mut words);
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

/// Short options together, of which one with a value takes the rest or the next word.
fn short(letters: &str, place: &mut Place, words: &mut Vec<String>) {
    for (at, letter) in letters.char_indices() {
        match letter {
            'i' => place.variables = Variables::cleared(),
            'u' | 'C' | 'S' => {
                let rest = letters.get(at + 1..).filter(|rest| !rest.is_empty());
                let value = rest.map(str::to_owned).or_else(|| words.pop()).unwrap_or_default();
                return changed(&letter.to_lowercase().to_string(), &value, place, words);
            }
            _ => {}
        }
    }
}

/// What an option with a value changes, by the first letter of its name.
fn changed(letter: &str, value: &str, place: &mut Place, words: &mut Vec<String>) {
    match letter {
        "u" => place.variables.unset(value),
        "c" => place.folder = join(&place.folder, value),
        _ => {
            let text = place.variables.expanded(value);
            let split = split(&text);
            words.extend(split.into_iter().take(MAX_WORDS).rev());
        }
    }
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
    let has = |flags: &[&str]| arguments.iter().any(|word| flags.contains(&word.as_str()));
    let is_expanded = name == "env-cmd" && has(&["-x", "--expand-envs"]);
    let words = words.iter().map(|word| match word.strip_prefix('$') {
        Some(variable) if is_expanded => place.variables.get(variable).unwrap_or_default(),
        _ => word.clone(),
    });
    let invocation = Invocation { words: words.collect(), place: place.clone() };
    if name == "env-cmd" && has(&["--use-shell"]) {
        return vec![invocation.by_shell(&invocation.words.join(" "))];
    }
    vec![Next::Command(invocation)]
}
