//! The incident of December 2024, replayed with compose: an old image stays where a new one is expected.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

use crate::docker::{
    Said, Version, WORKER, docker, eventually, name, new_folder, output, program, run, versions,
};

const TYPES: [&str; 4] = ["orchestrator", "sentinel", "extractor", "ocr"];

/// What the old code makes of a job, and what the new code makes of it.
const JOB: &str = r#"{"id":"replay","text":"12,50 EUR and 3,00 €"}"#;
const BY_OLD_CODE: &str = r#""result":"12,50""#;
const BY_NEW_CODE: &str = r#""result":"12,50 3,00""#;

/// A deployment of `docker/docker-compose.workers.yml`; gone when it goes out of scope.
struct Deployment {
    project: String,
    more: Vec<String>,
}

impl Deployment {
    fn new() -> Self {
        Self { project: name("compose"), more: Vec::new() }
    }

    /// With the image of one version, where another may be expected.
    fn compose(&self, image: &Version, expected: &Version) -> Command {
        let mut compose = program("docker");
        compose.env("WORKER_IMAGE", WORKER).env("GIT_SHA_SHORT", &image.short);
        compose.env("EXPECTED_GIT_SHA", &expected.sha).env("CONTAINER_PREFIX", &self.project);
        compose.args(["compose", "-p", &self.project, "-f", "docker/docker-compose.workers.yml"]);
        compose.args(&self.more);
        compose
    }

    fn up(&self, image: &Version, expected: &Version, options: &[&str]) {
        output(self.compose(image, expected).args(["up", "-d"]).args(options));
    }

    fn container(&self, service: &str) -> String {
        format!("{}-{service}", self.project)
    }

    fn redis(&self, arguments: &[&str]) -> String {
        let redis = self.container("redis");
        output(program("docker").args(["exec", &redis, "redis-cli"]).args(arguments))
    }

    fn wait_until_all_are_registered_as(&self, version: &Version) {
        for worker_type in TYPES {
            let key = format!("fiskai:worker:{worker_type}:version");
            eventually(&format!("{worker_type} of {}", version.short), || {
                (self.redis(&["HGET", &key, "gitSha"]) == version.sha).then_some(())
            });
        }
    }

    fn wait_for_job(&self) -> String {
        eventually("a job's result", || {
            Some(self.redis(&["LPOP", "jobs:extractor:done"])).filter(|done| !done.is_empty())
        })
    }

    fn logs(&self, service: &str) -> String {
        let said = run(program("docker").args(["logs", &self.container(service)]));
        said.stdout + &said.stderr
    }

    /// How each container of this service ended since then.
    fn exit_codes(&self, service: &str, since: f64) -> Vec<String> {
        let mut events = program("docker");
        events.args(["events", "--since", &since.to_string(), "--until", &now().to_string()]);
        events.args(["--filter", &format!("container={}", self.container(service))]);
        events.args(["--filter", "event=die", "--format", "{{.Actor.Attributes.exitCode}}"]);
        output(&mut events).lines().map(str::to_owned).collect()
    }

    /// The connections that Redis took from other containers; its own health check is none of them.
    fn connections(&self) -> usize {
        let logs = self.logs("redis");
        logs.lines().filter(|line| line.contains("Accepted") && !line.contains("127.0.0.1")).count()
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        let Version { sha, short } = &versions().old;
        let any = Version { sha: sha.clone(), short: short.clone() };
        run(self.compose(&any, &any).args(["down", "-v", "-t", "5"]));
    }
}

/// Seconds since 1970, as docker takes them.
fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_secs_f64()
}

#[test]
fn the_incident_ends_in_a_refusal_before_redis_is_touched_and_the_new_image_runs() {
    let (old, new) = (&versions().old, &versions().new);
    let mut deployment = Deployment::new();
    deployment.up(old, old, &[]);
    deployment.wait_until_all_are_registered_as(old);
    deployment.redis(&["RPUSH", "jobs:extractor", JOB]);
    assert!(deployment.wait_for_job().contains(BY_OLD_CODE));

    // The deployment moves on, the images don't. Orderly goodbyes come before what is watched.
    let workers = TYPES.map(|worker_type| format!("worker-{worker_type}"));
    output(deployment.compose(old, old).arg("stop").args(&workers));
    deployment.redis(&["CONFIG", "SET", "loglevel", "verbose"]);
    deployment.redis(&["RPUSH", "jobs:extractor", JOB]);
    let before = deployment.connections();
    let since = now();
    deployment.up(old, new, &[]);
    for service in &workers {
        let codes = eventually(&format!("two ends of {service}"), || {
            let codes = deployment.exit_codes(service, since);
            (codes.len() > 1).then_some(codes)
        });
        assert!(codes.iter().all(|code| code == "1"), "{service}: {codes:?}");
        let logs = deployment.logs(service);
        let refusal = format!(
            "[version] FATAL: Version mismatch!\n\
             [version]   Image SHA:    {}\n\
             [version]   Expected SHA: {}\n\
             [version] This worker is running STALE code. Exiting.\n",
            old.sha, new.sha
        );
        assert!(logs.contains(&refusal), "{logs}");
        assert!(!logs.contains("worker: "), "{service} started: {logs}");
    }
    assert_eq!(deployment.connections(), before, "{}", deployment.logs("redis"));
    assert_eq!(deployment.redis(&["LRANGE", "jobs:extractor", "0", "-1"]), JOB);

    // The control: without the guards the old code takes the job, and Redis tells who came.
    let folder = new_folder();
    let without = folder.path().join("without.yml");
    let service =
        "services:\n  worker-extractor:\n    entrypoint: [\"node\", \"dist/worker.js\"]\n";
    fs::write(&without, service).expect("a compose file");
    deployment.more = vec!["-f".into(), without.display().to_string()];
    deployment.up(old, new, &[]);
    assert!(deployment.wait_for_job().contains(BY_OLD_CODE));
    assert!(deployment.connections() > before);
    deployment.more.clear();

    deployment.up(new, new, &[]);
    deployment.wait_until_all_are_registered_as(new);
    deployment.redis(&["RPUSH", "jobs:extractor", JOB]);
    let done = deployment.wait_for_job();
    assert!(done.contains(BY_NEW_CODE) && done.contains(&new.sha), "{done}");
    let verify = ["exec", &deployment.container("worker-orchestrator"), "version-guard", "verify"];
    let verdict = docker(verify);
    assert!(verdict.ends_with("[OK] All workers running expected version"), "{verdict}");
}

#[test]
fn compose_stops_with_a_sentence_when_a_variable_is_unset() {
    let deployment = Deployment::new();
    for (variable, sentence) in [
        ("GIT_SHA_SHORT", "set it to the short SHA that docker/build-workers.sh printed"),
        ("EXPECTED_GIT_SHA", "set it to the full SHA that docker/build-workers.sh printed"),
    ] {
        let mut up = deployment.compose(&versions().new, &versions().new);
        up.args(["up", "-d"]);
        for without in [Command::env_remove as fn(&mut Command, _) -> &mut Command, |up, name| {
            up.env(name, "")
        }] {
            let Said { code, stderr, .. } = run(without(&mut up, variable));
            assert_ne!(code, 0);
            assert!(stderr.contains(variable) && stderr.contains(sentence), "{stderr}");
        }
    }
    let label = format!("label=com.docker.compose.project={}", deployment.project);
    assert_eq!(docker(["ps", "-aq", "--filter", &label]), "");
}
