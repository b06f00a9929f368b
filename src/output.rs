//! Standard output: what a command was asked for, and nothing else.

use std::io::{self, ErrorKind, Write};

/// Prints the text, and tells whether its reader reads on. One that has seen enough, as `head` has, is
/// no failure.
///
/// # Errors
/// Standard output can't be written to.
pub fn print(text: &str) -> io::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}
