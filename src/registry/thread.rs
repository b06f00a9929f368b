//! The registrar's thread: it owns everything that can block or fail on the way to Redis, shares one
//! channel with the supervisor, and never waits for children.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::Context;

use super::report::Report;
use super::standing::Standing;
use super::task::{DRAIN, EXECUTED, FIRST_PAUSE, MAX_PAUSE, START, Task, warn_that};
use crate::system::signals::block_all;

impl Task {
    /// Starts the thread, and gives the supervisor's end of the channel.
    ///
    /// # Errors
    /// The kernel's.
    pub fn start(self) -> anyhow::Result<UnixStream> {
        let (mut supervisors, registrars) =
            UnixStream::pair().context("no channel to the registrar")?;
        let started = thread::Builder::new()
            .name(Standing::FIRST_NAME.into())
            .spawn(move || self.run(registrars));
        // Making the first thread has unblocked some of the supervisor's.
        block_all();
        started.context("no thread for the registrar")?;
        supervisors.write_all(&[START]).context("no channel to the registrar")?;
        Ok(supervisors)
    }

    fn run(self, mut channel: UnixStream) {
        block_all();
        // Nothing outside hears of this run before the supervisor has all its signals blocked again.
        if channel.read_exact(&mut [0]).is_err() {
            return;
        }
        // A panic is logged as any other line, and the instance is registered anew: it must neither end
        // PID 1 nor fall silent. Nor must it where no descriptor is left for the runtime.
        let mut pause = FIRST_PAUSE;
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.serve_once(&channel))) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => self.tell_of(&error, &mut channel),
                Err(_) => {
                    // The first attempt is over, whatever came of it.
                    if !self.told.load(Ordering::Acquire) {
                        Report::Failed("by a fault of version-guard's own".into()).send(&channel);
                        self.told.store(true, Ordering::Release);
                    }
                    self.has_failed.set(true);
                }
            }
            Standing::Unregistered.show();
            if self.is_leaving.get() || self.is_told_to_leave(&mut channel, pause) {
                return;
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    fn serve_once(&self, channel: &UnixStream) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        channel.set_nonblocking(true)?;
        runtime.block_on(self.serve(channel))
    }

    /// Tells once that there is nothing to register with.
    fn tell_of(&self, error: &io::Error, channel: &mut UnixStream) {
        if self.has_failed.replace(true) {
            return;
        }
        let why = error.to_string();
        Report::Failed(why.clone()).send(channel);
        if self.told.swap(true, Ordering::AcqRel) {
            warn_that("is not registered", self.worker_type.as_str(), &self.redis(), &why);
        }
    }

    /// Waits, at most this long, for the supervisor to say that the worker has ended.
    fn is_told_to_leave(&self, channel: &mut UnixStream, limit: Duration) -> bool {
        let mut order = [0];
        let waited = channel
            .set_nonblocking(false)
            .and_then(|()| channel.set_read_timeout(Some(limit)))
            .and_then(|()| channel.read_exact(&mut order));
        match waited {
            Ok(()) if order == [DRAIN] => {
                self.client.drain();
                false
            }
            Ok(()) if order == [EXECUTED] => {
                self.hear_of_execution();
                false
            }
            Ok(()) => true,
            Err(error) => {
                !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
            }
        }
    }
}
