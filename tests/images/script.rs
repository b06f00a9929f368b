//! `docker/build-workers.sh`: what it builds, and what it refuses to build.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

use crate::docker::{Checkout, Said, new_folder, program, repository, run};

/// A docker that writes down how it is called.
struct Docker(TempDir);

impl Docker {
    fn new() -> Self {
        let folder = new_folder();
        let calls = folder.path().join("calls");
        let script = format!("#!/bin/sh\necho \"$* [$GIT_SHA]\" >>'{}'\n", calls.display());
        let source = folder.path().join("docker.sh");
        fs::write(&source, script).expect("a script");
        // By another process: what this one holds open for writing while another thread forks can't be
        // executed (ETXTBSY of execve(2)).
        let program = folder.path().join("docker");
        run(Command::new("install").args(["-m", "755"]).args([&source, &program]));
        Self(folder)
    }

    fn run(&self, command: &mut Command) -> Said {
        let path = std::env::var("PATH").expect("a PATH");
        run(command.env("PATH", format!("{}:{path}", self.0.path().display())))
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.0.path().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }
}

fn script(checkout: &Checkout) -> Command {
    let mut command = Command::new(checkout.path("docker/build-workers.sh"));
    for name in ["WORKER_IMAGE", "BASE_IMAGE", "GUARD_IMAGE", "WORKER_DIR", "GIT_SHA"] {
        command.env_remove(name);
    }
    command
}

#[test]
fn it_builds_both_images_by_short_sha_and_latest_and_prints_the_sha() {
    let (checkout, docker) = (Checkout::new(), Docker::new());
    let said = docker.run(&mut script(&checkout));
    assert_eq!(said.code, 0, "{}", said.stderr);
    let (version, calls) = (checkout.version(), docker.calls());
    assert!(said.stdout.contains(&format!("\nGIT_SHA: {}\n", version.sha)), "{}", said.stdout);
    let [guard, worker, ocr] = &calls[..] else { panic!("{calls:#?}") };
    assert!(guard.contains("-f docker/Dockerfile.guard -t version-guard ."), "{guard}");
    for (call, ocr, name) in
        [(worker, "false", "fiskai-worker"), (ocr, "true", "fiskai-worker-ocr")]
    {
        let tags = format!("-t {name}:{} -t {name}:latest .", version.short);
        assert!(call.contains(&tags), "{call}");
        assert!(call.contains(&format!("--build-arg WITH_OCR={ocr} ")), "{call}");
        assert!(call.ends_with(&format!("[{}]", version.sha)), "{call}");
    }
}

/// What compose takes in a shell in which nothing is exported.
fn in_a_fresh_shell(checkout: &Checkout) -> Said {
    let mut compose = program("docker");
    for name in ["GIT_SHA_SHORT", "WORKER_IMAGE"] {
        compose.env_remove(name);
    }
    let file = checkout.path("docker/docker-compose.workers.yml");
    run(compose.args(["compose", "-f"]).arg(file).arg("config"))
}

#[test]
fn what_was_built_last_is_what_compose_finds_in_a_fresh_shell() {
    let (checkout, docker) = (Checkout::new(), Docker::new());
    let said = in_a_fresh_shell(&checkout);
    assert_ne!(said.code, 0);
    assert!(said.stderr.contains("SHA that docker/build-workers.sh printed"), "{}", said.stderr);
    fs::write(checkout.path("docker/.env"), "REDIS_URL=redis://elsewhere:6379\n").expect("a file");
    for image in ["", "registry.example/team/w"] {
        checkout.commit("another");
        let mut script = script(&checkout);
        if !image.is_empty() {
            script.env("WORKER_IMAGE", image);
        }
        assert_eq!(docker.run(&mut script).code, 0);
        let (said, version) = (in_a_fresh_shell(&checkout), checkout.version());
        assert_eq!(said.code, 0, "{}", said.stderr);
        let image = if image.is_empty() { "fiskai-worker" } else { image };
        for part in [
            format!("image: {image}:{}\n", version.short),
            format!("EXPECTED_GIT_SHA: {}\n", version.sha),
            "REDIS_URL: redis://elsewhere:6379\n".into(),
        ] {
            assert!(said.stdout.contains(&part), "{part} in {}", said.stdout);
        }
    }
    assert_eq!(checkout.git(["status", "--porcelain"]), "", "it is no part of the code");
}

