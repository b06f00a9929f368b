//! docker/templates, each in a repository of its own: built and deployed by its CI file's own commands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::docker::{
    OTHER, SHA, Said, cache, docker, eventually, guard_image, name, new_folder, output, program,
    repository, run,
};

/// Two CI systems, whose runners have the one builder or the other.
#[derive(Clone, Copy)]
enum Ci {
    GitHub,
    GitLab,
}

/// A template in its own repository.
struct Repository {
    folder: TempDir,
    project: String,
}

impl Repository {
    fn of(template: &str) -> Self {
        let repository =
            Self { folder: new_folder(), project: name(&format!("template-{template}")) };
        for part in ["every", template] {
            let part = crate::docker::repository().join("docker/templates").join(part).join(".");
            output(Command::new("cp").arg("-R").arg(part).arg(repository.path()));
        }
        repository.git(&["init", "-q"]);
        repository.commit();
        repository
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=test", "-c", "user.email=test@localhost"]).args(arguments);
        output(git.current_dir(self.path()))
    }

    fn commit(&self) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "A worker"]);
        self.sha()
    }

    fn sha(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    fn image(&self, sha: &str) -> String {
        format!("{}:{sha}", self.project)
    }

    /// The command of a CI file that has these words, with this commit, in the shell that CI has.
    fn ci(&self, ci: Ci, words: &str, sha: &str) -> Command {
        let (file, buildkit) = match ci {
            Ci::GitHub => (".github/workflows/worker.yml", "1"),
            Ci::GitLab => (".gitlab-ci.yml", "0"),
        };
        let text = fs::read_to_string(self.path().join(file)).expect("the CI file");
        let mut command = String::new();
        for line in text.lines().map(str::trim).skip_while(|line| !line.contains(words)) {
            command.push_str(line.trim_end_matches('\\'));
            if !line.ends_with('\\') {
                break;
            }
        }
        assert!(!command.is_empty(), "{words} in {file}");
        let mut shell = program("sh");
        shell.args(["-c", &command]).current_dir(self.path());
        shell.env("DOCKER_BUILDKIT", buildkit).env("COMPOSE_PROJECT_NAME", &self.project);
        shell.env("IMAGE", &self.project).env("GUARD_IMAGE", guard_image());
        shell.env("GITHUB_SHA", sha).env("CI_COMMIT_SHA", sha);
        shell
    }

    fn compose(&self, arguments: &[&str]) -> Command {
        let mut compose = program("docker");
        compose.arg("compose").args(arguments).current_dir(self.path());
        compose.env("COMPOSE_PROJECT_NAME", &self.project).env("EXPECTED_GIT_SHA", "any");
        compose
    }

    fn logs(&self) -> String {
        let container = output(&mut self.compose(&["ps", "-aq", "worker"]));
        let Said { stdout, stderr, .. } = run(program("docker").args(["logs", &container]));
        stdout + &stderr
    }

    fn waits_for(&self, text: &str) {
        eventually(&format!("{text:?} in the logs"), || self.logs().contains(text).then_some(()));
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        run(&mut self.compose(&["down", "-v", "-t", "1"]));
        let images = docker(["images", "-q", &self.project]);
        run(program("docker").args(["rmi", "-f"]).args(images.lines()));
    }
}

/// How many jobs were taken, and how many of these were done.
fn jobs(logs: &str) -> (usize, usize) {
    let count = |end: &str| {
        logs.lines().filter(|line| line.starts_with("job ") && line.ends_with(end)).count()
    };
    (count("taken"), count("done"))
}

/// Through its CI, and then stopped in the middle of a job; a commit that the image is not of is refused.
fn goes_through(ci: Ci, template: &Repository) {
    let sha = template.sha();
    output(&mut template.ci(ci, "docker build", &sha));
    output(&mut template.ci(ci, "docker compose up", &sha));
    let record = ["exec", "redis", "redis-cli", "HGET", "shop:worker:example:version", "gitSha"];
    assert_eq!(output(&mut template.compose(&record)), sha);
    template.waits_for("job 2 taken");
    output(&mut template.compose(&["stop", "worker"]));
    let logs = template.logs();
    let (taken, done) = jobs(&logs);
    assert!(taken >= 2 && done == taken, "{logs}");
    let ended = output(&mut template.compose(&["ps", "-a", "--format", "{{.ExitCode}}", "worker"]));
    assert_eq!(ended, "0", "{logs}");

    // The incident: a tag that says more than the image is.
    docker(["tag", &template.image(&sha), &template.image(OTHER)]);
    let Said { code, .. } = run(&mut template.ci(ci, "docker compose up", OTHER));
    let logs = template.logs();
    assert_ne!(code, 0, "{logs}");
    assert!(logs.contains("[version] FATAL: Version mismatch!"), "{logs}");
    assert_eq!(jobs(&logs), (0, 0), "{logs}");
}

