//! Places where a container init has to work: the worker runs, registers, and is stopped there.

use crate::docker::{Container, Redis, SHA, docker, shell_worker};
use crate::languages::scratch_image;

fn works(image: &str, options: &[&str], command: &[&str], code: i32) {
    let redis = Redis::start();
    let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let mut arguments = redis.worker("any");
    arguments.extend(owned(options));
    arguments.push(image.to_owned());
    arguments.extend(owned(command));
    let worker = Container::start(arguments);
    worker.wait_for("ready");
    assert_eq!(redis.registered("any"), SHA, "{image} {options:?}");
    assert_eq!(worker.stop(), code, "{image} {options:?}: {}", worker.logs());
}

#[test]
fn it_works_without_what_a_hardened_container_takes_away() {
    let image = shell_worker("version-guard-tests/hardened", &[("GIT_SHA", SHA)]);
    let options: [&[&str]; 6] = [
        &["--read-only"],
        &["--user", "65534"],
        &["--cap-drop", "ALL"],
        &["--security-opt", "no-new-privileges"],
        &["--init"],
        &[
            "--read-only",
            "--user",
            "65534:65534",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
            "--init",
        ],
    ];
    for options in options {
        works(&image, options, &["./worker.sh"], 6);
    }
}

#[test]
fn it_works_on_debian_13_with_foreign_name_service_modules() {
    let base = "version-guard-tests/odd-names";
    docker(["build", "-q", "-t", base, "-f", "tests/docker/odd-names.Dockerfile", "tests/docker"]);
    let arguments = [("GIT_SHA", SHA), ("BASE_IMAGE", base)];
    let image = shell_worker("version-guard-tests/debian-13", &arguments);
    works(&image, &[], &["./worker.sh"], 6);
}

#[test]
fn it_works_in_an_empty_image() {
    let image = scratch_image();
    works(&image, &[], &[], 0);
    works(&image, &["--read-only", "--cap-drop", "ALL", "--user", "65534"], &[], 0);
}
