//! Signals: what the shim was started with, masks, dispositions, and the descriptor they are read from.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{self, c_int};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;

/// The signals whose dispositions change in this program: the shim's own doing (SIGCHLD, SIGSEGV, SIGBUS),
/// that of Rust's runtime (SIGPIPE), or of libc's threads.
const CHANGED: &[c_int] = &[
    libc::SIGCHLD,
    libc::SIGPIPE,
    libc::SIGSEGV,
    libc::SIGBUS,
    // With its first thread glibc takes those that it keeps for itself; musl does when they are needed.
    #[cfg(not(target_env = "musl"))]
    32,
    #[cfg(not(target_env = "musl"))]
    33,
];

const ALL_SIGNALS: u64 = u64::MAX;

/// What the shim was started with: bit s-1 stands for signal s. Of those ignored only the changed ones.
static IGNORED_ON_ENTRY: AtomicU64 = AtomicU64::new(0);
static BLOCKED_ON_ENTRY: AtomicU64 = AtomicU64::new(0);

/// Remembers which signals the shim was started with ignored or blocked, and blocks all of them.
pub(super) fn take_over() {
    BLOCKED_ON_ENTRY.store(set_mask(ALL_SIGNALS), Ordering::Relaxed);
    let before = |signal| match signal {
        // While it is ignored, the kernel reaps and no status is ever to be had.
        libc::SIGCHLD => set_disposition(signal, libc::SIG_DFL),
        // Rust's runtime finds them taken and makes no second stack for a handler that would tell of an
        // overflow: a tenth of a start. A fault of the shim's own ends it all the same (signal(7)).
        libc::SIGSEGV | libc::SIGBUS => set_disposition(signal, libc::SIG_IGN),
        _ => disposition(signal),
    };
    let ignored = CHANGED
        .iter()
        .filter(|signal| before(**signal) == libc::SIG_IGN)
        .fold(0, |set, signal| set | bit(*signal));
    IGNORED_ON_ENTRY.store(ignored, Ordering::Relaxed);
}

/// Whether the shim was started with this signal ignored.
pub fn ignored_on_entry(signal: c_int) -> bool {
    if CHANGED.contains(&signal) {
        IGNORED_ON_ENTRY.load(Ordering::Relaxed) & bit(signal) != 0
    } else {
        disposition(signal) == libc::SIG_IGN
    }
}

/// The signals that the shim was started with blocked: bit s-1 stands for signal s.
pub fn blocked_on_entry() -> u64 {
    BLOCKED_ON_ENTRY.load(Ordering::Relaxed)
}

/// Lets signals end the process again, for the commands that supervise nothing.
pub fn let_signals_end_it() {
    restore(libc::SIGSEGV);
    restore(libc::SIGBUS);
    set_mask(blocked_on_entry());
}

/// That every signal is blocked in the thread that holds this, for as long as it does.
#[derive(Debug)]
pub struct AllBlocked(PhantomData<*const ()>);

/// What holds for the main thread since the shim's first instruction, until libc unblocks its own.
pub fn all_blocked_since_entry() -> AllBlocked {
    AllBlocked(PhantomData)
}

/// Blocks every signal in the calling thread, once more after libc has unblocked its own (two of 32
/// to 34): for the main thread when it handles its first signal or makes its first thread, for a new
/// thread in any case (sigaction and pthread_create of glibc and musl).
pub fn block_all() -> AllBlocked {
    set_mask(ALL_SIGNALS);
    AllBlocked(PhantomData)
}

/// A signal that was taken.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub signal: c_int,
    /// The kernel sent it and no process did; sigaction(2).
    pub by_kernel: bool,
    /// The process that sent it on purpose.
    pub by: Option<Pid>,
}

/// Until when a signal is waited for.
#[derive(Debug, Clone, Copy)]
pub enum Deadline {
    /// Only what has come already is taken: no clock is looked at.
    Now,
    At(Instant),
    Never,
}

impl Deadline {
    fn left(self) -> Option<Duration> {
        match self {
            Self::Now => Some(Duration::ZERO),
            Self::At(moment) => Some(moment.saturating_duration_since(Instant::now())),
            Self::Never => None,
        }
    }
}

impl From<Option<Instant>> for Deadline {
    fn from(moment: Option<Instant>) -> Self {
        moment.map_or(Self::Never, Self::At)
    }
}

/// Takes the next signal that waits, real-time ones in order, or waits for one; `None` when the deadline
/// comes first. But for one, where it is named. rt_sigtimedwait(2).
pub fn take(_: &AllBlocked, but: Option<c_int>, deadline: Deadline) -> Option<Sent> {
    let set = but.map_or(ALL_SIGNALS, |signal| !bit(signal));
    loop {
        let timeout = deadline.left().map(TimeSpec::from_duration);
        let timeout = timeout.as_ref().map_or(std::ptr::null(), |timeout| timeout.as_ref());
        // SAFETY: all zeroes are a valid siginfo_t.
        let mut info = unsafe { std::mem::zeroed::<libc::siginfo_t>() };
        // SAFETY: all places are valid and as large as the kernel takes them for.
        let signal = Errno::result(unsafe {
            libc::syscall(
                libc::SYS_rt_sigtimedwait,
                &raw const set,
                &raw mut info,
                timeout,
                size_of::<u64>(),
            )
        });
        match signal {
            Ok(_) => {
                let by_process = [libc::SI_USER, libc::SI_TKILL, libc::SI_QUEUE];
                let by = by_process.contains(&info.si_code).then(|| {
                    // SAFETY: who sends one on purpose leaves its pid.
                    Pid::from_raw(unsafe { info.si_pid() })
                });
                let by_kernel = info.si_code == libc::SI_KERNEL;
                return Some(Sent { signal: info.si_signo, by_kernel, by });
            }
            Err(Errno::EAGAIN) => return None,
            // After a stop, or where an emulator's own signal has come.
            Err(_) => {}
        }
    }
}

/// A descriptor that is readable while a signal waits; signalfd(2).
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

/// Gives each signal the disposition that the shim was started with. A handler of libc's execve(2) would
/// take back as well, but only after the mask is open.
///
/// System calls alone, so that it can be called between clone(2) and execve(2).
pub(super) fn restore_dispositions() {
    CHANGED.iter().copied().for_each(restore);
}

fn restore(changed: c_int) {
    let is_ignored = IGNORED_ON_ENTRY.load(Ordering::Relaxed) & bit(changed) != 0;
    set_disposition(changed, if is_ignored { libc::SIG_IGN } else { libc::SIG_DFL });
}

/// Sets a disposition, `SIG_DFL` or `SIG_IGN`, and returns the one before.
fn set_disposition(signal: c_int, disposition: libc::sighandler_t) -> libc::sighandler_t {
    let action = KernelSigaction { disposition, rest: [0; 7] };
    sigaction(signal, &raw const action)
}

fn disposition(signal: c_int) -> libc::sighandler_t {
    sigaction(signal, std::ptr::null())
}

fn sigaction(signal: c_int, action: *const KernelSigaction) -> libc::sighandler_t {
    let mut before = KernelSigaction { disposition: libc::SIG_DFL, rest: [0; 7] };
    // SAFETY: no handler is installed, only a constant; the kernel reads and writes no more than this.
    unsafe {
        libc::syscall(libc::SYS_rt_sigaction, signal, action, &raw mut before, size_of::<u64>());
    }
    before.disposition
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
