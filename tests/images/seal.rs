//! The seal in the image: nothing at run time gets past it.

use std::sync::OnceLock;

use crate::docker::{
    Container, OTHER, Redis, SHA as SEALED, build, new_folder, once, shell_worker,
};

fn image() -> &'static str {
    static BUILT: OnceLock<String> = OnceLock::new();
    BUILT.get_or_init(|| shell_worker("version-guard-tests/sealed", &[("GIT_SHA", SEALED)]))
}

#[test]
fn a_git_sha_at_run_time_changes_neither_verdict_nor_registration_and_is_warned_about() {
    let redis = Redis::start();
    let mut options = redis.worker("extractor");
    options.push(format!("--env=GIT_SHA={OTHER}"));
    options.push(format!("--env=EXPECTED_GIT_SHA={SEALED}"));
    options.extend(
        [image(), "sh", "-c", "echo \"worker sees $GIT_SHA\"; exec ./worker.sh"].map(str::to_owned),
    );
    let worker = Container::start(options);
    worker.wait_for(&format!("worker sees {SEALED}"));
    let logs = worker.logs();
    let warning =
        format!("[version] GIT_SHA is {OTHER} in the environment and {SEALED} in the image's seal");
    assert!(logs.contains(&warning), "{logs}");
    assert_eq!(redis.registered("extractor"), SEALED);
}

#[test]
fn a_git_sha_at_run_time_can_not_pass_for_the_expected_one() {
    let (told, expected) = (format!("GIT_SHA={OTHER}"), format!("EXPECTED_GIT_SHA={OTHER}"));
    let said = once(["-e", &told, "-e", &expected, image(), "./worker.sh"]);
    assert_eq!(said.code, 1);
    assert_eq!(said.stdout, "");
    for line in [
        "[version] FATAL: Version mismatch!".to_owned(),
        format!("[version]   Image SHA:    {SEALED}"),
        format!("[version]   Expected SHA: {OTHER}"),
    ] {
        assert!(said.stderr.lines().any(|said| said == line), "{}", said.stderr);
    }
}

#[test]
fn it_is_roots_and_nobody_may_write_to_it() {
    let said =
        once(["--entrypoint", "stat", image(), "-c", "%a %u:%g", "/etc/version-guard/image.json"]);
    assert_eq!(said.stdout, "444 0:0\n");
}

/// The control is root, who may.
#[test]
fn the_workers_user_can_not_overwrite_or_remove_it() {
    let path = "/etc/version-guard/image.json";
    for attempt in [
        format!("echo '{{}}' >{path}"),
        format!("chmod 666 {path}"),
        format!("rm -f {path}"),
        format!("mv {path} {path}.old"),
        format!("ln -sf /dev/null {path}"),
        "mv /etc/version-guard /etc/other".to_owned(),
        "version-guard seal --git-sha 0f0f0f0".to_owned(),
    ] {
        let tried = |user: &str| {
            let check = format!("{attempt}; echo \"$?\"; cat {path} 2>&1");
            once(["--user", user, "--entrypoint", "sh", image(), "-c", &check]).stdout
        };
        let as_worker = tried("65532");
        assert!(!as_worker.starts_with("0\n"), "{attempt}: {as_worker}");
        assert!(as_worker.contains(SEALED), "{attempt}: {as_worker}");
        assert!(tried("0").starts_with("0\n"), "{attempt}");
    }
}

#[test]
fn a_broken_seal_is_refused() {
    for (name, breakage) in [
        ("cut", "truncate -s 20 image.json"),
        ("empty", ": >image.json"),
        ("secret", "chmod 0400 image.json"),
        ("folder", "rm image.json && mkdir image.json"),
        ("dangling", "ln -sf nowhere image.json"),
    ] {
        let dockerfile = format!(
            "FROM {}\nUSER 0\nRUN cd /etc/version-guard && chmod 644 image.json && {breakage}\nUSER 65532\n",
            image()
        );
        let broken = build(&format!("version-guard-tests/{name}"), &dockerfile, &new_folder());
        // Outside production, too: what it asked for can't be read, and may have been just that.
        for node_env in ["production", "development"] {
            let (node_env, told) = (format!("NODE_ENV={node_env}"), format!("GIT_SHA={OTHER}"));
            let said = once(["-e", &node_env, "-e", &told, &broken, "./worker.sh"]);
            assert_eq!((said.code, &*said.stdout), (1, ""), "{name}, {node_env}: {}", said.stderr);
            let fatal = "[version] FATAL: GIT_SHA is 'unknown' in production!";
            assert!(said.stderr.contains(fatal), "{name}, {node_env}: {}", said.stderr);
        }
    }
}
