//! Deno: tasks, and a runner of files.

use serde_json::Value;

use super::npm::package_program;
use super::scripts::{Run, with_programs};
use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::{Invocation, Next, Script};
use crate::guard::command::manifest::without_version;
use crate::guard::command::words::{behind_options, string_option};
use crate::runner::Runner;

/// How many tasks may depend on one another.
const MAX_TASKS: usize = 32;

/// What comes of Deno: a task's commands, or code.
pub fn deno<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let Some((command, rest)) = invocation.arguments().split_first() else { return Vec::new() };
    match command.as_str() {
        "task" => task(rest, invocation, files),
        "run" | "serve" | "eval" | "test" | "bench" => {
            let code = rest.iter().position(|word| !word.starts_with('-'));
            let rest = code.and_then(|at| rest.get(at..)).unwrap_or_default();
            if let Some((program, arguments)) = rest.split_first()
                && let Some(package) = program.strip_prefix("npm:")
                && Runner::of_package(without_version(package)).is_some()
            {
                let place = invocation.place.step(invocation.shown());
                return package_program(package, arguments, place, files);
            }
            let (words, chain) = (invocation.words.clone(), invocation.chain());
            vec![Next::Runs { runner: Runner::Deno, words, chain }]
        }
        _ => Vec::new(),
    }
}

/// A task of deno.json with those that it depends on, or else a script of package.json.
fn task<'a>(words: &[String], invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let rest = behind_options(words, &["--cwd", "-c", "--config", "-f", "--filter"], 0);
    let Some((name, arguments)) = rest.split_first() else { return Vec::new() };
    let mut invocation = invocation.clone();
    if let Some(folder) = string_option(words, &["--cwd"]) {
        invocation.place.folder = join(&invocation.place.folder, folder);
    }
    let folder = invocation.place.folder.clone();
    for file in ["deno.json", "deno.jsonc"] {
        let json = files.text(&folder.join(file));
        let json =
            json.and_then(|text| serde_json::from_str::<Value>(&without_comments(&text)).ok());
        let Some(tasks) = json.as_ref().and_then(|json| json.get("tasks")) else { continue };
        if tasks.get(name).is_none() {
            continue;
        }
        let names = with_dependencies(name, tasks);
        let each = names.into_iter().filter_map(|each| {
            let task = tasks.get(&each)?;
            let text = task.as_str().or_else(|| task.get("command")?.as_str())?.to_owned();
            let place = invocation.place.step(invocation.shown());
            let place = with_programs(&folder, place.step(format!("{file} tasks.{each}")));
            let arguments = if each == *name { arguments.to_vec() } else { Vec::new() };
            Some(Next::Shell(Script { text, name: "sh".to_owned(), arguments, place }))
        });
        return each.collect();
    }
    let run = Run { name, arguments, hooks: true, manager: "deno" };
    run.from(&folder, &invocation, files).unwrap_or_default()
}

/// The names of a task and of those that it depends on, each once, itself at last.
fn with_dependencies(name: &str, tasks: &Value) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    let mut next = 0;
    while let Some(name) = names.get(next).filter(|_| next < MAX_TASKS) {
        let of = tasks.get(name).and_then(|task| task.get("dependencies")?.as_array());
        let of = of.into_iter().flatten().filter_map(Value::as_str);
        let new: Vec<String> =
            of.filter(|name| !names.iter().any(|known| known == name)).map(str::to_owned).collect();
        names.extend(new);
        next += 1;
    }
    names.reverse();
    names
}

/// JSON without comments, and without commas behind the last of a list.
fn without_comments(text: &str) -> String {
    let mut json = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let mut length = first.len_utf8();
        if rest.starts_with("//") {
            length = rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            length = rest.find("*/").map_or(rest.len(), |end| end + 2);
        } else if first == '"' {
            length = string_length(rest);
            json.push_str(rest.get(..length).unwrap_or_default());
        } else {
            if matches!(first, '}' | ']') {
                let end = json.trim_end().trim_end_matches(',').len();
                json.truncate(end);
            }
            json.push(first);
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    json
}

/// How long the string is that begins here, with its quotes.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|(_, character)| {
        let is_end = *character == '"' && !is_escaped;
        is_escaped = *character == '\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}
