//! turbo, lerna and nx: scripts of the packages of a repository.

use crate::guard::command::files::Files;
use crate::guard::command::invocation::{Invocation, Next};
use crate::guard::command::manifest::Manifest;
use crate::guard::command::packages::workspaces::{members, selected};
use crate::guard::command::pattern;
use crate::guard::command::words::{behind_options, halves, operands, options, string_option};

/// Options whose value is a word of its own.
const VALUES: [&str; 23] = [
    "-F",
    "--filter",
    "--scope",
    "--ignore",
    "--concurrency",
    "--cwd",
    "--cache-dir",
    "--log-order",
    "--output-logs",
    "--log-level",
    "--loglevel",
    "--ui",
    "--env-mode",
    "--token",
    "--team",
    "--since",
    "--projects",
    "-p",
    "--target",
    "--targets",
    "-t",
    "--configuration",
    "-c",
];
/// turbo's and nx's commands that run nothing of a project.
const OTHERS: [&str; 18] = [
    "prune", "login", "logout", "link", "unlink", "daemon", "graph", "list", "migrate", "reset",
    "show", "init", "add", "generate", "g", "report", "format", "release",
];

/// What comes of turbo: `turbo run NAME…`, or `turbo NAME…`.
pub fn turbo<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let (own, given) = halves(invocation.arguments());
    let mut names = operands(own, &VALUES);
    if names.first().is_some_and(|word| OTHERS.contains(&word.as_str())) {
        return Vec::new();
    }
    names.retain(|name| name != "run");
    let filters = options(own, &["-F", "--filter", "--scope"]);
    let mut all = Vec::new();
    for name in names {
        // Of one package: `worker#start`.
        let (of, name) = match name.split_once('#') {
            Some((package, name)) => (chosen(&[package], invocation, files), name),
            None => (chosen(&filters, invocation, files), name.as_str()),
        };
        all.extend(each(name, &of, given, invocation));
    }
    all
}

/// What comes of lerna: `lerna run NAME`, `lerna exec -- COMMAND`.
pub fn lerna<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let (own, given) = halves(invocation.arguments());
    let words = operands(own, &VALUES);
    let mut of = chosen(&options(own, &["--scope"]), invocation, files);
    let but = options(own, &["--ignore"]);
    of.retain(|member| {
        !but.iter().any(|but| pattern::matches(but, member.name().unwrap_or_default()))
    });
    match words.split_first() {
        Some((command, rest)) if command == "run" => {
            let name = rest.first().into_iter();
            name.flat_map(|name| each(name, &of, given, invocation)).collect()
        }
        Some((command, rest)) if command == "exec" => {
            let words = if given.is_empty() { rest } else { given };
            let each = of.iter().map(|member| in_folder(member, words.to_vec(), invocation));
            each.collect()
        }
        _ => Vec::new(),
    }
}

/// What comes of nx: `nx run PROJECT:NAME`, `nx run-many -t NAME`, `nx NAME PROJECT`.
pub fn nx<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let (own, given) = halves(invocation.arguments());
    let rest = behind_options(own, &VALUES, 0);
    let words = operands(rest, &VALUES);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.split_first() {
        Some((&"run", [target, ..])) => {
            let mut parts = target.split(':');
            let (project, name) = (parts.next().unwrap_or_default(), parts.next());
            let of = projects(&[project], invocation, files);
            name.map_or_else(Vec::new, |name| each(name, &of, given, invocation))
        }
        Some((&"run-many" | &"affected", _)) => {
            let projects_of = string_option(own, &["-p", "--projects"]).unwrap_or_default();
            let only: Vec<&str> = projects_of.split(',').filter(|name| !name.is_empty()).collect();
            let of = projects(&only, invocation, files);
            let names = string_option(own, &["-t", "--target", "--targets"]).unwrap_or_default();
            names.split(',').flat_map(|name| each(name, &of, given, invocation)).collect()
        }
        Some((&name, [project, ..])) if !OTHERS.contains(&name) => {
            let of = projects(&[project], invocation, files);
            each(name, &of, given, invocation)
        }
        _ => Vec::new(),
    }
}

/// The packages that are selected, or all.
fn chosen(selectors: &[&str], invocation: &Invocation, files: &mut Files) -> Vec<Manifest> {
    let folder = &invocation.place.folder;
    let (but, of): (Vec<&str>, Vec<&str>) =
        selectors.iter().partition(|selector| selector.starts_with('!'));
    let mut found = if of.is_empty() {
        members(folder, files)
    } else {
        of.iter().flat_map(|selector| selected(selector, folder, files)).collect()
    };
    for selector in but {
        let left_out = selected(selector.trim_start_matches('!'), folder, files);
        found.retain(|one| !left_out.iter().any(|other| other.folder == one.folder));
    }
    found
}

/// The same for nx, which finds projects in the usual folders too.
fn projects(names: &[&str], invocation: &Invocation, files: &mut Files) -> Vec<Manifest> {
    let mut found = chosen(names, invocation, files);
    if found.is_empty() {
        for parent in ["apps", "packages", "libs"] {
            for folder in files.folders_in(&invocation.place.folder.join(parent)) {
                let is_one = names.is_empty() || names.iter().any(|name| folder.ends_with(name));
                found.extend(Manifest::of(&folder, files).filter(|_| is_one));
            }
        }
    }
    found
}

/// A script of each of these packages that has it.
fn each<'a>(
    name: &str,
    of: &[Manifest],
    given: &[String],
    invocation: &Invocation<'a>,
) -> Vec<Next<'a>> {
    let having = of.iter().filter(|member| member.script(name).is_some());
    let each = having.map(|member| {
        let run = ["npm".to_owned(), "run".into(), name.to_owned(), "--".into()];
        let run = run.get(..if given.is_empty() { 3 } else { 4 }).unwrap_or_default();
        in_folder(member, [run, given].concat(), invocation)
    });
    each.collect()
}

fn in_folder<'a>(member: &Manifest, words: Vec<String>, invocation: &Invocation<'a>) -> Next<'a> {
    let mut place = invocation.place.step(invocation.shown());
    place.folder.clone_from(&member.folder);
    Next::Command(Invocation { words, place })
}
