//! A real pseudo-terminal, and a hand at its keyboard.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{PtyMaster, Winsize, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::tcgetpgrp;

use super::{DEADLINE, Shim};

pub const CTRL_C: &str = "\x03";
pub const CTRL_Z: &str = "\x1a";
pub const CTRL_BACKSLASH: &str = "\x1c";
pub const CTRL_D: &str = "\x04";

/// A process that leads a session on a pseudo-terminal of its own, as after `docker run -it` or in a
/// terminal window.
pub struct Terminal {
    keyboard: Option<File>,
    slave: Option<OwnedFd>,
    child: Child,
    seen: String,
}

impl Terminal {
    /// Starts a command that leads a session on a new terminal.
    pub fn run(mut command: Command) -> Self {
        // SAFETY: two system calls between fork and exec.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        Self::of(command)
    }

    /// As `docker run -it` starts a shim: PID 1 leads the session.
    pub fn docker_run_it(shim: Shim) -> Self {
        Self::of(shim.pid1().behind(["setsid", "--ctty"]).to_command())
    }

    fn of(mut command: Command) -> Self {
        let (master, slave) = pair();
        // SAFETY: the descriptor was just opened and is nobody else's.
        #[allow(unsafe_code)]
        let keyboard = unsafe { File::from_raw_fd(master.into_raw_fd()) };
        let end = || slave.try_clone().expect("a descriptor");
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "dumb");
        resize(&keyboard, 200);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { keyboard: Some(keyboard), slave: Some(slave), child, seen: String::new() }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    pub fn type_in(&mut self, keys: &str) {
        self.keyboard.as_mut().expect("a keyboard").write_all(keys.as_bytes()).expect("typing");
    }

    /// Waits until this stands on the screen, and returns all that stood before it.
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some((before, after)) = self.seen.split_once(text) {
                let before = before.to_owned();
                self.seen = after.to_owned();
                return before;
            }
            assert!(Instant::now() < deadline, "no {text:?} on the screen: {:?}", self.seen);
            self.look();
        }
    }

    /// Whether this comes to stand on the screen within the time.
    pub fn shows(&mut self, text: &str, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.seen.contains(text) && Instant::now() < deadline {
            self.look();
        }
        self.seen.contains(text)
    }

    /// What stands on the screen that nobody waited for.
    pub fn rest(&self) -> &str {
        &self.seen
    }

    fn look(&mut self) {
        let master = self.keyboard.as_mut().expect("a screen");
        let readable = PollFd::new(master.as_fd(), PollFlags::POLLIN);
        if poll(&mut [readable], PollTimeout::from(50_u8)).expect("poll") > 0 {
            let mut bytes = [0; 4096];
            let count = master.read(&mut bytes).unwrap_or(0);
            self.seen += &String::from_utf8_lossy(&bytes[..count]);
        }
    }

    /// The process group that has the keyboard; tcgetpgrp(3).
    pub fn foreground(&self) -> i32 {
        tcgetpgrp(self.keyboard.as_ref().expect("a terminal")).expect("a foreground").as_raw()
    }

    /// Whether whole lines are typed, and seen, as a shell's user expects it; termios(3).
    pub fn is_cooked(&self) -> bool {
        let settings = tcgetattr(self.keyboard.as_ref().expect("a terminal")).expect("settings");
        settings.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO)
    }

    /// Changes the window's size.
    pub fn resize(&self, columns: u16) {
        resize(self.keyboard.as_ref().expect("a window"), columns);
    }

    /// Closes the window: the terminal is gone for all that run on it.
    pub fn hang_up(&mut self) {
        self.slave = None;
        self.keyboard = None;
    }

    /// Waits for the end of the process that leads the session; its exit code.
    pub fn end(&mut self) -> i32 {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                use std::os::unix::process::ExitStatusExt;
                return status.code().unwrap_or_else(|| -status.signal().expect("a signal"));
            }
            assert!(Instant::now() < deadline, "no end; on the screen: {:?}", self.seen);
            // A terminal that nobody reads stops what writes to it.
            if self.keyboard.is_some() { self.look() } else { std::thread::yield_now() }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both ends of a new terminal. Closed on exec, so that its window is closed when a test closes it.
fn pair() -> (PtyMaster, OwnedFd) {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = posix_openpt(flags).expect("a pseudo-terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("its other end");
    let slave = other_end(&master, flags);
    (master, slave)
}

fn other_end(master: &PtyMaster, flags: OFlag) -> OwnedFd {
    let name = ptsname_r(master).expect("its name");
    nix::fcntl::open(name.as_str(), flags, Mode::empty()).expect("its other end")
}

/// A terminal whose window has stopped reading, with room for this many bytes more, and that window.
pub fn frozen(room: usize) -> (OwnedFd, PtyMaster) {
    let flags = OFlag::O_WRONLY | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let fill = |master: &PtyMaster, most: usize| {
        let mut filler = File::from(other_end(master, flags));
        (0..most).take_while(|_| filler.write(b"x").is_ok()).count()
    };
    let holds = fill(&pair().0, usize::MAX);
    let (master, slave) = pair();
    fill(&master, holds - room);
    (slave, master)
}

fn resize(master: &File, columns: u16) {
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel reads one winsize.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    assert_eq!(result, 0, "the window's size");
}
