//! The terminal: whose process group stands in its foreground; tty_ioctl(4).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::unistd::{Pid, getpgid, getpgrp, tcgetpgrp, tcsetpgrp};

/// The terminal on standard input if the shim stands in its foreground, which is then the worker's.
pub fn foreground() -> Option<BorrowedFd<'static>> {
    let stdin = standard_input();
    (tcgetpgrp(stdin) == Ok(getpgrp())).then_some(stdin)
}

/// Puts the group of this process into the foreground again. The terminal may be gone by now, or
/// somebody else's: no error here is the shim's business.
pub fn take_back(process: Pid) {
    if let Ok(group) = getpgid(Some(process)) {
        let _ = tcsetpgrp(standard_input(), group);
    }
}

fn standard_input() -> BorrowedFd<'static> {
    static STDIN: std::sync::LazyLock<io::Stdin> = std::sync::LazyLock::new(io::stdin);
    STDIN.as_fd()
}
