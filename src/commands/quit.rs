//! What ends a command that people watch: the key q, or a signal.

use std::future::pending;
use std::io::{self, Read};
use std::os::unix::net::UnixStream as Pipe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::{emulate_default_handler, pipe};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use crate::system::terminal::Keyboard;

/// Comes back once somebody has pressed q; never where nobody can. A signal that ends a program does it
/// once the terminal is as it was.
///
/// # Errors
/// The kernel's.
pub async fn quit() -> io::Result<()> {
    let Some(keyboard) = Keyboard::open() else { return pending().await };
    let (mut signalled, last) = signals()?;
    let (press, pressed) = oneshot::channel();
    // A thread of its own, which waits for keys and for nothing else, and ends with the program.
    thread::Builder::new().spawn(move || {
        let is_q = |key: io::Result<u8>| matches!(key, Ok(b'q' | b'Q'));
        if io::stdin().lock().bytes().any(is_q) {
            let _ = press.send(());
        }
    })?;
    let never_if_closed = async {
        if pressed.await.is_err() {
            pending::<()>().await;
        }
    };
    tokio::select! {
        () = never_if_closed => {}
        _ = signalled.read_u8() => {
            drop(keyboard);
            emulate_default_handler(last.load(Ordering::Relaxed).try_into().unwrap_or(SIGTERM))?;
        }
    }
    Ok(())
}

/// What becomes readable when a signal has come that ends a program, and which it was.
fn signals() -> io::Result<(UnixStream, Arc<AtomicUsize>)> {
    let (ours, handlers) = Pipe::pair()?;
    let last = Arc::new(AtomicUsize::new(0));
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        let number = usize::try_from(signal).unwrap_or_default();
        signal_hook::flag::register_usize(signal, Arc::clone(&last), number)?;
        pipe::register(signal, handlers.try_clone()?)?;
    }
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, last))
}