#[test]
fn a_node_worker_goes_through_github() {
    goes_through(Ci::GitHub, &Repository::of("node"));
}

#[test]
fn a_python_worker_goes_through_gitlab() {
    goes_through(Ci::GitLab, &Repository::of("python"));
}

#[test]
fn a_go_worker_in_an_empty_image_goes_through_gitlab() {
    goes_through(Ci::GitLab, &Repository::of("go"));
}

/// The company's base image, under the name that a team's Dockerfile has for it.
fn base() {
    let mut build = program("docker");
    build.args(["build", "-q", "-t", "worker-base", "docker/templates/base"]);
    output(build.args(["--build-arg", &format!("GUARD_IMAGE={}", guard_image())]));
}

#[test]
fn a_teams_worker_on_the_companys_base_image_goes_through_both() {
    base();
    for ci in [Ci::GitHub, Ci::GitLab] {
        goes_through(ci, &Repository::of("team"));
    }
}

/// The control of what is said above of jobs: a worker that nobody asks to stop loses the one in hand.
#[test]
fn a_worker_that_is_killed_loses_its_job() {
    base();
    let template = Repository::of("team");
    let sha = template.sha();
    output(&mut template.ci(Ci::GitLab, "docker build", &sha));
    output(&mut template.ci(Ci::GitLab, "docker compose up", &sha));
    template.waits_for("job 2 taken");
    output(&mut template.compose(&["kill", "worker"]));
    let (taken, done) = jobs(&template.logs());
    assert_eq!(done + 1, taken);
}

#[test]
fn a_team_that_does_not_seal_or_says_no_commit_is_refused_whatever_node_env_is() {
    base();
    let template = Repository::of("team");
    let dockerfile = template.path().join("Dockerfile");
    let text = fs::read_to_string(&dockerfile).expect("a Dockerfile");
    let (unsealed, _) = text.split_once("ARG GIT_SHA").expect("the arguments of the seal");
    for text in [unsealed, &text] {
        fs::write(&dockerfile, text).expect("a Dockerfile");
        docker(["build", "-q", "-t", &template.image("x"), &template.path().display().to_string()]);
        let said = crate::docker::once(["-e", "NODE_ENV=development", &template.image("x")]);
        assert_eq!((said.code, jobs(&said.stdout)), (1, (0, 0)), "{}", said.stderr);
        assert!(said.stderr.contains("FATAL: GIT_SHA is 'unknown'"), "{}", said.stderr);
    }
}

/// Podman with a storage of the tests' own, in which are the base images that docker has.
struct Podman {
    storage: PathBuf,
}

impl Podman {
    fn get() -> &'static Self {
        static PODMAN: OnceLock<Podman> = OnceLock::new();
        PODMAN.get_or_init(Self::new)
    }

    fn new() -> Self {
        let podman = Self { storage: cache().join("podman") };
        fs::create_dir_all(&podman.storage).expect("a folder for podman");
        let write = |name: &str, text: &str| {
            fs::write(podman.storage.join(name), text).expect("podman's settings");
        };
        let folder = podman.storage.display();
        write(
            "storage.conf",
            &format!(
                "[storage]\ndriver = \"overlay\"\ngraphroot = \"{folder}/images\"\n\
                 runroot = \"{folder}/run\"\n"
            ),
        );
        // As root podman asks for more than the kernel may grant here.
        write(
            "containers.conf",
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n",
        );
        // What a killed run has left.
        podman.output(&["rm", "-fa"]);
        let bases =
            ["node:22-slim", "python:3.13-slim", "golang:1", "debian:bookworm-slim", guard_image()];
        let missing: Vec<_> = bases.into_iter().filter(|base| !podman.has(base)).collect();
        if !missing.is_empty() {
            let load = format!("docker save {} | podman load -q", missing.join(" "));
            output(podman.command("sh").args(["-c", &load]));
        }
        podman
    }

    /// Whether it has the very image that docker has under this name.
    fn has(&self, image: &str) -> bool {
        let inspect = ["image", "inspect", "-f", "{{.Id}}", image];
        let of_podman = run(self.command("podman").args(inspect)).stdout;
        docker(inspect).ends_with(of_podman.trim_end()) && !of_podman.is_empty()
    }

    fn command(&self, name: &str) -> Command {
        let mut command = program(name);
        // Podman wants a file with logins in it.
        command.env_remove("DOCKER_CONFIG");
        command.env("CONTAINERS_STORAGE_CONF", self.storage.join("storage.conf"));
        command.env("CONTAINERS_CONF", self.storage.join("containers.conf"));
        command
    }

    /// What `podman ARGUMENTS` says, and how it ends.
    fn run(&self, arguments: &[&str]) -> Said {
        run(self.command("podman").args(arguments))
    }

    /// What `podman ARGUMENTS` writes on standard output; it has to succeed.
    fn output(&self, arguments: &[&str]) -> String {
        output(self.command("podman").args(arguments))
    }

    /// `docker build` of a CI file, as podman takes it.
    fn build(&self, template: &Repository, sha: &str) {
        let build = template.ci(Ci::GitLab, "docker build", sha);
        let text = build.get_args().last().expect("the command").to_string_lossy();
        let mut podman = self.command("sh");
        podman.args(["-c", &text.replace("docker", "podman")]).current_dir(template.path());
        podman.env("IMAGE", &template.project).env("GUARD_IMAGE", guard_image());
        podman.env("CI_COMMIT_SHA", sha);
        output(&mut podman);
    }
}

