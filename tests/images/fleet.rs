//! A fleet of real containers: the gate's verdict on it, and what becomes of workers that nobody recreates.

use crate::docker::{
    Container, OTHER, Redis, SHA, Said, eventually, guard_image, once, shell_worker,
};

/// A worker of the shell, of this commit, which stops or only says that it is overtaken.
fn image(git_sha: &str, on_drift: &str) -> String {
    let tag = format!("version-guard-tests/fleet:{}-{on_drift}", &git_sha[..7]);
    shell_worker(&tag, &[("GIT_SHA", git_sha), ("VERSION_GUARD_ON_DRIFT", on_drift)])
}

/// A worker that the engine starts again whenever it ends.
fn worker(redis: &Redis, worker_type: &str, image: &str, command: &[&str]) -> Container {
    let mut arguments = redis.worker(worker_type);
    for more in ["--restart=always", "-e", "VERSION_GUARD_HEARTBEAT=500ms", image] {
        arguments.push(more.into());
    }
    arguments.extend(command.iter().map(ToString::to_string));
    Container::start(arguments)
}

/// The guard image's own word.
fn ask(redis: &Redis, arguments: &[&str]) -> Said {
    let network = format!("--network={}", redis.network);
    let url = "REDIS_URL=redis://redis:6379";
    once([&network, "-e", url, guard_image()].into_iter().chain(arguments.iter().copied()))
}

fn verify(redis: &Redis, more: &[&str]) -> Said {
    ask(redis, &[&["verify", "--expected", SHA], more].concat())
}

/// The incident as it happened: nobody recreates the containers. The control goes on with old code.
#[test]
fn containers_that_nobody_recreates_are_stopped_and_stay_so_until_newer_ones_come() {
    let redis = Redis::start();
    let old = worker(&redis, "extractor", &image(SHA, "stop"), &["./worker.sh"]);
    let control = worker(&redis, "sentinel", &image(SHA, "warn"), &["./worker.sh"]);
    let new = worker(&redis, "ocr", &image(OTHER, "stop"), &["./worker.sh"]);
    for container in [&old, &control, &new] {
        container.wait_for("is registered in Redis");
        container.wait_for("ready");
    }
    assert_eq!(ask(&redis, &["expect", OTHER, "--by", "ci@test"]).code, 0);
    let refusal = format!(
        "[version] FATAL: Version mismatch!\n\
         [version]   Image SHA:    {SHA}\n\
         [version]   Expected SHA: {OTHER}\n\
         [version] This worker is running STALE code. Exiting.\n\
         [version] It is what was published as expected at "
    );
    // Once for the worker that was stopped, and once more for each start by the engine.
    eventually("two refusals", || (old.logs().matches(&refusal).count() > 2).then_some(()));
    let logs = old.logs();
    assert_eq!(logs.matches("ready").count(), 1, "it took no job since: {logs}");
    assert_eq!(logs.matches("stopped").count(), 1, "its job was finished: {logs}");
    // While the engine starts it anew, that is 0.
    eventually("the exit code", || (old.inspect(".State.ExitCode") == "1").then_some(()));
    control.wait_for("STALE: sentinel runs ");
    for container in [&control, &new] {
        assert_eq!(container.inspect(".RestartCount"), "0", "{}", container.logs());
    }
    assert!(!new.logs().contains("STALE"), "{}", new.logs());
    let said = ask(&redis, &["verify"]);
    assert_eq!(said.code, 1);
    assert!(said.stdout.contains("[OK] ocr") && said.stdout.contains("[STALE] sentinel"));
    assert!(said.stdout.contains("by ci@test") && !said.stdout.contains("extractor"));
}

/// Registered before it is executed, each of them would look well for a moment.
#[test]
fn a_worker_that_the_engine_restarts_again_and_again_is_never_taken_for_one_that_runs() {
    let image = image(SHA, "warn");
    for command in ["exit 1", "sleep 2; exit 1", "sleep 8; exit 1"] {
        let redis = Redis::start();
        let worker = worker(&redis, "extractor", &image, &["sh", "-c", command]);
        worker.wait_for("the guards let it start");
        let said = verify(&redis, &["--require", "extractor", "--wait", "25s"]);
        assert_eq!(said.code, 1, "{command}: {}{}", said.stdout, said.stderr);
        assert!(!said.stdout.contains("All workers running"), "{}", said.stdout);
    }
    let redis = Redis::start();
    let steady = worker(&redis, "extractor", &image, &["./worker.sh"]);
    steady.wait_for("is registered");
    let said = verify(&redis, &["--require", "extractor", "--wait", "40s"]);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
}

#[test]
fn a_killed_container_is_dead_until_one_of_its_type_starts() {
    let redis = Redis::start();
    let image = image(SHA, "warn");
    let [killed, scaled_down] = ["extractor", "ocr"]
        .map(|worker_type| worker(&redis, worker_type, &image, &["./worker.sh"]));
    for container in [&killed, &scaled_down] {
        container.wait_for("is registered");
        container.kill("KILL");
    }
    eventually("both dead", || {
        let said = verify(&redis, &[]);
        let both = ["[DEAD] extractor", "[DEAD] ocr"].iter().all(|line| said.stdout.contains(line));
        (both && said.code == 1).then_some(())
    });
    // A node that is lost has its replacement under another host name.
    let replacement = worker(&redis, "extractor", &image, &["./worker.sh"]);
    replacement.wait_for("is registered");
    eventually("one dead", || {
        let said = verify(&redis, &[]);
        (said.stdout.contains("[OK] extractor") && said.stdout.contains("[DEAD] ocr")).then_some(())
    });
    assert!(!verify(&redis, &[]).stdout.contains("[DEAD] extractor"));
    let said = verify(&redis, &["--only", "extractor", "--require", "extractor=3"]);
    assert!(said.code == 1 && said.stdout.contains("extractor: 1 of 3"), "{}", said.stdout);
}