#[test]
fn names_base_image_and_policy_are_configurable() {
    let (checkout, docker) = (Checkout::new(), Docker::new());
    let mut script = script(&checkout);
    script.env("WORKER_IMAGE", "registry.example/team/w").env("BASE_IMAGE", "python:3.13-slim");
    script.env("GUARD_IMAGE", "registry.example/guard").env("VERSION_GUARD_ENFORCE", "always");
    assert_eq!(docker.run(&mut script).code, 0);
    let calls = docker.calls();
    assert_eq!(calls.len(), 2, "a guard image that is given is not built: {calls:#?}");
    for call in calls {
        for part in [
            "BASE_IMAGE=python:3.13-slim",
            "VERSION_GUARD_ENFORCE=always",
            "-t registry.example/team/w",
        ] {
            assert!(call.contains(part), "{call}");
        }
    }
}

/// The control is the same tree, committed.
#[test]
fn a_dirty_tree_is_refused() {
    let (checkout, docker) = (Checkout::new(), Docker::new());
    let changes: [fn(&Checkout); 2] = [
        |checkout| checkout.change("docker/sample-worker/src/work.ts", "What a job is", "A job"),
        |checkout| fs::write(checkout.path("docker/sample-worker/src/new.ts"), "").unwrap(),
    ];
    for change in changes {
        change(&checkout);
        let said = docker.run(&mut script(&checkout));
        assert_eq!(said.code, 1);
        assert!(said.stderr.contains("uncommitted changes"), "{}", said.stderr);
        assert_eq!(docker.calls(), [""; 0]);
        checkout.git(["stash", "-u", "-q"]);
    }
    assert_eq!(docker.run(&mut script(&checkout)).code, 0);
}

#[test]
fn a_dirty_tree_that_is_allowed_is_called_dirty() {
    let (checkout, docker) = (Checkout::new(), Docker::new());
    checkout.change("docker/sample-worker/src/work.ts", "What a job is", "A job");
    let said = docker.run(script(&checkout).arg("--allow-dirty"));
    let version = checkout.version();
    assert!(said.stdout.contains(&format!("GIT_SHA: {}-dirty\n", version.sha)), "{}", said.stdout);
    let calls = docker.calls();
    assert!(calls[1].contains(&format!("-t fiskai-worker:{}-dirty ", version.short)), "{calls:#?}");
    assert!(calls[1].ends_with(&format!("[{}-dirty]", version.sha)), "{calls:#?}");
}

#[test]
fn outside_of_a_checkout_or_without_a_commit_it_says_so() {
    let (folder, docker) = (new_folder(), Docker::new());
    fs::create_dir(folder.path().join("docker")).expect("a folder");
    let copy = folder.path().join("docker/build-workers.sh");
    fs::copy(repository().join("docker/build-workers.sh"), &copy).expect("the script");
    let said = docker.run(&mut Command::new(&copy));
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("is in no git checkout"), "{}", said.stderr);
    run(Command::new("git").args(["init", "-q"]).arg(folder.path()));
    let said = docker.run(&mut Command::new(&copy));
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("has no commit yet"), "{}", said.stderr);
    assert_eq!(docker.calls(), [""; 0]);
}

#[test]
fn an_argument_that_it_does_not_know_is_a_usage_error() {
    let docker = Docker::new();
    let mut script = Command::new(repository().join("docker/build-workers.sh"));
    let said = docker.run(script.arg("--allow-drity"));
    assert_eq!(said.code, 2);
    assert!(said.stderr.starts_with("Usage: "), "{}", said.stderr);
    assert_eq!(docker.calls(), [""; 0]);
}

