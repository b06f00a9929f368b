//! The registrar's thread: it owns everything that can block or fail on the way to Redis, shares one
//! channel with the supervisor, and never waits for children.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tracing::warn;

use super::report::Report;
use super::standing::Standing;
use super::task::{DRAIN, EXECUTED, FIRST_PAUSE, MAX_PAUSE, START, Task, warn_that};
use crate::fault;
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
        let channel = Arc::new(channel);
        self.confine(Arc::clone(&channel));
        // Without a descriptor for the runtime there is one later, maybe.
        let mut pause = FIRST_PAUSE;
        loop {
            match self.serve_once(&channel) {
                Ok(()) => return,
                Err(error) => self.tell_of(&error, &channel),
            }
            Standing::Unregistered.show();
            if self.is_leaving.get() || self.is_told_to_leave(&channel, pause) {
                return;
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Has a panic end this thread, and neither PID 1 nor the supervisor's patience at the worker's end.
    fn confine(&self, channel: Arc<UnixStream>) {
        let (worker_type, redis) = (self.worker_type.as_str().to_owned(), self.redis());
        let told = Arc::clone(&self.told);
        fault::confine(move || {
            Standing::show_end();
            told.store(true, Ordering::Release);
            let _ = channel.shutdown(Shutdown::Both);
            warn!(
                worker_type,
                redis,
                "{worker_type} is not kept registered in Redis at {redis}: version-guard has a fault. It runs all the same",
            );
        });
    }

    fn serve_once(&self, channel: &UnixStream) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        channel.set_nonblocking(true)?;
        runtime.block_on(self.serve(channel))
    }

    /// Tells once that there is nothing to register with.
    fn tell_of(&self, error: &io::Error, channel: &UnixStream) {
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
    fn is_told_to_leave(&self, mut channel: &UnixStream, limit: Duration) -> bool {
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
