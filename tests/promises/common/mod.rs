//! The harness: the real binary, started as a user or an engine starts it, and watched from outside.
//!
//! Nothing here sleeps for a fixed time: what is waited for has a deadline and a reason.
pub mod chaos;
pub mod cluster;
pub mod dns;
pub mod image;
pub mod net;
pub mod proxy;
pub mod redis;
pub mod sandbox;
pub mod servers;
pub mod terminal;

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use tempfile::TempDir;

pub use cluster::{Address, Cluster};
pub use net::Server;
pub use redis::Redis;
pub use sandbox::Sandbox;

/// A commit.
pub const SHA: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678";
/// Another one.
pub const OTHER: &str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";
/// When an image was built.
pub const DATE: &str = "2026-01-08T12:00:00Z";

/// How long anything that should happen may take on a machine that is busy with other things.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The same for a faulty shim, where the check is meant to wait in vain.
const IN_VAIN: Duration = Duration::from_secs(5);

/// The binary under test: `VERSION_GUARD_BIN` if it is set, else cargo's.
pub fn binary() -> PathBuf {
    std::env::var_os("VERSION_GUARD_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_version-guard")), PathBuf::from)
}

/// What executes the binary where it is made for another processor: `VERSION_GUARD_EMULATOR`, such as
/// `/usr/bin/qemu-aarch64`. The worker is this machine's own all the same.
fn emulator() -> Option<OsString> {
    std::env::var_os("VERSION_GUARD_EMULATOR")
}

/// Says that the calling test can't run on this machine, and why; the test then returns.
/// `tests/run.sh` counts it as skipped, by name, and fails for it where `CI=true`.
pub fn skip(why: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    println!("skipped: {test} ({why})");
    if let Some(list) = std::env::var_os("VERSION_GUARD_SKIPPED") {
        let mut list = File::options().append(true).create(true).open(list).expect("the list");
        list.write_all(format!("{test} ({why})\n").as_bytes()).expect("the list");
    }
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
    patience: Duration,
}

impl Shim {
    /// `version-guard run`, with the fixture worker doing `task`.
    pub fn run<S: AsRef<OsStr>>(task: impl IntoIterator<Item = S>) -> Self {
        Self::command("run").task(task)
    }

    /// A shim with this fault, which a check is to find out; see fixtures/faulty_shim.rs.
    pub fn faulty(fault: &str) -> Self {
        Self { patience: IN_VAIN, ..Self::of(fixture("faulty_shim"), [fault]) }
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
            patience: DEADLINE,
        }
    }

    /// The worker alone, started just as the shim would be.
    pub fn without_shim(&self) -> Self {
        let mut line = self.worker.iter().cloned();
        let program = line.next().expect("a worker").into();
        Self { program, before_worker: line.collect(), worker: Vec::new(), ..self.clone() }
    }

    /// The fixture worker, doing this.
    pub fn task<S: AsRef<OsStr>>(self, task: impl IntoIterator<Item = S>) -> Self {
        self.worker([fixture("worker")]).arguments(task)
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

    /// The worker, and before it tsx on a condition that only an execution can tell: for the tsx guard
    /// uncompiled code; for whoever runs it, the worker alone.
    pub fn or_tsx(self) -> Self {
        let worker = self.worker.clone();
        self.worker(["sh", "-c", "[ -z \"$$\" ] && exec tsx src/worker.ts; exec \"$0\" \"$@\""])
            .arguments(worker)
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

    /// Behind another program, such as `strace -o FILE`, that executes what follows it; more than
    /// one are executed in this order.
    pub fn behind<S: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.wrapper.extend(owned(wrapper));
        self
    }

    /// With redirections of the shell's, such as `2>&-`, which the worker inherits.
    pub fn redirected(self, redirections: &str) -> Self {
        self.behind(["sh", "-c", &format!("exec \"$@\" {redirections}"), "redirected"])
    }

    /// Under such conditions as `ignore:13`; see fixtures/under.rs.
    pub fn under<S: AsRef<OsStr>>(self, conditions: impl IntoIterator<Item = S>) -> Self {
        self.behind([fixture("under")]).behind(conditions).behind(["--"])
    }

    /// Whether it is to be PID 1.
    pub fn has_pid1(&self) -> bool {
        self.pid1
    }

    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// With other patience than the usual, for more work than usual.
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
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
        line.extend(emulator().filter(|_| self.program == binary()));
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
        Running::start(&mut self.to_command(), self.pid1).with(self.patience)
    }

    /// Starts it, and waits until its worker says that it is ready.
    pub fn ready(&self) -> Running {
        let mut running = self.spawn();
        running.expect_line("ready");
        running
    }

    /// Starts it with a pipe for its standard input, which the worker waits for the end of.
    pub fn spawn_with_stdin(&self) -> (Running, ChildStdin) {
        let mut running = Running::start(self.to_command().stdin(Stdio::piped()), self.pid1);
        let stdin = running.child.stdin.take().expect("a pipe");
        (running, stdin)
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
    /// The lines on standard error. An emulator makes no subreaper, which is the machine's affair.
    pub fn lines(&self) -> Vec<&str> {
        let is_of_the_machine =
            |line: &&str| emulator().is_some() && line.contains("a subreaper: orphans go");
        self.stderr.lines().filter(|line| !is_of_the_machine(line)).collect()
    }
}

