//! Descriptors: one for a path, those that came through the shim's own execve(2), and a write that never waits.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, SpliceFFlags, openat, splice};
use nix::libc::{self, c_int, c_long};
use nix::sys::stat::Mode;
use nix::unistd::{pipe2, write};

/// Where the kernel shows the open descriptors; proc(5).
const FOLDER: &CStr = c"/proc/self/fd";

/// Standard input, output and error, without the buffers that the standard library lays out for the first two.
pub fn standard_streams() -> [BorrowedFd<'static>; 3] {
    // SAFETY: from the shim's first instructions on there is something at each of them, which nothing closes.
    [0, 1, 2].map(|fd| unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Opens what is there, and closes it when a program is executed. By openat(2), for which musl makes one system
/// call: for open(3) it makes two.
///
/// # Errors
/// The kernel's.
pub fn open<P: NixPath + ?Sized>(path: &P, flags: OFlag) -> nix::Result<OwnedFd> {
    loop {
        match openat(AT_FDCWD, path, flags | OFlag::O_CLOEXEC, Mode::empty()) {
            // Where storage is waited for.
            Err(Errno::EINTR) => {}
            opened => return opened,
        }
    }
}

/// Closes every inherited descriptor but the standard streams: the worker has its own by now, and
/// with a copy left here, the reader of a pipe would not see that the worker has closed it.
///
/// What came through an exec does not close on exec; what the shim opens does, at any moment. One that it is
/// known to have opened need not be asked.
///
/// # Safety
/// Nothing in the program may use a descriptor that does not close on exec, other than 0 to 2.
pub unsafe fn close_inherited(own: BorrowedFd) {
    let is_inherited = |fd: &c_int| *fd > 2 && *fd != own.as_raw_fd();
    // In a root without /proc the default limit of open files has to do; getrlimit(2).
    let open = open_descriptors().unwrap_or_else(|| (3..1024).collect());
    for fd in open.into_iter().filter(is_inherited) {
        // SAFETY: as this function's own.
        unsafe {
            if libc::fcntl(fd, libc::F_GETFD) == 0 {
                libc::close(fd);
            }
        }
    }
}

/// The numbers of all open descriptors, or `None` where /proc does not show them; getdents64(2).
///
/// The raw calls: readdir(3) lays out more memory than all the rest of supervision.
fn open_descriptors() -> Option<Vec<c_int>> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: a constant path.
    let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, FOLDER.as_ptr(), flags) };
    let fd = c_int::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: it was opened just now, and nobody else has it.
    let _folder = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut found = Vec::new();
    let mut entries = [0_u8; 1024];
    loop {
        let room = entries.len();
        // SAFETY: the kernel writes no more than there is room for.
        let read = unsafe { libc::syscall(libc::SYS_getdents64, fd, entries.as_mut_ptr(), room) };
        match entries.get(..usize::try_from(read).ok()?)? {
            [] => return Some(found),
            read => found.extend(names(read).filter_map(number).filter(|other| *other != fd)),
        }
    }
}

/// The names of directory entries as the kernel writes them, each behind its length; getdents64(2).
fn names(mut entries: &[u8]) -> impl Iterator<Item = &CStr> {
    const LENGTH: usize = 16;
    const NAME: usize = 19;
    std::iter::from_fn(move || {
        let length = u16::from_ne_bytes(*entries.get(LENGTH..)?.first_chunk()?);
        let (entry, rest) = entries.split_at_checked(length.into())?;
        entries = rest;
        CStr::from_bytes_until_nul(entry.get(NAME..)?).ok()
    })
}

/// A name in decimal digits; `.` and `..` are none.
fn number(name: &CStr) -> Option<c_int> {
    name.to_bytes().iter().try_fold(0, |number: c_int, byte| {
        let digit = byte.wrapping_sub(b'0');
        number.checked_mul(10)?.checked_add((digit < 10).then(|| c_int::from(digit))?)
    })
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

/// Writes what there is room for to a pipe, and to a pipe alone, whatever the descriptor's own flags say, on a kernel
/// that can't tell as above: by way of a pipe of the shim's own, in pages; splice(2).
///
/// # Errors
/// EAGAIN where there is no room. The kernel's, where it makes no pipe.
pub fn splice_without_waiting(pipe: BorrowedFd, bytes: &[u8]) -> nix::Result<usize> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let held = write(&writer, bytes)?;
    match splice(reader, None, pipe, None, held, SpliceFFlags::SPLICE_F_NONBLOCK)? {
        // Or nothing would be tried again without an end.
        0 => Err(Errno::EAGAIN),
        count => Ok(count),
    }
}

/// Puts a placeholder where standard input, output or error was closed.
///
/// Otherwise Rust's runtime opens `/dev/null` there, which the worker would inherit, and aborts in a
/// root that has none; or a socket of the shim's would become descriptor 0, 1 or 2. The placeholder
/// can be neither read nor written and closes itself when the worker is executed.
pub(super) fn occupy_closed_standard_streams() {
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: the places are valid, and so many.
    unsafe { libc::poll(streams.as_mut_ptr(), 3, 0) };
    for _ in streams.iter().filter(|stream| stream.revents & libc::POLLNVAL != 0) {
        // SAFETY: a constant path. open(2) takes the lowest free descriptor, which is the next of them.
        unsafe { libc::open(c"/".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    }
}
