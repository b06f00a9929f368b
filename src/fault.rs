//! What a panic comes to, a fault of this program's own: a line, and the end of the process, or of the one
//! thread whose end nobody else is to feel. Nothing is unwound, and no tables for it are in the binary.

use std::cell::Cell;
use std::panic::{PanicHookInfo, set_hook};
use std::{process, thread};

use tracing::error;

use crate::escape::Escape;
use crate::exit::Exit;
use crate::log::{self, LogFormat, LogLevel, leave_out_this_thread};
use crate::system::terminal::give_back;

type LastWords = Box<dyn FnOnce()>;

thread_local! {
    static LAST_WORDS: Cell<Option<LastWords>> = const { Cell::new(None) };
}

/// From now on a panic is a line, and ends the process with the exit code of a failure.
pub fn init() {
    set_hook(Box::new(|panic| {
        tell_of(panic);
        end();
    }));
}

/// From now on a panic in the thread that calls this ends that thread alone, after these last words. What it
/// holds, memory, locks, descriptors and its place among the processes, it holds for good.
pub fn confine(last_words: impl FnOnce() + 'static) {
    leave_out_this_thread();
    LAST_WORDS.set(Some(Box::new(last_words)));
}

fn tell_of(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let message = panic.payload_as_str().unwrap_or("no message");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let name = thread.name().unwrap_or("without a name");
    // Without effect once the log is there.
    log::init(LogFormat::default(), LogLevel::default());
    error!("The thread {name} panicked at {place}: {}", Escape(message));
}

#[allow(clippy::exit)]
fn end() -> ! {
    let Some(last_words) = LAST_WORDS.try_with(Cell::take).ok().flatten() else {
        give_back();
        process::exit(Exit::Failed.code().into());
    };
    last_words();
    loop {
        thread::park();
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::{self, Command, Output};
    use std::sync::mpsc::channel;
    use std::thread;

    use super::{confine, init};

    const IN_A_PROCESS_OF_ITS_OWN: &str = "FAULT_IN_A_PROCESS_OF_ITS_OWN";

    /// Runs a test of this module again, alone, in a process of its own, which has the hook.
    fn alone(test: &str) -> Option<Output> {
        if env::var_os(IN_A_PROCESS_OF_ITS_OWN).is_some() {
            init();
            return None;
        }
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", &format!("fault::tests::{test}"), "--nocapture"]);
        Some(command.env(IN_A_PROCESS_OF_ITS_OWN, "yes").output().unwrap())
    }

    #[allow(clippy::exit)]
    #[test]
    fn a_panic_in_a_confined_thread_ends_that_thread_alone_after_its_last_words() {
        let name = "a_panic_in_a_confined_thread_ends_that_thread_alone_after_its_last_words";
        if let Some(output) = alone(name) {
            assert_eq!(output.status.code(), Some(7), "{output:?}");
            return;
        }
        let (sender, words) = channel();
        let confined = thread::spawn(move || {
            confine(move || sender.send("last words").unwrap());
            panic!("for a test");
        });
        assert_eq!(words.recv(), Ok("last words"));
        assert!(!confined.is_finished());
        // The harness would change the hook, for which it waits for the one that goes on for ever.
        process::exit(7);
    }

    #[test]
    fn a_panic_in_any_other_thread_ends_the_process() {
        if let Some(output) = alone("a_panic_in_any_other_thread_ends_the_process") {
            assert_eq!(output.status.code(), Some(125), "{output:?}");
            return;
        }
        confine(|| ());
        let _ = thread::spawn(|| panic!("for a test")).join();
    }
}
