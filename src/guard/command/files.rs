//! The one way to files that the reader of commands has: bounded in number, size and time.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::time::ClockId;

use super::pattern;
use crate::escape::Escape;
use crate::input::{read_head, read_small};
use crate::system::descriptors::open;

/// How many files are read for one command.
const MAX_READS: u32 = 64;
/// What is read of a script or of a package.json, in bytes.
const MAX_BYTES: u64 = 256 * 1024;
/// What is read of a program's own code, where its imports stand, in bytes.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;
/// What the kernel reads of a program to tell what it is, in bytes: BINPRM_BUF_SIZE of execve(2).
const MAX_BEGINNING_BYTES: u64 = 256;
/// How many times a path is looked at.
const MAX_LOOKS: u32 = 4096;
/// How many entries of a folder are seen.
const MAX_ENTRIES: usize = 1024;
/// From which question on a clock is looked at: a worker that is no script is found with fewer, and the first
/// look at a clock costs a start more than all of them.
const FIRST_WITH_A_CLOCK: u32 = 16;
/// What all of it may take of the processor's time: on a busy machine, too, the same is read.
const LIMIT: Duration = Duration::from_millis(50);
/// What all of it may take where it is storage that is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// How much of a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    All,
    Head,
    Beginning,
}

#[derive(Debug)]
pub struct Files {
    reads_left: u32,
    looks_left: u32,
    /// How often it was asked whether all is over.
    asked: u32,
    /// When it began, by the clock and by this thread's time.
    began: Option<(Instant, Duration)>,
    read: BTreeMap<(PathBuf, Part), Option<Rc<str>>>,
    real: BTreeMap<PathBuf, PathBuf>,
    /// What could not be read, as sentences.
    pub unread: Vec<String>,
}

impl Files {
    pub fn new() -> Self {
        Self {
            reads_left: MAX_READS,
            looks_left: MAX_LOOKS,
            asked: 0,
            began: None,
            read: BTreeMap::new(),
            real: BTreeMap::new(),
            unread: Vec::new(),
        }
    }

    /// All of a script or of a package.json; `None` for what is no such file, or can't be read.
    pub fn text(&mut self, path: &Path) -> Option<Rc<str>> {
        self.once(path, Part::All)
    }

    /// What a program begins with.
    pub fn head(&mut self, path: &Path) -> Option<Rc<str>> {
        self.once(path, Part::Head)
    }

    /// What the kernel tells a program by: a script's first line, and a NUL byte at the end of what is no text.
    pub fn beginning(&mut self, path: &Path) -> Option<Rc<str>> {
        self.once(path, Part::Beginning)
    }

    fn once(&mut self, path: &Path, part: Part) -> Option<Rc<str>> {
        let key = (path.to_owned(), part);
        if let Some(known) = self.read.get(&key) {
            return known.clone();
        }
        if !self.may_look() {
            return None;
        }
        let found = if self.reads_left == 0 {
            self.tell(format!("more than {MAX_READS} files belong to it"));
            None
        } else {
            let read = match part {
                Part::All => read_small(path, MAX_BYTES),
                Part::Head => read_head(path, MAX_HEAD_BYTES as u64),
                Part::Beginning => read_head(path, MAX_BEGINNING_BYTES),
            };
            match read {
                Ok(mut bytes) => {
                    self.reads_left -= 1;
                    if part == Part::Beginning {
                        bytes.truncate(end_of_first_line(&bytes));
                    }
                    Some(Rc::from(String::from_utf8_lossy(&bytes)))
                }
                Err(_) if !path.exists() => None,
                Err(error) => {
                    self.tell(format!("{} can't be read: {error}", shown(path)));
                    None
                }
            }
        };
        self.read.insert(key, found.clone());
        found
    }

    pub fn is_file(&mut self, path: &Path) -> bool {
        self.may_look() && path.is_file()
    }

    pub fn is_folder(&mut self, path: &Path) -> bool {
        self.may_look() && path.is_dir()
    }

    pub fn exists(&mut self, path: &Path) -> bool {
        self.may_look() && path.exists()
    }

    /// Whether it is a program: a file that somebody may execute.
    pub fn is_executable(&mut self, path: &Path) -> bool {
        let is_one = |file: fs::Metadata| file.is_file() && file.permissions().mode() & 0o111 != 0;
        self.may_look() && path.metadata().is_ok_and(is_one)
    }

    /// Whether it is a file that is not empty.
    pub fn holds_something(&mut self, path: &Path) -> bool {
        self.may_look() && path.metadata().is_ok_and(|file| file.len() > 0)
    }

    pub fn is_link(&mut self, path: &Path) -> bool {
        self.may_look() && path.is_symlink()
    }

