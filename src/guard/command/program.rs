//! What a program is that no reader knows by its name: its file, the links to it, and its first line.

use std::path::Path;

use super::files::{Files, shown};
use super::invocation::{Invocation, Next};
use super::lookup::find_program;
use super::manifest::runner_of_file;
use super::words::split;
use crate::runner::Runner;

/// What comes of such a program.
pub fn program<'a>(
    invocation: &Invocation<'a>,
    is_known: impl Fn(&str) -> bool,
    files: &mut Files,
) -> Vec<Next<'a>> {
    let name = base(invocation.program());
    let named = Runner::of_program(name);
    let runs = |runner, chain| vec![Next::Runs { runner, words: invocation.words.clone(), chain }];
    let Some(path) = find_program(invocation.program(), &invocation.place, files) else {
        // It may come with a package that is not here yet.
        return named.map_or_else(Vec::new, |runner| runs(runner, invocation.chain()));
    };
    let real = files.real(&path);
    if let Some(runner) = runner_of_file(&real, files) {
        let chain = invocation.place.step(invocation.shown());
        let chain = if named.is_some() { chain } else { chain.step(shown(&real)) };
        return runs(runner, chain.chain);
    }
    // By a path, it is whatever is there.
    let is_sought = !invocation.program().contains('/');
    if let Some(runner) = named.filter(|_| is_sought && !is_of_a_package(&real)) {
        return runs(runner, invocation.chain());
    }
    let real_name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if real_name != name && is_known(&real_name) {
        let words = [&[real_name], invocation.arguments()].concat();
        let place = invocation.place.step(invocation.shown());
        return vec![Next::Command(Invocation { words, place })];
    }
    let Some(beginning) = files.beginning(&path) else { return Vec::new() };
    script(&path, &beginning, invocation)
}

/// Whether a file belongs to an installed package, which is then no runner's.
fn is_of_a_package(path: &Path) -> bool {
    let inside = path.to_str().and_then(|path| path.rsplit_once("/node_modules/"));
    inside.is_some_and(|(_, inside)| !inside.starts_with(".bin/"))
}

/// A script by its first line; execve(2).
fn script<'a>(path: &Path, beginning: &str, invocation: &Invocation<'a>) -> Vec<Next<'a>> {
    let with = |mut words: Vec<String>| {
        words.push(path.display().to_string());
        words.extend(invocation.arguments().iter().cloned());
        let place = invocation.place.step(invocation.shown());
        vec![Next::Command(Invocation { words, place })]
    };
    if let Some(line) = beginning.strip_prefix("#!") {
        let line = line.lines().next().unwrap_or_default().trim();
        // The kernel gives all behind the interpreter as one word.
        let (interpreter, option) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let option = option.trim();
        let mut words = vec![interpreter.to_owned()];
        if base(interpreter) == "env" {
            words.extend(split(option));
        } else if !option.is_empty() {
            words.push(option.to_owned());
        }
        return with(words);
    }
    // What the kernel can't execute, execvp(3) gives to the shell.
    if beginning.contains('\0') || beginning.starts_with("\u{7f}ELF") {
        return Vec::new();
    }
    with(vec!["sh".into()])
}

/// A name without the folder before it.
pub fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
