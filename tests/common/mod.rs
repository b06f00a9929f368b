//! The harness: the real binary, started as a user or an engine starts it, and watched from outside.
//!
//! Nothing here sleeps for a fixed time: what is waited for has a deadline and a reason.
pub mod redis;
pub mod sandbox;
pub mod terminal;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;

pub use redis::Redis;
pub use sandbox::Sandbox;

/// How long anything that should happen may take on a machine that is busy with other things.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The binary under test: `VERSION_GUARD_BIN` if it is set, else cargo's.
pub fn binary() -> PathBuf {
    std::env::var_os("VERSION_GUARD_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_version-guard")), PathBuf::from)
}

/// A fixture that was built as an example of this crate.
pub fn fixture(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_version-guard")).with_file_name("examples").join(name);
    assert!(path.exists(), "cargo test builds {}", path.display());
    path
}

/// A shim to be started: `version-guard run -- WORKER…` with an empty environment but for PATH.
#[derive(Clone)]
pub struct Shim {
    program: PathBuf,
    before_worker: Vec<OsString>,
    worker: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    sandbox: Option<Sandbox>,
    pid1: bool,
    wrapper: Vec<OsString>,
}

impl Shim {
    /// `version-guard run`, with the fixture worker doing `task`.
    pub fn run<S: AsRef<OsStr>>(task: impl IntoIterator<Item = S>) -> Self {
        Self::command("run").worker([fixture("worker").as_os_str().to_owned()]).arguments(task)
    }

    /// `version-guard COMMAND`, with nothing after it yet.
    pub fn command(command: &str) -> Self {
        Self::of(binary(), [command])
    }

    /// Another program in the shim's place, such as a faulty one that a test must find out.
    pub fn of<S: AsRef<OsStr>>(program: PathBuf, arguments: impl IntoIterator<Item = S>) -> Self {
        Self {
            program,
            before_worker: owned(arguments),
            worker: Vec::new(),
            environment: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
            sandbox: None,
            pid1: false,
            wrapper: Vec::new(),
        }
    }

    /// Options, which stand before the `--`.
    pub fn options<S: AsRef<OsStr>>(mut self, options: impl IntoIterator<Item = S>) -> Self {
        self.before_worker.extend(owned(options));
        self
    }

    /// Another worker than the fixture.
    pub fn worker<S: AsRef<OsStr>>(mut self, worker: impl IntoIterator<Item = S>) -> Self {
        self.worker = owned(worker);
        self
    }

    /// More arguments for the worker.
    pub fn arguments<S: AsRef<OsStr>>(mut self, more: impl IntoIterator<Item = S>) -> Self {
        self.worker.extend(owned(more));
        self
    }

    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let name = name.into();
        self.environment.retain(|(other, _)| *other != name);
        self.environment.push((name, value.into()));
        self
    }

    pub fn without_env(mut self, name: &str) -> Self {
        self.environment.retain(|(other, _)| other != name);
        self
    }

    /// A production image of this SHA.
    pub fn production(self, git_sha: &str) -> Self {
        self.env("NODE_ENV", "production").env("GIT_SHA", git_sha)
    }

    /// Registers as this type in this Redis.
    pub fn registers(self, worker_type: &str, url: impl Into<OsString>) -> Self {
        self.env("WORKER_TYPE", worker_type).env("REDIS_URL", url)
    }

    /// As PID 1 of a PID namespace of its own.
    pub fn pid1(mut self) -> Self {
        self.pid1 = true;
        self
    }

    /// In a mount namespace of its own, with other files in their places.
    pub fn inside(mut self, sandbox: Sandbox) -> Self {
        self.sandbox = Some(sandbox);
        self
    }

    /// Behind another program, such as `strace -o FILE`, that executes what follows it.
    pub fn behind<S: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = owned(wrapper);
        self
    }

    /// With redirections of the shell's, such as `2>&-`, which the worker inherits.
    pub fn redirected(self, redirections: &str) -> Self {
        self.behind(["sh", "-c", &format!("exec \"$@\" {redirections}"), "redirected"])
    }

    /// The whole command line, wrappers first, environment set and standard input empty.
    pub fn to_command(&self) -> Command {
        let mut line: Vec<OsString> = Vec::new();
        if let Some(sandbox) = &self.sandbox {
            line.extend(sandbox.wrapper());
        }
        if self.pid1 {
            line.extend(owned([
                "unshare",
                "--fork",
                "--pid",
                "--mount-proc",
                "--kill-child",
                "--",
            ]));
        }
        line.extend(self.wrapper.iter().cloned());
        line.push(self.program.clone().into());
        line.extend(self.before_worker.iter().cloned());
        if !self.worker.is_empty() {
            line.push("--".into());
            line.extend(self.worker.iter().cloned());
        }
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).env_clear().envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it.
    pub fn spawn(&self) -> Running {
        let mut command = self.to_command();
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Running::new(child, self.pid1)
    }

    /// Runs it to its end.
    pub fn output(&self) -> Ended {
        self.spawn().end()
    }

    /// Runs it to its end under strace(1), and tells which of these calls it and its worker made,
    /// one a line.
    pub fn traced(self, calls: &str) -> (Ended, String) {
        let folder = Folder::new();
        let trace = folder.file("trace", "");
        let strace = ["strace", "-f", "-qq", "-e", "signal=none", "-e", calls, "-o"];
        let ended = self.behind(owned(strace).into_iter().chain([trace.clone().into()])).output();
        (ended, fs::read_to_string(trace).expect("a trace"))
    }
}

