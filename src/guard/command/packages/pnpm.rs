//! pnpm.

use super::npm::{executed, package_program};
use super::scripts::{Run, installed, with_programs};
use super::workspaces::{members, repository, selected};
use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::{Invocation, Next};
use crate::guard::command::manifest::Manifest;
use crate::guard::command::pattern;
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
    let mut flags: Vec<String> = own.to_vec();
    if rest.first().is_some_and(|word| ["recursive", "multi", "m"].contains(&word.as_str())) {
        flags.push("-r".into());
        rest = next_operand(rest, &mut flags);
    }
    let Some((command, others)) = rest.split_first() else { return Vec::new() };
    if ["run", "run-script", "exec"].contains(&command.as_str()) {
        rest = next_operand(rest, &mut flags);
    }
    if has(&flags, &["-w", "--workspace-root"])
        && let Some(root) = repository(&invocation.place.folder, files).pop()
    {
        invocation.place.folder = root.folder;
    }
    let of = chosen(&flags, &invocation, files);
    let hooks = !has(&flags, &["--config.enable-pre-post-scripts=false"]);
    let run = |name: &str, arguments: &[String], files: &mut Files| {
        let arguments = arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments);
        run_in(of.as_deref(), &Run { name, arguments, hooks, manager: "pnpm" }, &invocation, files)
    };
    match (command.as_str(), rest.split_first()) {
        ("run" | "run-script", Some((name, arguments))) => {
            run(name, arguments, files).unwrap_or_default()
        }
        ("exec", Some(_)) => {
            let shell = ["sh".to_owned(), "-c".into(), rest.join(" ")];
            let is_shell = has(&flags, &["-c", "--shell-mode"]);
            let words = if is_shell { &shell } else { rest };
            exec(words, of.as_deref(), &invocation, files)
        }
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

fn has(flags: &[String], names: &[&str]) -> bool {
    flags.iter().any(|word| names.contains(&word.as_str()))
}

/// What stands behind a command of its own, whose options are added to the others.
fn next_operand<'w>(words: &'w [String], flags: &mut Vec<String>) -> &'w [String] {
    let others = words.get(1..).unwrap_or_default();
    let rest = behind_options(others, &VALUES, 0);
    flags.extend(others.iter().take(others.len() - rest.len()).cloned());
    rest
}

/// What a script executes, or those of a pattern, in each of these packages or else in the nearest one.
fn run_in<'a>(
    of: Option<&[Manifest]>,
    run: &Run,
    invocation: &Invocation<'a>,
    files: &mut Files,
) -> Option<Vec<Next<'a>>> {
    let own;
    let of = if let Some(of) = of {
        of
    } else {
        own = [Manifest::nearest(&invocation.place.folder, files)?];
        &own
    };
    let mut found = Vec::new();
    for manifest in of {
        let pattern = run.name.strip_prefix('/').and_then(|name| name.strip_suffix('/'));
        let names: Vec<&str> = match pattern.and_then(as_glob) {
            Some(glob) => {
                manifest.script_names().filter(|name| pattern::matches(&glob, name)).collect()
            }
            None => vec![run.name],
        };
        let each = names.into_iter().filter_map(|name| {
            let Run { arguments, hooks, manager, .. } = *run;
            Run { name, arguments, hooks, manager }.of(manifest, invocation, files)
        });
        found.extend(each.flatten());
    }
    (!found.is_empty()).then_some(found)
}

/// A simple regular expression as a pattern.
fn as_glob(expression: &str) -> Option<String> {
    let middle = expression.trim_start_matches('^').trim_end_matches('$');
    let middle = middle.replace(".*", "*").replace(".+", "?*");
    let is_simple = |character: char| character.is_alphanumeric() || "-_:*?".contains(character);
    if middle.contains("??") || !middle.chars().all(is_simple) {
        return None;
    }
    let before = if expression.starts_with('^') { "" } else { "*" };
    let behind = if expression.ends_with('$') { "" } else { "*" };
    Some(format!("{before}{middle}{behind}"))
}

/// The packages that it is for; `None` for that of the folder.
fn chosen(flags: &[String], invocation: &Invocation, files: &mut Files) -> Option<Vec<Manifest>> {
    let folder = &invocation.place.folder;
    let filters = options(flags, &["-F", "--filter", "--filter-prod"]);
    if !filters.is_empty() {
        let (but, of): (Vec<&str>, Vec<&str>) =
            filters.into_iter().partition(|filter| filter.starts_with('!'));
        let mut found: Vec<Manifest> =
            of.iter().flat_map(|filter| selected(filter, folder, files)).collect();
        if of.is_empty() {
            found = members(folder, files);
        }
        for filter in but {
            let left_out = selected(filter.trim_start_matches('!'), folder, files);
            found.retain(|one| !left_out.iter().any(|other| other.folder == one.folder));
        }
        return Some(found);
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
