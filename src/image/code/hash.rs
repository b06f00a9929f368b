//! The SHA-256 of a file's content.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use ring::digest::{Context, SHA256};

use super::manifest::Sha256;

/// As much is read at once.
const CHUNK: usize = 128 * 1024;

/// What a file holds, and whether it can be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    pub sha256: Sha256,
    pub is_executable: bool,
}

/// Reads files one after the other into the same memory.
pub struct Hasher(Vec<u8>);

impl Hasher {
    pub fn new() -> Self {
        Self(vec![0; CHUNK])
    }

    /// The content of a regular file. No link in its place is followed, no FIFO waited for; open(2).
    ///
    /// # Errors
    /// The kernel's, or that it is no regular file.
    pub fn content(&mut self, path: &[u8]) -> io::Result<Content> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK);
        let mut file = options.open(Path::new(OsStr::from_bytes(path)))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("no regular file"));
        }
        let mut sum = Context::new(&SHA256);
        loop {
            match file.read(&mut self.0) {
                Ok(count) => {
                    sum.update(self.0.get(..count).unwrap_or_default());
                    // Of a regular file, less than was asked for is the rest of it; read(2).
                    if count < CHUNK {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let mut sha256 = Sha256::default();
        sha256.copy_from_slice(sum.finish().as_ref());
        Ok(Content { sha256, is_executable: metadata.mode() & 0o111 != 0 })
    }
}
