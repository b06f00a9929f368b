//! The small static programs that the bench starts, and the bench itself.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug)]
pub struct Programs {
    /// The tests' worker.
    pub worker: String,
    pub floor: String,
    /// This program, whose argument `worker` makes it a worker.
    pub bench: String,
}

impl Programs {
    /// cargo builds no examples for a bench: they are built here, the same way and into the same folder.
    pub fn build() -> Self {
        let bench = std::env::current_exe().expect("a path");
        // TARGET_FOLDER/TRIPLE/release/deps/peers-…
        let profile = ancestor(&bench, 2);
        let folder =
            |generations| ancestor(&bench, generations).file_name().expect("a folder of cargo's");
        let profile_name = if folder(2) == "debug" { OsStr::new("dev") } else { folder(2) };
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
        // What cargo tells the bench of its package: ring's build script would see it as a change, and
        // be run again here and by the next cargo outside.
        for (name, _) in std::env::vars() {
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                cargo.env_remove(name);
            }
        }
        let status = cargo
            .args(["build", "--quiet", "--locked", "--profile"])
            .arg(profile_name)
            .args(["--example", "worker", "--example", "floor"])
            .arg("--manifest-path")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
            .arg("--target-dir")
            .arg(ancestor(&bench, 4))
            .arg("--target")
            .arg(folder(3))
            .status()
            .expect("cargo starts");
        assert!(status.success(), "the examples are built");
        let example = |name| text(profile.join("examples").join(name));
        Self { worker: example("worker"), floor: example("floor"), bench: text(bench.clone()) }
    }
}

fn ancestor(path: &Path, generations: usize) -> &Path {
    path.ancestors().nth(generations).expect("cargo's target folder")
}

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("a path in UTF-8")
}
