//! Workers in any language, each stopped gracefully.

use std::fs;

use crate::docker::{
    Container, Redis, SHA, build, build_worker, fixture, guard_image, new_folder, shell_worker,
};

/// A Dockerfile of one's own: three lines make an image an image that knows who it is.
pub fn scratch_image() -> String {
    let context = new_folder();
    fs::copy(fixture("worker"), context.path().join("worker")).expect("the fixture");
    let dockerfile = format!(
        "FROM scratch\n\
         COPY worker /worker\n\
         COPY --from={} /version-guard /usr/local/bin/version-guard\n\
         RUN [\"/usr/local/bin/version-guard\", \"seal\", \"--git-sha\", \"{SHA}\"]\n\
         ENTRYPOINT [\"/usr/local/bin/version-guard\", \"run\", \"--\"]\n\
         USER 65532:65532\n\
         ENV NODE_ENV=production\n\
         CMD [\"/worker\", \"echo\"]\n",
        guard_image()
    );
    build("version-guard-tests/scratch", &dockerfile, &context)
}

/// Starts it, waits until it is ready and registered, and stops it.
fn stops(image: &str, command: &[&str], farewell: &str, code: i32) {
    let redis = Redis::start();
    let arguments = redis.worker("any").into_iter().chain([image.to_owned()]);
    let worker = Container::start(arguments.chain(command.iter().map(|&word| word.to_owned())));
    worker.wait_for("ready");
    assert_eq!(redis.registered("any"), SHA);
    assert_eq!(worker.stop(), code);
    let logs = worker.logs();
    assert!(logs.contains(farewell), "{logs}");
}

#[test]
fn a_python_worker_is_stopped_gracefully() {
    let arguments = [
        ("BASE_IMAGE", "python:3.13-slim"),
        ("WORKER_DIR", "tests/docker/workers/python"),
        ("GIT_SHA", SHA),
    ];
    let image = build_worker("version-guard-tests/python", &arguments);
    stops(&image, &["python", "worker.py"], "stopped", 5);
}

#[test]
fn a_shell_worker_is_stopped_gracefully() {
    let image = shell_worker("version-guard-tests/shell", &[("GIT_SHA", SHA)]);
    stops(&image, &["./worker.sh"], "stopped", 6);
}

#[test]
fn a_static_worker_in_an_empty_image_is_stopped_gracefully() {
    stops(&scratch_image(), &[], "15 from ", 0);
}

#[test]
fn the_signals_that_the_engine_is_told_to_send_reach_the_worker() {
    let arguments = ["--stop-signal", "QUIT", &scratch_image(), "/worker", "echo", "3"];
    let worker = Container::start(arguments);
    worker.wait_for("ready");
    worker.kill("RTMIN+3");
    worker.wait_for("37 from ");
    worker.kill("WINCH");
    worker.wait_for("28 from ");
    assert_eq!(worker.stop(), 0);
    let logs = worker.logs();
    assert!(logs.contains("\n3 from ") && !logs.contains("15 from "), "{logs}");
}

#[test]
fn a_node_worker_is_stopped_gracefully() {
    let image = build_worker("version-guard-tests/node", &[("GIT_SHA", SHA)]);
    let worker = "process.on('SIGTERM', () => { console.log('stopped'); process.exit(8) });
                  console.log('ready'); setInterval(() => {}, 1e6)";
    stops(&image, &["node", "-e", worker], "stopped", 8);
}
