//! Small files that somebody else writes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use nix::fcntl::OFlag;

use crate::system::descriptors::open;

/// All of a regular file of at most so many bytes.
///
/// # Errors
/// The kernel's, or that it is no regular file or longer. A FIFO, a device or an endless file holds up
/// nothing.
pub fn read_small(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::other(format!("it is longer than {max_bytes} bytes")));
    }
    Ok(bytes)
}

/// The first bytes of a regular file, so many at most.
///
/// # Errors
/// The kernel's, or that it is no regular file.
pub fn read_head(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    // Room for all of it, or it would be read in ever larger pieces.
    let mut bytes = Vec::with_capacity(usize::try_from(max_bytes).unwrap_or_default());
    open_regular(path)?.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn open_regular(path: &Path) -> io::Result<File> {
    let file = File::from(open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}
