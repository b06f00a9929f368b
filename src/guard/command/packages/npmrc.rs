//! What npm and pnpm are configured with, as far as it changes what a script executes.

use std::path::Path;

use crate::clean::clean;
use crate::guard::command::files::Files;
use crate::guard::command::invocation::Invocation;
use crate::guard::command::words::string_option;

/// A setting, by the command line, the environment, or the .npmrc of the folder and of the home folder.
pub fn setting(
    name: &str,
    folder: &Path,
    invocation: &Invocation,
    files: &mut Files,
) -> Option<String> {
    let option = format!("--{name}");
    if let Some(value) = string_option(invocation.arguments(), &[&option]) {
        return Some(value.to_owned());
    }
    let variable = format!("npm_config_{}", name.replace('-', "_"));
    let variables = &invocation.place.variables;
    let given = variables.get(&variable).or_else(|| variables.get(&variable.to_uppercase()));
    if given.is_some() {
        return given;
    }
    let home = variables.get("HOME").map(|home| Path::new(&home).join(".npmrc"));
    [Some(folder.join(".npmrc")), home].into_iter().flatten().find_map(|path| {
        let text = files.text(&path)?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let mut found = pairs.filter(|(key, _)| key.trim() == name);
        found.next_back().map(|(_, value)| variables.expanded(clean(value)))
    })
}
