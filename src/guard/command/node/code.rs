//! What code leads to that Node executes: the modules that it loads, the files that it has threads and
//! processes begin with, and the commands that it starts.

use std::path::Path;

use super::reader::NodeReader;
use super::resolve::{is_javascript, is_path, is_typescript, own_module, resolved};
use crate::guard::command::files::{MAX_HEAD_BYTES, join};
use crate::guard::command::invocation::{Invocation, Next, Script, UNKNOWN, named_in};
use crate::guard::command::javascript::{Reference, references};
use crate::guard::command::manifest::{
    Manifest, find_package, package_and_subpath, runner_of_file,
};
use crate::guard::command::node_options::NodeOptions;
use crate::runner::Runner;

/// How large code is at most, in bytes, whose own modules are read, too.
const MAX_SMALL: usize = 2048;
/// How many it may load itself.
const MAX_MODULES: usize = 5;
/// How far modules are followed from one to another.
pub const MAX_LEVELS: u32 = 3;
/// Programs that lead to others by their arguments.
const STARTERS: [&str; 12] =
    ["node", "npm", "npx", "pnpm", "pnpx", "yarn", "bun", "bunx", "sh", "bash", "cross-env", "env"];

impl NodeReader<'_, '_, '_> {
    /// What code in this folder leads to, with so many levels of modules.
    pub fn executes(&mut self, code: &str, folder: &Path, levels: u32) {
        let code = head_of(code);
        let references = references(code);
        let modules: Vec<&str> = references
            .iter()
            .filter_map(|reference| match reference {
                Reference::Module(specifier) => Some(specifier.as_str()),
                _ => None,
            })
            .collect();
        for specifier in &modules {
            self.loads(specifier, folder);
        }
        let own = || modules.iter().filter(|specifier| is_path(specifier));
        if levels > 0 && code.len() <= MAX_SMALL && own().count() <= MAX_MODULES {
            own().for_each(|specifier| self.follow(specifier, folder, levels - 1));
        }
        let typescript = own().find(|specifier| {
            let path = join(folder, specifier.trim_start_matches("file://"));
            is_typescript(Path::new(specifier)) && self.files.is_file(&path)
        });
        if let Some(specifier) = typescript.filter(|_| !self.has_runner()) {
            self.runs(Runner::StripTypes, Some(format!("import {specifier}")));
        }
        for reference in &references {
            self.starts(reference, folder);
        }
    }

    /// A module that code loads.
    fn loads(&mut self, specifier: &str, folder: &Path) {
        if is_path(specifier) {
            let path = join(folder, specifier);
            if let Some(runner) = runner_of_file(&path, self.files) {
                self.runs(runner, Some(format!("import {specifier}")));
            }
            return;
        }
        if Runner::of_package(specifier).is_some() || may_be_an_alias(specifier) {
            // What is not there fails, as it is meant to where code tries it.
            let is_there = find_package(package_and_subpath(specifier).0, folder, self.files)
                .is_some()
                || folder.ancestors().any(|above| self.files.is_file(&above.join(".pnp.cjs")));
            if let Some((runner, step)) = self.runner_of(specifier, folder).filter(|_| is_there) {
                self.runs(runner, Some(step));
            }
            return;
        }
        let Some(path) = own_module(specifier, folder, self.files) else { return };
        let path = resolved(&path, self.files);
        let real = self.files.real(&path);
        if is_typescript(&real) && !self.has_runner() {
            self.runs(Runner::StripTypes, Some(format!("import {specifier}")));
        }
    }

    /// A module of the project's own, where it is small.
    fn follow(&mut self, specifier: &str, folder: &Path, levels: u32) {
        let path = resolved(&join(folder, specifier), self.files);
        if !is_javascript(&path) || !self.files.is_file(&path) {
            return;
        }
        if let Some(code) = self.files.head(&path).filter(|code| code.len() <= MAX_SMALL) {
            let folder = path.parent().unwrap_or(&path).to_owned();
            self.within(&format!("import {specifier}"), |reader| {
                reader.executes(&code, &folder, levels);
            });
        }
    }

    /// The runner that a package is, under whatever name, and how the chain tells it.
    pub fn runner_of(&mut self, specifier: &str, folder: &Path) -> Option<(Runner, String)> {
        if let Some(runner) = Runner::of_package(specifier) {
            return Some((runner, specifier.to_owned()));
        }
        let (name, _) = package_and_subpath(specifier);
        let found = find_package(name, folder, self.files);
        let runner = match found.and_then(|folder| Manifest::of(&folder, self.files)) {
            Some(manifest) => manifest.name().and_then(Runner::of_package),
            None => Manifest::nearest(folder, self.files).and_then(|above| above.alias(name)),
        }?;
        Some((runner, format!("{specifier} (the package {runner})")))
    }

    /// What code has another thread or process do.
    fn starts(&mut self, reference: &Reference, folder: &Path) {
        match reference {
            Reference::Module(_) => {}
            Reference::Options(words) => {
                let preloads = NodeOptions::parse(words).preloads;
                if let Some(runner) = preloads.iter().find_map(|name| Runner::of_package(name)) {
                    self.runs(runner, Some(format!("execArgv {}", words.join(" "))));
                }
            }
            Reference::Entry(path, is_own) => {
                let from = if *is_own { folder } else { &self.invocation.place.folder };
                let real = self.files.real(&join(from, path));
                if is_typescript(&real) && self.files.is_file(&real) && !self.has_runner() {
                    self.runs(Runner::StripTypes, Some(path.clone()));
                }
            }
            Reference::Command(words) => {
                let unknown = || format!("{UNKNOWN}{UNKNOWN}");
                let words: Vec<String> =
                    words.iter().map(|word| word.clone().unwrap_or_else(unknown)).collect();
                if may_lead_to_runner(&words) {
                    let place = self.place();
                    self.found.push(Next::Command(Invocation { words, place }));
                }
            }
            Reference::Shell(text) => {
                let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
                if may_lead_to_runner(&words) {
                    let place = self.place();
                    let (text, arguments) = (text.clone(), Vec::new());
                    let script = Script { text, name: "sh".into(), arguments, place };
                    self.found.push(Next::Shell(script));
                }
            }
        }
    }
}

/// As much of code as is read of a file, where it stands on the command line or on standard input.
fn head_of(code: &str) -> &str {
    let end = code.floor_char_boundary(MAX_HEAD_BYTES);
    code.get(..end).unwrap_or(code)
}

fn may_lead_to_runner(words: &[String]) -> bool {
    let is_starter = |word: &String| {
        STARTERS.contains(&word.as_str())
            || Path::new(word).extension().is_some_and(|end| end == "sh")
    };
    words.iter().any(|word| is_starter(word) || named_in(word).is_some())
}

/// Whether it is a path below a package that a runner has: only then is the package looked at.
fn may_be_an_alias(specifier: &str) -> bool {
    let (_, subpath) = package_and_subpath(specifier);
    ["esm", "cjs", "esm/api", "cjs/api", "register", "loader", "preflight"].contains(&subpath)
}
