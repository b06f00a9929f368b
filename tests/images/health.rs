//! HEALTHCHECK in real Docker: what `docker ps` and `docker compose up --wait` are told.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::docker::{
    Container, SHA, Said, build, docker, eventually, fixture, guard_image, name, new_folder,
    output, program, run, shell_worker,
};

/// A probe each second, the first of which counts.
const PROBED: [&str; 3] = ["--health-interval=1s", "--health-timeout=10s", "--health-retries=1"];

/// What compose calls the image.
const WORKER: &str = "version-guard-tests/health-compose";

/// What the last probe wrote.
fn said(container: &Container) -> String {
    container.inspect("range .State.Health.Log}}{{.Output}}{{end")
}

fn worker_of(container: &Container) -> String {
    let name = container.exec(["cat", "/proc/1/comm"]);
    name.rsplit_once(':').expect("the worker's pid").1.to_owned()
}

fn shell_image() -> String {
    shell_worker("version-guard-tests/health", &[("GIT_SHA", SHA)])
}

/// The image's own HEALTHCHECK, asked more often than it says.
#[test]
fn a_worker_is_healthy_until_it_is_stopped_and_again_when_it_goes_on() {
    let arguments = PROBED.map(str::to_owned).into_iter();
    let container = Container::start(arguments.chain([shell_image(), "./worker.sh".into()]));
    container.becomes("healthy");
    let signal = |signal: &str| {
        let kill = format!("kill -{signal} {}", worker_of(&container));
        container.exec(["sh", "-c", &kill]);
    };
    signal("STOP");
    container.becomes("unhealthy");
    assert!(
        said(&container).contains("is stopped, by a signal or a debugger"),
        "{}",
        said(&container)
    );
    signal("CONT");
    container.becomes("healthy");
}

/// Nothing but the shim and a worker: no shell, no libc, no writable file, no capability, no network.
#[test]
fn an_image_from_scratch_is_probed_as_any_user_without_anything() {
    let folder: TempDir = new_folder();
    fs::copy(fixture("worker"), folder.path().join("worker")).expect("the worker");
    let dockerfile = format!(
        "FROM {} AS guard\nFROM scratch\nCOPY --from=guard /version-guard /version-guard\n\
         COPY worker /worker\nENTRYPOINT [\"/version-guard\", \"run\", \"--\"]\nCMD [\"/worker\", \"sleep\"]\n\
         HEALTHCHECK --interval=1s --timeout=10s --retries=1 CMD [\"/version-guard\", \"health\"]\n",
        guard_image()
    );
    let image = build("version-guard-tests/health-scratch", &dockerfile, &folder);
    let container = Container::start([
        "--read-only",
        "--user=4242:4242",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--network=none",
        &image,
    ]);
    container.becomes("healthy");
    // Another user than the shim's, and nobody's.
    let probe = program("docker")
        .args(["exec", "--user", "65534:65534", &container.id, "/version-guard", "health"])
        .output()
        .expect("docker exec");
    assert!(probe.status.success(), "{probe:?}");
    // To PID 1, which nobody inside could stop.
    container.kill("STOP");
    container.becomes("unhealthy");
    assert!(said(&container).contains("The shim (process 1) is stopped"), "{}", said(&container));
}

#[test]
fn under_an_engines_init_and_beside_another_container_each_probe_finds_its_own() {
    let image = shell_image();
    let start = |more: &[&str]| {
        let arguments = PROBED.iter().chain(more).copied().chain([&*image, "./worker.sh"]);
        Container::start(arguments)
    };
    let first = start(&["--init"]);
    first.becomes("healthy");
    assert_eq!(first.exec(["cat", "/proc/1/comm"]), "docker-init");
    let shared = format!("--pid=container:{}", first.id);
    let network = format!("--network=container:{}", first.id);
    let second = start(&[&shared, &network]);
    second.becomes("healthy");
    // Each sees both shims; only one worker is stopped.
    // What ends while it looks has no name any more.
    let stop = "for stat in /proc/[0-9]*/comm; do
        read -r name <$stat || continue
        case $name in version*:*) ;; *) continue;; esac
        if cmp -s ${stat%comm}cgroup /proc/self/cgroup; then kill -STOP ${name##*:}; fi
        done";
    second.exec(["sh", "-c", stop]);
    second.becomes("unhealthy");
    assert_eq!(first.inspect(".State.Health.Status"), "healthy", "{}", said(&first));
}

