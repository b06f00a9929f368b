//! What a worker command executes, by the files and the variables of the container.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::guard::{Reading, read};
use crate::system::environment::Environment;

/// Reads a command as it would be executed here and now.
pub fn read_command(command: &[OsString], environment: &Environment) -> Reading {
    let folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    read(command, environment, &folder)
}
