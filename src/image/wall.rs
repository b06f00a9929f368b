//! The wall: packages of runners that an image holds, where they could be left out of it.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use walkdir::{DirEntry, WalkDir};

use crate::escape::Escape;
use crate::input::read_small;
use crate::runner::{Runner, Runners};

/// Where Yarn's Plug'n'Play says which packages there are.
const RESOLUTIONS: [&str; 2] = [".pnp.cjs", ".pnp.data.json"];

/// Far more than these hold.
const MAX_RESOLUTION_BYTES: u64 = 64 * 1024 * 1024;
const MAX_PACKAGE_BYTES: u64 = 256 * 1024;

/// A place in an image.
#[derive(Debug)]
pub struct Place {
    pub path: PathBuf,
    /// The package of a runner that is there, or why nobody can say whether there is one.
    pub package: io::Result<&'static str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let path = self.path.to_string_lossy();
        match &self.package {
            Ok(package) => write!(
                f,
                "{} holds {package}, a forbidden runner: leave it out with npm ci --omit=dev, or copy the compiled code alone from a stage that builds it",
                Escape(&path)
            ),
            Err(error) => {
                write!(f, "{} can't be searched for forbidden runners: {error}", Escape(&path))
            }
        }
    }
}

/// Every place on the root's file system, in the order of the paths, that holds a package of one of
/// these runners: not in /proc and the like, nor in what a build has mounted. No link is followed, but
/// for the question whether it leads to a package that stands nowhere else.
pub fn packages_of(runners: Runners) -> Vec<Place> {
    let packages: Vec<Package> =
        runners.iter().flat_map(Runner::packages).map(|name| Package::new(name)).collect();
    // No folder is skipped: of one that is mounted, walkdir would skip what stands behind it.
    let entries = WalkDir::new("/").same_file_system(true).sort_by_file_name();
    let places = entries.into_iter().flat_map(|entry| match entry {
        Ok(entry) => look_at(&entry, &packages),
        Err(error) => unsearched(error).into_iter().collect(),
    });
    places.collect()
}

/// What could not be looked at, unless it went away meanwhile.
fn unsearched(error: walkdir::Error) -> Option<Place> {
    let path = error.path().unwrap_or(Path::new("/")).to_owned();
    let error = error.into_io_error().unwrap_or_else(|| io::Error::other("a loop"));
    (error.kind() != io::ErrorKind::NotFound).then_some(Place { path, package: Err(error) })
}

/// The packages that are here, or that a file here names.
fn look_at(entry: &DirEntry, packages: &[Package]) -> Vec<Place> {
    let (path, kind) = (entry.path(), entry.file_type());
    let at = |place: &Path, is_there: &dyn Fn(&Package) -> bool| {
        let there = packages.iter().filter(|package| is_there(package));
        there.map(|package| Place { path: place.into(), package: Ok(package.name) }).collect()
    };
    if kind.is_dir() {
        at(path, &|package| package.is_folder(path))
    } else if kind.is_symlink() {
        at(path, &|package| package.is_folder(path) && leads_elsewhere(path, packages))
    } else if !kind.is_file() {
        Vec::new()
    } else if RESOLUTIONS.iter().any(|name| entry.file_name() == *name) {
        match read_small(path, MAX_RESOLUTION_BYTES) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                at(path, &|package| package.is_resolved_in(&text))
            }
            Err(error) => vec![Place { path: path.into(), package: Err(error) }],
        }
    } else if let Some(folder) = package_folder(path) {
        let name = name_in(path);
        let is_it = |package: &Package| name.as_deref() == Some(package.name);
        at(folder, &|package| is_it(package) && !package.is_folder(folder))
    } else {
        at(path, &|package| package.is_archive(path))
    }
}

/// Whether a link leads to a folder that is not found as a package itself, as those in pnpm's store are.
fn leads_elsewhere(link: &Path, packages: &[Package]) -> bool {
    fs::canonicalize(link)
        .is_ok_and(|real| real.is_dir() && !packages.iter().any(|package| package.is_folder(&real)))
}

/// The folder in `node_modules`, or in a scope there, whose package.json this is.
fn package_folder(path: &Path) -> Option<&Path> {
    let is_modules = |folder: &Path| folder.ends_with("node_modules");
    let folder = path.parent().filter(|_| path.ends_with("package.json"))?;
    let above = folder.parent()?;
    let is_scope = above.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"@"));
    let modules = if is_scope { above.parent()? } else { above };
    is_modules(modules).then_some(folder)
}

