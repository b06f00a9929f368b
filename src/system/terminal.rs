//! Terminals.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Mutex;

use nix::libc;
use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use nix::unistd::{getpgrp, tcgetpgrp};

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

/// How the terminal is to be again, while its keyboard is read.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The keyboard, key by key and unseen; as it was before once this is dropped. Keys that send a signal still
/// do; termios(3).
#[derive(Debug)]
pub struct Keyboard(());

impl Keyboard {
    /// `None` where standard input is no terminal, or another's at the moment.
    pub fn open() -> Option<Self> {
        let stdin = io::stdin();
        let is_own = stdin.is_terminal() && tcgetpgrp(&stdin) == Ok(getpgrp());
        let before = is_own.then(|| tcgetattr(&stdin).ok()).flatten()?;
        let mut now = before.clone();
        now.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        // A shell would find the terminal like this.
        if let Some(suspends) = now.control_chars.get_mut(SpecialCharacterIndices::VSUSP as usize) {
            *suspends = 0;
        }
        *BEFORE.lock().ok()? = Some(before);
        tcsetattr(&stdin, SetArg::TCSANOW, &now).ok()?;
        Some(Self(()))
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        give_back();
    }
}

/// Makes the terminal what it was before its keyboard was read; where none is, nothing. Waits for nobody.
pub fn give_back() {
    let before = BEFORE.try_lock().ok().and_then(|mut before| before.take());
    if let Some(before) = before {
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &before);
    }
}
