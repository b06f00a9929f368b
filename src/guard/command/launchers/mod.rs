//! Programs that execute several commands, or one again and again: concurrently, npm-run-all, nodemon, pm2.

mod nodemon;
mod pm2;

use super::files::Files;
use super::invocation::{Invocation, Next};
use super::manifest::Manifest;
use super::pattern;
use super::words::split;
use nodemon::nodemon;
use pm2::pm2;

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
                    invocation.command(vec!["node".into(), "--run".into(), script.into()])
                }
                Some((manager @ ("npm" | "pnpm" | "yarn" | "bun" | "deno"), script)) => {
                    let words = [vec![manager.to_owned(), "run".into()], split(script)].concat();
                    invocation.command(words)
                }
                _ => invocation.by_shell(word),
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
            found.push(invocation.command(line.concat()));
        }
    }
    found
}
