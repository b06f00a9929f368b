//! What Node runs: preloaded modules and the entry, as its options and NODE_OPTIONS have it.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::dotenv;
use super::files::{Files, join, shown};
use super::invocation::{Input, Invocation, Next, UNKNOWN, cut, named_in, quoted};
use super::javascript::{Literal, literals};
use super::manifest::{Manifest, find_package, package_and_subpath, runner_of_file};
use super::node_options::NodeOptions;
use crate::runner::Runner;

/// What TypeScript's files are called.
const EXTENSIONS: [&str; 4] = ["ts", "mts", "cts", "tsx"];

/// What comes of a Node.
pub fn node<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let folder = &invocation.place.folder;
    let own = NodeOptions::parse(invocation.arguments());
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
    let may_strip = strips != Some(false) && reader.found.is_empty();
    let has_other = !own.code.is_empty() || own.script.is_some();
    match own.entry.filter(|entry| entry != "-") {
        _ if has_other => {}
        Some(entry) => reader.entry(&entry, may_strip),
        None => reader.input(may_strip),
    }
    reader.found
}

struct NodeReader<'i, 'a, 'f> {
    invocation: &'i Invocation<'a>,
    files: &'f mut Files,
    /// The entry's own.
    arguments: Vec<String>,
    chain: Vec<String>,
    found: Vec<Next<'a>>,
}

