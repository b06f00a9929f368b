//! Descriptors: those that came through the shim's own execve(2), and a write that never waits.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc::{self, c_int, c_long};

/// Closes every inherited descriptor but the standard streams: the worker has its own by now, and
/// with a copy left here, the reader of a pipe would not see that the worker has closed it.
///
/// What came through an exec does not close on exec; what the shim opens does, at any moment.
///
/// # Safety
/// Nothing in the program may use a descriptor that does not close on exec, other than 0 to 2.
pub unsafe fn close_inherited() {
    let open = std::fs::read_dir("/proc/self/fd").map(|entries| {
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    });
    // In a root without /proc the default limit of open files has to do; getrlimit(2).
    let descriptors: Vec<c_int> = open.unwrap_or_else(|_| (3..1024).collect());
    for fd in descriptors.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: as this function's own.
        unsafe {
            if libc::fcntl(fd, libc::F_GETFD) == 0 {
                libc::close(fd);
            }
        }
    }
}

/// Writes what there is room for, whatever the descriptor's own flags say; pwritev2(2) with RWF_NOWAIT.
///
/// # Errors
/// EAGAIN where there is no room. EOPNOTSUPP where the kernel or the file can't tell.
pub fn write_without_waiting(fd: BorrowedFd, bytes: &[u8]) -> nix::Result<usize> {
    /// At the end, or where the file's own offset is.
    const HERE: c_long = -1;
    let vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the vector and the bytes live as long as the call, which reads them.
    let written = unsafe {
        libc::syscall(
            libc::SYS_pwritev2,
            fd.as_raw_fd(),
            &raw const vector,
            1_usize,
            HERE,
            HERE,
            libc::RWF_NOWAIT,
        )
    };
    Errno::result(written).map(|count| usize::try_from(count).unwrap_or_default())
}

/// Puts a placeholder where standard input, output or error was closed.
///
/// Otherwise Rust's runtime opens `/dev/null` there, which the worker would inherit, and aborts in a
/// root that has none; or a socket of the shim's would become descriptor 0, 1 or 2. The placeholder
/// can be neither read nor written and closes itself when the worker is executed.
pub(super) fn occupy_closed_standard_streams() {
    for fd in 0..=2 {
        // SAFETY: a constant path, and open(2) takes the lowest free descriptor, which is fd.
        unsafe {
            if libc::fcntl(fd, libc::F_GETFD) == -1 {
                libc::open(c"/".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            }
        }
    }
}
