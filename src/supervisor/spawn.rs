//! Starting the worker: where its program is looked for, and what is said when it can't be run.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Pid, getpgid};
use thiserror::Error;
use tracing::warn;

use super::options::Scope;
use super::signal::Signal;
use crate::escape::Escape;
use crate::exit::Exit;
use crate::system::environment::Environment;
use crate::system::signals::{AllBlocked, kill};
use crate::system::spawn::{Program, SpawnErrno, spawn};

/// Where a worker is looked for when PATH is unset: the engine's own default.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What runs a script that has no `#!` line, as execvp(3) has it, on every libc.
const SHELL: &CStr = c"/bin/sh";

/// Why there is no worker.
#[derive(Debug, Error)]
pub enum SpawnError {
    #[error("The worker's process can't be made: {0}")]
    NoProcess(Errno),
    #[error("The worker {} is not found{}", Escape(command), searched.as_deref().unwrap_or_default())]
    NotFound { command: String, searched: Option<String> },
    #[error("The worker {} can't be executed: {errno}", Escape(path))]
    NotExecutable { path: String, errno: Errno },
    #[error(
        "The worker {} is there, but the interpreter or loader that it asks for is not",
        Escape(path)
    )]
    NoInterpreter { path: String },
}

impl SpawnError {
    /// How a run ends that has no worker.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoProcess(_) => Exit::Failed,
            Self::NotExecutable { .. } | Self::NoInterpreter { .. } => Exit::NotExecutable,
            Self::NotFound { .. } => Exit::NotFound,
        }
    }
}

/// What is executed as the worker.
#[derive(Debug)]
pub struct WorkerCommand {
    pub arguments: Vec<OsString>,
    /// What the shim was started with, and the sealed identity in it.
    pub environment: Environment,
}

/// The worker while it lives.
#[derive(Debug)]
pub struct Worker {
    pid: Pid,
}

impl Worker {
    /// Executes the command in a process group of its own, which takes the foreground of this terminal.
    ///
    /// # Errors
    /// Why it does not run; nothing is left behind.
    pub fn spawn(
        command: &WorkerCommand,
        foreground_of: Option<BorrowedFd>,
        blocked: &AllBlocked,
    ) -> Result<Self, SpawnError> {
        // argv holds no NUL byte, so none of it is lost here.
        let arguments: Vec<CString> = command
            .arguments
            .iter()
            .filter_map(|argument| CString::new(argument.as_bytes()).ok())
            .collect();
        let name = arguments.first().map(CString::as_bytes).unwrap_or_default();
        let path = command.environment.get("PATH").map(OsStr::as_bytes);
        let paths = candidates(name, path);
        let program = Program {
            paths: &paths,
            arguments: &arguments,
            environment: command.environment.entries(),
            own_group: true,
            foreground_of,
            mask: 0,
        };
        let spawned = match spawn(&program, blocked) {
            Err(SpawnErrno::Exec { path, errno: Errno::ENOEXEC }) => match paths.get(path) {
                Some(script) if is_text(script) => spawn_script(&program, script, blocked),
                _ => Err(SpawnErrno::Exec { path, errno: Errno::ENOEXEC }),
            },
            spawned => spawned,
        };
        match spawned {
            Ok(pid) => Ok(Self { pid }),
            Err(SpawnErrno::Fork(errno)) => Err(SpawnError::NoProcess(errno)),
            Err(SpawnErrno::Exec { path: index, errno }) => {
                Err(explain(&paths, index, errno, name, path))
            }
        }
    }

    /// The worker's pid, which is its process group's id, too.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal on, and tells whether that worked. Only between spawn and reap: later the pid is
    /// another's.
    pub fn forward(&self, signal: Signal, scope: Scope) -> bool {
        let sent = match scope {
            Scope::Worker => kill(self.pid, signal.number()),
            Scope::Group => self.forward_to_group(signal),
        };
        match sent {
            // ESRCH: it has ended and waits to be reaped.
            Ok(()) | Err(Errno::ESRCH) => true,
            Err(errno) => {
                warn!(signal = signal.number(), "{signal} can't be forwarded: {errno}");
                false
            }
        }
    }

