//! The README's commands, read out of it and run as they stand.

mod commands;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::docker::{
    Checkout, Container, OTHER, SHA, Said, WORKER, build, buildkit, docker, guard_image, name,
    new_folder, once, output, program, repository, run, shell_worker,
};

pub fn text(file: &str) -> String {
    fs::read_to_string(repository().join(file)).expect("a README")
}

/// The block of this language that stands first behind a title.
pub fn block(file: &str, title: &str, language: &str) -> String {
    let readme = text(file);
    let (_, section) = readme.split_once(&format!("{title}\n")).expect("the title");
    let (_, block) = section.split_once(&format!("```{language}\n")).expect("a block");
    block.split_once("```").expect("its end").0.to_owned()
}

/// What GitHub makes of a title.
fn anchor(title: &str) -> String {
    let kept =
        |character: &char| character.is_alphanumeric() || matches!(character, ' ' | '-' | '_');
    title.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

fn anchors(text: &str) -> BTreeSet<String> {
    let titles = text.split("```").step_by(2).flat_map(str::lines);
    titles
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

#[test]
fn it_is_no_longer_than_a_newcomer_reads_and_each_link_in_it_leads_somewhere() {
    let (face, reference) = (text("README.md"), text("docker/README.md"));
    assert!(face.lines().count() <= 250, "{} lines", face.lines().count());
    let mut followed = 0;
    for (own, other, text) in [(&face, &reference, &face), (&reference, &face, &reference)] {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let (path, title) = link.0.split_once('#').unwrap_or((link.0, ""));
            let there = if path.is_empty() { own } else { other };
            assert!(["", "docker/README.md", "../README.md"].contains(&path), "{path}");
            assert!(title.is_empty() || anchors(there).contains(title), "{title}");
            followed += 1;
        }
    }
    assert!(followed > 50, "{followed}");
}

/// The first of its commands makes the guard image, as `guard_image` does.
#[test]
fn the_dockerfile_and_its_commands_make_a_worker_that_runs_and_refuses_another_sha() {
    let (dockerfile, commands) = (
        block("README.md", "## In a Dockerfile", "dockerfile"),
        block("README.md", "## In a Dockerfile", "bash"),
    );
    let (first, commands) = commands.split_once('\n').expect("several commands");
    assert!(
        first.starts_with("docker build -f docker/Dockerfile.guard -t version-guard ."),
        "{first}"
    );
    let folder = new_folder();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    // Its names are for one machine of one's own: here others use them, too.
    let image = name("readme");
    write("Dockerfile", &dockerfile.replace("=version-guard ", &format!("={} ", guard_image())));
    fs::create_dir(folder.path().join("dist")).expect("a folder");
    write("dist/worker.js", "console.log('works');");
    let commands = commands
        .replace("-t worker .", &format!("-t {image} ."))
        .replace("\" worker", &format!("\" {image}"));
    assert_eq!(commands.matches(&image).count(), 2, "{commands}");
    let git = |arguments: &[&str]| {
        let who = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
        output(Command::new("git").args(who).args(arguments).current_dir(folder.path()));
    };
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "A"]);
    let shell = |script: &str| run(program("sh").args(["-ec", script]).current_dir(folder.path()));
    let said = shell(&commands);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.ends_with("works\n"), "{}", said.stdout);
    // Another commit is expected than the image was built from.
    git(&["commit", "-q", "--allow-empty", "-m", "B"]);
    let run_again = commands.lines().last().expect("docker run");
    let said = shell(run_again);
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(said.stderr.contains("This worker is running STALE code"), "{}", said.stderr);
    run(program("docker").args(["rmi", "-f", &image]));
}

