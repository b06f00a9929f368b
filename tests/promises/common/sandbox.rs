//! A mount namespace: other files in the places of the machine's own, for one shim alone.

use std::ffi::OsString;
use std::fs;
use std::sync::Arc;

use super::Folder;

/// Files to be put over others, in a mount namespace of the shim's own.
#[derive(Clone)]
pub struct Sandbox {
    folder: Arc<Folder>,
    script: String,
    count: u32,
}

impl Sandbox {
    pub fn new() -> Self {
        let folder = Arc::new(Folder::new());
        Self { folder, script: "set -e\n".into(), count: 0 }
    }

    /// This content in the place of a file that is there, such as /etc/resolv.conf.
    pub fn over(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.count += 1;
        let file = self.folder.file(&format!("over-{}", self.count), content);
        self.with(&format!("mount --bind '{}' '{path}'", file.display()))
    }

    /// The image's seal, root's and 0444, with this content.
    pub fn sealed(self, content: impl AsRef<[u8]>) -> Self {
        let folder = self.folder.path("version-guard");
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("image.json"), content).expect("a seal");
        self.seal_folder()
    }

    /// A folder of the test's own at /etc/version-guard; see `seal_path`.
    pub fn seal_folder(self) -> Self {
        let folder = self.folder.path("version-guard");
        fs::create_dir_all(&folder).expect("a folder");
        let overlay = self.folder.path("overlay");
        fs::create_dir(&overlay).expect("a folder");
        // /etc becomes an overlay of itself, so that nothing of it changes outside.
        self.with(&format!(
            "cd '{0}'; mount -t tmpfs tmpfs .; cd '{0}'; mkdir upper work
             mount -t overlay -o lowerdir=/etc,upperdir=upper,workdir=work overlay /etc
             mkdir -p /etc/version-guard; mount --bind '{1}' /etc/version-guard; cd /",
            overlay.display(),
            folder.display(),
        ))
    }

    /// Where a file of /etc/version-guard stands outside.
    pub fn seal_path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path("version-guard").join(name)
    }

    /// One more line of shell before the shim starts, as root of the namespace.
    pub fn with(mut self, line: &str) -> Self {
        self.script += line;
        self.script += "\n";
        self
    }

    /// The words that stand before the shim's command line.
    pub fn wrapper(&self) -> Vec<OsString> {
        let script = format!("{}exec \"$@\"\n", self.script);
        ["unshare", "--mount", "--", "sh", "-c", &script, "sandbox"].map(OsString::from).into()
    }
}
