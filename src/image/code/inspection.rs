//! The inspection: what is there now, beside what was sealed. It reads as fast as the processors sum
//! up, and holds no more than a few names of the whole tree.

use std::fs::File;
use std::io::BufReader;
use std::iter::Peekable;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, available_parallelism};
use std::{io, iter, mem, slice};

use super::bytes::EscapedBytes;
use super::hash::{Content, Hasher};
use super::manifest::MANIFEST;
use super::manifest::{Entries, Entry, ManifestError, hexadecimal};
use super::mounts;
use super::sealing::SealedCode;
use super::tree::{Kind, walk};
use crate::image::ownership::must_be_roots;
use crate::log::causes;
use crate::system::signals::block_all;

/// How many differences are named.
const MAX_NAMED: usize = 10;

/// Files that are given to a reader at once: to hand over each alone would cost more than to read it.
const BATCH: usize = 64;

/// Batches that wait to be read. More would be memory, fewer would let a processor wait.
const QUEUE: usize = 4;

/// More processors than these wait for the disk.
const MAX_READERS: usize = 8;

/// One path that is not as it was sealed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    pub path: Vec<u8>,
    /// What is wrong with it, such as `changed`.
    pub what: String,
}

/// What differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The first ones, by path.
    pub named: Vec<Difference>,
    /// How many there are in all.
    pub total: u64,
    /// Whether a mount is among them.
    pub is_hidden: bool,
}

impl Inspection {
    /// Where nothing could be inspected, and why.
    pub fn failed(why: &str) -> Self {
        let mut found = Self::default();
        found.note(MANIFEST.into(), why);
        found
    }

    fn note(&mut self, path: Vec<u8>, what: impl Into<String>) {
        self.total += 1;
        self.name(Difference { path, what: what.into() });
    }

    fn name(&mut self, difference: Difference) {
        let (Ok(at) | Err(at)) = self.named.binary_search(&difference);
        if at < MAX_NAMED {
            self.named.insert(at, difference);
            self.named.truncate(MAX_NAMED);
        }
    }

    fn add(&mut self, other: Self) {
        self.total += other.total;
        other.named.into_iter().for_each(|difference| self.name(difference));
    }
}

/// Compares what is there with what was sealed.
pub fn inspect(code: &SealedCode) -> Inspection {
    let hidden = mounts::over(&code.paths(), &code.except());
    let mut found = Inspection::default();
    if let Err(error) = compare_contents(code, &mut found) {
        found.note(MANIFEST.into(), causes(&error));
    }
    // In front of what is only their consequence.
    let mounts = hidden.iter().map(|mount| Difference {
        path: mount.point.clone(),
        what: format!("hidden by a mount of {} from {}", mount.file_system, mount.source),
    });
    let named = mounts.chain(found.named).take(MAX_NAMED).collect();
    let total = found.total + hidden.len() as u64;
    Inspection { named, total, is_hidden: !hidden.is_empty() }
}

/// A file to be read, and what it should be.
struct Task {
    path: Vec<u8>,
    sealed: Content,
}

impl Task {
    fn check(self, hasher: &mut Hasher, found: &mut Inspection) {
        let Self { path, sealed } = self;
        match hasher.content(&path) {
            Ok(content) if content.sha256 != sealed.sha256 => found.note(path, "changed"),
            Ok(content) if content.is_executable && !sealed.is_executable => {
                found.note(path, "has become executable");
            }
            Ok(content) if !content.is_executable && sealed.is_executable => {
                found.note(path, "is no longer executable");
            }
            Ok(_) => {}
            Err(error) => found.note(path, unreadable(&error)),
        }
    }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "missing".into(),
        _ => format!("can't be read: {error}"),
    }
}

fn compare_contents(code: &SealedCode, found: &mut Inspection) -> Result<(), ManifestError> {
    let manifest = File::open(MANIFEST)?;
    let metadata = manifest.metadata()?;
    must_be_roots(MANIFEST, &metadata).map_err(io::Error::other)?;
    if !metadata.is_file() || metadata.len() != code.bytes {
        return Err(ManifestError::Another);
    }
    let manifest = Entries::new(BufReader::with_capacity(64 * 1024, manifest));
    let files = usize::try_from(code.files).unwrap_or(usize::MAX);
    let readers = available_parallelism().map_or(1, usize::from).min(MAX_READERS).min(files);
    let (sender, receiver) = sync_channel(QUEUE);
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        // For a single file a thread costs more than it saves.
        let wanted = if readers > 1 { readers } else { 0 };
        let threads: Vec<_> = iter::repeat_with(|| {
            let thread = thread::Builder::new().stack_size(128 * 1024);
            thread.spawn_scoped(scope, || read_queue(&receiver)).ok()
        })
        .take(wanted)
        .flatten()
        .collect();
        let readers = if threads.is_empty() {
            Readers::None(Hasher::new())
        } else {
            Readers::Queue(sender, Vec::with_capacity(BATCH))
        };
        let mut comparison = Comparison::new(code, manifest, readers, found);
        let compared = comparison.run(code);
        drop(comparison);
        for thread in threads {
            match thread.join() {
                Ok(by_thread) => found.add(by_thread),
                Err(_) => found.note(MANIFEST.into(), "not all files could be read"),
            }
        }
        compared
    })
}