/// From a checkout to a fleet that the gate lets pass, with all that can be asked of it, and down again in a
/// shell that knows nothing of it.
#[test]
fn the_deployment_is_run_as_it_stands() {
    let deployment = Deployment::new();
    let title = "### A deployment that fails when its workers don't come up";
    // The script keeps what the images are called for the shells that come after.
    let first = format!("export WORKER_IMAGE={WORKER}\n{}", block("README.md", title, "bash"));
    let said = deployment.shell(&first);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("[OK] All workers running expected version"), "{}", said.stdout);
    let build = block("README.md", "## Build, set, deploy, verify", "bash");
    let (script, build) = build.split_once('\n').expect("several commands");
    // The script is part of the block before. What follows the logs goes on until somebody ends it.
    assert!(script.starts_with("docker/build-workers.sh "), "{script}");
    let follow = build.lines().find(|line| line.contains(" logs -f ")).expect("its logs");
    let said = deployment.shell(&build.replace(follow, &format!("timeout 5 {follow}")));
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    let guards = "the guards let it start (on: tsx, unknown, mismatch, code)";
    for text in [guards, "[OK] All workers running expected version"] {
        assert!(said.stdout.contains(text), "{}", said.stdout);
    }
    deployment.knows_a_user_to_verify();
    for (command, says) in commands::ON_THE_DEPLOYMENT {
        let said = deployment.shell(&deployment.filled(command));
        let all = format!("{}{}", said.stdout, said.stderr);
        assert!([0, 124].contains(&said.code), "{command}: {}\n{all}", said.code);
        assert!(all.contains(&deployment.filled(says)), "{command}: {all}");
    }
    let folder = new_folder();
    let metrics = block("docker/README.md", "## Prometheus", "bash");
    let place = folder.path().display().to_string();
    let metrics = metrics.replace("/var/lib/node_exporter", &place);
    let said = deployment.shell(&format!("export REDIS_URL={}\n{metrics}", deployment.redis()));
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    let metrics = fs::read_to_string(folder.path().join("workers.prom")).expect("metrics");
    assert!(metrics.contains("\nversion_guard_fleet_as_expected 1\n"), "{metrics}");
    let copy = block("docker/README.md", "## Repositories of one's own", "bash");
    let said = deployment.shell(&copy.replace("../shop-worker/", &place));
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    for name in ["Dockerfile", "docker-compose.yml", ".gitlab-ci.yml", "package.json"] {
        assert!(folder.path().join(name).is_file(), "{name}");
    }
    let down = deployment.shell("docker compose down -v -t 5");
    assert_eq!(down.code, 0, "{}", down.stderr);
}

/// What the README's commands speak of.
struct Deployment {
    checkout: Checkout,
    project: String,
}

impl Deployment {
    fn new() -> Self {
        Self { checkout: Checkout::new(), project: name("readme") }
    }

    fn shell(&self, script: &str) -> Said {
        let shim = Path::new(env!("CARGO_BIN_EXE_version-guard")).parent().expect("a folder");
        let path = std::env::var("PATH").expect("a path");
        let mut shell = buildkit("sh");
        shell.env("PATH", format!("{}:{path}", shim.display()));
        shell.env("COMPOSE_PROJECT_NAME", &self.project).env("CONTAINER_PREFIX", &self.project);
        shell.env("GUARD_IMAGE", guard_image());
        shell.env("COMPOSE_FILE", "docker/docker-compose.workers.yml");
        run(shell.args(["-c", script]).current_dir(self.checkout.path("")))
    }

    fn container(&self, name: &str) -> String {
        format!("{}-{name}", self.project)
    }

    /// Its Redis, for who is on this machine.
    fn redis(&self) -> String {
        let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = docker(["inspect", "-f", address, &self.container("redis")]);
        format!("redis://{address}:6379")
    }

    /// As the README has it, at redis-cli's prompt.
    fn knows_a_user_to_verify(&self) {
        let rules = text("docker/README.md");
        let rule = rules.lines().find(|line| line.starts_with("ACL SETUSER verify ")).expect("it");
        let redis = self.container("redis");
        let words = ["exec", &redis, "redis-cli"].into_iter().chain(rule.split(' '));
        assert_eq!(docker(words), "OK");
    }

