//! What the kernel is asked for where no safe wrapper exists. All unsafe code of the shim is here.
//!
//! Signals are numbers here, not an enum: real-time ones and those that libc keeps for itself
//! (32 and 33) have to pass as well, so masks go to the kernel without libc in between.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

/// The highest signal number, `SIGRTMAX` of signal(7).
const LAST_SIGNAL: c_int = 64;

const ALL_SIGNALS: u64 = u64::MAX;

/// What the shim was started with: bit s-1 stands for signal s.
static IGNORED_ON_ENTRY: AtomicU64 = AtomicU64::new(0);
static BLOCKED_ON_ENTRY: AtomicU64 = AtomicU64::new(0);

/// Runs before `main` and before Rust's runtime, which would change SIGPIPE's disposition unseen.
///
/// From here on every signal waits until the supervisor reads it: a blocked signal is kept even for
/// PID 1, which otherwise loses each one that it has no handler for (signal(7), pid_namespaces(7)).
#[used]
// SAFETY: the C runtime calls the functions of this section once, on the main thread.
#[unsafe(link_section = ".init_array")]
static ON_ENTRY: extern "C" fn() = {
    extern "C" fn on_entry() {
        if cfg!(test) {
            return;
        }
        BLOCKED_ON_ENTRY.store(set_signal_mask(ALL_SIGNALS), Ordering::Relaxed);
        let ignored = (1..=LAST_SIGNAL)
            .filter(|signal| is_ignored(*signal))
            .fold(0, |set, signal| set | bit(signal));
        IGNORED_ON_ENTRY.store(ignored, Ordering::Relaxed);
        // While SIGCHLD is ignored, the kernel reaps and no status is ever to be had.
        set_disposition(libc::SIGCHLD, libc::SIG_DFL);
        occupy_closed_standard_streams();
    }
    on_entry
};

/// Whether the shim was started with this signal ignored.
pub fn ignored_on_entry(signal: c_int) -> bool {
    IGNORED_ON_ENTRY.load(Ordering::Relaxed) & bit(signal) != 0
}

/// Lets signals end the process again, for the commands that supervise nothing.
pub fn unblock_signals() {
    set_signal_mask(BLOCKED_ON_ENTRY.load(Ordering::Relaxed));
}

/// Lets the signals that people stop a program with end this one as PID 1, too, which the kernel spares
/// those that it has no handler for.
pub fn end_on_signals() {
    extern "C" fn end(signal: c_int) {
        // SAFETY: async-signal-safe; signal-safety(7).
        unsafe { libc::_exit(128 + signal) }
    }
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        if std::process::id() == 1 && !ignored_on_entry(signal) {
            // SAFETY: the handler does nothing but end the process.
            unsafe { libc::signal(signal, end as *const () as libc::sighandler_t) };
        }
    }
}

/// Columns and rows of a terminal; ioctl_tty(2).
pub fn terminal_size(terminal: impl AsFd) -> Option<(usize, usize)> {
    // SAFETY: plain numbers, and the call writes to nothing else.
    let size = unsafe {
        let mut size = std::mem::zeroed::<libc::winsize>();
        let fd = terminal.as_fd().as_raw_fd();
        (libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) == 0).then_some(size)?
    };
    (size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}

/// Blocks every signal in the calling thread, once more after libc has unblocked its own (two of 32
/// to 34): for the main thread when it handles its first signal or makes its first thread, for a new
/// thread in any case (sigaction and pthread_create of glibc and musl).
pub fn block_signals() {
    set_signal_mask(ALL_SIGNALS);
}

/// A descriptor that yields every signal that waits, real-time ones in order; signalfd(2).
pub fn signal_fd() -> nix::Result<SignalFd> {
    block_signals();
    // SAFETY: sigset_t is plain bits and all of them set is a valid set.
    let all = unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        std::ptr::write_bytes(&raw mut set, 0xff, 1);
        SigSet::from_sigset_t_unchecked(set)
    };
    SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC)
}

/// Asks for this signal when the shim's parent dies; PR_SET_PDEATHSIG(2const).
pub fn set_parent_death_signal(signal: c_int) -> nix::Result<()> {
    // SAFETY: no memory is passed.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) }).map(drop)
}

/// Whether a blocked signal waits to be read; sigpending(2).
pub fn is_pending(signal: c_int) -> bool {
    let mut pending = 0_u64;
    // SAFETY: the place is valid and as large as the size that is given.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut pending, size_of::<u64>()) };
    pending & bit(signal) != 0
}

