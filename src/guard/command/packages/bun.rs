//! Bun: a manager of scripts, and a runner of files.

use super::npm::executed;
use super::scripts::{Run, with_programs};
use super::workspaces::selected;
use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::{Invocation, Next};
use crate::guard::command::lookup::find_program;
use crate::guard::command::words::{behind_options, options, string_option};
use crate::runner::Runner;

/// Bun's commands that run nothing of a project.
const OTHERS: [&str; 14] = [
    "add", "build", "create", "init", "install", "i", "link", "outdated", "pm", "publish",
    "remove", "unlink", "update", "upgrade",
];

/// What comes of Bun; `bun run --help`.
pub fn bun<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    const VALUES: [&str; 12] = [
        "--cwd",
        "-r",
        "--preload",
        "--env-file",
        "--filter",
        "-F",
        "--port",
        "--config",
        "-c",
        "--define",
        "--loader",
        "--conditions",
    ];
    let words = invocation.arguments();
    let mut rest = behind_options(words, &VALUES, 0);
    let is_run = rest.first().is_some_and(|word| word == "run");
    if is_run {
        rest = behind_options(rest.get(1..).unwrap_or_default(), &VALUES, 0);
    }
    let own = words.get(..words.len() - rest.len()).unwrap_or_default();
    let mut invocation = invocation.clone();
    if let Some(folder) = string_option(own, &["--cwd"]) {
        invocation.place.folder = join(&invocation.place.folder, folder);
    }
    let Some((name, arguments)) = rest.split_first() else { return Vec::new() };
    match name.as_str() {
        "x" if !is_run => return executed(&invocation, arguments, files),
        other if !is_run && OTHERS.contains(&other) => return Vec::new(),
        _ => {}
    }
    let folder = invocation.place.folder.clone();
    let run = Run { name, arguments, hooks: true, manager: "bun" };
    let filters = options(own, &["-F", "--filter"]);
    if !filters.is_empty() {
        let of: Vec<_> =
            filters.iter().flat_map(|filter| selected(filter, &folder, files)).collect();
        let each = of.iter().filter_map(|manifest| run.of(manifest, &invocation, files));
        return each.flatten().collect();
    }
    if let Some(found) = run.from(&folder, &invocation, files) {
        return found;
    }
    let place = with_programs(&folder, invocation.place.clone());
    let is_file = files.is_file(&join(&place.folder, name));
    if !is_file && !name.contains('/') && find_program(name, &place, files).is_some() {
        let place = place.step(invocation.shown());
        return vec![Next::Command(Invocation { words: rest.to_vec(), place })];
    }
    vec![runs(Runner::Bun, &invocation)]
}

fn runs<'a>(runner: Runner, invocation: &Invocation<'a>) -> Next<'a> {
    Next::Runs { runner, words: invocation.words.clone(), chain: invocation.chain() }
}
