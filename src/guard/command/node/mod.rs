//! What Node runs: preloaded modules and the entry, as its options and NODE_OPTIONS have it.

mod code;
mod reader;
mod resolve;

use std::path::Path;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::dotenv;
use super::files::{Files, join, shown};
use super::invocation::{Input, Invocation, Next, UNKNOWN, quoted};
use super::javascript::literals;
use super::manifest::{Manifest, find_package, package_and_subpath, runner_of_file};
use super::node_options::NodeOptions;
use super::program::base;
use super::words::split;
use crate::runner::Runner;
use code::MAX_LEVELS;
use reader::NodeReader;
use resolve::{is_typescript, resolved, tool_of};

/// What stands for a package manager where no file is called so.
const MANAGERS: [&str; 4] = ["npm", "npx", "pnpm", "yarn"];

/// What comes of a Node.
pub fn node<'a>(
    invocation: &Invocation<'a>,
    own: &NodeOptions,
    files: &mut Files,
) -> Vec<Next<'a>> {
    let folder = &invocation.place.folder;
    let of_files =
        own.env_files.iter().flat_map(|path| dotenv::variables(&join(folder, path), files));
    let of_files: Vec<(String, String)> = of_files.collect();
    let in_file = || of_files.iter().rev().find(|(name, _)| name == "NODE_OPTIONS");
    let given = match invocation.place.variables.get("NODE_OPTIONS") {
        Some(value) => Some(("NODE_OPTIONS".to_owned(), value)),
        None => in_file().map(|(_, value)| {
            (format!("NODE_OPTIONS in {}", own.env_files.join(", ")), value.clone())
        }),
    };
    let mut reader = NodeReader {
        invocation,
        files,
        arguments: own.arguments.clone(),
        chain: invocation.chain(),
        found: Vec::new(),
    };
    let mut strips = own.strips_types;
    if let Some((name, value)) = given {
        let options = NodeOptions::of_variable(&value);
        strips = strips.or(options.strips_types);
        reader.within(&format!("{name} {value}"), |reader| reader.preloads(&options.preloads));
        if options.strips_types == Some(true) {
            reader.runs(Runner::StripTypes, Some(format!("{name} {value}")));
        }
    }
    reader.preloads(&own.preloads);
    if let Some(config) = &own.config {
        reader.config(config);
    }
    own.code.iter().for_each(|code| reader.code(code));
    if own.strips_types == Some(true) {
        reader.runs(Runner::StripTypes, None);
    }
    // A runner that is there already takes the entry, too.
    let may_strip = strips != Some(false) && !reader.has_runner();
    let has_other = !own.code.is_empty() || own.script.is_some();
    match own.entry.as_deref().filter(|entry| *entry != "-") {
        _ if has_other => {}
        Some(entry) => reader.entry(entry, may_strip),
        None => reader.input(may_strip),
    }
    reader.found
}