/// Sends a signal by number to a process or, for a negative pid, to a process group; kill(2).
pub fn kill(pid: Pid, signal: c_int) -> nix::Result<()> {
    // SAFETY: no memory is passed.
    Errno::result(unsafe { libc::kill(pid.as_raw(), signal) }).map(drop)
}

/// Reaps one ended child, or tells of one that was stopped, if there is one; waitpid(2).
///
/// The raw call, since nix answers EINVAL for a death by real-time signal after the kernel has
/// already forgotten the child.
pub fn reap() -> nix::Result<Option<(Pid, ExitStatus)>> {
    wait(Pid::from_raw(-1), libc::WNOHANG | libc::WUNTRACED)
}

fn wait(pid: Pid, flags: c_int) -> nix::Result<Option<(Pid, ExitStatus)>> {
    let mut status = 0;
    // SAFETY: status is a valid place for the call's duration.
    let pid = Errno::result(unsafe { libc::waitpid(pid.as_raw(), &raw mut status, flags) })?;
    Ok((pid != 0).then(|| (Pid::from_raw(pid), ExitStatus::from_raw(status))))
}

/// The environment as received, byte for byte, entries without `=` included; environ(7).
pub fn environ() -> Vec<CString> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    let mut entries = Vec::new();
    // SAFETY: a null-terminated array of C strings that nothing in this program changes.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            entries.push(CStr::from_ptr(*entry).to_owned());
            entry = entry.add(1);
        }
    }
    entries
}

/// A program to start: the paths to try in order, and what it is given.
#[derive(Debug)]
pub struct Program<'a> {
    pub paths: &'a [CString],
    pub arguments: &'a [CString],
    pub environment: &'a [CString],
    /// The terminal whose foreground the new process group takes.
    pub terminal: Option<BorrowedFd<'a>>,
}

/// Why no program runs in the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnErrno {
    /// No process could be made; fork(2).
    Fork(Errno),
    /// The path with this index, or the last of all, could not be executed; execve(2).
    Exec { path: usize, errno: Errno },
}

/// Starts a program in a process group of its own, with an empty signal mask and the dispositions
/// that the shim itself was started with.
///
/// The child borrows the shim's memory until it executes (`CLONE_VM | CLONE_VFORK`, as posix_spawn(3)
/// does): cheaper than a fork, and the child's errno arrives without a pipe. An emulator such as qemu's
/// makes a fork of it all the same; there the errno comes through one. posix_spawn itself can neither
/// ignore SIGCHLD in the child alone nor take a terminal's foreground on every libc.
pub fn spawn(program: &Program) -> Result<Pid, SpawnErrno> {
    let paths = program.paths;
    let arguments = pointers(program.arguments);
    let environment = pointers(program.environment);
    let terminal = program.terminal.map(|fd| fd.as_raw_fd());
    let (answers, question) = std::io::pipe().ok().unzip();
    let pipe = question.as_ref().map(AsRawFd::as_raw_fd);
    let mut seen = Seen::Nothing;
    let report = &raw mut seen;
    let child = Box::new(move || {
        // SAFETY: between clone and execve only system calls are made, nothing is allocated or
        // locked, and the parent, whose memory this is, stands still.
        unsafe {
            *report = Seen::Child;
            libc::setpgid(0, 0);
            if let Some(terminal) = terminal {
                libc::tcsetpgrp(terminal, libc::getpid());
            }
            restore_dispositions();
            set_signal_mask(0);
            let (path, errno) = execute(paths, &arguments, &environment);
            *report = Seen::Failure { path, errno };
            if let Some(pipe) = pipe {
                let failure = [path, errno as usize];
                libc::write(pipe, (&raw const failure).cast(), size_of_val(&failure));
            }
            libc::_exit(127)
        }
    });
    let mut stack = vec![0_u8; 16 * 1024];
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // SAFETY: the stack is large enough for the few calls above and outlives the child's use of it,
    // since the parent is suspended until the child has executed or exited.
    let pid = unsafe { clone(child, &mut stack, flags, Some(libc::SIGCHLD)) }
        .map_err(SpawnErrno::Fork)?;
    drop(question);
    // SAFETY: written, if at all, by the child above before the parent went on.
    let failure = match unsafe { std::ptr::read_volatile(&raw const seen) } {
        Seen::Nothing => answers.and_then(read_failure),
        Seen::Child => None,
        Seen::Failure { path, errno } => Some((path, errno)),
    };
    match failure {
        None => Ok(pid),
        Some((path, errno)) => {
            // The child that executed nothing is ours to bury, or it would look like an orphan.
            let _ = wait(pid, 0);
            Err(SpawnErrno::Exec { path, errno })
        }
    }
}

