//! Yarn, 1 and later.

use std::path::Path;

use super::npm::{executed, package_program};
use super::scripts::{Run, installed, with_programs};
use super::workspaces::{members, repository, selected};
use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::{Invocation, Next, Script, quoted};
use crate::guard::command::manifest::Manifest;
use crate::guard::command::pattern;
use crate::guard::command::words::{behind_options, options, string_option};

const VALUES: [&str; 10] = [
    "--cwd",
    "--mutex",
    "--registry",
    "--cache-folder",
    "--modules-folder",
    "--network-timeout",
    "--use-yarnrc",
    "--emoji",
    "--include",
    "--exclude",
];

/// Commands of its own that run nothing of a project.
const OTHERS: [&str; 28] = [
    "add",
    "audit",
    "autoclean",
    "bin",
    "cache",
    "check",
    "config",
    "constraints",
    "dedupe",
    "explain",
    "global",
    "help",
    "import",
    "info",
    "init",
    "licenses",
    "link",
    "list",
    "outdated",
    "pack",
    "plugin",
    "publish",
    "rebuild",
    "remove",
    "set",
    "upgrade",
    "version",
    "why",
];

/// What comes of Yarn; `yarn help run`.
pub fn yarn<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let words = invocation.arguments();
    let rest = behind_options(words, &VALUES, 0);
    let own = words.get(..words.len() - rest.len()).unwrap_or_default();
    let mut invocation = invocation.clone();
    if let Some(folder) = string_option(own, &["--cwd"]) {
        invocation.place.folder = join(&invocation.place.folder, folder);
    }
    let Some((command, others)) = rest.split_first() else { return Vec::new() };
    let others = behind_options(others, &VALUES, 0);
    let in_folder = |folder: &Path, words: &[String]| {
        let mut place = invocation.place.step(invocation.shown());
        folder.clone_into(&mut place.folder);
        Next::Command(Invocation { words: [&["yarn".to_owned()], words].concat(), place })
    };
    match (command.as_str(), others.split_first()) {
        ("run", Some((name, arguments))) => script_or_program(name, arguments, &invocation, files),
        ("workspace", Some((name, words))) => selected(name, &invocation.place.folder, files)
            .iter()
            .map(|manifest| in_folder(&manifest.folder, words))
            .collect(),
        ("workspaces", Some(_)) => {
            let (words, of) = for_each(others, &invocation, files);
            of.iter().map(|manifest| in_folder(&manifest.folder, words)).collect()
        }
        // Yarn 1 gives no shell what it executes, but then there is no such program.
        ("exec", Some((text, arguments))) if text.contains(char::is_whitespace) => {
            vec![by_shell(text, arguments, &invocation)]
        }
        ("exec", Some((program, arguments))) => program_of(program, arguments, &invocation, files),
        ("dlx", _) => executed(&invocation, others, files),
        ("node", _) => vec![Next::Command(Invocation {
            words: [&["node".to_owned()], rest.get(1..).unwrap_or_default()].concat(),
            place: invocation.place.step(invocation.shown()),
        })],
        ("install", _) => installed(&invocation, files),
        (other, _) if OTHERS.contains(&other) => Vec::new(),
        // A folder in the first word's place.
        (path, Some(_))
            if path.contains('/')
                && !path.starts_with('@')
                && files.is_folder(&join(&invocation.place.folder, path)) =>
        {
            vec![in_folder(&join(&invocation.place.folder, path), others)]
        }
        (name, _) => {
            let arguments = rest.get(1..).unwrap_or_default();
            script_or_program(name, arguments, &invocation, files)
        }
    }
}

/// Commands that are executed in the folder, with the programs of its packages.
fn by_shell<'a>(text: &str, arguments: &[String], invocation: &Invocation<'a>) -> Next<'a> {
    let given: Vec<_> = arguments.iter().map(|word| quoted(word)).collect();
    let text = format!("{text} {}", given.join(" "));
    let folder = &invocation.place.folder;
    let place = with_programs(folder, invocation.place.step(invocation.shown()));
    Next::Shell(Script { text, name: "sh".into(), arguments: Vec::new(), place })
}

/// What `workspaces` executes, and in which of them: by `foreach` with its options, or Yarn 1's `run`.
fn for_each<'w>(
    words: &'w [String],
    invocation: &Invocation,
    files: &mut Files,
) -> (&'w [String], Vec<Manifest>) {
    const OF_EACH: [&str; 5] = ["--include", "--exclude", "--from", "-j", "--jobs"];
    let folder = &invocation.place.folder;
    let Some(("foreach", rest)) = words.split_first().map(|(first, rest)| (first.as_str(), rest))
    else {
        let is_run = words.first().is_some_and(|word| word == "run");
        return (words, if is_run { members(folder, files) } else { Vec::new() });
    };
    let command = behind_options(rest, &OF_EACH, 0);
    let own = rest.get(..rest.len() - command.len()).unwrap_or_default();
    let is_named = |manifest: &Manifest, names: &[&str]| {
        let name = manifest.name().unwrap_or_default();
        names.iter().any(|pattern| pattern::matches(pattern, name))
    };
    let mut of = repository(folder, files);
    // The script that has led here is not run again.
    let script = invocation.place.variables.get("npm_lifecycle_event");
    if script.is_some() && script.as_ref() == command.get(1) {
        of.pop();
    }
    let only = options(own, &["--include"]);
    let but = options(own, &["--exclude"]);
    of.retain(|manifest| {
        (only.is_empty() || is_named(manifest, &only)) && !is_named(manifest, &but)
    });
    (command, of)
}

fn script_or_program<'a>(
    name: &str,
    arguments: &[String],
    invocation: &Invocation<'a>,
    files: &mut Files,
) -> Vec<Next<'a>> {
    let arguments = arguments.strip_prefix(&["--".to_owned()]).unwrap_or(arguments);
    let folder = &invocation.place.folder;
    // Yarn 1 alone has hooks; which one it is can't be told by its name.
    let is_later = folder.ancestors().any(|folder| files.is_file(&folder.join(".yarnrc.yml")));
    let run = Run { name, arguments, hooks: !is_later, manager: "yarn" };
    if let Some(found) = run.from(folder, invocation, files) {
        return found;
    }
    // A script with a colon is known in all of the repository.
    let all = if name.contains(':') { repository(folder, files) } else { Vec::new() };
    let found = all.iter().find_map(|manifest| run.of(manifest, invocation, files));
    found.unwrap_or_else(|| program_of(name, arguments, invocation, files))
}

fn program_of<'a>(
    name: &str,
    arguments: &[String],
    invocation: &Invocation<'a>,
    files: &mut Files,
) -> Vec<Next<'a>> {
    let folder = invocation.place.folder.clone();
    let place = with_programs(&folder, invocation.place.step(invocation.shown()));
    package_program(name, arguments, place, files)
}
