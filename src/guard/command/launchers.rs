//! Programs that execute several commands, or one again and again: concurrently, npm-run-all, nodemon, pm2.

use serde_json::Value;

use super::files::{Files, join};
use super::invocation::{Invocation, Next, Script, named_in, quoted};
use super::javascript::literals;
use super::manifest::Manifest;
use super::pattern;
use super::wrappers::{behind_options, split, string_option};
use crate::runner::Runner;

/// What comes of a launcher of this name; `None` where it is none.
pub fn launched<'a>(
    name: &str,
    invocation: &Invocation<'a>,
    files: &mut Files,
) -> Option<Vec<Next<'a>>> {
    Some(match name {
        "concurrently" | "conc" => concurrently(invocation),
        "run-s" | "run-p" | "npm-run-all" | "npm-run-all2" => run_all(invocation, files),
        "nodemon" => nodemon(invocation, files),
        "pm2" | "pm2-runtime" | "pm2-docker" | "pm2-dev" => pm2(name, invocation, files),
        _ => return None,
    })
}

fn command<'a>(invocation: &Invocation<'a>, words: Vec<String>) -> Next<'a> {
    let place = invocation.place.step(invocation.shown());
    Next::Command(Invocation { words, place })
}

fn by_shell<'a>(invocation: &Invocation<'a>, text: String) -> Next<'a> {
    let place = invocation.place.step(invocation.shown());
    Next::Shell(Script { text, name: "sh".into(), arguments: Vec::new(), place })
}

fn concurrently<'a>(invocation: &Invocation<'a>) -> Vec<Next<'a>> {
    const VALUES: [&str; 22] = [
        "-n",
        "--names",
        "-p",
        "--prefix",
        "-c",
        "--prefix-colors",
        "-t",
        "--timestamp-format",
        "-m",
        "--max-processes",
        "-l",
        "--prefix-length",
        "-s",
        "--success",
        "--restart-tries",
        "--restart-after",
        "--default-input-target",
        "--kill-signal",
        "--ks",
        "--name-separator",
        "--hide",
        "--teardown",
    ];
    let mut found = Vec::new();
    let mut rest = invocation.arguments();
    while let Some((word, others)) = rest.split_first() {
        rest = others;
        if word == "--" {
            break;
        }
        if VALUES.contains(&word.as_str()) {
            rest = others.get(1..).unwrap_or_default();
        } else if !word.starts_with('-') {
            found.push(match word.split_once(':') {
                Some(("node", script)) => {
                    command(invocation, vec!["node".into(), "--run".into(), script.into()])
                }
                Some((manager @ ("npm" | "pnpm" | "yarn" | "bun" | "deno"), script)) => {
                    let words = [vec![manager.to_owned(), "run".into()], split(script)].concat();
                    command(invocation, words)
                }
                _ => by_shell(invocation, word.clone()),
            });
        }
    }
    found
}

fn run_all<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let manifest = Manifest::nearest(&invocation.place.folder, files);
    let own = invocation.arguments().iter().take_while(|word| *word != "--");
    let mut found = Vec::new();
    for word in own.filter(|word| !word.starts_with('-')) {
        let words = split(word);
        let Some((of, arguments)) = words.split_first() else { continue };
        let names = manifest.iter().flat_map(Manifest::script_names);
        for name in names.filter(|name| pattern::matches(of, name)) {
            let line = [vec!["npm".to_owned(), "run".into(), name.to_owned()], arguments.to_vec()];
            found.push(command(invocation, line.concat()));
        }
    }
    found
}

