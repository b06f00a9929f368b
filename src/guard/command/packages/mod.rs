//! Package managers: which commands their scripts lead to.

mod bun;
mod deno;
mod npm;
mod npmrc;
mod pnpm;
mod scripts;
pub mod workspaces;
mod yarn;

use super::files::Files;
use super::invocation::{Invocation, Next};
use super::lookup::find_program;
use super::node_options::NodeOptions;

/// What comes of a package manager of this name; `None` where it is none.
pub fn managed<'a>(
    name: &str,
    invocation: &Invocation<'a>,
    files: &mut Files,
) -> Option<Vec<Next<'a>>> {
    Some(match name {
        "npm" => npm::npm(invocation, files),
        "npx" => npm::npx(invocation, files),
        "pnpm" => pnpm::pnpm(invocation, files),
        "pnpx" => pnpm::dlx(invocation, invocation.arguments(), files),
        "yarn" | "yarnpkg" => yarn::yarn(invocation, files),
        "bun" => bun::bun(invocation, files),
        "bunx" => npm::executed(invocation, invocation.arguments(), files),
        "deno" => deno::deno(invocation, files),
        // A command of the shell that Yarn executes scripts with.
        "run"
            if invocation.place.variables.get("npm_execpath").is_some_and(|of| of == "yarn")
                && find_program(name, &invocation.place, files).is_none() =>
        {
            yarn::yarn(&with_manager("yarn", invocation), files)
        }
        _ => return None,
    })
}

/// The command as an argument of a package manager.
fn with_manager<'a>(manager: &str, invocation: &Invocation<'a>) -> Invocation<'a> {
    let words = [&[manager.to_owned()], &invocation.words[..]].concat();
    Invocation { words, place: invocation.place.clone() }
}

/// The script of package.json that Node's own `--run` names, without hooks.
pub fn run_by_node<'a>(
    options: &NodeOptions,
    invocation: &Invocation<'a>,
    files: &mut Files,
) -> Vec<Next<'a>> {
    let Some(script) = &options.script else { return Vec::new() };
    let arguments = &options.arguments;
    let run = scripts::Run { name: script, arguments, hooks: false, manager: "node" };
    run.from(&invocation.place.folder, invocation, files).unwrap_or_default()
}