    /// A command of the README with what this deployment has in the place of its examples.
    fn filled(&self, command: &str) -> String {
        let version = self.checkout.version();
        let (worker, redis) = (self.container("worker-extractor"), self.container("redis"));
        let network = format!("docker run --network={}_default", self.project);
        let mut command = command.to_owned();
        for (before, after) in [
            ("redis-cli ", format!("docker exec {redis} redis-cli ")),
            ("sha256sum ", format!("docker exec {worker} sha256sum ")),
            ("EXPECTED_GIT_SHA=$(git rev-parse HEAD) REDIS_URL=redis://redis:6379", {
                format!("EXPECTED_GIT_SHA={} REDIS_URL={}", version.sha, self.redis())
            }),
            ("docker run --rm -e REDIS_URL -e EXPECTED_GIT_SHA version-guard", {
                let all = format!("EXPECTED_GIT_SHA={} REDIS_URL=redis://redis:6379", version.sha);
                format!("{all} {network} --rm -e REDIS_URL -e EXPECTED_GIT_SHA {}", guard_image())
            }),
            ("docker run --rm -e WORKER_TYPE", format!("timeout 6 {network} --rm -e WORKER_TYPE")),
            ("docker run --entrypoint node", "docker run --rm --entrypoint node".into()),
            ("version-guard check -- npm", {
                let package = r#"{ "scripts": { "worker": "node dist/worker.js" } }"#;
                format!(
                    "cd $(mktemp -d) && echo '{package}' >package.json && version-guard check -- npm"
                )
            }),
        ] {
            if let Some(rest) = command.strip_prefix(before) {
                command = format!("{after}{rest}");
                break;
            }
        }
        for (before, after) in [
            ("docker exec worker ", format!("docker exec {worker} ")),
            ("fiskai-worker-extractor", worker.clone()),
            ("fiskai-worker:a1b2c3d", version.image()),
            ("redis://host:", "redis://redis:".into()),
            ("CONTAINER", worker),
            ("IMAGE", version.image()),
            ("SERVICE", "worker-extractor".into()),
            ("…", "-e 'console.log(\"without the guards\")'".into()),
            ("{sha}", version.sha),
        ] {
            command = command.replace(before, &after);
        }
        command
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        self.shell("docker compose down -v -t 1");
    }
}

/// A probe that reads all of the code, and the guards before an init that wants to be PID 1.
#[test]
fn the_instructions_in_its_sentences_do_what_it_says() {
    let worker = shell_worker("version-guard-tests/readme", &[("GIT_SHA", SHA)]);
    let context = new_folder();
    let instruction = |begin: &str| {
        let span = text("docker/README.md");
        span.split('`').find(|span| span.starts_with(begin)).expect("an instruction").to_owned()
    };
    let probe = instruction("HEALTHCHECK --interval=10m");
    let image = format!("{worker}-probe");
    build(&image, &format!("FROM {worker}\n{probe}\nCMD [\"./worker.sh\"]\n"), &context);
    let probed = Container::start(["--health-interval=1s", "--health-retries=1", &image]);
    probed.becomes("healthy");
    docker(["exec", "--user=0", &probed.id, "sh", "-c", "echo >>/app/worker.sh"]);
    probed.becomes("unhealthy");
    let script = context.path().join("init");
    fs::write(&script, "#!/bin/sh\necho \"$$ starts $*\"\n").expect("an init");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a mode");
    let entrypoint = instruction("ENTRYPOINT [\"sh\", \"-c\"");
    let image = format!("{worker}-init");
    build(
        &image,
        &format!("FROM {worker}\nCOPY init /init\n{entrypoint}\nCMD [\"./worker.sh\"]\n"),
        &context,
    );
    let said = once([&image]);
    assert_eq!(
        (said.code, said.stdout.lines().last()),
        (0, Some("1 starts ./worker.sh")),
        "{}",
        said.stderr
    );
    let said = once(["-e", &format!("EXPECTED_GIT_SHA={OTHER}"), &image]);
    assert_eq!(said.code, 1, "{}", said.stdout);
    assert!(!said.stdout.contains("starts"), "{}", said.stdout);
}
