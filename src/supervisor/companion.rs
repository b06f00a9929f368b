//! What the supervisor says to those who use it, and what it asks of them.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::sighting::Sighting;
use super::signal::Signal;
use super::signals::{Received, Signals, Wake};
use super::spawn::SpawnError;

/// Who stands beside the supervisor while the worker lives.
pub trait Companion {
    /// A descriptor that is readable when there is something to be heard; `None` where there never is.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
    /// Hears it, and tells whether the worker is to be stopped.
    fn asks_to_stop(&mut self) -> bool;
    /// The worker was asked to stop.
    fn drain(&mut self);
}

/// The next signal, or the one that the companion stops the worker with; `None` when the deadline comes
/// first.
pub fn next_signal(
    signals: &mut Signals,
    companion: &mut dyn Companion,
    deadline: Option<Instant>,
) -> Option<Received> {
    let Some(descriptor) = companion.descriptor() else { return signals.next(deadline) };
    match signals.wait(Some(descriptor), deadline) {
        Wake::Signal => signals.waiting(),
        Wake::TimedOut => None,
        Wake::Ready => stop_of(companion),
    }
}

/// The same without a wait, and with no signal that tells of a death, of which there are enough at hand.
pub fn next_among_deaths(signals: &mut Signals, companion: &mut dyn Companion) -> Option<Received> {
    signals.waiting_among_deaths().or_else(|| {
        let mut ready = [PollFd::new(companion.descriptor()?, PollFlags::POLLIN)];
        let is_ready = poll(&mut ready, PollTimeout::ZERO) == Ok(1);
        is_ready.then(|| stop_of(companion))?
    })
}

fn stop_of(companion: &mut dyn Companion) -> Option<Received> {
    companion.asks_to_stop().then_some(Received { signal: Signal::TERM, by_kernel: false })
}

/// Who is shown what the worker becomes and starts, while it is young.
pub trait Watch {
    /// For how long from the worker's start; zero: not at all.
    fn duration(&self) -> Duration;
    /// Sees a process that is new or has executed another program, and tells whether all of them are to be
    /// killed for it.
    fn condemns(&mut self, sighting: &Sighting) -> bool;
}

/// Why there is no worker.
#[derive(Debug)]
pub enum NoWorker {
    /// This signal has ended the run before.
    Interrupted(Signal),
    NotStarted(SpawnError),
}
