//! A row, really run: in a folder with its files, with the real tools.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::row::{Kind, Row};
use crate::common::{Folder, Running, SHA, Shim, left_behind, within};

/// How long a row may take.
const LIMIT: Duration = Duration::from_mins(1);

const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/runners");

const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// What rows have from the system, beside what any test needs.
const PROGRAMS: [&str; 6] = ["tini", "dumb-init", "gosu", "wait-for-it", "sudo", "busybox"];

/// What is no business of a project's own folder: another one comes first in PATH.
const NOT_IN_PROJECTS: [&str; 9] =
    ["node", "npm", "npx", "pnpm", "pnpx", "yarn", "yarnpkg", "bun", "bunx"];

/// The marks that workers leave.
pub const TYPESCRIPT: &str = "ran-typescript";
const MARKS: [&str; 3] = [TYPESCRIPT, "ran-compiled", "ran-other"];

/// Why the table can't be tried here, if it can't.
pub fn missing() -> Option<String> {
    if !Path::new(TOOLS).join("versions").is_file() {
        return Some("the runners are not in target/tools: tests/run.sh installs them".into());
    }
    let is_there =
        |program: &&str| PATH.split(':').any(|folder| Path::new(folder).join(program).exists());
    let missing = PROGRAMS.into_iter().find(|program| !is_there(program));
    missing.map(|program| format!("not installed: {program}"))
}

/// What a row did.
#[derive(Debug)]
pub struct Done {
    /// The marks that were left.
    pub marks: BTreeSet<&'static str>,
    /// The exit code of what ended by itself.
    pub code: Option<i32>,
    pub said: String,
    pub took: Duration,
}

impl Done {
    pub fn ran_typescript(&self) -> bool {
        self.marks.contains(TYPESCRIPT)
    }

    /// Whether it ran something else, and nothing that was never compiled, to a good end.
    pub fn ran_compiled(&self) -> bool {
        !self.marks.is_empty() && !self.ran_typescript() && self.code.is_none_or(|code| code == 0)
    }
}

/// Runs the row's command, behind the shim or, if this changes it, without.
pub fn run(row: &Row, change: impl FnOnce(Shim) -> Shim) -> Done {
    let folder = Folder::new();
    let place = Place::of(row, &folder);
    let mut shim = Shim::command("run").production(SHA).pid1();
    let path = format!("{TOOLS}/bin:{PATH}");
    let quiet =
        [("PATH", path.as_str()), ("NO_UPDATE_NOTIFIER", "1"), ("npm_config_offline", "true")];
    for (name, value) in quiet {
        shim = shim.env(name, value);
    }
    // tsx listens there on a socket that is called after its pid, which in its namespace is a small one.
    shim = shim.env("HOME", folder.path("home")).env("TMPDIR", folder.path("home"));
    for (name, value) in &row.environment {
        shim = shim.env(name, place.filled(value));
    }
    shim = change(shim.worker(row.arguments.iter().map(|word| place.filled(word))));
    let said = folder.path("said");
    let output = || File::options().append(true).create(true).open(&said).expect("a file");
    let mut command = shim.to_command();
    command.current_dir(folder.path("app")).stdout(output()).stderr(output());
    let started = Instant::now();
    let mut running = Running::start(&mut command, true);
    // What is guilty is so from the first mark on, and what watches files goes on for ever.
    let early = |marks: &BTreeSet<&str>| match row.kind {
        Kind::Guilty => marks.contains(TYPESCRIPT),
        _ => row.stays && !marks.is_empty(),
    };
    let marked = within(LIMIT, "an end", || {
        // In this order: what has ended leaves no more marks.
        let ended = !running.runs();
        (ended || early(&place.marks())).then_some(ended)
    });
    let code = match marked {
        Ok(true) => running.try_end().ok().map(|ended| ended.code),
        Ok(false) => None,
        Err(_) => Some(-1),
    };
    drop(running);
    let said = String::from_utf8_lossy(&fs::read(&said).unwrap_or_default()).into_owned();
    Done { marks: place.marks(), code, said, took: started.elapsed() }
}

