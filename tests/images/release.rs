//! `docker/release.sh`: what it makes, what that is made of, and that it can be made again.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::docker::{Checkout, buildkit, docker, new_folder, output, program, repository, run};
use crate::readme::block;

/// Docker's names for the platforms, and the compiler's.
const PLATFORMS: [(&str, &str); 2] =
    [("amd64", "x86_64-unknown-linux-musl"), ("arm64", "aarch64-unknown-linux-musl")];

/// A release of this checkout, made once; tests/run.sh tries the promises on what is in it.
fn release() -> &'static Path {
    static RELEASE: OnceLock<PathBuf> = OnceLock::new();
    RELEASE.get_or_init(|| {
        let folder = repository().join("target/guard-image/release");
        let _ = fs::remove_dir_all(&folder);
        output(script().arg("--allow-dirty").arg(&folder));
        folder
    })
}

fn script() -> Command {
    let mut script = program(repository().join("docker/release.sh"));
    // What cargo tells a test of its package, cargo itself would take for a change.
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            script.env_remove(name);
        }
    }
    script
}

fn binary(architecture: &str) -> PathBuf {
    release().join(format!("version-guard-linux-{architecture}"))
}

fn commit() -> String {
    output(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(repository()))
}

#[test]
fn it_holds_both_binaries_their_parts_the_manual_and_the_sums_of_all() {
    let mut names: Vec<_> = fs::read_dir(release())
        .expect("the release")
        .map(|entry| entry.expect("a file").file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    let expected = [
        "SHA256SUMS",
        "version-guard-linux-amd64",
        "version-guard-linux-amd64.cdx.json",
        "version-guard-linux-arm64",
        "version-guard-linux-arm64.cdx.json",
        "version-guard-manual.tar.gz",
    ];
    assert_eq!(names, expected);
    let said = output(Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(release()));
    assert_eq!(said.lines().filter(|line| line.ends_with(": OK")).count(), expected.len() - 1);
    let manual = release().join("version-guard-manual.tar.gz");
    let pages = output(Command::new("tar").arg("-tzf").arg(manual));
    for page in ["version-guard.1", "version-guard-run.1", "version-guard.bash", "_version-guard"] {
        assert!(pages.lines().any(|line| line == format!("./{page}")), "{page}: {pages}");
    }
}

/// By the instructions that the README has for a Dockerfile, from a server of the test's own. The control is a
/// release whose binary has other bytes.
#[test]
fn an_image_is_made_from_a_release_and_from_no_other_binary_than_it_names() {
    let (context, served) = (new_folder(), new_folder());
    fs::copy(release().join("SHA256SUMS"), context.path().join("SHA256SUMS")).expect("the sums");
    let served_binary = served.path().join("version-guard-linux-amd64");
    fs::copy(binary("amd64"), &served_binary).expect("the binary");
    let releases = Server::start(served.path());
    let instructions = block("docker/README.md", "## A release", "dockerfile");
    assert_eq!(instructions.matches("https://releases.example/").count(), 1, "{instructions}");
    let instructions = instructions.replace("https://releases.example", &releases.url);
    let dockerfile = format!(
        "FROM debian:bookworm-slim\nRUN apt-get update && apt-get install -y --no-install-recommends curl\n\
         ARG MOMENT\n{instructions}"
    );
    fs::write(context.path().join("Dockerfile"), dockerfile).expect("a Dockerfile");
    let image = "version-guard-tests/from-release";
    let build = |moment: &str| {
        let mut build = buildkit("docker");
        build.args(["build", "--network=host", "-t", image, "--build-arg"]);
        run(build.arg(format!("MOMENT={moment}-{}", std::process::id())).arg(context.path()))
    };
    let said = build("first");
    assert_eq!(said.code, 0, "{}", said.stderr);
    let version = docker(["run", "--rm", image, "version-guard", "--version"]);
    assert!(version.contains(&commit()), "{version}");
    fs::write(&served_binary, [fs::read(&served_binary).expect("the binary"), vec![0]].concat())
        .expect("another binary");
    let said = build("second");
    assert_ne!(said.code, 0, "{}", said.stderr);
    assert!(said.stderr.contains("version-guard-linux-amd64: FAILED"), "{}", said.stderr);
}

/// What this folder holds, by HTTP, for whom the machine's own network reaches.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut server = Command::new("python3");
        server.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0"]);
        server.current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = server.spawn().expect("a server");
        // Serving HTTP on 127.0.0.1 port 40837 (http://127.0.0.1:40837/) ...
        let mut line = String::new();
        let output = process.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let url =
            line.split(['(', ')']).nth(1).expect("an address").trim_end_matches('/').to_owned();
        Self { process, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().expect("a server that runs");
        self.process.wait().expect("its end");
    }
}