    /// The paths that a pattern stands for, where its last part is one; itself where there is none.
    pub fn matching(&mut self, folder: &Path, pattern: &str) -> Vec<String> {
        let (parent, last) = pattern.rsplit_once('/').unwrap_or(("", pattern));
        if !last.contains(['*', '?', '[']) || !self.may_look() {
            return vec![pattern.to_owned()];
        }
        let entries = fs::read_dir(join(folder, parent)).into_iter().flatten().flatten();
        let names =
            entries.take(MAX_ENTRIES).map(|one| one.file_name().to_string_lossy().into_owned());
        let own = |name: &String| !name.starts_with('.') && pattern::matches(last, name);
        let mut names: Vec<String> = names.filter(own).collect();
        names.sort();
        if names.is_empty() {
            return vec![pattern.to_owned()];
        }
        let before = pattern.strip_suffix(last).unwrap_or_default();
        names.into_iter().map(|name| format!("{before}{name}")).collect()
    }

    /// Where a path leads, all links followed; the path itself where it leads nowhere.
    pub fn real(&mut self, path: &Path) -> PathBuf {
        if let Some(known) = self.real.get(path) {
            return known.clone();
        }
        let real = self.may_look().then(|| real_path(path).ok()).flatten();
        let Some(real) = real else { return path.to_owned() };
        self.real.insert(path.to_owned(), real.clone());
        self.real.insert(real.clone(), real.clone());
        real
    }

    /// The folders in a folder, sorted.
    pub fn folders_in(&mut self, path: &Path) -> Vec<PathBuf> {
        if !self.may_look() {
            return Vec::new();
        }
        let entries = fs::read_dir(path).into_iter().flatten().flatten().take(MAX_ENTRIES);
        let mut found: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        found.sort();
        found
    }

    fn may_look(&mut self) -> bool {
        if self.is_over() {
            return false;
        }
        self.looks_left -= 1;
        true
    }

    /// Whether all is over that reading may take.
    pub fn is_over(&mut self) -> bool {
        let is_over = self.looks_left == 0 || self.takes_long();
        if is_over {
            self.tell("it takes too long to follow".into());
        }
        is_over
    }

    fn takes_long(&mut self) -> bool {
        self.asked = self.asked.saturating_add(1);
        if self.asked < FIRST_WITH_A_CLOCK {
            return false;
        }
        let (began, processor_time_before) =
            *self.began.get_or_insert_with(|| (Instant::now(), processor_time()));
        let elapsed = began.elapsed();
        // The processor's time is a system call, and never more than has passed.
        elapsed >= PATIENCE
            || elapsed >= LIMIT && processor_time().saturating_sub(processor_time_before) >= LIMIT
    }

    /// Something that is not followed, said once.
    pub fn tell(&mut self, what: String) {
        if !self.unread.contains(&what) {
            self.unread.push(what);
        }
    }
}

/// Where the first line of a script ends, or what is no text begins.
fn end_of_first_line(bytes: &[u8]) -> usize {
    let last = if bytes.starts_with(b"#!") { b'\n' } else { b'\0' };
    bytes.iter().position(|byte| *byte == last).map_or(bytes.len(), |end| end + 1)
}

/// Where a path leads: to itself where no part of it is a link, and else to what the kernel says, for which
/// libc's realpath(3) would read link after link.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    // Without a slash at its end, by which a link would be followed.
    let plain: PathBuf = path.components().collect();
    let is_name = |part: Component| matches!(part, Component::RootDir | Component::Normal(_));
    if plain.is_absolute() && plain.components().all(is_name) && is_without_links(&plain) {
        return Ok(plain);
    }
    // With O_PATH no FIFO is waited for; the standard library leaves it out with musl.
    let opened = open(path, OFlag::O_PATH)?;
    let link = fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    // In a root without /proc, or of what is outside of the root.
    link.ok().filter(|real| real.is_absolute()).map_or_else(|| path.canonicalize(), Ok)
}

/// Whether no part of a path is a link; openat2(2). Where that can't be told, it is not.
fn is_without_links(path: &Path) -> bool {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(AT_FDCWD, path, how).is_ok()
}

/// What this thread has taken of the processor's time; clock_gettime(2).
fn processor_time() -> Duration {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().map_or(Duration::ZERO, Duration::from)
}

/// A path from a folder, without `.` and `..` where these say nothing.
pub fn join(folder: &Path, path: impl AsRef<Path>) -> PathBuf {
    let mut joined = PathBuf::new();
    for component in folder.join(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                joined.pop();
            }
            other => joined.push(other),
        }
    }
    joined
}

/// A path for a sentence.
pub fn shown(path: &Path) -> String {
    Escape(&path.display().to_string()).to_string()
}