fn read_queue(queue: &Mutex<Receiver<Vec<Task>>>) -> Inspection {
    block_all();
    let mut hasher = Hasher::new();
    let mut found = Inspection::default();
    loop {
        let batch = queue.lock().map(|queue| queue.recv());
        let Ok(Ok(batch)) = batch else { return found };
        for task in batch {
            task.check(&mut hasher, &mut found);
        }
    }
}

/// Who reads the files.
enum Readers {
    Queue(SyncSender<Vec<Task>>, Vec<Task>),
    /// There are none: they are read where they are found.
    None(Hasher),
}

/// Manifest and folders, walked through side by side: they have one order.
struct Comparison<'a, L: Iterator, E: Iterator> {
    manifest: Entries<BufReader<File>>,
    next: Option<Entry>,
    executables: Peekable<E>,
    links: Peekable<L>,
    readers: Readers,
    found: &'a mut Inspection,
}

type Pair = (EscapedBytes, EscapedBytes);

impl<'a> Comparison<'a, slice::Iter<'a, Pair>, slice::Iter<'a, EscapedBytes>> {
    fn new(
        code: &'a SealedCode,
        manifest: Entries<BufReader<File>>,
        readers: Readers,
        found: &'a mut Inspection,
    ) -> Self {
        let (executables, links) = (code.executables.iter(), code.links.iter());
        let (executables, links) = (executables.peekable(), links.peekable());
        Self { manifest, next: None, executables, links, readers, found }
    }

    fn run(&mut self, code: &SealedCode) -> Result<(), ManifestError> {
        self.next = self.manifest.next_entry()?;
        for (path, kind) in walk(&code.paths(), &code.except()) {
            match kind {
                Kind::File => self.file(path)?,
                Kind::Link(target) => self.link(path, &target),
                Kind::Special => self.found.note(path, "neither a file nor a folder nor a link"),
                Kind::Unreadable(error) => self.found.note(path, unreadable(&error)),
            }
        }
        if let Readers::Queue(queue, batch) = &mut self.readers {
            let _ = queue.send(mem::take(batch));
        }
        while let Some(entry) = self.next.take() {
            self.found.note(entry.path, "missing");
            self.next = self.manifest.next_entry()?;
        }
        for (link, _) in self.links.by_ref() {
            self.found.note(link.0.clone(), "missing");
        }
        if hexadecimal(self.manifest.sum().as_ref()) == code.sha256 {
            Ok(())
        } else {
            Err(ManifestError::Another)
        }
    }

    fn file(&mut self, path: Vec<u8>) -> Result<(), ManifestError> {
        while let Some(entry) = self.next.take_if(|entry| entry.path < path) {
            self.found.note(entry.path, "missing");
            self.next = self.manifest.next_entry()?;
        }
        let Some(Entry { sha256, .. }) = self.next.take_if(|entry| entry.path == path) else {
            self.found.note(path, "added");
            return Ok(());
        };
        self.next = self.manifest.next_entry()?;
        while self.executables.next_if(|executable| executable.0 < path).is_some() {}
        let is_executable = self.executables.next_if(|executable| executable.0 == path).is_some();
        let task = Task { path, sealed: Content { sha256, is_executable } };
        match &mut self.readers {
            Readers::Queue(queue, batch) => {
                batch.push(task);
                if batch.len() == BATCH {
                    let batch = mem::replace(batch, Vec::with_capacity(BATCH));
                    let _ = queue.send(batch);
                }
            }
            Readers::None(hasher) => task.check(hasher, self.found),
        }
        Ok(())
    }

    fn link(&mut self, path: Vec<u8>, target: &[u8]) {
        while let Some((link, _)) = self.links.next_if(|(link, _)| link.0 < path) {
            self.found.note(link.0.clone(), "missing");
        }
        match self.links.next_if(|(link, _)| link.0 == path) {
            Some((_, sealed)) if sealed.0 == target => {}
            Some((_, sealed)) => {
                let (now, sealed) = (text(target), text(&sealed.0));
                self.found.note(path, format!("links to {now}, not to {sealed}"));
            }
            None => self.found.note(path, "added, a link"),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
