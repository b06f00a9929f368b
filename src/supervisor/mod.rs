//! The supervisor: starts the worker, forwards signals, reaps, and tells how it ended.

mod companion;
mod death;
mod descendants;
mod diagnosis;
mod looks;
mod name;
mod options;
mod reap;
mod remaining;
mod sighting;
mod signal;
mod signals;
mod spawn;
mod terminal;

use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::unistd::{Pid, getppid};
use tracing::warn;

use crate::exit::{Exit, code_of};
use crate::log;
use crate::system::signals::{ignored_on_entry, is_pending, kill};
use crate::system::{children, descriptors};

pub use companion::{Companion, NoWorker, Watch};
pub use name::{NAME, Named};
pub use options::{Remap, Rewrite, Scope, Supervision};
pub use sighting::Sighting;
pub use signal::Signal;
pub use signals::Signals;
pub use spawn::{SpawnError, Worker, WorkerCommand};

use companion::{next_among_deaths, next_signal};
use looks::Looks;
use remaining::{End, Remaining, Stop, kill_all};
use signals::{Received, Wake};
use terminal::Terminal;

/// The main thread of a run: it waits for signals and for children, and for nothing else.
#[derive(Debug)]
pub struct Supervisor {
    options: Supervision,
    signals: Signals,
    /// Signals that end no process, received before there was a worker to give them to.
    deferred: Vec<Received>,
    /// The first signal that ended the run before there was a worker.
    interrupted_by: Option<Signal>,
    last_forwarded: Option<Signal>,
    terminal: Option<Terminal>,
    remaining: Option<Remaining>,
}

impl Supervisor {
    /// A supervisor that reads every signal the shim has received since its first instruction, and to
    /// which orphans go.
    pub fn new(options: Supervision, signals: Signals) -> Self {
        if !signals.is_of_pid_1()
            && let Err(error) = nix::sys::prctl::set_child_subreaper(true)
        {
            warn!(
                "Neither PID 1 nor, since the kernel refuses ({error}), a subreaper: orphans go to another process"
            );
        }
        let mut supervisor = Self {
            options,
            signals,
            deferred: Vec::new(),
            interrupted_by: None,
            last_forwarded: None,
            terminal: None,
            remaining: None,
        };
        supervisor.ask_for_parent_death_signal();
        supervisor
    }

    fn ask_for_parent_death_signal(&mut self) {
        let Some(signal) = self.options.parent_death_signal else { return };
        let parent = getppid();
        if let Err(error) = children::set_parent_death_signal(signal.number()) {
            warn!("{signal} will not come when the parent dies: {error}");
        }
        // A parent that died before it was asked for sends none.
        if getppid() != parent {
            self.defer(Received { signal, by_kernel: true });
        }
    }

    /// Waits until `ready` is readable, at most this long, or until a signal ends the run.
    pub fn wait_for(&mut self, ready: BorrowedFd, limit: Option<Duration>) {
        let deadline = limit.map(|limit| Instant::now() + limit);
        while !self.interrupted() && self.signals.wait(Some(ready), deadline) == Wake::Signal {}
    }

    /// The signal that has ended the run before there was a worker, if one has.
    pub fn interrupted_by(&self) -> Option<Signal> {
        self.interrupted_by
    }

    /// Whether a signal has come that ends the run before a worker was started.
    fn interrupted(&mut self) -> bool {
        while let Some(received) = self.signals.waiting() {
            self.defer(received);
        }
        self.interrupted_by.is_some()
    }

    /// Takes a signal that comes before there is a worker.
    fn defer(&mut self, received: Received) {
        let signal = received.signal;
        // As the kernel does with what waits: a SIGCONT and a stop take each other back (signal(7)).
        if signal == Signal::CONT {
            self.deferred.retain(|other| !other.signal.suspends());
        } else if signal.suspends() {
            self.deferred.retain(|other| other.signal != Signal::CONT);
        }
        if signal.terminates()
            && self.options.rewritten(signal).is_some_and(Signal::terminates)
            && !ignored_on_entry(signal.number())
        {
            self.interrupted_by.get_or_insert(signal);
        } else if signal != Signal::CHLD
            // Merged as the kernel merges them, which it does not with real-time ones.
            && (signal.is_real_time() || self.deferred.iter().all(|other| other.signal != signal))
        {
            self.deferred.push(received);
        }
    }

    /// Starts the worker, unless a signal has ended the run before.
    ///
    /// # Errors
    /// Why there is no worker.
    pub fn start(&mut self, command: &WorkerCommand) -> Result<Worker, NoWorker> {
        self.interrupted();
        if let Some(signal) = self.interrupted_by {
            return Err(NoWorker::Interrupted(signal));
        }
        self.terminal = Terminal::controlling();
        let given =
            self.terminal.as_ref().filter(|terminal| terminal.worker_starts_in_foreground());
        let worker = Worker::spawn(command, given.map(AsFd::as_fd), self.signals.blocked());
        worker.map_err(|failure| {
            // A child that could not be executed took it all the same.
            if let Some(terminal) = given {
                terminal.take_foreground();
            }
            NoWorker::NotStarted(failure)
        })
    }

