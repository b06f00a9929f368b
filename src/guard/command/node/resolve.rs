//! Which file a path or a package's name leads to, as Node looks for it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::guard::command::files::{Files, join};
use crate::guard::command::manifest::{Manifest, find_package, package_and_subpath, target};

/// What TypeScript's files are called.
const EXTENSIONS: [&str; 4] = ["ts", "mts", "cts", "tsx"];
/// Node's own modules, with what is below them.
const BUILTIN: [&str; 36] = [
    "assert",
    "async_hooks",
    "buffer",
    "child_process",
    "cluster",
    "console",
    "constants",
    "crypto",
    "dgram",
    "diagnostics_channel",
    "dns",
    "domain",
    "events",
    "fs",
    "http",
    "http2",
    "https",
    "inspector",
    "module",
    "net",
    "os",
    "path",
    "perf_hooks",
    "process",
    "punycode",
    "querystring",
    "readline",
    "stream",
    "string_decoder",
    "timers",
    "tls",
    "tty",
    "url",
    "util",
    "vm",
    "zlib",
];
/// Packages whose programs are known, and what these are called.
const TOOLS: [(&str, &[&str]); 11] = [
    ("concurrently", &["concurrently"]),
    ("cross-env", &["cross-env", "cross-env-shell"]),
    ("dotenv-cli", &["dotenv"]),
    ("env-cmd", &["env-cmd"]),
    ("nodemon", &["nodemon"]),
    ("npm", &["npm", "npx"]),
    ("npm-run-all", &["npm-run-all", "run-s", "run-p"]),
    ("npm-run-all2", &["npm-run-all2", "npm-run-all", "run-s", "run-p"]),
    ("pm2", &["pm2", "pm2-runtime", "pm2-docker", "pm2-dev"]),
    ("pnpm", &["pnpm", "pnpx"]),
    ("yarn", &["yarn"]),
];

pub fn is_path(specifier: &str) -> bool {
    specifier.starts_with(['.', '/']) || specifier.starts_with("file:")
}

pub fn is_typescript(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}

/// Whether a file's name says that it may be a program for Node, or says nothing.
pub fn is_javascript(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_none_or(|extension| ["js", "cjs", "mjs"].contains(&extension))
}

/// The file that `require` takes: itself, with an extension, or a folder's entry.
pub fn resolved(path: &Path, files: &mut Files) -> PathBuf {
    if let Some(file) = as_file(path, files) {
        return file;
    }
    if files.is_folder(path) {
        let main = Manifest::of(path, files).map(|manifest| manifest.entry(""));
        let of_main = main
            .and_then(|main| as_file(&main, files).or_else(|| as_file(&main.join("index"), files)));
        let found = of_main.or_else(|| as_file(&path.join("index"), files));
        return found.unwrap_or_else(|| path.to_owned());
    }
    path.to_owned()
}

fn as_file(path: &Path, files: &mut Files) -> Option<PathBuf> {
    let with = |extension: &&str| {
        let mut name = path.as_os_str().to_owned();
        name.push(extension);
        PathBuf::from(name)
    };
    let mut candidates = ["", ".js", ".cjs", ".mjs"].iter().map(with);
    candidates.find(|candidate| files.is_file(candidate))
}

/// The file in the project's own folders that a module's name leads to: by the `imports` or the `exports` of
/// the nearest package.json, or by a link to a package that is not installed.
pub fn own_module(specifier: &str, folder: &Path, files: &mut Files) -> Option<PathBuf> {
    if specifier.starts_with('#') {
        let manifest = Manifest::nearest(folder, files)?;
        let path = target(manifest.get("imports")?.get(specifier)?)?;
        return Some(join(&manifest.folder, path));
    }
    let (name, subpath) = package_and_subpath(specifier);
    if specifier.contains(':') || BUILTIN.contains(&name) || name.is_empty() {
        return None;
    }
    let Some(found) = find_package(name, folder, files) else {
        let manifest = Manifest::nearest(folder, files)?;
        let is_itself = manifest.name() == Some(name) && manifest.get("exports").is_some();
        return is_itself.then(|| manifest.entry(subpath));
    };
    let real = files.real(&found);
    if real.components().any(|component| component.as_os_str() == "node_modules") {
        return None;
    }
    Some(Manifest::of(&real, files)?.entry(subpath))
}

/// The known program that an entry's file is: a package manager of its own release, or one of an installed
/// package.
pub fn tool_of(path: &Path, files: &mut Files) -> Option<&'static str> {
    manager_of(path).or_else(|| {
        let real = files.real(path);
        let (_, inside) = real.to_str()?.rsplit_once("/node_modules/")?;
        let (package, file) = package_and_subpath(inside);
        let (_, programs) = TOOLS.iter().find(|(name, _)| *name == package)?;
        let names = Path::new(file).components().rev();
        let names = names.filter_map(|name| Path::new(name.as_os_str()).file_stem()?.to_str());
        let names: Vec<&str> = names.collect();
        let of_name = programs.iter().find(|program| names.contains(program));
        let is_program = || names.iter().any(|name| ["bin", "cli"].contains(name));
        of_name.or_else(|| programs.first().filter(|_| is_program())).copied()
    })
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
