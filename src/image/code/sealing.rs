//! Sealing code, at image build: the manifest, and what its format can't hold.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::bytes::EscapedBytes;
use super::hash::Hasher;
use super::manifest::{Entry, hexadecimal, write_entry};
use super::mounts::is_at_or_below;
use super::tree::{Kind, sorted, walk};
use crate::escape::Escape;

/// What the seal holds of the code, beside the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SealedCode {
    /// The files and folders that are sealed.
    pub paths: Vec<EscapedBytes>,
    /// What is left out of them, such as a folder for data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<EscapedBytes>,
    /// The manifest's own SHA-256, as 64 hex digits: all sealed content in one word.
    pub sha256: String,
    /// The manifest's length.
    pub bytes: u64,
    /// How many files the manifest names.
    pub files: u64,
    /// Those that can be executed, in the manifest's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executables: Vec<EscapedBytes>,
    /// Each link and its target's text, in the manifest's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<(EscapedBytes, EscapedBytes)>,
}

impl SealedCode {
    pub(super) fn paths(&self) -> Vec<Vec<u8>> {
        self.paths.iter().map(|path| path.0.clone()).collect()
    }

    pub(super) fn except(&self) -> Vec<Vec<u8>> {
        self.except.iter().map(|path| path.0.clone()).collect()
    }
}

/// Why code can't be sealed.
#[derive(Debug, Error)]
pub enum SealingError {
    #[error("{} can't be sealed: {why}", Escape(&path.to_string_lossy()))]
    Path { path: PathBuf, why: String },
    #[error("the manifest can't be written to {}; this step has to run as root", path.display())]
    Write { path: PathBuf, source: io::Error },
}

fn refused(path: &[u8], why: impl Into<String>) -> SealingError {
    SealingError::Path { path: as_path(path).into(), why: why.into() }
}

fn as_path(path: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(path))
}

/// Writes the manifest of these files and folders, less what is excepted, to a draft.
///
/// # Errors
/// What can't be sealed and why, or that the draft can't be written.
pub fn seal_code(
    paths: &[PathBuf],
    except: &[PathBuf],
    draft: &Path,
) -> Result<SealedCode, SealingError> {
    let bytes = |paths: &[PathBuf]| {
        sorted(paths.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect())
    };
    let (paths, except) = (bytes(paths), bytes(except));
    check_paths(&paths, &except)?;
    let unwritable = |source| SealingError::Write { path: draft.into(), source };
    let mut manifest = Manifest::create(draft).map_err(unwritable)?;
    let mut code = SealedCode {
        paths: paths.iter().cloned().map(EscapedBytes).collect(),
        except: except.iter().cloned().map(EscapedBytes).collect(),
        sha256: String::new(),
        bytes: 0,
        files: 0,
        executables: Vec::new(),
        links: Vec::new(),
    };
    let mut hasher = Hasher::new();
    for (path, kind) in walk(&paths, &except) {
        match kind {
            Kind::Link(target) => code.links.push((EscapedBytes(path), EscapedBytes(target))),
            Kind::Special => return Err(refused(&path, "it is neither file nor folder nor link")),
            Kind::Unreadable(error) => return Err(refused(&path, error.to_string())),
            Kind::File => {
                let content =
                    hasher.content(&path).map_err(|error| refused(&path, error.to_string()))?;
                if content.is_executable {
                    code.executables.push(EscapedBytes(path.clone()));
                }
                let entry = Entry { path, sha256: content.sha256 };
                write_entry(&mut manifest, &entry).map_err(unwritable)?;
                code.files += 1;
            }
        }
    }
    for path in &paths {
        if walk(std::slice::from_ref(path), &except).next().is_none() {
            return Err(refused(path, "there is no file in it"));
        }
    }
    (code.sha256, code.bytes) = manifest.finish().map_err(unwritable)?;
    Ok(code)
}

/// Each is a place of its own that no link leads to; what is excepted is in one of them.
fn check_paths(paths: &[Vec<u8>], except: &[Vec<u8>]) -> Result<(), SealingError> {
    for path in paths {
        let real =
            fs::canonicalize(as_path(path)).map_err(|error| refused(path, error.to_string()))?;
        if !path.starts_with(b"/") || real != as_path(path) || real.as_os_str().as_bytes() != *path
        {
            let real = real.display();
            return Err(refused(path, format!("give the path without links and dots, {real}")));
        }
        if path == b"/" {
            return Err(refused(path, "name the folders with code in them, not the whole image"));
        }
        if is_at_or_below(b"/etc/version-guard", path)
            || is_at_or_below(path, b"/etc/version-guard")
        {
            return Err(refused(path, "the seal itself is in it"));
        }
        let mut others = paths.iter().filter(|other| *other != path);
        if let Some(other) = others.find(|other| is_at_or_below(path, other)) {
            let other = as_path(other).display();
            return Err(refused(path, format!("it is in {other}, which is sealed already")));
        }
    }
    for excepted in except {
        let is_inside = |path: &Vec<u8>| is_at_or_below(excepted, path) && excepted != path;
        if !paths.iter().any(is_inside) {
            return Err(refused(excepted, "what is excepted has to be in sealed code"));
        }
    }
    Ok(())
}

/// The manifest's file, summed up while it is written.
struct Manifest {
    file: BufWriter<File>,
    sum: Context,
    bytes: u64,
}

impl Manifest {
    fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::new(File::create(path)?);
        Ok(Self { file, sum: Context::new(&SHA256), bytes: 0 })
    }

    /// Its SHA-256 and length, once it is on the disk, readable by all and writable by none.
    fn finish(self) -> io::Result<(String, u64)> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.set_permissions(Permissions::from_mode(0o444))?;
        file.sync_all()?;
        Ok((hexadecimal(self.sum.finish().as_ref()), self.bytes))
    }
}

impl Write for Manifest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.sum.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
