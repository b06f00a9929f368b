//! Package managers: which commands their scripts lead to.

mod bun;
mod npm;
mod npmrc;
mod pnpm;
mod scripts;
mod workspaces;
mod yarn;

use super::files::Files;
use super::invocation::{Invocation, Next};
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
        "deno" => bun::deno(invocation, files),
        _ => return None,
    })
}

/// The script of package.json that Node's own `--run` names, without hooks.
pub fn run_by_node<'a>(
    options: &NodeOptions,
    invocation: &Invocation<'a>,
    files: &mut Files,
) -> Vec<Next<'a>> {
    let Some(script) = &options.script else { return Vec::new() };
    let arguments = &options.arguments;
    let run = scripts::Run { name: script, arguments, hooks: false, is_npm: false };
    run.from(&invocation.place.folder, invocation, files).unwrap_or_default()
}
