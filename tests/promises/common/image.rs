//! An image: a root of its own, in which the shim runs and seals.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::{Folder, SHA, Sandbox, Shim, binary};

/// What a build has put together so far.
#[derive(Clone)]
pub struct Image {
    root: Arc<Folder>,
    mounts: Sandbox,
}

impl Image {
    /// With nothing in it but the shim.
    pub fn new() -> Self {
        let root = Folder::new();
        let shim = root.file("version-guard", "");
        let line = format!("mount --bind '{}' '{}'", binary().display(), shim.display());
        Self { root: Arc::new(root), mounts: Sandbox::new().with(&line) }
    }

    /// Where a path of the image's stands outside; the folder of it is there.
    pub fn path(&self, path: &str) -> PathBuf {
        let path = self.root.path(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        path
    }

    pub fn folder(self, path: &str) -> Self {
        fs::create_dir_all(self.path(path)).expect("a folder");
        self
    }

    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.path(path), content).expect("a file");
        self
    }

    pub fn link(self, path: &str, target: &str) -> Self {
        std::os::unix::fs::symlink(target, self.path(path)).expect("a link");
        self
    }

    /// Another file system there, with this folder in it.
    pub fn mount(self, path: &str, folder: &str) -> Self {
        let image = self.folder(path);
        let point = image.path(path).display().to_string();
        let line = format!("mount -t tmpfs tmpfs '{point}'; mkdir -p '{point}/{folder}'");
        Self { mounts: image.mounts.clone().with(&line), ..image }
    }

    /// `version-guard seal` of a commit, as the build calls it.
    pub fn seal(&self) -> Shim {
        self.seal_of(SHA)
    }

    pub fn seal_of(&self, git_sha: &str) -> Shim {
        Shim::of("/version-guard".into(), ["seal", "--git-sha", git_sha])
            .behind(["unshare", "--root"])
            .behind([self.root.path("")])
            .inside(self.mounts.clone())
    }

    /// What is sealed in it.
    pub fn sealed(&self) -> Option<Value> {
        let seal = fs::read(self.root.path("etc/version-guard/image.json")).ok()?;
        serde_json::from_slice(&seal).ok()
    }
}