    /// Stays with the worker until it ends or the watch condemns it, and asks what it leaves behind to end,
    /// too, where that is to be waited for.
    pub fn supervise(
        &mut self,
        worker: &Worker,
        companion: &mut dyn Companion,
        watch: &mut dyn Watch,
    ) -> (Exit, ExitStatus) {
        Named::Worker(worker.pid()).show();
        // SAFETY: whatever the shim opens closes on exec.
        #[allow(unsafe_code)]
        unsafe {
            descriptors::close_inherited(self.signals.descriptor());
        }
        log::let_signals_interrupt();
        let end = self.until_ended(worker, companion, watch);
        let status = end.status;
        if let Some(terminal) = &self.terminal {
            terminal.take_back(worker, status, self.last_forwarded);
        }
        death::warn_of(status, end.sent, self.terminal.is_some());
        self.remaining = Remaining::of(worker.pid(), &end, &self.options);
        if self.remaining.is_some() {
            Named::Ended.show();
        }
        (Exit::Worker(self.options.remapped(code_of(status))), status)
    }

    /// Forwards, reaps and looks until the worker has ended.
    fn until_ended(
        &mut self,
        worker: &Worker,
        companion: &mut dyn Companion,
        watch: &mut dyn Watch,
    ) -> End {
        let mut looks = Looks::new(watch.duration());
        let mut kill_at: Option<Instant> = None;
        let mut stop: Option<Stop> = None;
        let mut was_killed = false;
        let mut deferred = mem::take(&mut self.deferred).into_iter();
        loop {
            // Between every two signals, so that no storm of them delays the worker's end, and signals between
            // every two batches of deaths.
            // A group that has had its TERM is not asked twice: for many a worker that is an order to drop all.
            let was_asked = self.last_forwarded == Some(Signal::TERM);
            let scope = if was_asked { Scope::Worker } else { self.options.scope };
            let reaped = reap::drain(worker.pid(), scope, self.options.warn_on_reap);
            if let Some(status) = reaped.ended {
                let sent = if was_killed { Some(Signal::KILL) } else { self.last_forwarded };
                return End { status, sent, stop, is_childless: reaped.childless };
            }
            if let (Some(by), Some(terminal)) = (reaped.stopped, &self.terminal) {
                terminal.stop_as_well(by, worker);
            }
            if kill_at.is_some_and(|at| at <= Instant::now()) {
                kill_at = None;
                if worker.forward(Signal::KILL, self.options.scope) {
                    was_killed = true;
                    warn!("The worker has not ended within the stop timeout: killed it");
                }
            }
            if looks.condemn(watch) {
                return kill_all(worker.pid(), &mut self.signals);
            }
            let deadline = [kill_at, looks.next()].into_iter().flatten().min();
            let signals = &mut self.signals;
            let next = deferred.next().or_else(|| {
                if reaped.is_unfinished {
                    next_among_deaths(signals, companion)
                } else {
                    next_signal(signals, companion, deadline)
                }
            });
            match next {
                None | Some(Received { signal: Signal::CHLD, .. }) => {}
                Some(received) => {
                    if self.relay(received, worker) && stop.is_none() {
                        companion.drain();
                        kill_at = self.options.stop_timeout.map(|limit| Instant::now() + limit);
                        stop = Some(Stop { kill_at });
                    }
                }
            }
        }
    }

    /// Forwards a signal, or what is to be forwarded in its place, and tells whether the worker was
    /// asked to stop by it.
    fn relay(&mut self, received: Received, worker: &Worker) -> bool {
        let Received { signal, by_kernel } = received;
        let Some(forwarded) = self.options.rewritten(signal) else { return false };
        let mut scope = self.options.scope;
        if let Some(terminal) = &self.terminal {
            let reached_for = by_kernel && signal.is_about_the_foreground();
            if reached_for && terminal.has_foreground(worker.pid()) {
                // By another process of the shim's own job, such as a pager at the end of a pipe.
                terminal.take_foreground();
                terminal::signal_own_group(Signal::CONT);
                return false;
            }
            // After `fg` in the shell above the whole job goes on; and a key is for all processes in
            // the foreground.
            if forwarded == Signal::CONT || (by_kernel && terminal.is_in_foreground()) {
                scope = Scope::Group;
            }
            if forwarded == Signal::CONT && terminal.worker_starts_in_foreground() {
                terminal.give_foreground_to(worker.pid());
            }
        }
        worker.forward(forwarded, scope);
        self.last_forwarded = Some(forwarded);
        if signal.suspends() && !by_kernel && !self.signals.is_of_pid_1() {
            // As the worker would have been in the shim's place. The kernel lets no PID 1 stop; and a
            // SIGCONT that waits already would be lost with it (signal(7)).
            if !is_pending(Signal::CONT.number()) {
                let _ = kill(Pid::this(), Signal::STOP.number());
            }
        }
        signal.asks_to_end() || forwarded.asks_to_end()
    }

    /// Waits until what the worker has left behind has ended, as long as it is waited for, or until the
    /// shim is asked to end itself.
    pub fn outlast_descendants(&mut self) {
        if let Some(remaining) = self.remaining.take() {
            remaining.outlast(&mut self.signals, self.options.warn_on_reap);
        }
    }

    /// The same where it is a stop that goes on in it: what is below a shell finishes the worker's job.
    pub fn outlast_the_stop(&mut self) {
        if self.remaining.as_ref().is_some_and(Remaining::is_of_a_stop) {
            self.outlast_descendants();
        }
    }
}
