//! The harness: docker as a user calls it, and images and containers of the tests' own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// What an image is sealed as that none of the test's own commits made.
pub const SHA: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678";
/// What it is not.
pub const OTHER: &str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";

/// On everything that the tests start, so that a later run finds what a killed one left.
const LABEL: &str = "version-guard-tests";

/// How long a container may take for anything, on a machine that is busy with other things.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Asks until there is an answer, or the deadline is over.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A fixture that was built as an example of this crate.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_version-guard")).with_file_name("examples").join(name)
}

/// An empty folder of this test's own, removed when it goes out of scope.
pub fn new_folder() -> TempDir {
    TempDir::with_prefix("version-guard-test-").expect("a folder for the test")
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program with the docker that the tests prepared: engine, plugins and base images.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let cache = engine();
    let mut command = Command::new(name);
    command.env("DOCKER_CONFIG", cache.join("docker")).env("DOCKER_BUILDKIT", "0");
    for name in ["GIT_SHA", "BUILD_DATE", "EXPECTED_GIT_SHA", "NODE_ENV", "REDIS_URL"] {
        command.env_remove(name);
    }
    command.current_dir(repository()).stdin(Stdio::null());
    command
}

/// The same where the guard image is built, whose layers a release shares.
pub fn buildkit(name: impl AsRef<OsStr>) -> Command {
    let mut command = program(name);
    command.env("DOCKER_BUILDKIT", "1");
    command
}

/// What a program wrote, and its exit code.
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn run(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.output().expect("a program to run");
    Said {
        code: status.code().expect("an exit code"),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// What a program that succeeds writes on standard output.
pub fn output(command: &mut Command) -> String {
    let said = run(command);
    assert_eq!(said.code, 0, "{command:?}\n{}\n{}", said.stdout, said.stderr);
    said.stdout.trim_end().to_owned()
}

/// What `docker ARGUMENTS` writes on standard output; it has to succeed.
pub fn docker<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> String {
    output(program("docker").args(arguments))
}

/// `docker run --rm ARGUMENTS` to its end.
pub fn once<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Said {
    run(program("docker").args(["run", "--rm", "--label", LABEL]).args(arguments))
}

/// The engine and all that `tests/docker/prepare.sh` prepares; the folder where it keeps things.
/// Held by one test run at a time: the names of the images are the same in each.
fn engine() -> &'static Path {
    static CACHE: OnceLock<(PathBuf, File)> = OnceLock::new();
    let (cache, _) = CACHE.get_or_init(|| {
        let cache = std::env::var_os("VERSION_GUARD_TESTS_CACHE")
            .map_or_else(|| PathBuf::from("/var/cache/version-guard-tests"), PathBuf::from);
        fs::create_dir_all(&cache).expect("a folder for what the tests keep");
        let lock = File::create(cache.join("run.lock")).expect("a lock file");
        lock.lock().expect("the lock of the test run");
        let status = Command::new(repository().join("tests/docker/prepare.sh")).status();
        assert!(status.expect("tests/docker/prepare.sh").success(), "no Docker to test with");
        clean_up();
        (cache, lock)
    });
    cache
}

/// The folder where the tests keep what `tests/docker/prepare.sh` prepares.
pub fn cache() -> &'static Path {
    engine()
}

