//! Starting the worker: where its program is looked for, and what is said when it can't be run.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Pid, chdir, fchdir, getpgid};
use thiserror::Error;
use tracing::warn;

use super::diagnosis::cause;
use super::options::Scope;
use super::signal::Signal;
use crate::escape::Escape;
use crate::exit::Exit;
use crate::system::descriptors::open;
use crate::system::environment::Environment;
use crate::system::signals::{AllBlocked, blocked_on_entry, kill};
use crate::system::spawn::{Program, SpawnErrno, spawn};

/// Where a worker is looked for when PATH is unset: the engine's own default.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What runs a script that has no `#!` line, as execvp(3) has it, on every libc.
const SHELL: &CStr = c"/bin/sh";

/// Why there is no worker.
#[derive(Debug, Error)]
pub enum SpawnError {
    #[error("The worker's process can't be made: {0}{hint}", hint = if_limited(*.0))]
    NoProcess(Errno),
    #[error("The worker's command is an empty word, as of a variable in the CMD that is not set")]
    Empty,
    #[error(
        "The worker {} is not found{}{}",
        Escape(command),
        searched.as_deref().unwrap_or_default(),
        if command.trim().contains(char::is_whitespace) { ONE_STRING } else { "" }
    )]
    NotFound { command: String, searched: Option<String> },
    #[error("The worker {} can't be executed: {errno}{cause}", Escape(path))]
    NotExecutable { path: String, errno: Errno, cause: String },
    #[error(
        "The worker {} is there, but the interpreter or loader that it asks for is not{cause}",
        Escape(path)
    )]
    NoInterpreter { path: String, cause: String },
}

fn if_limited(errno: Errno) -> &'static str {
    match errno {
        Errno::EAGAIN => ". A limit of processes is reached (--pids-limit, pids.max, RLIMIT_NPROC)",
        _ => "",
    }
}

/// The usual cause of a name with blanks in it.
const ONE_STRING: &str = ". It is one string with blanks in it: write command and arguments apart, as [\"node\", \"dist/worker.js\"], or let a shell read it: [\"sh\", \"-c\", \"…\"]";

impl SpawnError {
    /// How a run ends that has no worker.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoProcess(_) => Exit::Failed,
            Self::NotExecutable { .. } | Self::NoInterpreter { .. } => Exit::NotExecutable,
            Self::Empty | Self::NotFound { .. } => Exit::NotFound,
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
        let pid_variables = naming_the_shim(&command.environment);
        let program = Program {
            paths: &paths,
            arguments: &arguments,
            environment: command.environment.entries(),
            own_group: true,
            foreground_of,
            mask: blocked_on_entry(),
            directory: None,
            pid_variables: &pid_variables,
        };
        let spawned = match spawn_from_root(&program, blocked) {
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
                let remedy = match errno {
                    Errno::EPERM => {
                        ". The worker runs as another user: give the container the capability KILL, or start it as that user"
                    }
                    _ => "",
                };
                warn!(signal = signal.number(), "{signal} can't be forwarded: {errno}{remedy}");
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

/// Asks what is left of a worker's group to end, once the worker has and before it is reaped.
pub fn end_group(worker: Pid) {
    let _: nix::Result<()> = kill(Pid::from_raw(-worker.as_raw()), Signal::TERM.number());
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
/// not a program for another machine, or a script whose interpreter is one.
fn is_text(path: &CStr) -> bool {
    let mut beginning = Vec::new();
    let read =
        File::open(as_path(path)).and_then(|file| file.take(512).read_to_end(&mut beginning));
    read.is_ok() && !beginning.contains(&0) && !beginning.starts_with(b"#!")
}

/// Variables by which a service manager tells a process that it is meant: sd_listen_fds(3),
/// sd_watchdog_enabled(3). Where they name the shim, they are to name the worker.
fn naming_the_shim(environment: &Environment) -> Vec<&'static str> {
    let is_own = |name: &&str| {
        environment.get(name).is_some_and(|pid| *pid == *std::process::id().to_string())
    };
    ["LISTEN_PID", "WATCHDOG_PID"].into_iter().filter(is_own).collect()
}

/// Starts the program in the directory that the shim was started in, and leaves that for the root
/// directory before the program's first instruction: the shim's own directory pins no mount. Where no
/// program runs, the shim stays where it was.
fn spawn_from_root(program: &Program, blocked: &AllBlocked) -> Result<Pid, SpawnErrno> {
    let Ok(directory) = open(c".", OFlag::O_PATH | OFlag::O_DIRECTORY) else {
        // A directory that may not be entered can't be come back to either.
        let spawned = spawn(program, blocked);
        return spawned.inspect(|_| {
            let _ = chdir(c"/");
        });
    };
    let _ = chdir(c"/");
    spawn(&Program { directory: Some(directory.as_fd()), ..*program }, blocked).inspect_err(|_| {
        let _ = fchdir(directory);
    })
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
    spawn_from_root(&Program { paths: &shell, arguments: &arguments, ..*program }, blocked)
}

fn as_path(path: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(path.to_bytes()))
}

fn explain(
    paths: &[CString],
    index: usize,
    errno: Errno,
    name: &[u8],
    path: Option<&[u8]>,
) -> SpawnError {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if name.is_empty() {
        return SpawnError::Empty;
    }
    if matches!(errno, Errno::ENOENT | Errno::ENOTDIR) {
        // execve(2) answers ENOENT also for a script or program whose interpreter is missing.
        let there =
            |path: &&CString| fs::metadata(as_path(path)).is_ok_and(|found| found.is_file());
        return match paths.iter().find(there) {
            Some(path) => SpawnError::NoInterpreter {
                path: lossy(path.as_bytes()),
                cause: cause(as_path(path), errno),
            },
            None => SpawnError::NotFound {
                command: lossy(name),
                searched: (!name.contains(&b'/'))
                    .then(|| format!(" in PATH {}", Escape(&lossy(path.unwrap_or(DEFAULT_PATH))))),
            },
        };
    }
    let path = paths.get(index).map_or(name, |path| path.as_bytes());
    let cause = cause(Path::new(OsStr::from_bytes(path)), errno);
    SpawnError::NotExecutable { path: lossy(path), errno, cause }
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