/// As the README suggests it for the two variables of a deployment.
#[test]
fn a_dotenv_file_makes_no_tree_dirty_and_gets_into_no_image() {
    let (checkout, docker) = (Checkout::new(), Docker::new());
    fs::write(checkout.path(".env"), "GIT_SHA_SHORT=a1b2c3d\n").unwrap();
    let said = docker.run(&mut script(&checkout));
    assert_eq!(said.code, 0, "{}", said.stderr);
    let ignored = fs::read_to_string(checkout.path(".dockerignore")).unwrap();
    assert!(ignored.lines().any(|line| line == "**/.env"), "{ignored}");
}

/// git's own safety: a checkout of another user's, as a mounted one is in a CI container.
#[test]
fn a_checkout_of_another_users_is_told_as_that() {
    let (checkout, docker) = (Checkout::new(), Docker::new());
    run(Command::new("chown").args(["-R", "1000:1000"]).arg(checkout.path("")));
    let mut script = script(&checkout);
    let said = docker.run(script.env("HOME", "/nonexistent").env_remove("GIT_CONFIG_GLOBAL"));
    assert_eq!(said.code, 1, "{}", said.stdout);
    assert!(said.stderr.contains("belongs to another user"), "{}", said.stderr);
    assert!(said.stderr.contains("safe.directory"), "{}", said.stderr);
    assert_eq!(docker.calls(), [""; 0]);
}

#[test]
fn a_builder_in_a_container_of_its_own_is_explained_or_loads_what_it_builds() {
    let (checkout, docker) = (Checkout::new(), Docker::new());
    let said = docker.run(script(&checkout).env("BUILDX_BUILDER", "remote"));
    assert_eq!(said.code, 1, "{}", said.stdout);
    assert!(said.stderr.contains("builder remote sees no local image"), "{}", said.stderr);
    let mut with_guard = script(&checkout);
    with_guard.env("BUILDX_BUILDER", "remote").env("GUARD_IMAGE", "registry.example/guard");
    let said = docker.run(&mut with_guard);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let builds: Vec<_> =
        docker.calls().into_iter().filter(|call| call.starts_with("build ")).collect();
    assert_eq!(builds.len(), 2, "{builds:#?}");
    assert!(builds.iter().all(|call| call.contains(" --load ")), "{builds:#?}");
}

#[test]
fn a_worker_from_another_repository_is_named_by_that_ones_commit() {
    let (checkout, docker) = (Checkout::new(), Docker::new());
    let other = new_folder();
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-C"];
        let said = run(Command::new("git").args(identity).arg(other.path()).args(arguments));
        assert_eq!(said.code, 0, "{}", said.stderr);
        said.stdout.trim().to_owned()
    };
    git(&["init", "-q"]);
    fs::create_dir_all(other.path().join("services/worker")).unwrap();
    fs::write(other.path().join("services/worker/worker.py"), "print('hello')\n").unwrap();
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "A worker"]);
    let sha = git(&["rev-parse", "HEAD"]);
    let mut script = script(&checkout);
    let said = docker.run(script.env("WORKER_DIR", other.path().join("services/worker")));
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.contains(&format!("\nGIT_SHA: {sha}\n")), "{}", said.stdout);
    let calls = docker.calls();
    let dockerfile = checkout.path("Dockerfile.worker");
    for call in &calls[1..] {
        assert!(call.contains("--build-arg WORKER_DIR=./services/worker "), "{call}");
        assert!(
            call.contains(&format!("-f {}", dockerfile.canonicalize().unwrap().display())),
            "{call}"
        );
        assert!(call.ends_with(&format!("[{sha}]")), "{call}");
    }
    fs::write(other.path().join("new"), "").unwrap();
    let said = docker.run(&mut script);
    assert_eq!(said.code, 1, "{}", said.stdout);
    assert!(said.stderr.contains("uncommitted changes"), "{}", said.stderr);
}