fn clean_up() {
    let docker = |arguments: &[&str]| {
        let output = Command::new("docker").args(arguments).output().expect("docker");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let label = format!("label={LABEL}");
    for container in docker(&["ps", "-aq", "--filter", &label]).lines() {
        docker(&["rm", "-f", "-v", container]);
    }
    for network in docker(&["network", "ls", "-q", "--filter", &label]).lines() {
        docker(&["network", "rm", network]);
    }
}

/// A name that nothing else has.
pub fn name(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("version-guard-test-{what}-{}-{count}", std::process::id())
}

/// Builds an image from a Dockerfile's text and a folder with files for it.
pub fn build(tag: &str, dockerfile: &str, context: &TempDir) -> String {
    fs::write(context.path().join("Dockerfile"), dockerfile).expect("a Dockerfile");
    docker([
        OsStr::new("build"),
        "-q".as_ref(),
        "-t".as_ref(),
        tag.as_ref(),
        context.path().as_ref(),
    ]);
    tag.to_owned()
}

/// The guard image: `GUARD_IMAGE` if it is set, else built from source by `docker/Dockerfile.guard`.
pub fn guard_image() -> &'static str {
    static BUILT: OnceLock<String> = OnceLock::new();
    BUILT.get_or_init(|| {
        std::env::var("GUARD_IMAGE").unwrap_or_else(|_| {
            let mut build = buildkit("docker");
            output(build.args([
                "build",
                "-f",
                "docker/Dockerfile.guard",
                "-t",
                "version-guard",
                ".",
            ]));
            "version-guard".into()
        })
    })
}

/// `docker build -f Dockerfile.worker` with these build arguments.
pub fn build_worker(tag: &str, arguments: &[(&str, &str)]) -> String {
    let mut build = program("docker");
    build.args(["build", "-f", "Dockerfile.worker", "-t", tag]);
    for (name, value) in [&("GUARD_IMAGE", guard_image())].into_iter().chain(arguments) {
        build.args(["--build-arg", &format!("{name}={value}")]);
    }
    output(build.arg("."));
    tag.to_owned()
}

/// A small worker of a shell script, for tests that are about something else.
pub fn shell_worker(tag: &str, more: &[(&str, &str)]) -> String {
    let mut arguments =
        vec![("BASE_IMAGE", "debian:bookworm-slim"), ("WORKER_DIR", "tests/docker/workers/shell")];
    arguments.extend(more);
    build_worker(tag, &arguments)
}

/// The image of a commit, as `docker/build-workers.sh` builds it.
pub struct Version {
    pub sha: String,
    pub short: String,
}

/// What `docker/build-workers.sh` calls the images in the tests.
pub const WORKER: &str = "version-guard-tests/worker";

impl Version {
    pub fn image(&self) -> String {
        format!("{WORKER}:{}", self.short)
    }

    pub fn ocr_image(&self) -> String {
        format!("{WORKER}-ocr:{}", self.short)
    }
}

/// A checkout of this project of the test's own.
pub struct Checkout(TempDir);

impl Checkout {
    /// Everything that git has or would take, in one commit.
    pub fn new() -> Self {
        let folder = new_folder();
        let copy =
            "git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C";
        let copy = format!("{copy} '{}'", folder.path().display());
        output(Command::new("sh").args(["-c", &copy]).current_dir(repository()));
        let checkout = Self(folder);
        checkout.git(["init", "-q"]);
        checkout.commit("A");
        checkout
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn git<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=test", "-c", "user.email=test@localhost"]);
        output(git.args(arguments).current_dir(self.path("")))
    }

    pub fn commit(&self, message: &str) {
        self.git(["add", "-A"]);
        self.git(["commit", "-q", "--allow-empty", "-m", message]);
    }

    /// Changes a file in one place.
    pub fn change(&self, file: &str, before: &str, after: &str) {
        let path = self.path(file);
        let text = fs::read_to_string(&path).expect("a file of the project");
        assert_eq!(text.matches(before).count(), 1, "{before} in {file}");
        fs::write(path, text.replace(before, after)).expect("a file of the checkout");
    }

    pub fn version(&self) -> Version {
        Version {
            sha: self.git(["rev-parse", "HEAD"]),
            short: self.git(["rev-parse", "--short=7", "HEAD"]),
        }
    }

    /// `docker/build-workers.sh` of this checkout, not yet run.
    pub fn build_workers(&self) -> Command {
        let mut command = buildkit(self.path("docker/build-workers.sh"));
        command.current_dir(self.path("")).env("WORKER_IMAGE", WORKER);
        command
    }
}

/// Two commits and their images: `old`, and `new`, whose code finds amounts in € too.
pub struct Versions {
    pub old: Version,
    pub new: Version,
}

