//! What stands in sealed folders, in the order of the manifest: by all bytes of the path.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use walkdir::{DirEntry, WalkDir};

use super::mounts::{OF_THE_ENGINE, is_at_or_below};

/// What stands under a path.
#[derive(Debug)]
pub enum Kind {
    File,
    /// With its target's text.
    Link(Vec<u8>),
    /// A socket, a FIFO or a device.
    Special,
    /// It could not be looked at.
    Unreadable(io::Error),
}

/// The files, links and special files at or below each of the paths. No link is followed; folders
/// themselves, and what is excepted or the engine's, are left out.
pub fn walk<'a>(
    paths: &'a [Vec<u8>],
    except: &'a [Vec<u8>],
) -> impl Iterator<Item = (Vec<u8>, Kind)> + 'a {
    let is_wanted = move |entry: &DirEntry| {
        let path = entry.path().as_os_str().as_bytes();
        let is_at = |folder: &[u8]| is_at_or_below(path, folder);
        !except.iter().any(|except| is_at(except))
            && !OF_THE_ENGINE.iter().any(|engines| is_at(engines.as_bytes()))
    };
    paths.iter().flat_map(move |path| {
        WalkDir::new(OsString::from_vec(path.clone()))
            .sort_by(by_all_bytes)
            .into_iter()
            .filter_entry(is_wanted)
            .filter_map(|entry| kind_of(entry, path))
    })
}

/// As the bytes of the paths below would be compared: of a folder the slash behind its name counts.
fn by_all_bytes(one: &DirEntry, other: &DirEntry) -> Ordering {
    fn key(entry: &DirEntry) -> impl Iterator<Item = u8> {
        let slash = entry.file_type().is_dir().then_some(b'/');
        entry.file_name().as_bytes().iter().copied().chain(slash)
    }
    key(one).cmp(key(other))
}

fn kind_of(entry: walkdir::Result<DirEntry>, root: &[u8]) -> Option<(Vec<u8>, Kind)> {
    let entry = match entry {
        Ok(entry) => entry,
        Err(error) => {
            let path = error.path().map_or(root, |path| path.as_os_str().as_bytes()).to_vec();
            let error = error.into_io_error().unwrap_or_else(|| io::Error::other("a loop"));
            return Some((path, Kind::Unreadable(error)));
        }
    };
    let path = entry.path().as_os_str().as_bytes().to_vec();
    let kind = entry.file_type();
    if kind.is_dir() {
        return None;
    }
    Some(if kind.is_file() {
        (path, Kind::File)
    } else if kind.is_symlink() {
        let target = target(entry.path());
        (path, target.map_or_else(Kind::Unreadable, Kind::Link))
    } else {
        (path, Kind::Special)
    })
}

fn target(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read_link(path).map(|target| target.into_os_string().into_vec())
}

/// Paths in the order of what stands below them.
pub fn sorted(mut paths: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    paths.sort_by(|one, other| one.iter().chain(b"/").cmp(other.iter().chain(b"/")));
    paths.dedup();
    paths
}