#[test]
fn both_binaries_are_static_and_know_their_commit_and_target() {
    for ((architecture, target), machine) in PLATFORMS.into_iter().zip(["X86-64", "AArch64"]) {
        let binary = binary(architecture);
        let headers = output(Command::new("readelf").arg("-hld").arg(&binary));
        assert!(headers.contains(machine), "{headers}");
        assert!(!headers.contains("INTERP") && !headers.contains("NEEDED"), "{headers}");
        // Its first functions stand where the linker was told to put them.
        let sections = output(Command::new("readelf").arg("-SW").arg(&binary));
        assert!(sections.contains(" .text.start "), "{sections}");
        let mut shim = Command::new(if architecture == "arm64" { "qemu-aarch64" } else { "env" });
        let said = output(shim.arg(&binary).arg("--version"));
        let version = format!("version-guard {} ({}", env!("CARGO_PKG_VERSION"), commit());
        assert!(said.starts_with(&version), "{said}");
        assert!(said.ends_with(&format!(" {target})")), "{said}");
    }
}

/// What cargo says of the normal tree is the control; what the tests alone need is in no binary.
#[test]
fn each_crate_of_the_normal_tree_is_in_the_bill_of_materials() {
    for (architecture, target) in PLATFORMS {
        let mut cargo = Command::new("cargo");
        cargo.args(["tree", "--locked", "-e", "normal", "--prefix", "none", "--target", target]);
        let tree = output(cargo.current_dir(repository()));
        let crates: BTreeSet<String> = tree
            .lines()
            .filter_map(|line| {
                let mut words = line.split(' ');
                Some(format!("{} {}", words.next()?, words.next()?.trim_start_matches('v')))
            })
            .filter(|name| !name.starts_with("version-guard "))
            .collect();
        let bill = release().join(format!("version-guard-linux-{architecture}.cdx.json"));
        let bill = fs::read_to_string(bill).expect("a bill of materials");
        assert!(bill.contains(&format!("\"value\": \"{target}\"")), "{bill}");
        let bill: serde_json::Value = serde_json::from_str(&bill).expect("JSON");
        assert_eq!(bill["bomFormat"], "CycloneDX");
        let word = |component: &serde_json::Value, field: &str| {
            component[field].as_str().expect("a word").to_owned()
        };
        let components: BTreeSet<String> = bill["components"]
            .as_array()
            .expect("components")
            .iter()
            .map(|component| format!("{} {}", word(component, "name"), word(component, "version")))
            .collect();
        let missing: Vec<_> = crates.difference(&components).collect();
        assert!(crates.len() > 50 && missing.is_empty(), "{missing:?}");
        assert!(!components.iter().any(|name| name.starts_with("bolero ")), "{components:?}");
    }
}

/// The guard image for arm64 of the commit that the release is of, not yet built.
fn arm64() -> Command {
    let version = output(Command::new("qemu-aarch64").arg(binary("arm64")).arg("--version"));
    let git_sha = version.split(['(', ' ']).nth(3).expect("a SHA").to_owned();
    let mut build = program("docker");
    build.args(["buildx", "build", "-f", "docker/Dockerfile.guard", "--platform", "linux/arm64"]);
    build.args(["--build-arg", &format!("GIT_SHA={git_sha}"), "."]);
    build
}

#[test]
fn the_image_for_arm64_says_that_it_is() {
    let image = "version-guard-tests/arm64";
    output(arm64().args(["-t", image]));
    let platform = docker(["image", "inspect", "-f", "{{.Os}}/{{.Architecture}}", image]);
    assert_eq!(platform, "linux/arm64");
}

/// Without what the engine remembers of the first build.
#[test]
fn another_build_in_another_folder_makes_the_same_bytes() {
    let (checkout, folder) = (Checkout::new(), new_folder());
    let mut build = arm64();
    build.args(["--no-cache-filter", "builder", "--output"]);
    build.arg(format!("type=local,dest={}", folder.path().display()));
    output(build.current_dir(checkout.path("")));
    let again = fs::read(folder.path().join("version-guard")).expect("a binary");
    assert!(again == fs::read(binary("arm64")).expect("a binary"), "other bytes");
}

#[test]
fn a_folder_with_other_files_or_a_dirty_tree_is_refused() {
    let (checkout, folder) = (Checkout::new(), new_folder());
    let script = || Command::new(checkout.path("docker/release.sh"));
    fs::write(checkout.path("src/new.rs"), "").expect("a file");
    let said = run(script().arg(folder.path()));
    assert_eq!(said.code, 1, "{}", said.stdout);
    assert!(said.stderr.contains("uncommitted changes"), "{}", said.stderr);
    fs::write(folder.path().join("other"), "").expect("a file");
    let said = run(script().arg("--allow-dirty").arg(folder.path()));
    assert_eq!(said.code, 1, "{}", said.stdout);
    assert!(said.stderr.contains("is not empty"), "{}", said.stderr);
    let said = run(&mut script());
    assert_eq!(said.code, 2, "{}", said.stdout);
    assert!(said.stderr.starts_with("Usage: "), "{}", said.stderr);
}
