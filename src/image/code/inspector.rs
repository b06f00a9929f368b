//! The inspector: an inspection in a thread of its own.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use super::inspection::{Inspection, inspect};
use super::sealing::SealedCode;
use crate::system::signals::block_all;

/// An inspection in a thread of its own, so that a signal can end the run meanwhile.
#[derive(Debug)]
pub struct Inspector {
    done: UnixStream,
    thread: Option<JoinHandle<Inspection>>,
}

impl Inspector {
    /// Starts inspecting; `None` where there is no thread for it.
    pub fn start(code: SealedCode) -> Option<Self> {
        let (done, ends_with_the_thread) = UnixStream::pair().ok()?;
        let inspection = move || {
            block_all();
            let inspection = inspect(&code);
            drop(ends_with_the_thread);
            inspection
        };
        let thread = thread::Builder::new().name("inspector".into()).spawn(inspection);
        // Making the first thread has unblocked some of the caller's.
        block_all();
        Some(Self { done, thread: thread.ok() })
    }

    /// A descriptor that is readable once the inspection is over.
    pub fn done(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }

    /// What it has found; waits for its end.
    pub fn finish(self) -> Inspection {
        let inspection = self.thread.and_then(|thread| thread.join().ok());
        inspection.unwrap_or_else(|| Inspection::failed("the code could not be inspected"))
    }
}
