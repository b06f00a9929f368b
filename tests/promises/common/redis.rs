//! A real redis-server of the test's own.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use super::{Folder, eventually};

/// A running redis-server; killed when it goes out of scope.
pub struct Redis {
    program: PathBuf,
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
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        Self::on(free_port(), arguments.collect())
    }

    /// On this port, which is free.
    pub fn on(port: u16, arguments: Vec<String>) -> Self {
        Self::launched("redis-server".into(), port, arguments, None)
    }

    /// Another program than the machine's redis-server, such as that of another version.
    pub fn of<S: AsRef<str>>(program: PathBuf, arguments: impl IntoIterator<Item = S>) -> Self {
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        Self::launched(program, free_port(), arguments.collect(), None)
    }

    /// On a machine whose clock is this many seconds ahead of this one's.
    pub fn ahead(seconds: i64) -> Self {
        Self::launched("redis-server".into(), free_port(), Vec::new(), Some(seconds))
    }

    fn launched(program: PathBuf, port: u16, arguments: Vec<String>, ahead: Option<i64>) -> Self {
        let folder = Arc::new(Folder::new());
        let clock = ahead.map(|seconds| clock_ahead(&folder, seconds));
        let child = launch(&program, port, &folder, &arguments, clock.as_deref());
        let mut redis = Self { program, child, arguments, folder, clock, port };
        redis.becomes_ready();
        redis
    }

    /// Stops it, as a crash would.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, empty, where it was.
    pub fn restart(&mut self) {
        self.stop();
        self.child = self.launch();
        self.becomes_ready();
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

    /// Sends many commands at once, a line each.
    pub fn pipe(&self, commands: &str) {
        let mut child = Command::new("redis-cli")
            .args(["-s", &self.socket(), "--pipe"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-cli");
        child.stdin.take().expect("a pipe").write_all(commands.as_bytes()).expect("redis-cli");
        let output = child.wait_with_output().expect("redis-cli");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("errors: 0"), "{text}");
    }

    /// All keys.
    pub fn keys(&self) -> Vec<String> {
        lines(&self.cli(["KEYS", "*"]))
    }

    /// The keys that have no expiry.
    pub fn keys_for_ever(&self) -> Vec<String> {
        const SCRIPT: &str = "local found = {}
            for _, key in ipairs(redis.call('KEYS', '*')) do
                if redis.call('PTTL', key) == -1 then table.insert(found, key) end
            end
            return found";
        lines(&self.cli(["EVAL", SCRIPT, "0"]))
    }

    pub fn hash(&self, key: &str) -> BTreeMap<String, String> {
        let text = self.cli(["HGETALL", key]);
        let lines: Vec<&str> = text.lines().collect();
        lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
    }

    /// Members and scores of a sorted set.
    pub fn scores(&self, key: &str) -> BTreeMap<String, u64> {
        let lines = lines(&self.cli(["ZRANGE", key, "0", "-1", "WITHSCORES"]));
        let pairs = lines.chunks_exact(2);
        pairs.map(|pair| (pair[0].clone(), pair[1].parse().expect("a score"))).collect()
    }

    fn launch(&self) -> Child {
        launch(&self.program, self.port, &self.folder, &self.arguments, self.clock.as_deref())
    }

    /// Waits until it answers. It ends where something that another thread starts still has the port,
    /// between its fork and its exec; then it is started again.
    fn becomes_ready(&mut self) {
        eventually("redis-server", || {
            // An answer of any kind: with a password it is an error.
            let answers = !self.cli(["PING"]).is_empty();
            if self.child.try_wait().expect("wait").is_some() {
                self.child = self.launch();
                return None;
            }
            answers.then_some(())
        });
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

fn launch(
    program: &Path,
    port: u16,
    folder: &Folder,
    arguments: &[String],
    clock: Option<&Path>,
) -> Child {
    let folder_path = folder.path("");
    let mut command = Command::new(program);
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

/// A port on which nobody listens, nor on the one that is 10,000 higher, a Redis Cluster's own. They
/// stay the test's: no other test gets them, and they are none of the ephemeral ones (ip(7)), which the
/// kernel gives to whoever asks for any.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = u16::try_from(std::process::id() % 2000).expect("small") * 5;
    eventually("a free port", || {
        let port = 10_000 + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        (free(port) && free(port + 10_000)).then_some(port)
    })
}
