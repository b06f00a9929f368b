//! The least that a shim written in Rust can do: start the command, wait for it, end with its code.
#![allow(clippy::expect_used)]

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut line = std::env::args_os().skip(1);
    let program = line.next().expect("a command");
    let status = Command::new(program).args(line).status().expect("the command starts");
    ExitCode::from(status.code().and_then(|code| code.try_into().ok()).unwrap_or(255))
}
