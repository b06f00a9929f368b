//! The worker images: built by one Dockerfile, and what `docker run` of them promises.

use std::fs;
use std::process::Command;

use crate::docker::{
    Container, Redis, Version, build_worker, docker, guard_image, once, output, program,
    repository, run, shell_worker, versions,
};

fn base64(file: &str) -> String {
    let path = repository().join("tests/fixtures").join(file);
    output(Command::new("base64").arg("-w0").arg(path))
}

fn layers(image: &str) -> Vec<String> {
    let layers = docker(["image", "inspect", "-f", "{{json .RootFS.Layers}}", image]);
    serde_json::from_str(&layers).expect("a list")
}

#[test]
fn the_ocr_image_reads_text_off_a_picture_and_off_a_pdf() {
    let redis = Redis::start();
    let image = versions().new.ocr_image();
    let worker = Container::start(redis.worker("ocr").into_iter().chain([image]));
    for file in ["page.png", "page.pdf"] {
        let job = format!(r#"{{"id":"{file}","page":"{}"}}"#, base64(file));
        redis.cli(["RPUSH", "jobs:ocr", &job]);
        worker.wait_for(&format!("job {file} done"));
        let done = redis.cli(["LINDEX", "jobs:ocr:done", "-1"]);
        for text in ["Tax notice 2024", "1234,56 EUR", "31 December"] {
            assert!(done.contains(text), "{done}");
        }
    }
}

/// The control is the OCR image.
#[test]
fn the_other_image_has_no_tesseract() {
    let look = |image: &str| {
        let look = "command -v tesseract; command -v pdftoppm";
        once(["--entrypoint", "sh", image, "-c", look]).stdout
    };
    assert_eq!(look(&versions().new.image()), "");
    assert_eq!(look(&versions().new.ocr_image()).lines().count(), 2);
}

#[test]
fn the_shim_is_pid_1_and_the_worker_is_not_root() {
    let redis = Redis::start();
    let image = versions().new.image();
    let worker = Container::start(redis.worker("extractor").into_iter().chain([image]));
    worker.wait_for("worker: extractor");
    let command = worker.exec(["sh", "-c", "tr '\\0' ' ' </proc/1/cmdline"]);
    assert_eq!(command, "/usr/local/bin/version-guard run -- node dist/worker.js");
    let users =
        worker.exec(["sh", "-c", "grep -h ^Uid /proc/1/status; cat /proc/1/task/1/children"]);
    let (shim, children) = users.split_once('\n').expect("two lines");
    assert_eq!(shim, "Uid:\t65532\t65532\t65532\t65532");
    let child = children.split_whitespace().next().expect("a worker");
    let status = worker.exec(["grep", "-E", "^(Uid|Name)", &format!("/proc/{child}/status")]);
    assert_eq!(status, "Name:\tnode\nUid:\t65532\t65532\t65532\t65532");
    assert_eq!(redis.registered("extractor"), versions().new.sha);
    assert_eq!(redis.cli(["HGET", "fiskai:worker:extractor:version", "pid"]), "1");
}

#[test]
fn docker_stop_lets_the_worker_finish_the_job_in_hand() {
    let redis = Redis::start();
    let image = versions().new.image();
    let worker = Container::start(redis.worker("extractor").into_iter().chain([image]));
    for (id, takes) in [("first", 10_000), ("second", 0)] {
        let job = format!(r#"{{"id":"{id}","text":"12,50 EUR","takes":{takes}}}"#);
        redis.cli(["RPUSH", "jobs:extractor", &job]);
    }
    worker.wait_for("job first taken");
    assert_eq!(worker.stop(), 0);
    let sha = &versions().new.sha;
    assert_eq!(
        redis.cli(["LRANGE", "jobs:extractor:done", "0", "-1"]),
        format!(r#"{{"id":"first","result":"12,50","gitSha":"{sha}"}}"#)
    );
    assert_eq!(redis.cli(["LLEN", "jobs:extractor"]), "1", "the second job is not taken any more");
    assert_eq!(redis.cli(["LLEN", "jobs:extractor:taken"]), "0");
}

#[test]
fn the_exit_code_is_the_workers_also_after_docker_stop() {
    let image = versions().new.image();
    let ready = "process.on('SIGTERM', () => process.exit(7)); console.log('ready'); setInterval(() => {}, 1e6)";
    let worker = Container::start([&image, "node", "-e", ready]);
    worker.wait_for("ready");
    assert_eq!(worker.stop(), 7);
    assert_eq!(once([&image, "node", "-e", "process.exit(42)"]).code, 42);
}

#[test]
fn several_jobs_at_a_time_are_as_many_as_the_concurrency() {
    let redis = Redis::start();
    let mut options = redis.worker("sentinel");
    options.extend(["--env=WORKER_CONCURRENCY=2".into(), versions().new.image()]);
    for (id, takes) in [("a", 10_000), ("b", 10_000), ("c", 0)] {
        let job = format!(r#"{{"id":"{id}","takes":{takes}}}"#);
        redis.cli(["RPUSH", "jobs:sentinel", &job]);
    }
    let worker = Container::start(options);
    worker.wait_for("job b taken");
    assert!(!worker.logs().contains("job c taken"), "{}", worker.logs());
    worker.wait_for("job c done");
}

#[test]
fn docker_inspect_shows_commit_and_date() {
    let Version { sha, .. } = &versions().new;
    for image in [versions().new.image(), versions().new.ocr_image()] {
        let label = |name: &str| {
            let field = format!("{{{{index .Config.Labels \"org.opencontainers.image.{name}\"}}}}");
            docker(["image", "inspect", "-f", &field, &image])
        };
        assert_eq!(label("revision"), *sha);
        let created = label("created");
        assert!(created.len() == 20 && created.ends_with('Z'), "{created}");
        let sealed = once(["--entrypoint", "cat", &image, "/etc/version-guard/image.json"]).stdout;
        let identity = format!("{{\"gitSha\":\"{sha}\",\"buildDate\":\"{created}\",\"code\":{{");
        assert!(sealed.starts_with(&identity), "{sealed}");
    }
}

#[test]
fn both_builders_reuse_every_layer_but_the_seal_for_another_commit() {
    for (builder, buildkit) in [("classic", "0"), ("buildkit", "1")] {
        let build = |sha: &str| {
            let tag = format!("version-guard-tests/{builder}:{sha}");
            let mut build = program("docker");
            build.env("DOCKER_BUILDKIT", buildkit);
            build.args(["build", "-f", "Dockerfile.worker", "-t", &tag]);
            build.args(["--build-arg", &format!("GUARD_IMAGE={}", guard_image())]);
            build.args(["--build-arg", &format!("GIT_SHA={sha}")]);
            build.args(["--build-arg", &format!("BUILD_DATE=the date of {sha}"), "."]);
            output(&mut build);
            tag
        };
        let (one, two) = (build("1111111"), build("2222222"));
        let (of_one, of_two) = (layers(&one), layers(&two));
        let (seal, before) = of_one.split_last().expect("layers");
        assert!(before.len() > 3, "{of_one:?}");
        assert_eq!(&of_two[..of_two.len() - 1], before, "{builder}");
        assert_ne!(of_two.last(), Some(seal), "{builder}");
        for (image, sha) in [(one, "1111111"), (two, "2222222")] {
            let check = once(["--entrypoint", "version-guard", &image, "check", "--", "node"]);
            assert_eq!(check.code, 0, "{}", check.stdout);
            assert!(check.stdout.contains(&format!("{sha} (sealed)")), "{}", check.stdout);
        }
    }
}

#[test]
fn an_image_that_is_built_without_a_sha_is_refused() {
    let image = shell_worker("version-guard-tests/unknown", &[]);
    let said = once([&*image, "./worker.sh"]);
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("FATAL: GIT_SHA is 'unknown' in production!"), "{}", said.stderr);
    assert!(!said.stdout.contains("ready"));
}
