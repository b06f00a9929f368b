//! A real redis-server of the test's own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use super::{Folder, eventually};

/// A running redis-server; killed when it goes out of scope.
pub struct Redis {
    child: Child,
    arguments: Vec<String>,
    folder: Arc<Folder>,
    clock: Option<PathBuf>,
    pub port: u16,
}

impl Redis {
    pub fn start() -> Self {
        Self::with::<&str>([])
    }

    /// With more arguments, as on redis-server's command line.
    pub fn with<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let arguments: Vec<String> =
            arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        // A free port can become somebody's before Redis has it.
        let mut tries = (0..5).map(|_| Self::launched(free_port(), arguments.clone(), None));
        tries.find_map(|mut redis| redis.answers().then_some(redis)).expect("redis-server")
    }

    /// On this port, which is free.
    pub fn on(port: u16, arguments: Vec<String>) -> Self {
        let mut redis = Self::launched(port, arguments, None);
        assert!(redis.answers(), "redis-server ended");
        redis
    }

    /// On a machine whose clock is this many seconds ahead of this one's.
    pub fn ahead(seconds: i64) -> Self {
        let mut redis = Self::launched(free_port(), Vec::new(), Some(seconds));
        assert!(redis.answers(), "redis-server ended");
        redis
    }

    fn launched(port: u16, arguments: Vec<String>, ahead: Option<i64>) -> Self {
        let folder = Arc::new(Folder::new());
        let clock = ahead.map(|seconds| clock_ahead(&folder, seconds));
        let child = launch(port, &folder, &arguments, clock.as_deref());
        Self { child, arguments, folder, clock, port }
    }

    /// Stops it, as a crash would.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, empty, where it was.
    pub fn restart(&mut self) {
        self.stop();
        self.child = launch(self.port, &self.folder, &self.arguments, self.clock.as_deref());
        assert!(self.answers(), "redis-server ended");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn socket(&self) -> String {
        self.folder.path("redis.sock").display().to_string()
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// What redis-cli prints, over the socket, without the last line end.
    pub fn cli<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        let output = Command::new("redis-cli")
            .args(["-s", &self.socket()])
            .args(arguments)
            .output()
            .expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
    }

    /// Waits until it answers, or until it has ended for want of its port.
    fn answers(&mut self) -> bool {
        // An answer of any kind: with a password it is an error.
        eventually("redis-server", || {
            let answered = !self.cli(["PING"]).is_empty();
            let ended = self.child.try_wait().expect("wait").is_some();
            (answered || ended).then_some(answered)
        })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

fn launch(port: u16, folder: &Folder, arguments: &[String], clock: Option<&Path>) -> Child {
    let folder_path = folder.path("");
    let mut command = Command::new("redis-server");
    if let Some(clock) = clock {
        command.env("LD_PRELOAD", clock);
    }
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--appendonly", "no", "--dir"])
        .arg(&folder_path)
        .arg("--unixsocket")
        .arg(folder.path("redis.sock"))
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server")
}

/// A library that tells a program a time that is this many seconds ahead. Packaged ones of this kind
/// don't get along with Redis's allocator.
fn clock_ahead(folder: &Folder, seconds: i64) -> PathBuf {
    let source = format!(
        "#define _GNU_SOURCE
        #include <sys/syscall.h>
        #include <time.h>
        #include <unistd.h>
        int clock_gettime(clockid_t id, struct timespec *t) {{
            int result = syscall(SYS_clock_gettime, id, t);
            if (id == CLOCK_REALTIME) t->tv_sec += {seconds};
            return result;
        }}
        int gettimeofday(void *place, void *zone) {{
            struct timespec t;
            int result = clock_gettime(CLOCK_REALTIME, &t);
            ((long *)place)[0] = t.tv_sec;
            ((long *)place)[1] = t.tv_nsec / 1000;
            return result;
        }}
        time_t time(time_t *place) {{
            struct timespec t;
            clock_gettime(CLOCK_REALTIME, &t);
            if (place) *place = t.tv_sec;
            return t.tv_sec;
        }}"
    );
    let source = folder.file("clock.c", source);
    let library = folder.path("clock.so");
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O", "-w", "-o"])
        .args([&library, &source])
        .output()
        .expect("cc");
    assert!(output.status.success(), "{output:?}");
    library
}

/// A port on which nobody listens. It stays the test's: the kernel gives ephemeral ports in turn.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
