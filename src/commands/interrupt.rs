//! How the commands end on a signal that supervise nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::system::signals;

/// Lets the signals that people stop a program with end this one as PID 1, too: the kernel spares PID 1
/// those that it has no handler for.
///
/// # Errors
/// The kernel's.
pub fn end_on_signals() -> io::Result<()> {
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        if std::process::id() == 1 && !signals::ignored_on_entry(signal) {
            let always = Arc::new(AtomicBool::new(true));
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, always)?;
        }
    }
    signals::let_signals_end_it();
    Ok(())
}