/// A shim that runs. Killed, with its PID namespace if it has one, when it goes out of scope.
pub struct Running {
    child: Child,
    pid1: bool,
    pid: OnceCell<i32>,
    started: Instant,
    patience: Duration,
    stdout: Stream,
    stderr: Stream,
}

impl Running {
    pub fn start(command: &mut Command, pid1: bool) -> Self {
        let started = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = Stream::new(child.stdout.take());
        let stderr = Stream::new(child.stderr.take());
        Self { child, pid1, pid: OnceCell::new(), started, patience: DEADLINE, stdout, stderr }
    }

    /// The shim's pid, as this process sees it.
    pub fn pid(&self) -> i32 {
        self.try_pid().unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// The same, or why there is none: as PID 1 it may have ended, and taken its pid along, before
    /// anybody asked.
    pub fn try_pid(&self) -> Result<i32, String> {
        if let Some(pid) = self.pid.get() {
            return Ok(*pid);
        }
        let child = i32::try_from(self.child.id()).expect("a pid");
        let pid = if self.pid1 { self.first_child(child, "the PID 1")? } else { child };
        Ok(*self.pid.get_or_init(|| pid))
    }

    /// The pid of the shim's first child, the worker.
    pub fn worker_pid(&self) -> i32 {
        self.try_worker_pid().unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// The same of a shim that may have ended too early.
    pub fn try_worker_pid(&self) -> Result<i32, String> {
        self.first_child(self.try_pid()?, "a worker")
    }

    fn first_child(&self, parent: i32, what: &str) -> Result<i32, String> {
        self.within(what, || match children(parent).first() {
            Some(child) => Some(Ok(*child)),
            None if has_ended(parent) => Some(Err(format!("{what}: its parent has ended"))),
            None => None,
        })?
    }

    /// Sends a signal to the shim.
    pub fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    /// The same to a shim that may have ended too early.
    pub fn try_signal(&self, signal: i32) -> Result<(), String> {
        try_kill(self.try_pid()?, signal)
    }

    /// The next line that the worker writes.
    pub fn line(&mut self) -> String {
        self.try_line().unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// A line that the worker has already written, or `None`.
    pub fn line_at_once(&mut self) -> Option<String> {
        self.stdout.line_at_once()
    }

    /// The same, or why there is none.
    pub fn try_line(&mut self) -> Result<String, String> {
        match self.stdout.line(self.patience)? {
            Some(line) => Ok(line),
            None => Err(format!("standard output ended; standard error: {}", self.stderr.rest()?)),
        }
    }

    /// Waits for a line of the worker's.
    pub fn expect_line(&mut self, expected: &str) {
        assert_eq!(self.line(), expected);
    }

    /// Waits for a line of the shim's that contains this, and returns it.
    pub fn expect_log(&mut self, part: &str) -> String {
        loop {
            let line = self.stderr.line(self.patience).unwrap_or_else(|reason| panic!("{reason}"));
            let line = line.unwrap_or_else(|| panic!("no line with {part:?}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Waits, as closely as can be, until the shim has run its first instructions: from then on the
    /// kernel keeps or delivers a SIGTERM, and does not drop it or kill by itself. Beside a worker it waits
    /// for signals, and then the kernel does not show which are blocked; sigtimedwait(2).
    pub fn armed(&self) {
        let shim = i32::try_from(self.child.id()).expect("a pid");
        let deadline = Instant::now() + DEADLINE;
        loop {
            let pid = if self.pid1 { children(shim).first().copied() } else { Some(shim) };
            // unshare itself blocks it for a moment between its fork and its exec.
            let executed =
                pid.and_then(|pid| status_field(pid, "Name")).is_some_and(|name| name != "unshare");
            let holds = |field| {
                let set = pid.and_then(|pid| status_field(pid, field)).unwrap_or_default();
                u64::from_str_radix(&set, 16).is_ok_and(|set| set & 1 << (libc::SIGTERM - 1) != 0)
            };
            let supervises = || pid.is_some_and(|pid| !children(pid).is_empty());
            if executed && (holds("SigBlk") || holds("SigCgt") || supervises()) {
                return;
            }
            assert!(Instant::now() < deadline, "SIGTERM is neither blocked nor caught");
        }
    }

    /// Waits until the shim has closed its own copy of this descriptor, which the worker keeps.
    pub fn has_closed(&self, descriptor: i32) {
        let copy = format!("/proc/{}/fd/{descriptor}", self.pid());
        eventually("a closed copy", || fs::read_link(&copy).is_err().then_some(()));
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        self.try_end().unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// The same, or what does not end.
    pub fn try_end(&mut self) -> Result<Ended, String> {
        let status = within(self.patience, "the shim's end", || self.child.try_wait().ok()?)?;
        let took = self.started.elapsed();
        let code = status.code().unwrap_or_else(|| -status.signal().expect("a signal"));
        Ok(Ended { code, stdout: self.stdout.rest()?, stderr: self.stderr.rest()?, took })
    }

    /// How long anything that should happen may take.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    pub fn with(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Asks as long as this shim may take.
    pub fn within<T>(&self, what: &str, ask: impl FnMut() -> Option<T>) -> Result<T, String> {
        within(self.patience, what, ask)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.pid1 && matches!(self.child.try_wait(), Ok(None)) {
            // A namespace dies with its PID 1; elsewhere the worker would stay, also one that is just
            // being started.
            let shim = i32::try_from(self.child.id()).expect("a pid");
            let _ = try_kill(shim, libc::SIGSTOP);
            eventually("a stopped shim", || {
                let state = status_field(shim, "State")?;
                state.starts_with(['T', 'Z', 't']).then_some(())
            });
            for worker in children(shim) {
                let _ = try_kill(worker, libc::SIGKILL);
            }
        }
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

    fn line(&mut self, patience: Duration) -> Result<Option<String>, String> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => {
                self.seen.push_str(&line);
                Ok(Some(line.trim_end_matches('\n').to_owned()))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Ok(None),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(format!("no line in time; so far: {}", self.seen))
            }
        }
    }

    fn line_at_once(&mut self) -> Option<String> {
        let line = self.lines.try_recv().ok()?;
        self.seen.push_str(&line);
        Some(line.trim_end_matches('\n').to_owned())
    }

    /// Everything, from the beginning to the end of the pipe.
    fn rest(&mut self) -> Result<String, String> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push_str(&line),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(self.seen.clone()),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(format!("the pipe stays open: {}", self.seen));
                }
            }
        }
    }
}

/// Asks until there is an answer, or the deadline is over.
pub fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, what, ask).unwrap_or_else(|reason| panic!("{reason}"))
}

/// Asks until there is an answer, at most this long.
pub fn within<T>(
    patience: Duration,
    what: &str,
    mut ask: impl FnMut() -> Option<T>,
) -> Result<T, String> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            return Err(format!("{what}: not within {patience:?}"));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// What a check says of one thing that must hold.
pub fn holds(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise()) }
}

