//! The guard image: one static file.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::docker::{
    Checkout, build, buildkit, docker, guard_image, name, new_folder, once, output, program,
    repository, run,
};

/// The files of an image, whatever the engine adds to a container.
fn files(image: &str) -> Vec<String> {
    let list = "docker save \"$1\" | tar -x -O --wildcards '*/layer.tar' | tar -t -i";
    output(program("sh").args(["-c", list, "sh", image])).lines().map(str::to_owned).collect()
}

/// Takes the binary out of the image.
fn binary(image: &str, folder: &TempDir) -> Vec<u8> {
    let container = docker(["create", image]);
    let path = folder.path().join("version-guard");
    let from = format!("{container}:/version-guard");
    docker(["cp".as_ref(), from.as_ref(), path.as_os_str()]);
    docker(["rm", &container]);
    fs::read(path).expect("the binary")
}

#[test]
fn a_platform_that_it_is_not_built_for_is_refused_in_a_sentence() {
    let mut build = buildkit("docker");
    build.args(["build", "-f", "docker/Dockerfile.guard", "--platform", "linux/riscv64", "."]);
    let said = run(&mut build);
    assert_ne!(said.code, 0);
    let reason = "linux/riscv64: only linux/amd64 and linux/arm64 are built";
    assert!(said.stderr.contains(reason), "{}", said.stderr);
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn it_is_built_from_source_and_holds_one_file() {
    assert_eq!(files(guard_image()), ["version-guard"]);
    let version = once([guard_image(), "--version"]);
    // Who builds it for a release says which commit it is of; docker/release.sh.
    let named = concat!("version-guard ", env!("CARGO_PKG_VERSION"), " (");
    assert!(version.stdout.starts_with(named), "{}", version.stdout);
    assert!(version.stdout.ends_with("-unknown-linux-musl)\n"), "{}", version.stdout);
}

/// The control is a program of this machine, which is glibc's and wants an interpreter.
#[test]
fn its_binary_is_static_and_musls() {
    let folder = new_folder();
    let binary = binary(guard_image(), &folder);
    let headers = |path: &Path| output(Command::new("readelf").args(["-l", "-d"]).arg(path));
    let of_the_guard = headers(&folder.path().join("version-guard"));
    let of_the_control = headers(Path::new("/bin/true"));
    for word in ["INTERP", "NEEDED"] {
        assert!(!of_the_guard.contains(word), "{of_the_guard}");
        assert!(of_the_control.contains(word), "{of_the_control}");
    }
    // What strerror(3) says of 0 in musl; glibc says Success, and has its name in all that it links.
    assert!(contains(&binary, "No error information"));
    assert!(!contains(&binary, "GLIBC") && !contains(&binary, "GNU C Library"));
}

/// With either builder of the engine's, and any image that has a shell in the builder's place.
#[test]
fn a_binary_that_is_there_already_makes_the_same_image() {
    let checkout = Checkout::new();
    let folder = new_folder();
    let before = binary(guard_image(), &folder);
    fs::create_dir_all(checkout.path("out/bin")).expect("a folder");
    fs::copy(folder.path().join("version-guard"), checkout.path("out/bin/shim"))
        .expect("the binary");
    let image = "version-guard-tests/given";
    for buildkit in ["0", "1"] {
        let mut build = program("docker");
        build.env("DOCKER_BUILDKIT", buildkit).current_dir(checkout.path(""));
        build.args(["build", "-f", "docker/Dockerfile.guard", "-t", image]);
        build.args(["--build-arg", "BINARY=out/bin/shim"]);
        output(build.args(["--build-arg", "BUILDER_IMAGE=debian:bookworm-slim", "."]));
        assert_eq!(files(image), ["version-guard"]);
        assert!(binary(image, &new_folder()) == before, "another binary");
    }
}
