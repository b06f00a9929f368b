//! The supervisor: starts the worker, forwards signals, reaps, and tells how it ended.

mod exit;
mod options;
mod reap;
mod remains;
mod signal;
mod signals;
mod spawn;
mod terminal;

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::unistd::getppid;
use tracing::{error, warn};

use crate::config::WorkerCommand;
use crate::kernel;

pub use exit::Exit;
pub use options::{Options, Remap, Rewrite, Scope};
pub use signal::Signal;

use signals::{Received, Signals, Wake};
use spawn::Worker;
use terminal::Terminal;

/// The main thread of a run: it waits for signals and for children, and for nothing else.
#[derive(Debug)]
pub struct Supervisor {
    options: Options,
    signals: Signals,
    /// Signals that end nobody, received before there was a worker to give them to.
    kept: Vec<Received>,
    /// The first signal that ended the run before there was a worker.
    interrupted_by: Option<Signal>,
    /// What was forwarded last.
    forwarded: Option<Signal>,
}

impl Supervisor {
    /// A supervisor that reads every signal the shim has received since its first instruction.
    ///
    /// # Errors
    /// The kernel's, when it grants no descriptor for signals.
    pub fn new(options: Options) -> anyhow::Result<Self> {
        if std::process::id() != 1
            && let Err(error) = nix::sys::prctl::set_child_subreaper(true)
        {
            warn!(
                "Neither PID 1 nor, since the kernel refuses ({error}), a subreaper: orphans go to another"
            );
        }
        let parent_death_signal = options.parent_death_signal;
        let mut supervisor = Self {
            options,
            signals: Signals::open()?,
            kept: Vec::new(),
            interrupted_by: None,
            forwarded: None,
        };
        if let Some(signal) = parent_death_signal {
            let parent = getppid();
            if let Err(error) = kernel::set_parent_death_signal(signal.number()) {
                warn!("{signal} will not come when the parent dies: {error}");
            }
            // A parent that died before it was asked for sends none.
            if getppid() != parent {
                supervisor.keep(Received { signal, by_kernel: true });
            }
        }
        Ok(supervisor)
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
        while let Some(received) = self.signals.waiting() {
            self.keep(received);
        }
        self.interrupted_by.is_some()
    }

    /// Takes a signal that comes before there is a worker.
    fn keep(&mut self, received: Received) {
        let signal = received.signal;
        if signal.terminates()
            && self.options.rewritten(signal).is_some_and(Signal::terminates)
            && !kernel::ignored_on_entry(signal.number())
        {
            self.interrupted_by.get_or_insert(signal);
        } else if signal != Signal::CHLD
            // Merged as the kernel merges them, which it does not with real-time ones.
            && (signal.is_real_time() || self.kept.iter().all(|kept| kept.signal != signal))
        {
            self.kept.push(received);
        }
    }

    /// Starts the worker and stays with it until it ends.
    pub fn supervise(mut self, command: &WorkerCommand) -> Exit {
        self.interrupted();
        if let Some(signal) = self.interrupted_by {
            return Exit::Interrupted(signal);
        }
        let terminal = Terminal::controlling();
        let lent = terminal.as_ref().filter(|terminal| terminal.is_for_the_worker());
        let worker = match Worker::spawn(command, lent.map(AsFd::as_fd)) {
            Ok(worker) => worker,
            Err(failure) => {
                // Who could not be executed took it all the same.
                if let Some(terminal) = lent {
                    terminal.take();
                }
                error!("{failure}");
                return Exit::NotStarted(failure);
            }
        };
        // Only now, and only the shim's own: its working directory pins no mount.
        let _ = std::env::set_current_dir("/");
        kernel::close_inherited();
        let status = self.until_ended(&worker, terminal.as_ref());
        // Unless a third has it by now.
        if let Some(terminal) = terminal.filter(|terminal| terminal.is_lent_to(worker.pid())) {
            terminal.take();
            let by = status.signal().and_then(Signal::new);
            if let Some(key) = by.filter(|by| by.is_an_interrupting_key())
                && self.forwarded != Some(key)
            {
                // It was for everyone in the foreground, which the rest of the job lent to the worker.
                terminal::tell_job(key);
            }
        }
        if let Some(grace) = self.options.reap_grace {
            self.until_childless(&worker, grace);
        }
        Exit::Worker(self.options.remapped(exit::code_of(status)))
    }

