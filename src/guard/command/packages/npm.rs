//! npm and npx.

use super::npmrc::setting;
use super::scripts::{Run, installed, with_programs};
use super::workspaces::{members, repository, selected};
use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::{Invocation, Next, Place, Script};
use crate::guard::command::manifest::{Manifest, find_package, without_version};
use crate::guard::command::words::{behind_options, halves, operands, options, string_option};
use crate::runner::Runner;

/// npm's options whose value is a word of its own.
const VALUES: [&str; 20] = [
    "--prefix",
    "-C",
    "-w",
    "--workspace",
    "--loglevel",
    "--userconfig",
    "--globalconfig",
    "--cache",
    "--script-shell",
    "--node-options",
    "--registry",
    "-p",
    "--package",
    "-c",
    "--call",
    "--tag",
    "--omit",
    "--include",
    "--scope",
    "--shell",
];

/// What comes of npm; npm-run-script(1), npm-exec(1).
pub fn npm<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let (own, given) = halves(invocation.arguments());
    let operands = operands(own, &VALUES);
    let mut invocation = invocation.clone();
    if let Some(folder) = string_option(own, &["--prefix", "-C"]) {
        invocation.place.folder = join(&invocation.place.folder, folder);
    }
    let Some((command, rest)) = operands.split_first() else { return Vec::new() };
    let all = |rest: &[String]| [rest, given].concat();
    match command.as_str() {
        "run" | "run-script" | "rum" | "urn" => match rest.split_first() {
            Some((name, rest)) => run(name, &all(rest), &invocation, files),
            None => Vec::new(),
        },
        "start" | "stop" | "test" => run(command, &all(rest), &invocation, files),
        "t" | "tst" => run("test", &all(rest), &invocation, files),
        "restart" => ["restart", "stop", "start"]
            .iter()
            .flat_map(|name| run(name, &all(rest), &invocation, files))
            .collect(),
        "exec" | "x" => {
            let words = own.iter().skip_while(|word| *word != command).skip(1).cloned();
            let mut words: Vec<String> = words.collect();
            if own.len() < invocation.arguments().len() {
                words.push("--".into());
                words.extend(given.iter().cloned());
            }
            executed(&invocation, &words, files)
        }
        "explore" => {
            rest.first().map_or_else(Vec::new, |name| explored(name, given, &invocation, files))
        }
        "install" | "i" | "ci"
            if rest.is_empty()
                && !own.iter().any(|word| word == "-g")
                && !own.iter().any(|word| word == "--ignore-scripts") =>
        {
            installed(&invocation, files)
        }
        _ => Vec::new(),
    }
}

fn run<'a>(
    name: &str,
    arguments: &[String],
    invocation: &Invocation<'a>,
    files: &mut Files,
) -> Vec<Next<'a>> {
    let folder = &invocation.place.folder;
    let has =
        |flags: &[&str]| invocation.arguments().iter().any(|word| flags.contains(&word.as_str()));
    let run = Run { name, arguments, hooks: !has(&["--ignore-scripts"]), manager: "npm" };
    let mut of = Vec::new();
    for selector in options(invocation.arguments(), &["-w", "--workspace"]) {
        of.extend(selected(selector, folder, files));
    }
    if has(&["-ws", "--workspaces"]) {
        of.extend(members(folder, files));
    }
    if !of.is_empty() && has(&["--include-workspace-root", "-iwr", "--iwr"]) {
        of.extend(repository(folder, files).pop());
    }
    if of.is_empty() {
        return run.from(folder, invocation, files).unwrap_or_default();
    }
    let each = of.iter().filter_map(|manifest| run.of(manifest, invocation, files));
    each.flatten().collect()
}

/// What is executed in a package's folder.
fn explored<'a>(
    name: &str,
    words: &[String],
    invocation: &Invocation<'a>,
    files: &mut Files,
) -> Vec<Next<'a>> {
    let folder = &invocation.place.folder;
    let Some(package) = find_package(name, folder, files) else { return Vec::new() };
    let mut place = with_programs(folder, invocation.place.step(invocation.shown()));
    place.folder = package;
    vec![Next::Command(Invocation { words: words.to_vec(), place })]
}

pub fn npx<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    executed(invocation, invocation.arguments(), files)
}

/// What npx and its like execute, by the words behind their names: a program of a package, or commands.
pub fn executed<'a>(
    invocation: &Invocation<'a>,
    words: &[String],
    files: &mut Files,
) -> Vec<Next<'a>> {
    const OPTIONS: [&str; 12] = [
        "-p",
        "--package",
        "-c",
        "--call",
        "--prefix",
        "-C",
        "-w",
        "--workspace",
        "--loglevel",
        "--userconfig",
        "--registry",
        "--node-options",
    ];
    let mut folder = invocation.place.folder.clone();
    if let Some(prefix) = string_option(words, &["--prefix", "-C"]) {
        folder = join(&folder, prefix);
    }
    if let Some(selector) = string_option(words, &["-w", "--workspace"])
        && let Some(manifest) = selected(selector, &folder, files).first()
    {
        folder.clone_from(&manifest.folder);
    }
    let mut place = with_programs(&folder, invocation.place.step(invocation.shown()));
    if let Some(options) = setting("node-options", &folder, invocation, files) {
        place.variables.set("NODE_OPTIONS", options);
    }
    place.folder = folder;
    if let Some(text) = string_option(words, &["-c", "--call"]) {
        let (name, arguments) = ("sh".to_owned(), Vec::new());
        return vec![Next::Shell(Script { text: text.to_owned(), name, arguments, place })];
    }
    let rest = behind_options(words, &OPTIONS, 0);
    let Some((program, arguments)) = rest.split_first() else { return Vec::new() };
    package_program(program, arguments, place, files)
}

/// A program of a package: under its own name, or as the package names it.
pub fn package_program<'a>(
    program: &str,
    arguments: &[String],
    place: Place<'a>,
    files: &mut Files,
) -> Vec<Next<'a>> {
    let package = program.rsplit_once("@npm:").map_or(program, |(_, package)| package);
    let package = without_version(package);
    let alias = || Manifest::nearest(&place.folder, files)?.alias(package);
    if let Some(runner) =
        Runner::of_package(package).filter(|_| package.contains('/')).or_else(alias)
    {
        let words = [vec![program.to_owned()], arguments.to_vec()].concat();
        let chain = Invocation { words: words.clone(), place }.chain();
        return vec![Next::Runs { runner, words, chain }];
    }
    let name = package.rsplit('/').next().unwrap_or(package);
    let own = Manifest::nearest(&place.folder, files).and_then(|own| own.program_of(package));
    let name = match own {
        Some(own) => own,
        None if program.starts_with(['.', '/']) => program.to_owned(),
        None => name.to_owned(),
    };
    let words = [vec![name], arguments.to_vec()].concat();
    vec![Next::Command(Invocation { words, place })]
}
