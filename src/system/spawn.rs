//! From a program's paths to a child that executes it.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char};
use std::io::{PipeReader, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::unistd::Pid;

use super::children;
use super::environment::value_of;
use super::kernel::is_answered_by_linux;
use super::signals::{AllBlocked, restore_dispositions, set_mask};

/// Far more than the few calls between clone(2) and execve(2) need.
const STACK_BYTES: usize = 8 * 1024;

/// A program to start: the paths to try in order, what it is given, and where it starts.
#[derive(Debug)]
pub struct Program<'a> {
    pub paths: &'a [CString],
    pub arguments: &'a [CString],
    pub environment: &'a [Cow<'static, CStr>],
    /// Whether it starts in a process group of its own; setpgid(2).
    pub own_group: bool,
    /// The terminal whose foreground its process group takes; tcsetpgrp(3).
    pub foreground_of: Option<BorrowedFd<'a>>,
    /// The signals that it starts with blocked: bit s-1 stands for signal s.
    pub mask: u64,
    /// The directory it starts in, if not the shim's own; fchdir(2).
    pub directory: Option<BorrowedFd<'a>>,
    /// The names of variables whose value is to be the new process's own pid.
    pub pid_variables: &'a [&'a str],
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
/// does): cheaper than a fork, and the child's errno arrives without a pipe. An emulator makes a fork of
/// it all the same; there the errno comes through one. posix_spawn itself can neither
/// ignore SIGCHLD in the child alone nor take a terminal's foreground on every libc.
///
/// All signals have to be blocked: a handler that ran in the child would run in the shim's memory.
///
/// # Errors
/// Why no program runs; no child is left behind.
pub fn spawn(program: &Program, _: &AllBlocked) -> Result<Pid, SpawnErrno> {
    let pipe = (!is_answered_by_linux()).then(std::io::pipe);
    let (reader, writer) = pipe.and_then(Result::ok).unzip();
    let mut seen = Seen::Nothing;
    let mut entries: Vec<Vec<u8>> =
        program.pid_variables.iter().map(|name| pid_entry(name)).collect();
    let pids: Vec<*mut u8> = entries.iter_mut().map(Vec::as_mut_ptr).collect();
    let entry = |entry: &Cow<'static, CStr>| {
        let of = program.pid_variables.iter().position(|name| value_of(entry, name).is_some());
        let pid = of.and_then(|of| pids.get(of)).map(|pid| pid.cast_const().cast());
        pid.unwrap_or(entry.as_ptr())
    };
    let environment = program.environment.iter().map(entry).chain([std::ptr::null()]).collect();
    let task = Task {
        paths: program.paths,
        arguments: pointers(program.arguments),
        environment,
        pids: pids
            .iter()
            .copied()
            .zip(program.pid_variables.iter().map(|name| name.len() + 1))
            .collect(),
        directory: program.directory.map(|fd| fd.as_raw_fd()),
        own_group: program.own_group,
        terminal: program.foreground_of.map(|fd| fd.as_raw_fd()),
        mask: program.mask,
        seen: &raw mut seen,
        pipe: writer.as_ref().map(AsRawFd::as_raw_fd),
    };
    // SAFETY: this is the child, and the parent stands still.
    let child = Box::new(move || unsafe { task.run() });
    // On the parent's own stack, where the guards have touched the pages before.
    let mut stack = [MaybeUninit::<u8>::uninit(); STACK_BYTES];
    // SAFETY: so many bytes are there, and nothing reads what they were.
    let stack = unsafe { std::slice::from_raw_parts_mut(stack.as_mut_ptr().cast(), STACK_BYTES) };
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // SAFETY: the stack is large enough for the few calls of the task and outlives the child's use of
    // it, since the parent is suspended until the child has executed or exited.
    let pid =
        unsafe { clone(child, stack, flags, Some(libc::SIGCHLD)) }.map_err(SpawnErrno::Fork)?;
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
    /// Entries of it that are to name the new process's own pid, and where in them that belongs.
    pids: Vec<(*mut u8, usize)>,
    directory: Option<RawFd>,
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
            if let Some(directory) = self.directory {
                libc::fchdir(directory);
            }
            for (entry, at) in &self.pids {
                let digits = std::slice::from_raw_parts_mut(entry.add(*at), MAX_DIGITS);
                write_decimal(libc::getpid(), digits);
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
                Errno::ENOENT
                | Errno::ENOTDIR
                | Errno::ESTALE
                | Errno::ENODEV
                | Errno::ETIMEDOUT => {}
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

/// As many as a pid has at most.
const MAX_DIGITS: usize = 10;

/// Writes a number into the beginning of zeroed bytes, with no more than arithmetic.
fn write_decimal(number: i32, bytes: &mut [u8]) {
    let mut rest = number.unsigned_abs();
    let digits = rest.checked_ilog10().unwrap_or(0) as usize + 1;
    for byte in bytes.iter_mut().take(digits).rev() {
        *byte = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// `NAME=` with room for a pid and the NUL behind it.
fn pid_entry(name: &str) -> Vec<u8> {
    let mut entry = format!("{name}=").into_bytes();
    entry.resize(entry.len() + MAX_DIGITS + 1, 0);
    entry
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

#[cfg(test)]
mod tests {
    use super::{MAX_DIGITS, write_decimal};

    #[test]
    fn a_pid_is_written_in_decimal() {
        for pid in [1, 9, 10, 65_535, 4_194_304, i32::MAX] {
            let mut bytes = [0; MAX_DIGITS];
            write_decimal(pid, &mut bytes);
            let text = std::str::from_utf8(&bytes).unwrap().trim_end_matches('\0');
            assert_eq!(text, pid.to_string());
        }
    }
}
