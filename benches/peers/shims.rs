//! The table's columns: the shims, how each is started, and the environment that all of them get.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::programs::Programs;

pub const BINARY_VARIABLE: &str = "VERSION_GUARD_BIN";

pub const OURS: &str = "version-guard";
pub const NO_SHIM: &str = "no shim";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The bare command.
    None,
    /// It starts and waits: it forwards nothing and reaps nobody.
    Floor,
    /// Fit for PID 1.
    Init,
}

#[derive(Debug)]
pub struct Shim {
    pub name: &'static str,
    pub kind: Kind,
    /// What stands before the worker's command.
    pub line: Vec<String>,
}

#[derive(Debug)]
pub struct Shims {
    pub all: Vec<Shim>,
    pub absent: Vec<&'static str>,
    /// Where their files are.
    _folder: TempDir,
}

impl Shims {
    pub fn installed(programs: &Programs) -> Self {
        let ours = std::env::var(BINARY_VARIABLE)
            .unwrap_or_else(|_| env!("CARGO_BIN_EXE_version-guard").to_owned());
        let table: [(_, _, &[&str]); 7] = [
            (NO_SHIM, Kind::None, &[]),
            (OURS, Kind::Init, &[&ours, "run", "--"]),
            ("floor", Kind::Floor, &[&programs.floor]),
            ("tini", Kind::Init, &["/usr/bin/tini", "-s", "--"]),
            ("tini-static", Kind::Init, &["/usr/bin/tini-static", "-s", "--"]),
            ("dumb-init", Kind::Init, &["/usr/bin/dumb-init", "--"]),
            ("catatonit", Kind::Init, &["/usr/bin/catatonit", "--"]),
        ];
        let folder = TempDir::new().expect("a folder");
        let (mut all, mut absent) = (Vec::new(), Vec::new());
        for (name, kind, line) in table {
            if line.first().is_some_and(|program| !Path::new(program).exists()) {
                absent.push(name);
                continue;
            }
            let mut line: Vec<String> = line.iter().map(ToString::to_string).collect();
            if let Some(program) = line.first_mut() {
                *program = as_unpacked(program, &folder);
            }
            all.push(Shim { name, kind, line });
        }
        Self { all, absent, _folder: folder }
    }

    /// Those that forward signals and reap orphans.
    pub fn inits(&self) -> impl Iterator<Item = &Shim> {
        self.all.iter().filter(|shim| shim.kind == Kind::Init)
    }

    /// Those that are a process of their own.
    pub fn processes(&self) -> impl Iterator<Item = &Shim> {
        self.all.iter().filter(|shim| shim.kind != Kind::None)
    }

    pub fn ours(&self) -> &Shim {
        self.all.iter().find(|shim| shim.name == OURS).expect("version-guard's binary")
    }
}

/// A copy, as an engine leaves it that has just unpacked an image. What a start costs depends on how its file
/// came into the page cache, by up to a fifth: so all of them come alike.
fn as_unpacked(program: &str, folder: &TempDir) -> String {
    let copy = folder.path().join(Path::new(program).file_name().expect("a name"));
    fs::write(&copy, fs::read(program).expect("a program")).expect("a copy");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("a mode");
    copy.into_os_string().into_string().expect("a path in UTF-8")
}

impl Shim {
    pub fn command(&self, worker: &[&str]) -> Command {
        let mut line = self.line.iter().map(String::as_str).chain(worker.iter().copied());
        let mut command = Command::new(line.next().expect("a worker"));
        command.args(line);
        in_container(&mut command);
        command
    }
}

/// An environment such as a Node image gives its worker, in which the guards are on.
pub fn in_container(command: &mut Command) {
    let sha = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334";
    command
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("HOSTNAME", "4f5e6d7c8b9a")
        .env("LANG", "C.UTF-8")
        .env("NODE_VERSION", "22.23.3")
        .env("YARN_VERSION", "1.22.22")
        .env("NODE_ENV", "production")
        .env("GIT_SHA", sha)
        .env("BUILD_DATE", "2026-01-08T12:00:00Z")
        .env("EXPECTED_GIT_SHA", sha)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
}

/// What makes version-guard register the worker; the others don't know it.
pub fn registered(command: &mut Command, redis: &str) {
    command.env("WORKER_TYPE", "extractor").env("REDIS_URL", redis);
}

/// As version-guard is from 15 s after its start on; the others don't know it.
pub fn past_second_look(command: &mut Command) {
    command.env("VERSION_GUARD_RUNNER_WATCH", "0s");
}