/// The name in a package.json: what is installed under another one keeps its own there.
fn name_in(path: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let bytes = read_small(path, MAX_PACKAGE_BYTES).ok()?;
    serde_json::from_slice(&bytes).ok().map(|Named { name }| name)
}

/// A package, and how it shows in an image.
#[derive(Debug)]
struct Package {
    name: &'static str,
    /// The end of its folder's path: of npm's, of pnpm's store and of what is installed globally.
    folder: String,
    /// What the name of its archive in Yarn's cache begins with.
    archive: String,
    /// What stands in Plug'n'Play's resolution where it is described, and not only asked for.
    resolved: String,
}

impl Package {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            folder: format!("node_modules/{name}"),
            // slugifyIdent() in Yarn: a scope is joined by a dash.
            archive: format!("{}-npm-", name.replace('/', "-")),
            resolved: format!("[\"{name}\", ["),
        }
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.ends_with(&self.folder)
    }

    fn is_archive(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let is_cached = path.parent().is_some_and(|folder| folder.ends_with("cache"));
        is_cached && name.starts_with(self.archive.as_bytes()) && name.ends_with(b".zip")
    }

    fn is_resolved_in(&self, resolution: &str) -> bool {
        resolution.contains(&self.resolved)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Package, package_folder};

    #[test]
    fn a_package_is_a_folder_of_its_name_in_node_modules() {
        let (tsx, swc) = (Package::new("tsx"), Package::new("@swc-node/register"));
        for path in [
            "/app/node_modules/tsx",
            "/app/node_modules/.pnpm/tsx@4.19.2/node_modules/tsx",
            "/usr/local/lib/node_modules/tsx",
        ] {
            assert!(tsx.is_folder(Path::new(path)), "{path}");
        }
        assert!(swc.is_folder(Path::new("/app/node_modules/@swc-node/register")));
        for path in [
            "/app/node_modules/@company/tsx",
            "/app/node_modules/tsx-previews",
            "/app/node_modules/tsx/dist",
            "/app/my_node_modules/tsx",
            "/app/tsx",
        ] {
            assert!(!tsx.is_folder(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn yarn_keeps_it_in_an_archive() {
        let (tsx, swc) = (Package::new("tsx"), Package::new("@swc-node/register"));
        assert!(tsx.is_archive(Path::new("/app/.yarn/cache/tsx-npm-4.19.2-1b2c-3d4e.zip")));
        assert!(tsx.is_archive(Path::new("/root/.yarn/berry/cache/tsx-npm-4.19.2-1b2c-8.zip")));
        assert!(swc.is_archive(Path::new("/a/.yarn/cache/@swc-node-register-npm-1.10.9-a-b.zip")));
        for path in [
            "/app/.yarn/cache/tsx-previews-npm-1.0.0-a-b.zip",
            "/app/.yarn/cache/@company-tsx-npm-1.0.0-a-b.zip",
            "/app/.yarn/cache/tsx-npm-4.19.2-a-b.zip.flock",
            "/app/tsx-npm-4.19.2-a-b.zip",
        ] {
            assert!(!tsx.is_archive(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_resolution_describes_packages_and_says_who_asks_for_them() {
        let tsx = Package::new("tsx");
        assert!(tsx.is_resolved_in("    [\"tsx\", [\\\n      [\"npm:4.19.2\", {\\"));
        assert!(!tsx.is_resolved_in("    [\"@company/tsx\", [\\\n"));
        assert!(!tsx.is_resolved_in("          [\"tsx\", null],\\\n [\"tsx\", \"npm:4.19.2\"]"));
    }

    #[test]
    fn an_alias_is_told_by_the_package_json_of_its_folder() {
        for (path, folder) in [
            ("/app/node_modules/runner/package.json", Some("/app/node_modules/runner")),
            ("/app/node_modules/@my/runner/package.json", Some("/app/node_modules/@my/runner")),
            ("/app/node_modules/runner/dist/package.json", None),
            ("/app/package.json", None),
            ("/app/node_modules/runner/index.js", None),
        ] {
            assert_eq!(package_folder(Path::new(path)), folder.map(Path::new), "{path}");
        }
    }
}
