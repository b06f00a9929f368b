//! Signals: what the shim was started with, masks, dispositions, and the descriptor they are read from.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

/// The highest signal number, `SIGRTMAX` of signal(7).
const LAST_SIGNAL: c_int = 64;

const ALL_SIGNALS: u64 = u64::MAX;

/// What the shim was started with: bit s-1 stands for signal s.
static IGNORED_ON_ENTRY: AtomicU64 = AtomicU64::new(0);
static BLOCKED_ON_ENTRY: AtomicU64 = AtomicU64::new(0);

/// Remembers which signals the shim was started with ignored or blocked, and blocks all of them.
pub(super) fn take_over() {
    BLOCKED_ON_ENTRY.store(set_mask(ALL_SIGNALS), Ordering::Relaxed);
    let ignored = (1..=LAST_SIGNAL)
        .filter(|signal| is_ignored(*signal))
        .fold(0, |set, signal| set | bit(signal));
    IGNORED_ON_ENTRY.store(ignored, Ordering::Relaxed);
    // While SIGCHLD is ignored, the kernel reaps and no status is ever to be had.
    set_disposition(libc::SIGCHLD, libc::SIG_DFL);
}

/// Whether the shim was started with this signal ignored.
pub fn ignored_on_entry(signal: c_int) -> bool {
    IGNORED_ON_ENTRY.load(Ordering::Relaxed) & bit(signal) != 0
}

/// The signals that the shim was started with blocked: bit s-1 stands for signal s.
pub fn blocked_on_entry() -> u64 {
    BLOCKED_ON_ENTRY.load(Ordering::Relaxed)
}

/// Lets signals end the process again, for the commands that supervise nothing.
pub fn restore_mask() {
    set_mask(blocked_on_entry());
}

/// That every signal is blocked in the thread that holds this, for as long as it does.
#[derive(Debug)]
pub struct AllBlocked(PhantomData<*const ()>);

/// Blocks every signal in the calling thread, once more after libc has unblocked its own (two of 32
/// to 34): for the main thread when it handles its first signal or makes its first thread, for a new
/// thread in any case (sigaction and pthread_create of glibc and musl).
pub fn block_all() -> AllBlocked {
    set_mask(ALL_SIGNALS);
    AllBlocked(PhantomData)
}

/// A descriptor that yields every signal that waits, real-time ones in order; signalfd(2).
///
/// # Errors
/// The kernel's, when it grants none.
pub fn descriptor(_: &AllBlocked) -> nix::Result<SignalFd> {
    // SAFETY: sigset_t is plain bits and all of them set is a valid set.
    let all = unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        std::ptr::write_bytes(&raw mut set, 0xff, 1);
        SigSet::from_sigset_t_unchecked(set)
    };
    SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC)
}

/// Whether a blocked signal waits to be read; sigpending(2).
pub fn is_pending(signal: c_int) -> bool {
    pending() & bit(signal) != 0
}

fn pending() -> u64 {
    let mut pending = 0_u64;
    // SAFETY: the place is valid and as large as the size that is given.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut pending, size_of::<u64>()) };
    pending
}

/// Whether any blocked signal waits to be read; sigpending(2).
pub fn any_is_pending() -> bool {
    pending() != 0
}

/// Sends a signal by number to a process or, for a negative pid, to a process group; kill(2).
///
/// # Errors
/// The kernel's.
pub fn kill(pid: Pid, signal: c_int) -> nix::Result<()> {
    // SAFETY: no memory is passed.
    Errno::result(unsafe { libc::kill(pid.as_raw(), signal) }).map(drop)
}

/// Gives each signal the disposition that the shim was started with: it undoes what was changed above,
/// by Rust's runtime (SIGPIPE), and whatever a handler of libc's has taken the place of; and it takes
/// back the handlers of Rust's runtime (SIGSEGV, SIGBUS) and of libc (32 to 34), which execve(2) would
/// take back as well, but only after the mask is open.
///
/// System calls alone, so that it can be called between clone(2) and execve(2).
pub(super) fn restore_dispositions() {
    const CHANGED: [c_int; 7] =
        [libc::SIGCHLD, libc::SIGPIPE, libc::SIGSEGV, libc::SIGBUS, 32, 33, 34];
    for signal in 1..=LAST_SIGNAL {
        if ignored_on_entry(signal) {
            set_disposition(signal, libc::SIG_IGN);
        } else if CHANGED.contains(&signal) {
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
pub(super) fn set_mask(set: u64) -> u64 {
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

fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}
