//! One process as /proc shows it: what it executes, and where; proc(5).

use std::collections::hash_map::DefaultHasher;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;

use crate::system::environment::Environment;

/// What is read of a command line, in bytes. A process can make its own as long as it likes.
const MAX_ARGV_BYTES: u64 = 64 * 1024;

/// The same of an environment.
const MAX_ENVIRONMENT_BYTES: u64 = 128 * 1024;

/// More than any line of /proc/PID/stat, in bytes.
const MAX_STAT_BYTES: u64 = 4096;

/// How often a process is read that executes another program meanwhile.
const ATTEMPTS: usize = 3;

/// What a process executed when it was seen.
#[derive(Debug)]
pub struct Sighting {
    pub pid: Pid,
    /// Its arguments, or what it has written over them.
    pub argv: Vec<OsString>,
    /// The file that it executes; empty where the kernel does not tell.
    pub exe: PathBuf,
    /// Its working directory; empty where the kernel does not tell.
    pub folder: PathBuf,
    /// What it was started with; empty where the kernel does not tell.
    pub environment: Environment,
}

/// Stands for what a process executes: another execve(2) of the same process gives another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image(u64);

/// What a process executes now, seen in full where it is not the known one. `None` where there is nothing
/// to be seen: it has ended, or is about to execute something.
pub fn look_at(pid: Pid, known: Option<Image>) -> Option<(Image, Option<Sighting>)> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let mut now = image_and_argv(&folder)?;
    for _ in 0..ATTEMPTS {
        let (image, argv) = now;
        if known == Some(image) {
            return Some((image, None));
        }
        let sighting = sighting(pid, &folder, &argv);
        // So that no process is judged by the arguments of one program and the file of another.
        now = image_and_argv(&folder)?;
        if now.0 == image {
            return Some((image, Some(sighting)));
        }
    }
    None
}

fn sighting(pid: Pid, folder: &Path, argv: &[u8]) -> Sighting {
    let link = |name| fs::read_link(folder.join(name)).unwrap_or_default();
    let environment = beginning(&folder.join("environ"), MAX_ENVIRONMENT_BYTES).unwrap_or_default();
    let entries = environment.split(|byte| *byte == 0);
    Sighting {
        pid,
        argv: words(argv),
        exe: existing(&link("exe")),
        folder: link("cwd"),
        environment: entries.filter_map(|entry| CString::new(entry).ok()).collect(),
    }
}

/// The path of a file that may have been replaced since, which the kernel says behind it.
fn existing(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    let path = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
    PathBuf::from(OsStr::from_bytes(path))
}

/// The words of a command line, each with a NUL behind it but for the last of one that was cut or
/// overwritten.
fn words(argv: &[u8]) -> Vec<OsString> {
    let argv = argv.strip_suffix(b"\0").unwrap_or(argv);
    argv.split(|byte| *byte == 0).map(|word| OsStr::from_bytes(word).to_owned()).collect()
}

/// A zombie has no arguments, and neither has a process in the middle of execve(2).
fn image_and_argv(folder: &Path) -> Option<(Image, Vec<u8>)> {
    let stat = beginning(&folder.join("stat"), MAX_STAT_BYTES).ok()?;
    let argv = beginning(&folder.join("cmdline"), MAX_ARGV_BYTES).ok()?;
    if argv.is_empty() {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    start_and_layout(&stat)?.hash(&mut hasher);
    argv.hash(&mut hasher);
    Some((Image(hasher.finish()), argv))
}

/// When the process began, by which it differs from one that had its pid before; and where its program,
/// arguments and environment lie in memory, which no two calls of execve(2) choose alike. Where the
/// kernel keeps the latter to itself they are zeros. Fields 22, 26, 28, 48 and 50 of /proc/PID/stat;
/// proc_pid_stat(5).
fn start_and_layout(stat: &[u8]) -> Option<[&[u8]; 5]> {
    let behind_name = stat.iter().rposition(|byte| *byte == b')')?;
    // The third field is the first behind the name.
    let fields: Vec<&[u8]> = stat.get(behind_name + 2..)?.split(u8::is_ascii_whitespace).collect();
    let field = |number: usize| fields.get(number - 3).copied();
    Some([field(22)?, field(26)?, field(28)?, field(48)?, field(50)?])
}

fn beginning(path: &Path, max_bytes: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096);
    File::open(path)?.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nix::unistd::Pid;

    use super::{existing, look_at, start_and_layout, words};

    #[test]
    fn a_command_line_is_split_at_its_nul_bytes() {
        assert_eq!(words(b"node\0--import\0tsx\0"), ["node", "--import", "tsx"]);
        assert_eq!(words(b"node\0\0w\0"), ["node", "", "w"]);
        assert_eq!(words(b"title"), ["title"]);
    }

    #[test]
    fn the_fields_are_read_past_any_name() {
        let fields: Vec<String> = (3..=52).map(|number| number.to_string()).collect();
        for name in ["node", "a) b", "(", ") S 1 2"] {
            let stat = format!("42 ({name}) {}\n", fields.join(" "));
            let expected: [&[u8]; 5] = [b"22", b"26", b"28", b"48", b"50"];
            assert_eq!(start_and_layout(stat.as_bytes()), Some(expected), "{name}");
        }
        for short in [&b""[..], b")", b"1 (a) S 1 2"] {
            assert_eq!(start_and_layout(short), None);
        }
    }

    #[test]
    fn a_replaced_file_is_named_without_the_kernels_remark() {
        assert_eq!(existing(Path::new("/bin/node (deleted)")), Path::new("/bin/node"));
        assert_eq!(existing(Path::new("/bin/node")), Path::new("/bin/node"));
    }

    #[test]
    fn a_process_is_seen_once_and_not_again_as_long_as_it_executes_the_same() {
        let (image, sighting) = look_at(Pid::this(), None).unwrap();
        let sighting = sighting.unwrap();
        assert_eq!(sighting.exe, std::env::current_exe().unwrap());
        assert_eq!(sighting.argv, std::env::args_os().collect::<Vec<_>>());
        assert_eq!(sighting.environment.get("PATH"), std::env::var_os("PATH").as_deref());
        let (again, sighting) = look_at(Pid::this(), Some(image)).unwrap();
        assert!(again == image && sighting.is_none());
    }
}