impl NodeReader<'_, '_, '_> {
    /// What a file of options has loaded before the entry.
    fn config(&mut self, path: &str) {
        let text = self.files.text(&join(&self.invocation.place.folder, path));
        let json: Option<Value> = text.and_then(|text| serde_json::from_str(&text).ok());
        let options = json.as_ref().and_then(|json| json.get("nodeOptions"));
        let kinds = ["import", "require", "loader", "experimental-loader"];
        let values = kinds.iter().filter_map(|kind| options?.get(*kind));
        let specifiers = values.flat_map(|value| match value {
            Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
            value => value.as_str().into_iter().collect::<Vec<_>>(),
        });
        let specifiers: Vec<String> = specifiers.map(str::to_owned).collect();
        self.within(path, |reader| reader.preloads(&specifiers));
    }

    fn preloads(&mut self, specifiers: &[String]) {
        for specifier in specifiers {
            self.preload(specifier);
        }
    }

    /// A module that is loaded before the entry.
    fn preload(&mut self, specifier: &str) {
        let folder = self.invocation.place.folder.clone();
        if let Some(code) = specifier.strip_prefix("data:") {
            let code = code.split_once(',').map_or("", |(_, code)| code);
            let code = percent_decode_str(code).decode_utf8_lossy().into_owned();
            return self.executes(&code, &folder, MAX_LEVELS);
        }
        let path = match specifier.strip_prefix("file://") {
            Some(path) => Some(percent_decode_str(path).decode_utf8_lossy().into_owned()),
            None if specifier.starts_with(['.', '/']) => Some(specifier.to_owned()),
            None => None,
        };
        match path {
            Some(path) => self.module(&join(&folder, path), specifier),
            None => self.package(specifier, &folder),
        }
    }

    /// A package that is loaded before the entry: whatever it imports itself counts, too.
    fn package(&mut self, specifier: &str, folder: &Path) {
        if let Some((runner, step)) = self.runner_of(specifier, folder) {
            return self.runs(runner, Some(step));
        }
        let (name, subpath) = package_and_subpath(specifier);
        let found = find_package(name, folder, self.files);
        let manifest = found.and_then(|folder| Manifest::of(&folder, self.files));
        if let Some(manifest) = manifest {
            self.module(&manifest.entry(subpath), specifier);
        }
    }

    /// A file that is loaded before the entry.
    fn module(&mut self, path: &Path, specifier: &str) {
        let path = resolved(path, self.files);
        if let Some(runner) = runner_of_file(&path, self.files) {
            return self.runs(runner, Some(specifier.to_owned()));
        }
        if is_typescript(&self.files.real(&path)) {
            return self.runs(Runner::StripTypes, Some(specifier.to_owned()));
        }
        self.file(&path, specifier);
    }

    /// The code of a file, which may be a folder without a file of its own.
    fn file(&mut self, path: &Path, step: &str) {
        if self.files.is_folder(path) {
            return;
        }
        if let Some(code) = self.files.head(path) {
            let folder = path.parent().unwrap_or(path).to_owned();
            self.within(step, |reader| reader.executes(&code, &folder, MAX_LEVELS));
        }
    }

    fn entry(&mut self, entry: &str, may_strip: bool) {
        if entry.contains(UNKNOWN) {
            return self.unknown_entry(entry, may_strip);
        }
        let path = join(&self.invocation.place.folder, entry);
        if MANAGERS.contains(&entry) && !self.files.exists(&path) {
            return self.tool(entry);
        }
        let path = resolved(&path, self.files);
        if let Some(runner) = runner_of_file(&path, self.files) {
            let real = self.files.real(&path);
            return self.runs(runner, Some(shown(&real)));
        }
        if let Some(tool) = tool_of(&path, self.files) {
            return self.tool(tool);
        }
        if is_typescript(&self.files.real(&path)) {
            if may_strip {
                self.runs(Runner::StripTypes, None);
            }
            return;
        }
        self.file(&path, &quoted(entry));
    }

    /// A program that is known by its name, with the entry's arguments.
    fn tool(&mut self, name: &str) {
        let words = [&[name.to_owned()], &self.arguments[..]].concat();
        self.found.push(self.invocation.command(words));
    }

    /// An entry that only an execution would tell in full.
    fn unknown_entry(&mut self, entry: &str, may_strip: bool) {
        let sections: Vec<&str> = entry.split(UNKNOWN).collect();
        let known: String = sections.iter().step_by(2).copied().collect();
        if is_typescript(Path::new(&known)) {
            if may_strip {
                self.runs(Runner::StripTypes, None);
            }
            return;
        }
        self.doubt(&known);
        for section in sections.iter().skip(1).step_by(2) {
            let last = split(section).pop();
            let name = last.as_deref().map(base).filter(|name| !["bun", "deno"].contains(name));
            if let Some(runner) = name.and_then(Runner::of_program) {
                self.may_run(runner);
            }
        }
    }

    /// Standard input in the entry's place.
    fn input(&mut self, may_strip: bool) {
        match self.invocation.place.input.clone() {
            Some(Input::File(path)) => self.entry(&path.display().to_string(), may_strip),
            Some(Input::Text(code)) => self.code(&code),
            None => {}
        }
    }

    /// Code on the command line.
    fn code(&mut self, code: &str) {
        let folder = self.invocation.place.folder.clone();
        self.executes(code, &folder, MAX_LEVELS);
        let starts_others = ["child_process", "spawn(", "fork(", "exec(", "execSync("];
        if self.found.is_empty() && starts_others.iter().any(|word| code.contains(word)) {
            for literal in literals(code) {
                self.doubt(&literal.text);
            }
        }
    }
}
