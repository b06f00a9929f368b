//! In Kubernetes: which pod a worker is in, and the manifest that the README has.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::common::{Folder, Redis, Running, SHA, Shim, eventually, skip};

/// The schemas of Kubernetes' API, inside of a package.
const SCHEMAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/kubernetes-validate");

fn in_pod(redis: &Redis, pod: &str, namespace: &str) -> Running {
    Shim::run(["sleep"])
        .env("GIT_SHA", SHA)
        .registers("extractor", redis.url())
        .env("POD_NAME", pod)
        .env("POD_NAMESPACE", namespace)
        .ready()
}

fn instance(redis: &Redis) -> String {
    let keys = || redis.keys().into_iter().find(|key| key.contains(":instance:"));
    eventually("an instance", keys)
}

fn verify(redis: &Redis, format: &str) -> String {
    let shim = Shim::command("verify").env("REDIS_URL", redis.url()).env("EXPECTED_GIT_SHA", SHA);
    shim.options(["--instances", "--format", format]).output().stdout
}

#[test]
fn an_instance_names_its_pod_and_namespace() {
    let redis = Redis::start();
    let _shim = in_pod(&redis, "extractor-7d9f8-x2x4b", "prod");
    let hash = redis.hash(&instance(&redis));
    assert_eq!(hash["pod"], "extractor-7d9f8-x2x4b");
    assert_eq!(hash["namespace"], "prod");
    assert!(hash.contains_key("hostname"));
    let text = verify(&redis, "text");
    assert!(text.contains(", pod prod/extractor-7d9f8-x2x4b, started "), "{text}");
    let json: Value = serde_json::from_str(&verify(&redis, "json")).expect("JSON");
    let instance = &json["types"][0]["instances"][0];
    assert_eq!(instance["pod"], "extractor-7d9f8-x2x4b");
    assert_eq!(instance["namespace"], "prod");
    // The document's own key has the document's fields alone.
    assert_eq!(redis.hash("fiskai:worker:extractor:version").len(), 4);
}

#[test]
fn what_can_not_be_a_pod_is_left_out() {
    for (pod, namespace) in [("", ""), ("$(POD_NAME)", "a b"), ("Pod", "prod\n[OK]")] {
        let redis = Redis::start();
        let _shim = in_pod(&redis, pod, namespace);
        let hash = redis.hash(&instance(&redis));
        assert!(!hash.contains_key("pod") && !hash.contains_key("namespace"), "{hash:?}");
        let text = verify(&redis, "text");
        assert!(text.contains(" on ") && !text.contains("pod"), "{text}");
        let json: Value = serde_json::from_str(&verify(&redis, "json")).expect("JSON");
        assert_eq!(json["types"][0]["instances"][0]["pod"], Value::Null);
    }
}

#[test]
fn what_stands_in_redis_as_a_pod_is_escaped_and_cut() {
    let redis = Redis::start();
    let _shim = in_pod(&redis, "extractor-1", "prod");
    let long = "x".repeat(100_000);
    let key = instance(&redis);
    redis.cli(["HSET", &key, "pod", "\x1b[31mred\n[OK]", "namespace", &long]);
    for format in ["text", "json"] {
        let shown = verify(&redis, format);
        assert!(shown.len() < 3000 && !shown.contains('\x1b'), "{shown}");
        assert!(shown.contains("u{1b}[31mred") && !shown.contains("red\n"), "{shown}");
    }
}

/// The README's manifest.
fn manifest() -> String {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/docker/README.md");
    let readme = fs::read_to_string(readme).expect("the README");
    let mut blocks =
        readme.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.find(|block| block.starts_with("apiVersion:")).expect("a manifest").to_owned()
}

/// What the schemas say of a manifest; nothing unknown may stand in it.
fn validate(manifest: &str) -> Output {
    let folder = Folder::new();
    let file = folder.file("manifest.yaml", manifest);
    let mut python = Command::new("python3");
    python.args(["-m", "kubernetes_validate", "--strict"]).arg(file).env("PYTHONPATH", SCHEMAS);
    python.output().expect("python3")
}

#[test]
fn the_readmes_manifest_is_one_by_kubernetes_own_schema() {
    if !Path::new(SCHEMAS).exists() {
        return skip("no kubernetes-validate in target/tools: tests/run.sh installs it");
    }
    let manifest = manifest();
    let output = validate(&manifest);
    assert!(output.status.success(), "{output:?}");
    // The control: what is misspelled, or in the wrong place, is found out.
    for (right, wrong) in [
        ("terminationGracePeriodSeconds", "terminationGraceSeconds"),
        ("livenessProbe", "livelinessProbe"),
        ("periodSeconds: 30", "periodSeconds: 30s"),
        ("fieldPath", "path"),
    ] {
        assert!(manifest.contains(right), "{right}");
        assert!(!validate(&manifest.replace(right, wrong)).status.success(), "{wrong}");
    }
}

#[test]
fn the_readmes_manifest_probes_with_commands_that_there_are() {
    let manifest = manifest();
    let commands: Vec<Vec<&str>> = manifest
        .lines()
        .filter_map(|line| line.split_once("command: [")?.1.split_once(']'))
        .map(|(words, _)| words.split(", ").collect())
        .collect();
    assert_eq!(commands.len(), 3, "{manifest}");
    for command in commands {
        assert_eq!(command[..2], ["/usr/local/bin/version-guard", "health"]);
        // Its own PID 1 has no worker; a word that is unknown would be a usage error.
        let ended = Shim::command("health").options(&command[2..]).pid1().output();
        assert_eq!(ended.code, 1, "{command:?}: {ended:?}");
    }
}