/// What the parent's memory has of the child: nothing where it is not the child's, too.
#[derive(Debug, Clone, Copy)]
enum Seen {
    Nothing,
    Child,
    Failure { path: usize, errno: Errno },
}

/// What the child has written before it exited, or `None` once it has executed a program.
fn read_failure(mut answers: PipeReader) -> Option<(usize, Errno)> {
    let mut failure = [[0; size_of::<usize>()]; 2];
    answers.read_exact(failure.as_flattened_mut()).ok()?;
    let [path, errno] = failure.map(usize::from_ne_bytes);
    Some((path, Errno::from_raw(i32::try_from(errno).ok()?)))
}

/// Tries the paths as execvp(3) does: goes on where nothing is found, remembers what is forbidden.
///
/// # Safety
/// The pointers are null-terminated arrays of C strings.
unsafe fn execute(
    paths: &[CString],
    arguments: &[*const c_char],
    environment: &[*const c_char],
) -> (usize, Errno) {
    let mut failure = (0, Errno::ENOENT);
    for (index, path) in paths.iter().enumerate() {
        // SAFETY: as this function's own.
        unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        match Errno::last() {
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::EACCES => failure = (index, Errno::EACCES),
            errno => return (index, errno),
        }
    }
    failure
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Undoes what was changed: SIGCHLD above, SIGPIPE by Rust's runtime, and whatever a handler of libc's
/// has taken the place of. A handler itself becomes the default when the worker is executed.
fn restore_dispositions() {
    for signal in 1..=LAST_SIGNAL {
        if ignored_on_entry(signal) {
            set_disposition(signal, libc::SIG_IGN);
        } else if matches!(signal, libc::SIGCHLD | libc::SIGPIPE) {
            set_disposition(signal, libc::SIG_DFL);
        }
    }
}

fn set_disposition(signal: c_int, disposition: libc::sighandler_t) {
    let action = KernelSigaction { disposition, rest: [0; 7] };
    // SAFETY: no handler is installed, only a constant, and the kernel reads no more than this.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            &raw const action,
            std::ptr::null_mut::<KernelSigaction>(),
            size_of::<u64>(),
        );
    }
}

/// Sets the calling thread's mask to exactly this set and returns the one before; sigprocmask(2).
fn set_signal_mask(set: u64) -> u64 {
    let mut before = 0_u64;
    // SAFETY: both places are valid and as large as the size that is given.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const set,
            &raw mut before,
            size_of::<u64>(),
        );
    }
    before
}

fn is_ignored(signal: c_int) -> bool {
    let mut action = KernelSigaction { disposition: libc::SIG_DFL, rest: [0; 7] };
    // SAFETY: nothing is set, and the answer fits.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            std::ptr::null::<KernelSigaction>(),
            &raw mut action,
            size_of::<u64>(),
        )
    };
    result == 0 && action.disposition == libc::SIG_IGN
}

/// The kernel's struct sigaction begins with the handler; its length differs by architecture and is
/// nowhere more than this.
#[repr(C)]
struct KernelSigaction {
    disposition: libc::sighandler_t,
    rest: [usize; 7],
}

/// Closes every inherited descriptor but the standard streams: the worker has its own by now, and
/// with a copy left here, the reader of a pipe would not see that the worker has closed it.
///
/// What came through an exec does not close on exec; what the shim opens does, at any moment.
pub fn close_inherited() {
    let open = std::fs::read_dir("/proc/self/fd").map(|entries| {
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    });
    // In a root without /proc the default limit of open files has to do; getrlimit(2).
    let descriptors: Vec<c_int> = open.unwrap_or_else(|_| (3..1024).collect());
    for fd in descriptors.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: nothing in the shim uses a descriptor that does not close on exec.
        unsafe {
            if libc::fcntl(fd, libc::F_GETFD) == 0 {
                libc::close(fd);
            }
        }
    }
}

/// Puts a placeholder where standard input, output or error was closed.
///
/// Otherwise Rust's runtime opens `/dev/null` there, which the worker would inherit, and aborts in a
/// root that has none; or a socket of the shim's would become descriptor 0, 1 or 2. The placeholder
/// can be neither read nor written and closes itself when the worker is executed.
fn occupy_closed_standard_streams() {
    for fd in 0..=2 {
        // SAFETY: a constant path, and open(2) takes the lowest free descriptor, which is fd.
        unsafe {
            if libc::fcntl(fd, libc::F_GETFD) == -1 {
                libc::open(c"/".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            }
        }
    }
}

fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}
