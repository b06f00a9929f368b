//! The supervisor: starts the worker, forwards signals, reaps, and tells how it ended.

mod exit;
mod reap;
mod signals;
mod spawn;
mod terminal;

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::libc::SIGCHLD;
use nix::unistd::Pid;
use tracing::{error, warn};

use crate::config::WorkerCommand;
use crate::kernel;

pub use exit::Exit;
pub use signals::Signals;

use signals::Wake;
use spawn::Worker;

/// What the supervisor is at: nothing started yet. Signals are caught and wait.
#[derive(Debug)]
pub struct Supervisor {
    signals: Signals,
    /// Signals that end nobody, received before there was a worker to give them to.
    kept: Vec<i32>,
    /// The first signal that ended the run before there was a worker.
    interrupted_by: Option<i32>,
}

impl Supervisor {
    /// A supervisor that reads every signal the shim has received since its first instruction.
    ///
    /// # Errors
    /// The kernel's, when it grants no descriptor for signals.
    pub fn new() -> anyhow::Result<Self> {
        if std::process::id() != 1
            && let Err(error) = nix::sys::prctl::set_child_subreaper(true)
        {
            warn!(
                "This shim is neither PID 1 nor, since the kernel refuses ({error}), a subreaper: it can't reap orphans"
            );
        }
        Ok(Self { signals: Signals::open()?, kept: Vec::new(), interrupted_by: None })
    }

    /// Waits until `ready` is readable, at most this long, or until a signal ends the run.
    pub fn wait_for(&mut self, ready: BorrowedFd, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.interrupted() && self.signals.wait(Some(ready), Some(deadline)) == Wake::Signal
        {
        }
    }

    /// Whether a signal has come that ends the run before a worker was started.
    fn interrupted(&mut self) -> bool {
        while let Some(signal) = self.signals.next() {
            if signals::ends_a_process(signal) {
                self.interrupted_by.get_or_insert(signal);
            } else if signal != SIGCHLD && !self.kept.contains(&signal) {
                self.kept.push(signal);
            }
        }
        self.interrupted_by.is_some()
    }

    /// Starts the worker and stays with it until it ends.
    pub fn supervise(mut self, command: &WorkerCommand) -> Exit {
        self.interrupted();
        if let Some(signal) = self.interrupted_by {
            return Exit::Interrupted(signal);
        }
        let terminal = terminal::foreground();
        let worker = match Worker::spawn(command, terminal) {
            Ok(worker) => worker,
            Err(failure) => {
                error!("{failure}");
                return Exit::NotStarted(failure);
            }
        };
        // Only now, and only the shim's own: its working directory pins no mount.
        let _ = std::env::set_current_dir("/");
        kernel::close_inherited();
        for signal in self.kept.drain(..) {
            worker.forward(signal);
        }
        let status = loop {
            if let Some(status) = reap::drain(worker.pid()) {
                break status;
            }
            match self.signals.next() {
                // About the shim's own children: reaped above, on the next turn.
                Some(SIGCHLD) => {}
                Some(signal) => worker.forward(signal),
                None => _ = self.signals.wait(None, None),
            }
        };
        if terminal.is_some() {
            terminal::take_back(Pid::this());
        }
        Exit::Worker(status)
    }
}