pub fn versions() -> &'static Versions {
    static VERSIONS: OnceLock<Versions> = OnceLock::new();
    VERSIONS.get_or_init(|| {
        let checkout = Checkout::new();
        output(&mut checkout.build_workers());
        let old = checkout.version();
        checkout.change("docker/sample-worker/src/work.ts", "(?= ?EUR)", "(?= ?(?:EUR|€))");
        checkout.commit("B");
        output(&mut checkout.build_workers());
        Versions { old, new: checkout.version() }
    })
}

/// A network of the test's own with a Redis in it.
pub struct Redis {
    pub network: String,
    container: Container,
}

impl Redis {
    pub fn start() -> Self {
        let network = name("network");
        docker(["network", "create", "--label", LABEL, &network]);
        let container =
            Container::start(["--network", &network, "--network-alias", "redis", "redis:7"]);
        let redis = Self { network, container };
        eventually("Redis", || (redis.cli(["PING"]) == "PONG").then_some(()));
        redis
    }

    /// What redis-cli prints.
    pub fn cli<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        run(program("docker").args(["exec", &self.container.id, "redis-cli"]).args(arguments))
            .stdout
            .trim_end()
            .to_owned()
    }

    /// The options of `docker run` for a worker that registers here as this type.
    pub fn worker(&self, worker_type: &str) -> Vec<String> {
        vec![
            format!("--network={}", self.network),
            format!("--env=WORKER_TYPE={worker_type}"),
            "--env=REDIS_URL=redis://redis:6379".into(),
        ]
    }

    /// Waits until this type is registered, and returns its SHA.
    pub fn registered(&self, worker_type: &str) -> String {
        let key = format!("fiskai:worker:{worker_type}:version");
        eventually("a registration", || {
            Some(self.cli(["HGET", &key, "gitSha"])).filter(|sha| !sha.is_empty())
        })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let mut docker = program("docker");
        docker.args(["network", "disconnect", "-f", &self.network, &self.container.id]);
        run(&mut docker);
        run(program("docker").args(["network", "rm", &self.network]));
    }
}

/// A container that runs or has run; removed when it goes out of scope.
pub struct Container {
    pub id: String,
}

impl Container {
    /// `docker run -d ARGUMENTS`.
    pub fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let mut docker = program("docker");
        docker.args(["run", "-d", "--label", LABEL]).args(arguments);
        Self { id: output(&mut docker) }
    }

    /// Everything on both streams so far.
    pub fn logs(&self) -> String {
        let said = run(program("docker").args(["logs", &self.id]));
        said.stdout + &said.stderr
    }

    pub fn wait_for(&self, text: &str) {
        eventually(&format!("{text:?} in the logs"), || {
            let logs = self.logs();
            assert!(logs.contains(text) || self.inspect(".State.Running") == "true", "{logs}");
            logs.contains(text).then_some(())
        });
    }

    /// What `docker inspect -f` gives for one field.
    pub fn inspect(&self, field: &str) -> String {
        docker(["inspect", "-f", &format!("{{{{{field}}}}}"), &self.id])
    }

    /// Waits, while it runs, until its probe says this of it: `healthy` or `unhealthy`.
    pub fn becomes(&self, health: &str) {
        eventually(health, || {
            let now = self.inspect(".State.Health.Status");
            assert_eq!(self.inspect(".State.Running"), "true", "{}", self.logs());
            (now == health).then_some(())
        });
    }

    pub fn exec<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        output(program("docker").args(["exec", &self.id]).args(arguments))
    }

    /// `docker kill` with this signal.
    pub fn kill(&self, signal: &str) {
        docker(["kill", "-s", signal, &self.id]);
    }

    /// `docker stop`, which kills after 30 seconds; the exit code.
    pub fn stop(&self) -> i32 {
        docker(["stop", "-t", "30", &self.id]);
        self.code()
    }

    /// Waits for the end, and returns the exit code.
    pub fn code(&self) -> i32 {
        docker(["wait", &self.id]).parse().expect("an exit code")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        run(program("docker").args(["rm", "-f", "-v", &self.id]));
    }
}