    /// To all of the worker's group, and to the worker also when it has left that for another.
    fn forward_to_group(&self, signal: Signal) -> nix::Result<()> {
        let sent = kill(Pid::from_raw(-self.pid.as_raw()), signal.number());
        if getpgid(Some(self.pid)) == Ok(self.pid) {
            return sent;
        }
        kill(self.pid, signal.number())
    }
}

/// The paths to try for a command, in order: itself when it has a slash in it, else one for each
/// folder of PATH, where an empty one is the working directory; execvp(3).
fn candidates(name: &[u8], path: Option<&[u8]>) -> Vec<CString> {
    let paths: Vec<Vec<u8>> = if name.is_empty() || name.contains(&b'/') {
        vec![name.to_vec()]
    } else {
        let folders = path.unwrap_or(DEFAULT_PATH).split(|byte| *byte == b':');
        folders
            .map(|folder| match folder {
                b"" => [b"./", name].concat(),
                folder => [folder, b"/", name].concat(),
            })
            .collect()
    };
    paths.into_iter().filter_map(|path| CString::new(path).ok()).collect()
}

/// Whether a file that the kernel does not know how to execute is a script without a `#!` line, and
/// not a program for another machine.
fn is_text(path: &CString) -> bool {
    let mut beginning = Vec::new();
    let read = File::open(OsStr::from_bytes(path.as_bytes()))
        .and_then(|file| file.take(512).read_to_end(&mut beginning));
    read.is_ok() && !beginning.contains(&0)
}

fn spawn_script(
    program: &Program,
    script: &CString,
    blocked: &AllBlocked,
) -> Result<Pid, SpawnErrno> {
    let shell = [SHELL.to_owned()];
    let arguments: Vec<CString> = [SHELL.to_owned(), script.clone()]
        .into_iter()
        .chain(program.arguments.iter().skip(1).cloned())
        .collect();
    spawn(&Program { paths: &shell, arguments: &arguments, ..*program }, blocked)
}

fn explain(
    paths: &[CString],
    index: usize,
    errno: Errno,
    name: &[u8],
    path: Option<&[u8]>,
) -> SpawnError {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if matches!(errno, Errno::ENOENT | Errno::ENOTDIR) {
        // execve(2) answers ENOENT also for a script or program whose interpreter is missing.
        let there = |path: &&CString| {
            fs::metadata(Path::new(OsStr::from_bytes(path.as_bytes())))
                .is_ok_and(|found| found.is_file())
        };
        return match paths.iter().find(there) {
            Some(path) => SpawnError::NoInterpreter { path: lossy(path.as_bytes()) },
            None => SpawnError::NotFound {
                command: lossy(name),
                searched: (!name.contains(&b'/'))
                    .then(|| format!(" in PATH {}", Escape(&lossy(path.unwrap_or(DEFAULT_PATH))))),
            },
        };
    }
    let path = paths.get(index).map_or(name, |path| path.as_bytes());
    SpawnError::NotExecutable { path: lossy(path), errno }
}

#[cfg(test)]
mod tests {
    use super::candidates;

    fn tried(name: &str, path: Option<&str>) -> Vec<String> {
        candidates(name.as_bytes(), path.map(str::as_bytes))
            .into_iter()
            .map(|path| path.into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_command_with_a_slash_is_not_looked_for() {
        assert_eq!(tried("./w", Some("/bin")), ["./w"]);
        assert_eq!(tried("/app/w", Some("/bin")), ["/app/w"]);
    }

    #[test]
    fn each_folder_of_path_is_tried_in_order() {
        assert_eq!(tried("w", Some("/a:/b")), ["/a/w", "/b/w"]);
    }

    #[test]
    fn an_empty_folder_is_the_working_directory() {
        assert_eq!(tried("w", Some("/a::/b")), ["/a/w", "./w", "/b/w"]);
        assert_eq!(tried("w", Some("")), ["./w"]);
    }

    #[test]
    fn without_path_the_engines_default_is_searched() {
        assert_eq!(tried("w", None).first().unwrap(), "/usr/local/sbin/w");
    }

    #[test]
    fn an_empty_command_is_searched_nowhere() {
        assert_eq!(tried("", Some("/a")), [""]);
    }
}