/// The second commit's image is built on the layers of the first's; its seal is its own.
#[test]
fn podman_builds_and_runs_each_template_and_stops_it_without_losing_a_job() {
    let podman = Podman::get();
    let guard = format!("GUARD_IMAGE={}", guard_image());
    let base = repository().join("docker/templates/base").display().to_string();
    podman.output(&["build", "-q", "--build-arg", &guard, "-t", "worker-base", &base]);
    for template in ["node", "python", "go", "team"] {
        let template = Repository::of(template);
        let old = template.sha();
        podman.build(&template, &old);
        let new = template.commit();
        podman.build(&template, &new);
        let container = &template.project;
        let start = ["run", "-d", "--network=none", "--name", container];
        let expected = format!("EXPECTED_GIT_SHA={new}");
        let image = template.image(&new);
        podman.output(&[&start[..], &["-e", &expected, &image]].concat());
        let logs = || {
            let Said { stdout, stderr, .. } = podman.run(&["logs", container]);
            stdout + &stderr
        };
        eventually("a second job", || logs().contains("job 2 taken").then_some(()));
        let health = ["exec", container, "/usr/local/bin/version-guard", "health"];
        assert!(podman.output(&health).starts_with("[OK]"));
        podman.output(&["stop", "-t", "30", container]);
        let (taken, done) = jobs(&logs());
        assert!(taken >= 2 && done == taken, "{}", logs());
        assert_eq!(podman.output(&["wait", container]), "0", "{}", logs());
        podman.output(&["rm", container]);

        let stale = template.image(&old);
        let Said { code, stdout, stderr } =
            podman.run(&["run", "--rm", "--network=none", "-e", &expected, &stale]);
        assert_eq!((code, jobs(&stdout)), (1, (0, 0)), "{stderr}");
        assert!(stderr.contains("[version] FATAL: Version mismatch!"), "{stderr}");
        podman.output(&["rmi", "-f", &image, &stale]);
    }
}

/// Dockerfile.worker, too: an ENV or a LABEL before the seal would bring the other commit's seal along.
#[test]
fn podman_gives_the_workers_image_of_each_commit_its_own_seal_variables_and_label() {
    let podman = Podman::get();
    let guard = format!("GUARD_IMAGE={}", guard_image());
    for sha in [SHA, OTHER] {
        let (git_sha, image) = (format!("GIT_SHA={sha}"), format!("localhost/worker:{sha}"));
        let mut build = vec!["build", "-q", "-f", "Dockerfile.worker", "-t", &image];
        for argument in [
            "BASE_IMAGE=debian:bookworm-slim",
            "WORKER_DIR=tests/docker/workers/shell",
            &guard,
            &git_sha,
        ] {
            build.extend(["--build-arg", argument]);
        }
        podman.output(&[&build[..], &["."]].concat());
        let inspect = ["image", "inspect", "-f", "{{.Config.Env}} {{.Config.Labels}}", &image];
        let config = podman.output(&inspect);
        let label = format!("org.opencontainers.image.revision:{sha}");
        assert!(config.contains(&git_sha) && config.contains(&label), "{config}");
        let seal = ["run", "--rm", "--network=none", "--entrypoint", "cat", &image];
        let seal = podman.output(&[&seal[..], &["/etc/version-guard/image.json"]].concat());
        assert!(seal.contains(&format!("\"gitSha\":\"{sha}\"")), "{seal}");
    }
}
