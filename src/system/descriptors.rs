//! Descriptors that came through the shim's own execve(2).

use nix::libc::{self, c_int};

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