/// Asserts that a check has found a fault, and for the reason that was expected; an empty one where
/// several consequences of the fault race.
pub fn found_out(verdict: Result<(), String>, reason: &str) {
    let found = verdict.expect_err("the check sees nothing wrong with a faulty shim");
    assert!(found.contains(reason), "found, but for another reason: {found}");
}

/// A server that accepts and says nothing, and its URL: a shim that registers there is caught while
/// it does.
pub fn silent_server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("redis://{}", listener.local_addr().expect("an address"));
    (listener, url)
}

/// The children of a process, oldest first; proc(5).
pub fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect()
}

/// Whether a process has ended, reaped or not.
pub fn has_ended(pid: i32) -> bool {
    status_field(pid, "State").is_none_or(|state| state.starts_with('Z'))
}

/// Sends a signal by number; libc's own numbers, too.
pub fn kill(pid: i32, signal: i32) {
    try_kill(pid, signal).unwrap_or_else(|reason| panic!("{reason}"));
}

/// The same to a process that may be gone.
pub fn try_kill(pid: i32, signal: i32) -> Result<(), String> {
    assert!(pid > 0, "never a group, never everybody");
    // SAFETY: no memory is passed.
    #[allow(unsafe_code)]
    let result = unsafe { libc::kill(pid, signal) };
    let error = std::io::Error::last_os_error();
    holds(result == 0, || format!("kill {pid} with {signal}: {error}"))
}

/// A field of /proc/PID/status, or `None` when the process is gone.
pub fn status_field(pid: i32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// An empty folder of this test's own, removed when it goes out of scope.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(TempDir::with_prefix("version-guard-test-").expect("a folder for the test"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a file for the test");
        path
    }

    /// An executable copy with this mode. Made by another process: what this one holds open for
    /// writing while another thread forks can't be executed (ETXTBSY of execve(2)).
    pub fn program(&self, name: &str, original: &Path, mode: &str) -> PathBuf {
        let path = self.path(name);
        let installed =
            Command::new("install").args(["-m", mode, "--"]).arg(original).arg(&path).status();
        assert!(installed.expect("install").success(), "{}", path.display());
        path
    }
}

/// Whether a file is there yet, for a worker that leaves one behind.
pub fn left_behind(path: &Path) -> bool {
    File::open(path).is_ok()
}