    /// Forwards and reaps until the worker has ended.
    fn until_ended(&mut self, worker: &Worker, terminal: Option<&Terminal>) -> ExitStatus {
        let mut kill_at: Option<Instant> = None;
        let mut kept = std::mem::take(&mut self.kept).into_iter();
        loop {
            // Between every two signals, so that no storm of them delays the worker's end.
            let found = reap::drain(worker.pid(), self.options.warn_on_reap);
            if let Some(status) = found.ended {
                return status;
            }
            if let (Some(by), Some(terminal)) = (found.stopped, terminal) {
                stop_as_well(by, worker, terminal);
            }
            if kill_at.is_some_and(|at| at <= Instant::now()) {
                kill_at = None;
                if worker.forward(Signal::KILL, self.options.scope) {
                    warn!("The worker has not ended within the stop timeout: killed it");
                }
            }
            match kept.next().or_else(|| self.signals.next(kill_at)) {
                None | Some(Received { signal: Signal::CHLD, .. }) => {}
                Some(received) => {
                    let asked_to_stop = self.relay(received, worker, terminal);
                    if let (true, Some(limit)) = (asked_to_stop, self.options.stop_timeout) {
                        kill_at.get_or_insert(Instant::now() + limit);
                    }
                }
            }
        }
    }

    /// Forwards a signal, or what is to be forwarded in its place, and tells whether the worker was
    /// asked to stop by it.
    fn relay(&mut self, received: Received, worker: &Worker, terminal: Option<&Terminal>) -> bool {
        let Received { signal, by_kernel } = received;
        let Some(forwarded) = self.options.rewritten(signal) else { return false };
        let mut scope = self.options.scope;
        if let Some(terminal) = terminal {
            let reached_for = by_kernel && signal.is_about_the_foreground();
            if reached_for && terminal.is_lent_to(worker.pid()) {
                // By another process of the shim's own job, such as a pager at the end of a pipe.
                terminal.take();
                terminal::tell_job(Signal::CONT);
                return false;
            }
            // After `fg` in the shell above the whole job goes on; and a key is for everyone in the
            // foreground.
            if forwarded == Signal::CONT || (by_kernel && terminal.is_own()) {
                scope = Scope::Group;
            }
            if forwarded == Signal::CONT && terminal.is_for_the_worker() {
                terminal.lend_to(worker.pid());
            }
        }
        worker.forward(forwarded, scope);
        self.forwarded = Some(forwarded);
        [signal, forwarded].iter().any(|signal| [Signal::TERM, Signal::INT].contains(signal))
    }

    /// Asks what the worker has left behind to end, and waits until it has, at most this long, or until
    /// the shim is asked to end itself.
    fn until_childless(&mut self, worker: &Worker, grace: Duration) {
        let deadline = Instant::now() + grace;
        for pid in remains::descendants() {
            // Who is stopped takes the one only after the other.
            for signal in [Signal::TERM, Signal::CONT] {
                let _: nix::Result<()> = kernel::kill(pid, signal.number());
            }
        }
        loop {
            // First, so that the end of a child which is not reaped below is still to be read.
            while let Some(received) = self.signals.waiting() {
                if received.signal.asks_to_end() {
                    return;
                }
            }
            let found = reap::drain(worker.pid(), self.options.warn_on_reap);
            if found.childless || Instant::now() >= deadline {
                return;
            }
            self.signals.wait(None, Some(deadline));
        }
    }
}

/// The worker was stopped: has the shell above see its job stop, or the worker go on where it would
/// have without the shim.
fn stop_as_well(by: Signal, worker: &Worker, terminal: &Terminal) {
    if by.is_about_the_foreground() && terminal.is_own() {
        // It reached for the terminal, which is the job's.
        terminal.lend_to(worker.pid());
    } else if terminal::suspend(by) || by != Signal::TSTP {
        return;
    }
    // With no shell above, nobody else would continue what Ctrl-Z has stopped: had the worker been in
    // the shim's place, the kernel would not have stopped it.
    worker.forward(Signal::CONT, Scope::Group);
}