fn owned<S: AsRef<OsStr>>(strings: impl IntoIterator<Item = S>) -> Vec<OsString> {
    strings.into_iter().map(|string| string.as_ref().to_owned()).collect()
}

/// How a shim ended, and everything it and its worker wrote.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; a death by signal s is -s, which no shim may show.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// From the start of the process to its end.
    pub took: Duration,
}

impl Ended {
    /// The lines on standard error that the shim wrote, without those that only say who runs.
    pub fn lines(&self) -> Vec<&str> {
        self.stderr.lines().collect()
    }
}

/// A shim that runs. Killed, with its PID namespace if it has one, when it goes out of scope.
pub struct Running {
    child: Child,
    pid1: bool,
    started: Instant,
    stdout: Stream,
    stderr: Stream,
}

impl Running {
    pub fn new(mut child: Child, pid1: bool) -> Self {
        let stdout = Stream::new(child.stdout.take());
        let stderr = Stream::new(child.stderr.take());
        Self { child, pid1, started: Instant::now(), stdout, stderr }
    }

    /// The shim's pid, as this process sees it.
    pub fn pid(&self) -> i32 {
        let child = i32::try_from(self.child.id()).expect("a pid");
        if self.pid1 { eventually("the PID 1", || children(child).first().copied()) } else { child }
    }

    /// The pid of the shim's first child, the worker.
    pub fn worker_pid(&self) -> i32 {
        let shim = self.pid();
        eventually("a worker", || children(shim).first().copied())
    }

    /// Sends a signal to the shim.
    pub fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    /// The next line that the worker writes.
    pub fn line(&mut self) -> String {
        self.stdout.line().unwrap_or_else(|| {
            panic!("standard output ended; standard error: {}", self.stderr.rest())
        })
    }

    /// Waits for a line of the worker's.
    pub fn expect_line(&mut self, expected: &str) {
        assert_eq!(self.line(), expected);
    }

    /// Waits for a line of the shim's that contains this, and returns it.
    pub fn expect_log(&mut self, part: &str) -> String {
        loop {
            let line = self.stderr.line().unwrap_or_else(|| panic!("no line with {part:?}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let status = eventually("the shim's end", || self.child.try_wait().expect("wait"));
        let took = self.started.elapsed();
        let code = status.code().unwrap_or_else(|| -status.signal().expect("a signal"));
        Ended { code, stdout: self.stdout.rest(), stderr: self.stderr.rest(), took }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines of a pipe, read by a thread so that a deadline can be kept.
struct Stream {
    lines: Receiver<String>,
    seen: String,
}

impl Stream {
    fn new(pipe: Option<impl Read + Send + 'static>) -> Self {
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(
                pipe.into_iter()
                    .fold(Box::new(std::io::empty()) as Box<dyn Read + Send>, |_, pipe| {
                        Box::new(pipe)
                    }),
            );
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Self { lines, seen: String::new() }
    }

    fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => {
                self.seen.push_str(&line);
                Some(line.trim_end_matches('\n').to_owned())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                panic!("no line in time; so far: {}", self.seen)
            }
        }
    }

    /// Everything, from the beginning to the end of the pipe.
    fn rest(&mut self) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push_str(&line),
                Err(mpsc::RecvTimeoutError::Disconnected) => return self.seen.clone(),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    panic!("the pipe stays open: {}", self.seen)
                }
            }
        }
    }
}

/// Asks until there is an answer, or the deadline is over.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The children of a process, oldest first; proc(5).
pub fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect()
}

/// Sends a signal by number; libc's own numbers, too.
pub fn kill(pid: i32, signal: i32) {
    assert!(pid > 0, "never a group, never everybody");
    // SAFETY: no memory is passed.
    #[allow(unsafe_code)]
    let result = unsafe { libc::kill(pid, signal) };
    assert_eq!(result, 0, "kill {pid} with {signal}: {}", std::io::Error::last_os_error());
}

/// A field of /proc/PID/status, or `None` when the process is gone.
pub fn status_field(pid: i32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// An empty folder of this test's own, removed when it goes out of scope.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "version-guard-test-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder for the test");
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a file for the test");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether a file is there yet, for a worker that leaves one behind.
pub fn left_behind(path: &Path) -> bool {
    File::open(path).is_ok()
}
