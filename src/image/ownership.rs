//! What counts only when it is root's: who else could write it could say that any code is the expected.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use thiserror::Error;

/// What the kernel shows for an owner that a user namespace has no number for; user_namespaces(7).
const OVERFLOW_UID: u32 = 65534;

/// Why a file or folder doesn't count.
#[derive(Debug, Error)]
pub enum NotRoots {
    #[error(
        "{path} is owned by uid {owner}{}, not by root",
        if *owner == OVERFLOW_UID { ", as an unmapped root is in a user namespace" } else { "" }
    )]
    Owner { path: &'static str, owner: u32 },
    #[error("{path} can be written by others than root (mode {mode:04o})")]
    Mode { path: &'static str, mode: u32 },
}

/// Whether root owns it and nobody else can write it.
///
/// # Errors
/// Which of both does not hold.
pub fn must_be_roots(path: &'static str, metadata: &Metadata) -> Result<(), NotRoots> {
    const BY_OTHERS: u32 = 0o022;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != 0 {
        return Err(NotRoots::Owner { path, owner });
    }
    if mode & BY_OTHERS != 0 {
        return Err(NotRoots::Mode { path, mode });
    }
    Ok(())
}