/// What the row does without the shim: tried once for each version of the row and of the tools.
pub fn proof(row: &Row) -> Done {
    let cache = Path::new(TOOLS).join("proven").join(format!("{:016x}", fingerprint(row)));
    if let Ok(text) = fs::read_to_string(&cache) {
        let mut words = text.split_whitespace();
        let code = words.next().and_then(|word| word.parse().ok());
        let left: Vec<&str> = words.collect();
        let marks = MARKS.into_iter().filter(|mark| left.contains(mark)).collect();
        return Done { marks, code, said: "proven before".into(), took: Duration::ZERO };
    }
    let done = run(row, |shim| shim.without_shim());
    let good = match row.kind {
        Kind::Innocent => done.ran_compiled(),
        Kind::Guilty | Kind::Warned => done.ran_typescript(),
    };
    // What is wrong is tried again, so that somebody can see what it says.
    if good {
        fs::create_dir_all(cache.parent().expect("a folder")).expect("a folder");
        let code = done.code.map_or("-".into(), |code| code.to_string());
        let marks: Vec<&str> = done.marks.iter().copied().collect();
        fs::write(cache, format!("{code} {}\n", marks.join(" "))).expect("the proof");
    }
    done
}

fn fingerprint(row: &Row) -> u64 {
    let mut hasher = DefaultHasher::new();
    fs::read(Path::new(TOOLS).join("versions")).expect("versions").hash(&mut hasher);
    (row.kind as u8, row.stays, &row.arguments, &row.environment).hash(&mut hasher);
    (&row.files.contents, &row.files.links, &row.files.workspace).hash(&mut hasher);
    hasher.finish()
}

/// A folder with the row's files, and with one for the marks.
struct Place {
    app: PathBuf,
    marks: PathBuf,
}

impl Place {
    fn of(row: &Row, folder: &Folder) -> Self {
        let place = Self { app: folder.path("app"), marks: folder.path("marks") };
        for path in [&place.marks, &folder.path("home")] {
            fs::create_dir(path).expect("a folder");
        }
        match &row.files.workspace {
            Some(workspace) => copy(&Path::new(TOOLS).join(workspace), &place.app),
            None => link_packages(&place.app.join("node_modules")),
        }
        for (name, content) in &row.files.contents {
            let (path, text) = (place.path(name), place.filled(content));
            if content.starts_with("#!") {
                let script = folder.file("script", text);
                folder.program(path.to_str().expect("a path"), &script, "755");
            } else {
                fs::write(path, text).expect("a file");
            }
        }
        for (name, target) in &row.files.links {
            let path = place.path(name);
            let _ = fs::remove_file(&path);
            symlink(place.filled(target), path).expect("a link");
        }
        place
    }

    /// The path of a file whose folder is there.
    fn path(&self, name: &str) -> PathBuf {
        let path = self.app.join(self.filled(name));
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        path
    }

    /// The text with what is only known once there is a folder.
    fn filled(&self, text: &str) -> String {
        text.replace("{app}", &self.app.to_string_lossy())
            .replace("{marks}", &self.marks.to_string_lossy())
            .replace("{tools}", TOOLS)
    }

    fn marks(&self) -> BTreeSet<&'static str> {
        MARKS.into_iter().filter(|mark| left_behind(&self.marks.join(mark))).collect()
    }
}

/// Packages as a package manager installs them, but with links in the place of copies.
fn link_packages(to: &Path) {
    let from = Path::new(TOOLS).join("node_modules");
    fs::create_dir_all(to.join(".bin")).expect("a folder");
    for entry in fs::read_dir(from.join(".bin")).expect("programs").flatten() {
        let name = entry.file_name();
        if NOT_IN_PROJECTS.iter().any(|other| name == **other) {
            continue;
        }
        let target = fs::read_link(entry.path()).expect("a link");
        symlink(&target, to.join(".bin").join(&name)).expect("a link");
        let mut parts = target.components().skip(1);
        let mut package = PathBuf::from(parts.next().expect("a package").as_os_str());
        if package.to_string_lossy().starts_with('@') {
            package.push(parts.next().expect("a package"));
        }
        link_package(&from, to, &package);
    }
    for package in ["esbuild-register", "@swc-node/register"] {
        link_package(&from, to, Path::new(package));
    }
}

fn link_package(from: &Path, to: &Path, package: &Path) {
    let link = to.join(package);
    fs::create_dir_all(link.parent().expect("a folder")).expect("a folder");
    if fs::symlink_metadata(&link).is_err() {
        symlink(from.join(package), link).expect("a link");
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(copied.success(), "cp -a {}", from.display());
}
