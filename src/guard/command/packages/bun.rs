//! Bun and Deno: managers of scripts, and runners of files.

use serde_json::Value;

use super::npm::executed;
use super::scripts::{Run, with_programs};
use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::{Invocation, Next, Script};
use crate::guard::command::lookup::find_program;
use crate::guard::command::words::{behind_options, string_option};
use crate::runner::Runner;

/// Bun's commands that run nothing of a project.
const OTHERS: [&str; 14] = [
    "add", "build", "create", "init", "install", "i", "link", "outdated", "pm", "publish",
    "remove", "unlink", "update", "upgrade",
];

/// What comes of Bun; `bun run --help`.
pub fn bun<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    const VALUES: [&str; 12] = [
        "--cwd",
        "-r",
        "--preload",
        "--env-file",
        "--filter",
        "-F",
        "--port",
        "--config",
        "-c",
        "--define",
        "--loader",
        "--conditions",
    ];
    let words = invocation.arguments();
    let mut rest = behind_options(words, &VALUES, 0);
    let own = words.get(..words.len() - rest.len()).unwrap_or_default();
    let mut invocation = invocation.clone();
    if let Some(folder) = string_option(own, &["--cwd"]) {
        invocation.place.folder = join(&invocation.place.folder, folder);
    }
    let is_run = rest.first().is_some_and(|word| word == "run");
    if is_run {
        rest = behind_options(rest.get(1..).unwrap_or_default(), &VALUES, 0);
    }
    let Some((name, arguments)) = rest.split_first() else { return Vec::new() };
    match name.as_str() {
        "x" if !is_run => return executed(&invocation, arguments, files),
        other if !is_run && OTHERS.contains(&other) => return Vec::new(),
        _ => {}
    }
    let run = Run { name, arguments, hooks: true, is_npm: false };
    if let Some(found) = run.from(&invocation.place.folder, &invocation, files) {
        return found;
    }
    let place = with_programs(&invocation.place.folder, invocation.place.clone());
    let is_file = files.is_file(&join(&place.folder, name));
    if !is_file && is_run && find_program(name, &place, files).is_some() {
        let place = place.step(invocation.shown());
        return vec![Next::Command(Invocation { words: rest.to_vec(), place })];
    }
    vec![runs(Runner::Bun, &invocation)]
}

fn runs<'a>(runner: Runner, invocation: &Invocation<'a>) -> Next<'a> {
    Next::Runs { runner, words: invocation.words.clone(), chain: invocation.chain() }
}

/// What comes of Deno: a task's commands, or code.
pub fn deno<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let words = invocation.arguments();
    match words.split_first() {
        Some((task, rest)) if task == "task" => {
            let rest = behind_options(rest, &["--cwd", "-c", "--config", "-f", "--filter"], 0);
            let Some((name, arguments)) = rest.split_first() else { return Vec::new() };
            let folder = &invocation.place.folder;
            for file in ["deno.json", "deno.jsonc"] {
                let json = files.text(&folder.join(file));
                let json = json.and_then(|text| serde_json::from_str::<Value>(&text).ok());
                let task = json.as_ref().and_then(|json| json.get("tasks")?.get(name));
                let text =
                    task.and_then(|task| task.as_str().or_else(|| task.get("command")?.as_str()));
                if let Some(text) = text {
                    let place = invocation.place.step(invocation.shown());
                    let place = place.step(format!("{file} tasks.{name}"));
                    let (text, name) = (text.to_owned(), "sh".to_owned());
                    return vec![Next::Shell(Script {
                        text,
                        name,
                        arguments: arguments.to_vec(),
                        place,
                    })];
                }
            }
            let run = Run { name, arguments, hooks: true, is_npm: false };
            run.from(folder, invocation, files).unwrap_or_default()
        }
        Some((command, _))
            if ["run", "serve", "eval", "test", "bench"].contains(&command.as_str()) =>
        {
            vec![runs(Runner::Deno, invocation)]
        }
        _ => Vec::new(),
    }
}
