//! package.json, as the package managers and Node look for it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::files::{Files, join, shown};
use crate::runner::Runner;

/// A folder's package.json.
#[derive(Debug, Clone)]
pub struct Manifest {
    pub folder: PathBuf,
    json: Value,
}

impl Manifest {
    pub fn of(folder: &Path, files: &mut Files) -> Option<Self> {
        let path = folder.join("package.json");
        let text = files.text(&path)?;
        let json = serde_json::from_str(text.trim_start_matches('\u{feff}')).ok();
        if json.is_none() {
            files.tell(format!("{} is no JSON", shown(&path)));
        }
        Some(Self { folder: folder.to_owned(), json: json? })
    }

    /// The one of a folder or of the nearest one above it.
    pub fn nearest(folder: &Path, files: &mut Files) -> Option<Self> {
        let with_one =
            folder.ancestors().find(|folder| files.is_file(&folder.join("package.json")));
        Self::of(with_one?, files)
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.json.get(name)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    pub fn name(&self) -> Option<&str> {
        self.text("name")
    }

    pub fn script(&self, name: &str) -> Option<&str> {
        self.get("scripts")?.get(name)?.as_str()
    }

    pub fn script_names(&self) -> impl Iterator<Item = &str> {
        let scripts = self.get("scripts").and_then(Value::as_object);
        scripts.into_iter().flatten().map(|(name, _)| name.as_str())
    }

    /// The runner that a dependency of this name is, under whatever other name: `npm:tsx@4`.
    pub fn alias(&self, name: &str) -> Option<Runner> {
        let kinds = ["dependencies", "devDependencies", "optionalDependencies"];
        let of = kinds.iter().find_map(|kind| self.get(kind)?.get(name)?.as_str())?;
        Runner::of_package(without_version(of.strip_prefix("npm:")?))
    }

    /// The file of the package's own program, where this is the package's name.
    pub fn program_of(&self, package: &str) -> Option<String> {
        let name = self.name().filter(|name| *name == package)?;
        let programs = self.get("bin")?;
        let short = name.rsplit('/').next().unwrap_or(name);
        let only = || match programs.as_object() {
            Some(all) if all.len() == 1 => all.values().next(),
            _ => None,
        };
        let file = programs.as_str().or_else(|| programs.get(short).or_else(only)?.as_str())?;
        Some(join(&self.folder, file).display().to_string())
    }

    /// The file that stands for the package, or for a path below it.
    pub fn entry(&self, subpath: &str) -> PathBuf {
        let exported = match self.get("exports") {
            Some(exports) if subpath.is_empty() => target(exports.get(".").unwrap_or(exports)),
            Some(exports) => exports.get(format!("./{subpath}")).and_then(target),
            None => None,
        };
        let main =
            if subpath.is_empty() { self.text("main").unwrap_or("index.js") } else { subpath };
        join(&self.folder, exported.unwrap_or(main))
    }
}

/// The first file that an entry of `exports` or of `imports` leads to: of several ways, one that is compiled.
pub fn target(exported: &Value) -> Option<&str> {
    let all = targets(exported, 0);
    let is_typescript = |path: &&&str| path.ends_with("ts");
    all.iter().find(|path| !is_typescript(path)).or(all.first()).copied()
}

fn targets(exported: &Value, depth: u32) -> Vec<&str> {
    const MAX_DEPTH: u32 = 8;
    match exported {
        _ if depth >= MAX_DEPTH => Vec::new(),
        Value::String(path) => vec![path],
        Value::Array(all) => all.iter().flat_map(|one| targets(one, depth + 1)).collect(),
        Value::Object(conditions) => ["node", "import", "require", "default"]
            .iter()
            .filter_map(|condition| conditions.get(*condition))
            .flat_map(|one| targets(one, depth + 1))
            .collect(),
        _ => Vec::new(),
    }
}

/// `tsx` of `tsx@4`, `@scope/name` of `@scope/name@1`.
pub fn without_version(package: &str) -> &str {
    match package.get(1..).and_then(|rest| rest.find('@')) {
        Some(at) => package.get(..=at).unwrap_or(package),
        None => package,
    }
}

/// A specifier's package and the path below it.
pub fn package_and_subpath(specifier: &str) -> (&str, &str) {
    let slashes = usize::from(specifier.starts_with('@'));
    match specifier.match_indices('/').nth(slashes) {
        Some((at, _)) => {
            let (package, rest) = specifier.split_at(at);
            (package, rest.trim_start_matches('/'))
        }
        None => (specifier, ""),
    }
}

/// The runner whose package a file belongs to, all links followed.
pub fn runner_of_file(path: &Path, files: &mut Files) -> Option<Runner> {
    let real = files.real(path);
    let mut names = real.components().filter_map(|component| component.as_os_str().to_str());
    // To look into each package.json above a file would be to read many for nothing.
    if !names.any(|name| name == "node_modules" || Runner::of_package(name).is_some()) {
        return None;
    }
    let nearest =
        real.ancestors().skip(1).find(|folder| files.is_file(&folder.join("package.json")));
    let manifest = nearest.and_then(|folder| named(folder, files));
    if let Some(manifest) = &manifest {
        return Runner::of_package(manifest.name()?);
    }
    // As in an archive of Yarn's, which is no folder.
    let (_, inside) = real.to_str()?.rsplit_once("/node_modules/")?;
    Runner::of_package(package_and_subpath(inside).0)
}

/// The nearest one with a name: others say only how to read the files beside them.
fn named(folder: &Path, files: &mut Files) -> Option<Manifest> {
    let mut manifest = Manifest::of(folder, files)?;
    while manifest.name().is_none() {
        let above = manifest.folder.parent()?.to_owned();
        manifest = Manifest::nearest(&above, files)?;
    }
    Some(manifest)
}

/// The folder of a package, as Node looks for it from a folder on.
pub fn find_package(name: &str, folder: &Path, files: &mut Files) -> Option<PathBuf> {
    let candidates = folder.ancestors().map(|folder| folder.join("node_modules").join(name));
    candidates.into_iter().find(|candidate| files.is_folder(candidate))
}
