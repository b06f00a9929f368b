//! Where a program is, as execvp(3) looks for it.

use std::path::PathBuf;

use super::files::{Files, join};
use super::invocation::Place;

/// Where the kernel's and the shells' usual search goes where there is no PATH.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The file that a name stands for: in PATH, or itself where it has a slash.
pub fn find_program(name: &str, place: &Place, files: &mut Files) -> Option<PathBuf> {
    if name.contains('/') {
        let path = join(&place.folder, name);
        return files.is_file(&path).then_some(path);
    }
    let path = place.variables.get("PATH").unwrap_or_else(|| USUAL_PATH.into());
    path.split(':')
        .map(|folder| join(&place.folder, folder).join(name))
        .find(|candidate| files.is_executable(candidate))
}
