//! pm2.

use serde_json::Value;

use super::{ecosystem, yaml};
use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::{Invocation, Next};
use crate::guard::command::words::{behind_options, split, string_option};
use crate::runner::Runner;

const VALUES: [&str; 30] = [
    "--interpreter",
    "--interpreter-args",
    "--node-args",
    "-n",
    "--name",
    "-i",
    "--instances",
    "--env",
    "-o",
    "--output",
    "-e",
    "--error",
    "-l",
    "--log",
    "--cwd",
    "-u",
    "--user",
    "-p",
    "--pid",
    "--max-memory-restart",
    "--log-date-format",
    "--ext",
    "--only",
    "--cron",
    "-c",
    "--kill-timeout",
    "--namespace",
    "--restart-delay",
    "--exp-backoff-restart-delay",
    "--secret",
];

/// What comes of pm2 and pm2-runtime, by their options or an ecosystem file.
pub fn pm2<'a>(name: &str, invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let arguments = invocation.arguments();
    let mut rest = behind_options(arguments, &VALUES, 0);
    if rest.first().is_some_and(|word| ["start", "restart", "reload"].contains(&word.as_str())) {
        rest = behind_options(rest.get(1..).unwrap_or_default(), &VALUES, 0);
    } else if name == "pm2" {
        return Vec::new();
    }
    let folder = &invocation.place.folder;
    let usual = || {
        let names = ["ecosystem.config.js", "ecosystem.config.cjs", "ecosystem.config.mjs"];
        names.into_iter().find(|name| files.is_file(&folder.join(name)))
    };
    let Some(target) = rest.first().map(String::as_str).or_else(usual) else { return Vec::new() };
    if is_configuration(target) {
        return applications(target, invocation, files);
    }
    let own = arguments.iter().position(|word| word == "--");
    let own = own.and_then(|at| arguments.get(at + 1..)).unwrap_or_default();
    let interpreter = string_option(arguments, &["--interpreter"]);
    let options = string_option(arguments, &["--interpreter-args", "--node-args"]);
    vec![started(target, interpreter, options.unwrap_or_default(), own, invocation)]
}

/// Whether a file says what to start, rather than to be started.
fn is_configuration(target: &str) -> bool {
    let ends = [".json", ".config.js", ".config.cjs", ".config.mjs"];
    is_yaml(target) || ends.iter().any(|end| target.ends_with(end))
}

fn is_yaml(target: &str) -> bool {
    target.rsplit_once('.').is_some_and(|(_, end)| ["yml", "yaml"].contains(&end))
}

/// What the applications of a configuration execute, or those of them that `--only` names.
fn applications<'a>(target: &str, invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let Some(text) = files.text(&join(&invocation.place.folder, target)) else { return Vec::new() };
    let mut apps =
        if is_yaml(target) { yaml::applications(&text) } else { ecosystem::applications(&text) };
    if let Some(only) = string_option(invocation.arguments(), &["--only"]) {
        let only: Vec<&str> = only.split(',').map(str::trim).collect();
        apps.retain(|app| {
            app.get("name").and_then(Value::as_str).is_some_and(|name| only.contains(&name))
        });
    }
    apps.iter().filter_map(|app| application(app, invocation)).collect()
}

fn application<'a>(app: &Value, invocation: &Invocation<'a>) -> Option<Next<'a>> {
    let text = |names: &[&str]| {
        let value = names.iter().find_map(|name| app.get(*name))?;
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Array(all) => {
                Some(all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "))
            }
            _ => None,
        }
    };
    let mut invocation = invocation.clone();
    if let Some(folder) = text(&["cwd"]) {
        invocation.place.folder = join(&invocation.place.folder, folder);
    }
    let kind = string_option(invocation.arguments(), &["--env"]).unwrap_or_default();
    let names = ["env".to_owned(), format!("env_{kind}")];
    let variables = names.iter().filter_map(|name| app.get(name)?.as_object());
    for (name, value) in variables.flatten() {
        invocation.place.variables.set(name.clone(), value.as_str().unwrap_or_default());
    }
    // Where one is told by what only an execution would tell, so is what it executes.
    if ["interpreter", "exec_interpreter"].iter().any(|name| app.get(*name) == Some(&Value::Null)) {
        return None;
    }
    let interpreter = text(&["interpreter", "exec_interpreter"]);
    let options = text(&["interpreter_args", "interpreterArgs", "node_args", "nodeArgs"]);
    let arguments = split(&text(&["args"]).unwrap_or_default());
    let script = text(&["script"])?;
    Some(started(
        &script,
        interpreter.as_deref(),
        options.as_deref().unwrap_or_default(),
        &arguments,
        &invocation,
    ))
}

fn started<'a>(
    script: &str,
    interpreter: Option<&str>,
    options: &str,
    arguments: &[String],
    invocation: &Invocation<'a>,
) -> Next<'a> {
    let line = [vec![script.to_owned()], arguments.to_vec()].concat();
    let with = |program: &str| [vec![program.to_owned()], split(options), line.clone()].concat();
    if script.contains(char::is_whitespace) {
        return invocation.by_shell(script);
    }
    let extension = script.rsplit_once('.').map_or("", |(_, extension)| extension);
    match (interpreter, extension) {
        (Some("none"), _) => invocation.command(line),
        (Some(interpreter), _) => invocation.command(with(interpreter)),
        (None, "js" | "cjs" | "mjs") => invocation.command(with("node")),
        (None, "ts" | "tsx") => {
            let (words, chain) = (invocation.words.clone(), invocation.chain());
            Next::Runs { runner: Runner::Bun, words, chain }
        }
        (None, "sh") => invocation.command(with("bash")),
        _ => invocation.command(line),
    }
}
