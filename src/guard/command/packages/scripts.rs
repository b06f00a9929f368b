//! The scripts of package.json, as the managers run them: in its folder, with its programs in PATH.

use std::borrow::Cow;
use std::path::Path;

use serde_json::Value;

use super::npmrc::setting;
use crate::guard::command::files::Files;
use crate::guard::command::invocation::{Invocation, Next, Place, Script, quoted};
use crate::guard::command::manifest::Manifest;
use crate::guard::command::shells::SHELLS;

/// A script that a command names.
pub struct Run<'r> {
    pub name: &'r str,
    /// What is given on to it.
    pub arguments: &'r [String],
    /// Whether those with `pre` and `post` before their name go with it.
    pub hooks: bool,
    /// The manager's name.
    pub manager: &'r str,
}

impl Run<'_> {
    /// What it executes, by the nearest package.json from a folder on; `None` where that has no such
    /// script.
    pub fn from<'a>(
        &self,
        folder: &Path,
        invocation: &Invocation<'a>,
        files: &mut Files,
    ) -> Option<Vec<Next<'a>>> {
        self.of(&Manifest::nearest(folder, files)?, invocation, files)
    }

    /// The same by this package.json.
    pub fn of<'a>(
        &self,
        manifest: &Manifest,
        invocation: &Invocation<'a>,
        files: &mut Files,
    ) -> Option<Vec<Next<'a>>> {
        let main = manifest.script(self.name);
        // npm has a script of its own for that.
        let server = || {
            let has_one = self.name == "start" && files.is_file(&manifest.folder.join("server.js"));
            has_one.then_some("node server.js")
        };
        // And one that lists variables, or executes a command.
        let variables = || (self.name == "env" && self.manager == "npm").then_some("env");
        let main = main.or_else(server).or_else(variables)?;
        let hook = |kind| {
            let name = format!("{kind}{}", self.name);
            let text = manifest.script(&name).filter(|_| self.hooks);
            text.map(|text| (name, text.to_owned()))
        };
        let given: Vec<_> = self.arguments.iter().map(|word| quoted(word)).collect();
        let line = [&[Cow::Borrowed(main)], &given[..]].concat().join(" ");
        let scripts = [hook("pre"), Some((self.name.into(), line)), hook("post")];
        let mut place = place_of(manifest, invocation);
        if self.manager != "node" {
            place.variables.set("npm_execpath", self.manager);
            place.variables.set("npm_node_execpath", "node");
        }
        let mut shell = None;
        // The settings of npm count for these.
        if ["npm", "pnpm"].contains(&self.manager) {
            shell = setting("script-shell", &manifest.folder, invocation, files);
            if let Some(options) = setting("node-options", &manifest.folder, invocation, files) {
                place.variables.set("NODE_OPTIONS", options);
            }
        }
        let of = scripts.into_iter().flatten().map(|(name, text)| {
            let mut place = place.step(format!("package.json scripts.{name}"));
            place.variables.set("npm_lifecycle_event", name);
            execute(shell.as_deref(), text, place)
        });
        Some(of.collect())
    }
}

/// What an installation runs of the package's own scripts.
pub fn installed<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let names = [
        "preinstall",
        "install",
        "postinstall",
        "prepublish",
        "preprepare",
        "prepare",
        "postprepare",
    ];
    let Some(manifest) = Manifest::nearest(&invocation.place.folder, files) else {
        return Vec::new();
    };
    let each = names.iter().filter_map(|name| {
        Run { name, arguments: &[], hooks: false, manager: "npm" }.of(&manifest, invocation, files)
    });
    each.flatten().collect()
}

fn execute<'a>(shell: Option<&str>, text: String, place: Place<'a>) -> Next<'a> {
    let name = shell.and_then(|shell| shell.rsplit('/').next());
    if let (Some(shell), Some(name)) = (shell, name)
        && !SHELLS.contains(&name)
    {
        let words = vec![shell.to_owned(), "-c".into(), text];
        return Next::Command(Invocation { words, place });
    }
    Next::Shell(Script { text, name: "sh".into(), arguments: Vec::new(), place })
}

/// Where a script of this package.json is executed.
fn place_of<'a>(manifest: &Manifest, invocation: &Invocation<'a>) -> Place<'a> {
    let mut place = with_programs(&manifest.folder, invocation.place.step(invocation.shown()));
    let own = manifest.get("config").and_then(Value::as_object).into_iter().flatten();
    for (name, value) in own {
        let value = value.as_str().unwrap_or_default();
        place.variables.set(format!("npm_package_config_{name}"), value);
    }
    let name = manifest.folder.strip_prefix(&invocation.place.folder);
    if let Ok(below) = name
        && !below.as_os_str().is_empty()
    {
        place.push(below.display().to_string());
    }
    place.folder.clone_from(&manifest.folder);
    place
}

/// With the programs of the packages in PATH that are installed here and above.
pub fn with_programs<'a>(folder: &Path, mut place: Place<'a>) -> Place<'a> {
    let own =
        folder.ancestors().map(|folder| folder.join("node_modules/.bin").display().to_string());
    let given = place.variables.get("PATH");
    let given = given.unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let path: Vec<String> = own.chain([given]).collect();
    place.variables.set("PATH", path.join(":"));
    place
}
