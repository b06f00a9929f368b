//! Terminals.

use std::os::fd::{AsFd, AsRawFd};

use nix::libc;

/// Columns and rows of a terminal; ioctl_tty(2).
pub fn size(terminal: impl AsFd) -> Option<(usize, usize)> {
    // SAFETY: all zeroes are a valid winsize.
    let mut size = unsafe { std::mem::zeroed::<libc::winsize>() };
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: TIOCGWINSZ writes a winsize and nothing else.
    let result = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) };
    let known = result == 0 && size.ws_col > 0 && size.ws_row > 0;
    known.then(|| (size.ws_col.into(), size.ws_row.into()))
}