#[test]
fn compose_waits_until_each_worker_is_registered() {
    let deployment = Deployment::new(&["./worker.sh"; 4]);
    let said = deployment.up("redis://redis:6379");
    assert_eq!(said.code, 0, "{}", said.stderr);
    let key = "fiskai:worker:ocr:version";
    let sha = deployment.redis(&["HGET", key, "gitSha"]);
    assert_eq!(sha, SHA);
    // A worker that is stopped afterwards is found by whoever deploys again.
    let ocr = format!("{}-worker-ocr", deployment.project);
    let signalled = |signal: &str| {
        let script = format!("kill -{signal} $(sed 's/.*://' /proc/1/comm)");
        docker(["exec", &ocr, "sh", "-c", &script]);
    };
    signalled("STOP");
    eventually("an unhealthy worker", || {
        let health = docker(["inspect", "-f", "{{.State.Health.Status}}", &ocr]);
        (health == "unhealthy").then_some(())
    });
    let said = deployment.up("redis://redis:6379");
    signalled("CONT");
    assert_ne!(said.code, 0, "{}", said.stderr);
    assert!(said.stderr.contains(&format!("{ocr} is unhealthy")), "{}", said.stderr);
    // The control: with a Redis that nobody reaches the workers run, and compose does not call it well.
    let said = deployment.up("redis://nobody.invalid:6379");
    assert_ne!(said.code, 0, "{}", said.stderr);
    assert!(said.stderr.contains("unhealthy"), "{}", said.stderr);
}

/// Once at its start, again and again, and after a while: a restart hides none of it.
#[test]
fn compose_does_not_call_it_well_where_a_worker_crashes() {
    for crashing in ["exit 3", "sleep 2; kill -SEGV $$$$"] {
        let deployment = Deployment::new(&["./worker.sh", "./worker.sh", "./worker.sh", crashing]);
        let said = deployment.up("redis://redis:6379");
        assert_ne!(said.code, 0, "{crashing}: {}", said.stderr);
        let ocr = format!("{}-worker-ocr", deployment.project);
        assert!(said.stderr.contains(&ocr), "{crashing}: {}", said.stderr);
    }
}

/// The compose file as it is, with a smaller worker in the images, and probed more often.
struct Deployment {
    project: String,
    more: TempDir,
}

impl Deployment {
    /// With these scripts as the four workers.
    fn new(scripts: &[&str; 4]) -> Self {
        let image = shell_image();
        for repository in [WORKER.to_owned(), format!("{WORKER}-ocr")] {
            docker(["tag", &image, &format!("{repository}:a1b2c3d")]);
        }
        let names = ["orchestrator", "sentinel", "extractor", "ocr"].into_iter();
        let services = names.zip(scripts).map(|(name, script)| {
            format!(
                "  worker-{name}:\n    command: [sh, -c, \"{script}\"]\n    \
                 healthcheck: {{ interval: 1s }}\n"
            )
        });
        let more = new_folder();
        let text = format!("services:\n{}", services.collect::<String>());
        fs::write(more.path().join("more.yml"), text).expect("a compose file");
        Self { project: name("health"), more }
    }

    fn up(&self, redis: &str) -> Said {
        let mut up = self.compose();
        run(up.env("REDIS_URL", redis).args(["up", "-d", "--wait", "--wait-timeout", "60"]))
    }

    fn compose(&self) -> Command {
        let mut compose = program("docker");
        compose.env("WORKER_IMAGE", WORKER).env("GIT_SHA_SHORT", "a1b2c3d");
        compose.env("EXPECTED_GIT_SHA", SHA).env("CONTAINER_PREFIX", &self.project);
        compose.args(["compose", "-p", &self.project, "-f", "docker/docker-compose.workers.yml"]);
        compose.arg("-f").arg(self.more.path().join("more.yml"));
        compose
    }

    fn redis(&self, arguments: &[&str]) -> String {
        let redis = format!("{}-redis", self.project);
        output(program("docker").args(["exec", &redis, "redis-cli"]).args(arguments))
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        run(self.compose().args(["down", "-v", "-t", "1"]));
    }
}