impl NodeReader<'_, '_, '_> {
    fn runs(&mut self, runner: Runner, step: Option<String>) {
        let chain = self.chain.iter().cloned().chain(step).collect();
        let words = self.invocation.words.clone();
        self.found.push(Next::Runs { runner, words, chain });
    }

    /// With one step more in the chain.
    fn within(&mut self, step: &str, read: impl FnOnce(&mut Self)) {
        self.chain.push(cut(step));
        read(self);
        self.chain.pop();
    }

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
            return self.imports(&code, &folder);
        }
        let path = match specifier.strip_prefix("file://") {
            Some(path) => Some(percent_decode_str(path).decode_utf8_lossy().into_owned()),
            None if specifier.starts_with(['.', '/']) => Some(specifier.to_owned()),
            None => None,
        };
        match path {
            Some(path) => self.module(&join(&folder, path), specifier),
            None => self.package(specifier, &folder, true),
        }
    }

    /// A module by a package's name. With `is_loaded`, whatever it imports itself counts, too.
    fn package(&mut self, specifier: &str, folder: &Path, is_loaded: bool) {
        let step = || Some(specifier.to_owned());
        if let Some(runner) = Runner::of_package(specifier) {
            return self.runs(runner, step());
        }
        let (name, subpath) = package_and_subpath(specifier);
        let found = find_package(name, folder, self.files);
        let manifest = found.and_then(|folder| Manifest::of(&folder, self.files));
        let alias = match &manifest {
            Some(manifest) => manifest.name().and_then(Runner::of_package),
            None => Manifest::nearest(folder, self.files).and_then(|above| above.alias(name)),
        };
        if let Some(runner) = alias {
            let step = format!("{specifier} (the package {runner})");
            return self.runs(runner, Some(step));
        }
        if let Some(entry) = manifest.filter(|_| is_loaded).map(|one| one.entry(subpath)) {
            self.module(&entry, specifier);
        }
    }

    /// A file that is loaded before the entry.
    fn module(&mut self, path: &Path, specifier: &str) {
        let path = self.resolved(path);
        if let Some(runner) = runner_of_file(&path, self.files) {
            return self.runs(runner, Some(specifier.to_owned()));
        }
        if is_typescript(&self.files.real(&path)) {
            return self.runs(Runner::StripTypes, Some(specifier.to_owned()));
        }
        if let Some(code) = self.files.head(&path) {
            let folder = path.parent().unwrap_or(&path).to_owned();
            self.within(specifier, |reader| reader.imports(&code, &folder));
        }
    }

    fn entry(&mut self, entry: &str, may_strip: bool) {
        if entry.contains(UNKNOWN) {
            return self.doubt(entry);
        }
        let path = self.resolved(&join(&self.invocation.place.folder, entry));
        if let Some(runner) = runner_of_file(&path, self.files) {
            let real = self.files.real(&path);
            return self.runs(runner, Some(shown(&real)));
        }
        if let Some(manager) = manager_of(&path) {
            let words = [&[manager.to_owned()], &self.arguments[..]].concat();
            return self.found.push(self.invocation.command(words));
        }
        if is_typescript(&self.files.real(&path)) {
            if may_strip {
                self.runs(Runner::StripTypes, None);
            }
            return;
        }
        if let Some(code) = self.files.head(&path) {
            let folder = path.parent().unwrap_or(&path).to_owned();
            self.within(&quoted(entry), |reader| reader.imports(&code, &folder));
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

    /// What a program's own code imports.
    fn imports(&mut self, code: &str, folder: &Path) {
        let specifiers: Vec<String> = literals(code)
            .into_iter()
            .filter(Literal::is_specifier)
            .map(|literal| literal.text)
            .collect();
        for specifier in &specifiers {
            if is_path(specifier) {
                let path = join(folder, specifier);
                if let Some(runner) = runner_of_file(&path, self.files) {
                    self.runs(runner, Some(format!("import {specifier}")));
                }
            } else if Runner::of_package(specifier).is_some() || may_be_an_alias(specifier) {
                self.package(specifier, folder, false);
            }
        }
        let typescript = specifiers
            .iter()
            .find(|specifier| is_path(specifier) && is_typescript(Path::new(specifier)));
        // A runner that is there by then takes it.
        if let Some(specifier) = typescript.filter(|_| self.found.is_empty()) {
            self.runs(Runner::StripTypes, Some(format!("import {specifier}")));
        }
    }

    /// Code on the command line.
    fn code(&mut self, code: &str) {
        let folder = self.invocation.place.folder.clone();
        self.imports(code, &folder);
        let starts_others = ["child_process", "spawn(", "fork(", "exec(", "execSync("];
        if self.found.is_empty() && starts_others.iter().any(|word| code.contains(word)) {
            for literal in literals(code) {
                self.doubt(&literal.text);
            }
        }
    }

    /// Text that can't be told, and may name a runner.
    fn doubt(&mut self, text: &str) {
        if let Some(runner) = named_in(text) {
            let (words, chain) = (self.invocation.words.clone(), self.chain.clone());
            self.found.push(Next::Doubt { runner, words, chain });
        }
    }

    /// The file that `require` takes: itself, with an extension, or a folder's entry.
    fn resolved(&mut self, path: &Path) -> PathBuf {
        if self.files.is_file(path) {
            return path.to_owned();
        }
        let with = |extension: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(extension);
            PathBuf::from(name)
        };
        let mut candidates = vec![with(".js"), with(".cjs"), with(".mjs")];
        if self.files.is_folder(path) {
            candidates.extend(Manifest::of(path, self.files).map(|one| one.entry("")));
            candidates.push(path.join("index.js"));
        }
        let found = candidates.into_iter().find(|candidate| self.files.is_file(candidate));
        found.unwrap_or_else(|| path.to_owned())
    }
}

/// The package manager that a file of its own release is.
fn manager_of(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    match name {
        "npm-cli.js" => Some("npm"),
        "npx-cli.js" => Some("npx"),
        "pnpm.cjs" | "pnpm.mjs" => Some("pnpm"),
        _ if name.starts_with("yarn-") && name.ends_with("js") => Some("yarn"),
        _ => None,
    }
}

fn is_path(specifier: &str) -> bool {
    specifier.starts_with(['.', '/']) || specifier.starts_with("file:")
}

fn is_typescript(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}

/// Whether it is a path below a package that a runner has: only then is the package looked at.
fn may_be_an_alias(specifier: &str) -> bool {
    let (_, subpath) = package_and_subpath(specifier);
    ["esm", "cjs", "esm/api", "cjs/api", "register", "loader", "preflight"].contains(&subpath)
}
