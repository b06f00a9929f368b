//! pm2.

use std::path::Path;

use serde_json::Value;

use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::{Invocation, Next, named_in};
use crate::guard::command::javascript::literals;
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
    let Some(target) = rest.first() else { return Vec::new() };
    let path = join(&invocation.place.folder, target);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => applications(&path, invocation, files),
        Some("yml" | "yaml") => configured(&path, target, invocation, files).into_iter().collect(),
        _ if target.contains(".config.") => {
            configured(&path, target, invocation, files).into_iter().collect()
        }
        _ => {
            let own = arguments.iter().position(|word| word == "--");
            let own = own.and_then(|at| arguments.get(at + 1..)).unwrap_or_default();
            let interpreter = string_option(arguments, &["--interpreter"]);
            let options = string_option(arguments, &["--interpreter-args", "--node-args"]);
            vec![started(target, interpreter, options.unwrap_or_default(), own, invocation)]
        }
    }
}

fn applications<'a>(path: &Path, invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let text = files.text(path);
    let config: Option<Value> = text.and_then(|text| serde_json::from_str(&text).ok());
    let apps = config.as_ref().and_then(|config| config.get("apps").or(Some(config)));
    let apps = apps.and_then(Value::as_array).into_iter().flatten();
    apps.filter_map(|app| application(app, invocation)).collect()
}

/// A configuration that is a program: what its strings name is in doubt.
fn configured<'a>(
    path: &Path,
    target: &str,
    invocation: &Invocation<'a>,
    files: &mut Files,
) -> Option<Next<'a>> {
    let text = files.text(path)?;
    let runner = if target.contains(".config.") {
        let strings: Vec<String> =
            literals(&text).into_iter().map(|literal| literal.text).collect();
        strings.iter().find_map(|text| named_in(text))
    } else {
        named_in(&text)
    };
    let chain = invocation.place.step(invocation.shown()).step(target).chain;
    Some(Next::Doubt { runner: runner?, words: invocation.words.clone(), chain })
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
    let variables = ["env", "env_production"].iter().filter_map(|name| app.get(*name)?.as_object());
    for (name, value) in variables.flatten() {
        invocation.place.variables.set(name.clone(), value.as_str().unwrap_or_default());
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