fn nodemon<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    const VALUES: [&str; 16] = [
        "-w",
        "--watch",
        "-e",
        "--ext",
        "-i",
        "--ignore",
        "--config",
        "-d",
        "--delay",
        "-s",
        "--signal",
        "--cwd",
        "-x",
        "--exec",
        "--scripts",
        "-I",
    ];
    const FLAGS: [&str; 12] = [
        "-q",
        "--quiet",
        "-V",
        "--verbose",
        "-L",
        "--legacy-watch",
        "-C",
        "--on-change-only",
        "--spawn",
        "-N",
        "--no-stdin",
        "--exitcrash",
    ];
    let arguments = invocation.arguments();
    let folder = &invocation.place.folder;
    let file = string_option(arguments, &["--config"]).unwrap_or("nodemon.json");
    let json: Option<Value> =
        files.text(&join(folder, file)).and_then(|text| serde_json::from_str(&text).ok());
    let manifest = Manifest::of(folder, files);
    let config = json.or_else(|| manifest.as_ref()?.get("nodemonConfig").cloned());
    let setting = |name: &str| Some(config.as_ref()?.get(name)?.as_str()?.to_owned());
    let exec = string_option(arguments, &["-x", "--exec"]).map(str::to_owned);
    // Node's own options stand before the script.
    let mut of_node = Vec::new();
    let mut rest = arguments;
    while let Some((word, others)) = rest.split_first() {
        if VALUES.contains(&word.as_str()) {
            rest = others.get(1..).unwrap_or_default();
        } else if FLAGS.contains(&word.as_str()) || word == "--" {
            rest = others;
        } else if ["-r", "--require", "--import", "--loader"].contains(&word.as_str()) {
            of_node.extend(rest.iter().take(2).cloned());
            rest = others.get(1..).unwrap_or_default();
        } else if word.starts_with('-') {
            of_node.push(word.clone());
            rest = others;
        } else {
            break;
        }
    }
    let mut script = rest.to_vec();
    if script.is_empty() {
        let main = || manifest.as_ref()?.text("main").map(str::to_owned);
        script.extend(setting("script").or_else(main));
    }
    let line = script.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    if let Some(exec) = exec.or_else(|| setting("exec")) {
        return vec![by_shell(invocation, format!("{exec} {line}"))];
    }
    let extension = script.first().and_then(|script| script.rsplit_once('.')).map(|(_, end)| end);
    let mapped = extension.and_then(|extension| {
        Some(config.as_ref()?.get("execMap")?.get(extension)?.as_str()?.to_owned())
    });
    match (mapped, extension) {
        (Some(exec), _) => vec![by_shell(invocation, format!("{exec} {line}"))],
        (None, Some("ts")) => vec![command(invocation, [vec!["ts-node".into()], script].concat())],
        _ => vec![command(invocation, [vec!["node".to_owned()], of_node, script].concat())],
    }
}

fn pm2<'a>(name: &str, invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
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
    let arguments = invocation.arguments();
    let mut rest = behind_options(arguments, &VALUES, 0);
    if rest.first().is_some_and(|word| word == "start" || word == "restart" || word == "reload") {
        rest = behind_options(rest.get(1..).unwrap_or_default(), &VALUES, 0);
    } else if name == "pm2" {
        return Vec::new();
    }
    let Some((target, others)) = rest.split_first() else { return Vec::new() };
    let path = join(&invocation.place.folder, target);
    if target.ends_with(".json") {
        let config: Option<Value> =
            files.text(&path).and_then(|text| serde_json::from_str(&text).ok());
        let apps = config.as_ref().and_then(|config| config.get("apps").or(Some(config)));
        let apps = apps.and_then(Value::as_array).cloned().unwrap_or_default();
        return apps.iter().filter_map(|app| application(app, invocation)).collect();
    }
    if [".config.js", ".config.cjs", ".config.mjs", ".yml", ".yaml"]
        .iter()
        .any(|end| target.ends_with(end))
    {
        return configured(&path, target, invocation, files).into_iter().collect();
    }
    let own = arguments.iter().position(|word| word == "--");
    let own = own.and_then(|at| arguments.get(at + 1..)).unwrap_or_default();
    let _ = others;
    let interpreter = string_option(arguments, &["--interpreter"]);
    let options = string_option(arguments, &["--interpreter-args", "--node-args"]).unwrap_or("");
    vec![started(target, interpreter, options, own, invocation)]
}

/// A configuration that is a program: what its strings name is in doubt.
fn configured<'a>(
    path: &std::path::Path,
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
        return by_shell(invocation, script.to_owned());
    }
    let extension = script.rsplit_once('.').map_or("", |(_, extension)| extension);
    match (interpreter, extension) {
        (Some("none"), _) => command(invocation, line),
        (Some(interpreter), _) => command(invocation, with(interpreter)),
        (None, "js" | "cjs" | "mjs") => command(invocation, with("node")),
        (None, "ts" | "tsx") => {
            let (words, chain) = (invocation.words.clone(), invocation.chain());
            Next::Runs { runner: Runner::Bun, words, chain }
        }
        (None, "sh") => command(invocation, with("bash")),
        _ => command(invocation, line),
    }
}
