//! From a program's paths to a child that executes it.

use std::ffi::{CString, c_char};
use std::io::{PipeReader, Read};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::unistd::Pid;

use super::children;
use super::signals::{AllBlocked, restore_dispositions, set_mask};

/// A program to start: the paths to try in order, what it is given, and where it starts.
#[derive(Debug)]
pub struct Program<'a> {
    pub paths: &'a [CString],
    pub arguments: &'a [CString],
    pub environment: &'a [CString],
    /// Whether it starts in a process group of its own; setpgid(2).
    pub own_group: bool,
    /// The terminal whose foreground its process group takes; tcsetpgrp(3).
    pub foreground_of: Option<BorrowedFd<'a>>,
    /// The signals that it starts with blocked: bit s-1 stands for signal s.
    pub mask: u64,
}

/// Why no program runs in the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnErrno {
    /// No process could be made; fork(2).
    Fork(Errno),
    /// The path with this index, or the last of all, could not be executed; execve(2).
    Exec { path: usize, errno: Errno },
}

/// Starts a program with the dispositions that the shim itself was started with.
///
/// The child borrows the shim's memory until it executes (`CLONE_VM | CLONE_VFORK`, as posix_spawn(3)
/// does): cheaper than a fork, and the child's errno arrives without a pipe. An emulator such as qemu's
/// makes a fork of it all the same; there the errno comes through one. posix_spawn itself can neither
/// ignore SIGCHLD in the child alone nor take a terminal's foreground on every libc.
///
/// All signals have to be blocked: a handler that ran in the child would run in the shim's memory.
///
/// # Errors
/// Why no program runs; no child is left behind.
pub fn spawn(program: &Program, _: &AllBlocked) -> Result<Pid, SpawnErrno> {
    let (reader, writer) = std::io::pipe().ok().unzip();
    let mut seen = Seen::Nothing;
    let task = Task {
        paths: program.paths,
        arguments: pointers(program.arguments),
        environment: pointers(program.environment),
        own_group: program.own_group,
        terminal: program.foreground_of.map(|fd| fd.as_raw_fd()),
        mask: program.mask,
        seen: &raw mut seen,
        pipe: writer.as_ref().map(AsRawFd::as_raw_fd),
    };
    // SAFETY: this is the child, and the parent stands still.
    let child = Box::new(move || unsafe { task.run() });
    let mut stack = vec![0_u8; 16 * 1024];
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // SAFETY: the stack is large enough for the few calls of the task and outlives the child's use of
    // it, since the parent is suspended until the child has executed or exited.
    let pid = unsafe { clone(child, &mut stack, flags, Some(libc::SIGCHLD)) }
        .map_err(SpawnErrno::Fork)?;
    drop(writer);
    // SAFETY: written, if at all, by the child before the parent went on.
    let failure = match unsafe { std::ptr::read_volatile(&raw const seen) } {
        Seen::Nothing => reader.and_then(read_failure),
        Seen::Child => None,
        Seen::Failure { path, errno } => Some((path, errno)),
    };
    match failure {
        None => Ok(pid),
        Some((path, errno)) => {
            // The child that executed nothing is reaped here, or it would look like an orphan.
            let _ = children::wait(pid, 0);
            Err(SpawnErrno::Exec { path, errno })
        }
    }
}

/// What the parent's memory shows of the child: nothing where it is not the child's memory, too.
#[derive(Debug, Clone, Copy)]
enum Seen {
    Nothing,
    Child,
    Failure { path: usize, errno: Errno },
}

/// What the child does between clone(2) and execve(2).
struct Task<'a> {
    paths: &'a [CString],
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    own_group: bool,
    terminal: Option<RawFd>,
    mask: u64,
    seen: *mut Seen,
    pipe: Option<RawFd>,
}

impl Task<'_> {
    /// Only system calls are made, nothing is allocated or locked. Ends with the child.
    ///
    /// # Safety
    /// Only in a child whose parent stands still, whoever's memory it is.
    unsafe fn run(&self) -> isize {
        // SAFETY: as this function's own; `seen` lives as long as the parent stands still.
        unsafe {
            *self.seen = Seen::Child;
            if self.own_group {
                libc::setpgid(0, 0);
            }
            if let Some(terminal) = self.terminal {
                libc::tcsetpgrp(terminal, libc::getpgrp());
            }
            restore_dispositions();
            set_mask(self.mask);
            let (path, errno) = self.execute();
            *self.seen = Seen::Failure { path, errno };
            if let Some(pipe) = self.pipe {
                let failure = [path, errno as usize];
                libc::write(pipe, (&raw const failure).cast(), size_of_val(&failure));
            }
            libc::_exit(127)
        }
    }

    /// Tries the paths as execvp(3) does: goes on where nothing is found, remembers what is forbidden.
    fn execute(&self) -> (usize, Errno) {
        let mut failure = (0, Errno::ENOENT);
        for (index, path) in self.paths.iter().enumerate() {
            // SAFETY: the pointers are null-terminated arrays of C strings that live as long as this.
            unsafe {
                libc::execve(path.as_ptr(), self.arguments.as_ptr(), self.environment.as_ptr())
            };
            match Errno::last() {
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::EACCES => failure = (index, Errno::EACCES),
                errno => return (index, errno),
            }
        }
        failure
    }
}

/// What the child has written before it exited, or `None` once it has executed a program.
fn read_failure(mut reader: PipeReader) -> Option<(usize, Errno)> {
    let mut failure = [[0; size_of::<usize>()]; 2];
    reader.read_exact(failure.as_flattened_mut()).ok()?;
    let [path, errno] = failure.map(usize::from_ne_bytes);
    Some((path, Errno::from_raw(i32::try_from(errno).ok()?)))
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}
