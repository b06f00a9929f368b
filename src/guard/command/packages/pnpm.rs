//! pnpm.

use super::npm::{executed, package_program};
use super::scripts::{Run, installed, with_programs};
use super::workspaces::{members, selected};
use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::{Invocation, Next};
use crate::guard::command::manifest::Manifest;
use crate::guard::command::words::{behind_options, options, string_option};

const VALUES: [&str; 10] = [
    "-C",
    "--dir",
    "-F",
    "--filter",
    "--filter-prod",
    "--loglevel",
    "--reporter",
    "--workspace-concurrency",
    "--script-shell",
    "--resume-from",
];

/// Commands of its own that run nothing of a project.
const OTHERS: [&str; 30] = [
    "add", "audit", "bin", "config", "deploy", "env", "fetch", "help", "import", "info", "init",
    "licenses", "link", "list", "ls", "outdated", "pack", "patch", "prune", "publish", "rebuild",
    "remove", "root", "server", "setup", "store", "unlink", "up", "update", "why",
];

/// What comes of pnpm; `pnpm help run`.
pub fn pnpm<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let words = invocation.arguments();
    let mut rest = behind_options(words, &VALUES, 0);
    let own = words.get(..words.len() - rest.len()).unwrap_or_default();
    let mut invocation = invocation.clone();
    if let Some(folder) = string_option(own, &["-C", "--dir"]) {
        invocation.place.folder = join(&invocation.place.folder, folder);
    }
    let Some((command, others)) = rest.split_first() else { return Vec::new() };
    let mut flags: Vec<String> = own.to_vec();
    let is_run = command == "run" || command == "run-script";
    if is_run || command == "exec" || command == "recursive" || command == "multi" {
        rest = behind_options(others, &VALUES, 0);
        flags.extend(others.iter().take(others.len() - rest.len()).cloned());
    }
    let of = chosen(&flags, &invocation, files);
    let hooks = !flags.iter().any(|word| word == "--config.enable-pre-post-scripts=false");
    let run = |name: &str, arguments: &[String], files: &mut Files| {
        let arguments = arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments);
        let run = Run { name, arguments, hooks, is_npm: true };
        match &of {
            None => run.from(&invocation.place.folder, &invocation, files),
            Some(of) => {
                let each = of.iter().filter_map(|manifest| run.of(manifest, &invocation, files));
                let each: Vec<Next> = each.flatten().collect();
                (!each.is_empty()).then_some(each)
            }
        }
    };
    match (command.as_str(), rest.split_first()) {
        ("run" | "run-script" | "recursive" | "multi", Some((name, arguments))) => {
            run(name, arguments, files).unwrap_or_default()
        }
        ("exec", Some(_)) => exec(rest, of.as_deref(), &invocation, files),
        ("dlx", _) => dlx(&invocation, others, files),
        ("start" | "test" | "stop" | "restart", _) => {
            run(command, others, files).unwrap_or_default()
        }
        ("t", _) => run("test", others, files).unwrap_or_default(),
        ("install" | "i", _) => installed(&invocation, files),
        (other, _) if OTHERS.contains(&other) => Vec::new(),
        // A script, or else a program.
        (name, Some((_, arguments))) => match run(name, arguments, files) {
            Some(found) => found,
            None => exec(rest, of.as_deref(), &invocation, files),
        },
        _ => Vec::new(),
    }
}

/// The packages that it is for; `None` for that of the folder.
fn chosen(flags: &[String], invocation: &Invocation, files: &mut Files) -> Option<Vec<Manifest>> {
    let folder = &invocation.place.folder;
    let filters = options(flags, &["-F", "--filter", "--filter-prod"]);
    if !filters.is_empty() {
        return Some(filters.iter().flat_map(|filter| selected(filter, folder, files)).collect());
    }
    let is_recursive = flags.iter().any(|word| word == "-r" || word == "--recursive");
    is_recursive.then(|| members(folder, files))
}

fn exec<'a>(
    words: &[String],
    of: Option<&[Manifest]>,
    invocation: &Invocation<'a>,
    files: &mut Files,
) -> Vec<Next<'a>> {
    let words = words.strip_prefix(&["--".to_owned()]).unwrap_or(words);
    if words.first().is_some_and(|word| word == "-c" || word == "--shell-mode") {
        return executed(invocation, words, files);
    }
    let Some((program, arguments)) = words.split_first() else { return Vec::new() };
    let own = [invocation.place.folder.clone()];
    let folders: Vec<_> = match of {
        Some(of) => of.iter().map(|manifest| manifest.folder.clone()).collect(),
        None => own.to_vec(),
    };
    let each = folders.into_iter().flat_map(|folder| {
        let mut place = with_programs(&folder, invocation.place.step(invocation.shown()));
        place.folder = folder;
        package_program(program, arguments, place, files)
    });
    each.collect()
}

/// What `dlx` executes.
pub fn dlx<'a>(invocation: &Invocation<'a>, words: &[String], files: &mut Files) -> Vec<Next<'a>> {
    executed(invocation, words, files)
}
