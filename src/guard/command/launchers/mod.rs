//! Programs that execute several commands, or one again and again: concurrently, npm-run-all, nodemon, pm2, turbo.

mod ecosystem;
mod monorepo;
mod nodemon;
mod pm2;
mod yaml;

use super::files::Files;
use super::invocation::{Invocation, Next};
use super::manifest::Manifest;
use super::pattern;
use super::words::split;
use monorepo::{lerna, nx, turbo};
use nodemon::nodemon;
use pm2::pm2;

/// What comes of a launcher of this name; `None` where it is none.
pub fn launched<'a>(
    name: &str,
    invocation: &Invocation<'a>,
    files: &mut Files,
) -> Option<Vec<Next<'a>>> {
    Some(match name {
        "concurrently" | "conc" => concurrently(invocation, files),
        "run-s" | "run-p" | "npm-run-all" | "npm-run-all2" => run_all(invocation, files),
        "turbo" => turbo(invocation, files),
        "lerna" => lerna(invocation, files),
        "nx" => nx(invocation, files),
        "nodemon" => nodemon(invocation, files),
        "pm2" | "pm2-runtime" | "pm2-docker" | "pm2-dev" => pm2(name, invocation, files),
        _ => return None,
    })
}

fn concurrently<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
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
            found.extend(each_command(word, invocation, files));
        }
    }
    found
}

/// A command of a shell, or scripts of package.json: `npm:NAME`, where the name may be a pattern.
fn each_command<'a>(word: &str, invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let (manager, script) = word.split_once(':').unwrap_or_default();
    let words = split(script);
    let Some((of, arguments)) = words.split_first() else {
        return vec![invocation.by_shell(word)];
    };
    let run: &[&str] = match manager {
        "node" => &["node", "--run"],
        "npm" | "pnpm" | "yarn" | "bun" | "deno" => &[manager, "run"],
        _ => return vec![invocation.by_shell(word)],
    };
    let names = matching(of, invocation, files).into_iter();
    let names = names.map(|name| {
        let run: Vec<String> = run.iter().map(|word| (*word).to_owned()).collect();
        invocation.command([&run[..], &[name], arguments].concat())
    });
    names.collect()
}

/// The names of scripts of package.json that are of a pattern.
fn matching(of: &str, invocation: &Invocation, files: &mut Files) -> Vec<String> {
    let manifest = Manifest::nearest(&invocation.place.folder, files);
    let names = manifest.iter().flat_map(Manifest::script_names);
    names.filter(|name| pattern::matches(of, name)).map(str::to_owned).collect()
}

fn run_all<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let own = invocation.arguments().iter().take_while(|word| *word != "--");
    let mut found = Vec::new();
    for word in own.filter(|word| !word.starts_with('-')) {
        let words = split(word);
        let Some((of, arguments)) = words.split_first() else { continue };
        for name in matching(of, invocation, files) {
            let line = [&["npm".to_owned(), "run".into(), name], arguments].concat();
            found.push(invocation.command(line));
        }
    }
    found
}
