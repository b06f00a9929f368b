//! What is said to who mistypes a variable, an option, a Dockerfile.

use crate::common::redis::Redis;
use crate::common::{Ended, Folder, SHA, Shim, binary};

fn told(ended: &Ended, part: &str) -> bool {
    ended.lines().iter().filter(|line| line.contains(part)).count() == 1
}

#[test]
fn a_misspelt_twin_is_one_warning_with_the_nearest_name_and_the_worker_starts() {
    for (name, meant) in [
        ("VERSION_GUARD_REGISTER_TIMOUT", "VERSION_GUARD_REGISTER_TIMEOUT"),
        ("VERSION_GUARD_HEART_BEAT", "VERSION_GUARD_HEARTBEAT"),
        ("VERSION_GUARD_ENFORCED", "VERSION_GUARD_ENFORCE"),
        ("VERSION_GUARD_KEYPREFIX", "VERSION_GUARD_KEY_PREFIX"),
        ("VERSION_GUARD_REAPGRACE", "VERSION_GUARD_REAP_GRACE"),
        ("VERSION_GUARD_REDIS_URI", "VERSION_GUARD_REDIS_URL"),
        ("VERSION_GUARD_EXPECTED_GIT_SHA", "EXPECTED_GIT_SHA"),
        // By the name of its option.
        ("VERSION_GUARD_LOG_LEVEL", "VERSION_GUARD_LOG"),
    ] {
        let ended = Shim::run(["exit"]).production(SHA).env(name, "1").output();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(ended.lines().len(), 2, "{ended:?}");
        assert!(told(&ended, &format!("{name} is set")), "{ended:?}");
        assert!(ended.stderr.contains(&format!("Is {meant} meant?")), "{ended:?}");
    }
    let ended = Shim::run(["exit"]).production(SHA).env("VERSION_GUARD_QQQ", "1").output();
    assert!(told(&ended, "VERSION_GUARD_QQQ is set"), "{ended:?}");
}

#[test]
fn what_is_a_twin_of_any_command_empty_or_a_services_is_no_misspelling() {
    for (name, value) in [
        ("VERSION_GUARD_WAIT", "5m"),
        ("VERSION_GUARD_STRICT", "true"),
        ("VERSION_GUARD_QQQ", ""),
        ("VERSION_GUARD_QQQ", "\"\""),
        ("VERSION_GUARD_SERVICE_HOST", "10.0.0.1"),
        ("VERSION_GUARD_PORT_6379_TCP", "tcp://10.0.0.1:6379"),
    ] {
        let ended = Shim::run(["exit"]).production(SHA).env(name, value).output();
        assert_eq!((ended.code, ended.lines().len()), (0, 1), "{ended:?}");
    }
}

#[test]
fn an_entrypoint_without_run_or_without_the_two_dashes_is_told_how_it_is_written() {
    for arguments in [
        &["run", "node", "dist/worker.js"][..],
        &["run", "--heartbeat", "10s", "python", "worker.py"],
        &["--log-format", "text", "check", "node"],
        &["node", "dist/worker.js"],
        &["/app/worker"],
    ] {
        let ended = Shim::of(binary(), arguments).output();
        assert_eq!(ended.code, 125, "{ended:?}");
        let entrypoint = r#"ENTRYPOINT ["/usr/local/bin/version-guard", "run", "--"]"#;
        assert!(told(&ended, entrypoint), "{ended:?}");
    }
    // The controls are what is no worker's.
    for arguments in [
        &["verfy"][..],
        &["help", "nonsense"],
        &["verify", "all"],
        &["run", "--heart", "--", "true"],
    ] {
        let ended = Shim::of(binary(), arguments).output();
        assert_eq!(ended.code, 125, "{ended:?}");
        assert!(!ended.stderr.contains("ENTRYPOINT"), "{ended:?}");
    }
}

#[test]
fn a_shell_that_is_pid_1_before_the_shim_is_named_with_what_to_write() {
    let folder = Folder::new();
    let program = folder.path("version-guard");
    std::os::unix::fs::symlink(binary(), &program).unwrap();
    let line = format!("{} run -- true; exit $?", program.display());
    let shell_form = |shell: &str| {
        let words = ["--fork", "--pid", "--mount-proc", "--kill-child", shell, "-c", &line];
        Shim::of("unshare".into(), words).production(SHA).output()
    };
    for shell in ["sh", "/bin/bash"] {
        let ended = shell_form(shell);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(told(&ended, &format!("PID 1 is a shell, {shell} -c")), "{ended:?}");
    }
    let list = Shim::run(["exit"]).production(SHA).pid1().output();
    assert!(!list.stderr.contains("PID 1"), "{list:?}");
}

#[test]
fn each_commands_help_tells_its_exit_codes() {
    for command in ["run", "check", "seal", "verify", "expect", "health"] {
        let ended = Shim::of(binary(), [command, "--help"]).output();
        assert_eq!(ended.code, 0);
        assert!(ended.stdout.contains("\nExit: "), "{}", ended.stdout);
        assert!(ended.stdout.contains("125"), "{}", ended.stdout);
    }
    let all = Shim::of(binary(), ["help"]).output();
    assert!(all.stdout.contains("\nExit: run: "), "{}", all.stdout);
}

#[test]
fn an_url_for_the_shim_alone_wins_over_the_workers_in_each_command() {
    let (own, workers) = (Redis::start(), Redis::start());
    let with_both = |shim: Shim| {
        let shim = shim.env("VERSION_GUARD_REDIS_URL", own.url());
        shim.registers("extractor", workers.url()).env("GIT_SHA", SHA)
    };
    let shim = with_both(Shim::run(["sleep"])).ready();
    let count = |redis: &Redis| redis.cli(["ZCARD", "fiskai:workers"]);
    assert_eq!((count(&own).as_str(), count(&workers).as_str()), ("1", "0"));
    let verify = Shim::command("verify").options(["--expected", SHA]);
    assert_eq!(with_both(verify).output().code, 0);
    shim.signal(nix::libc::SIGTERM);
    shim.end();
    // The worker keeps what it has.
    let worker = Shim::command("run").worker(["sh", "-c", "echo $REDIS_URL"]);
    assert_eq!(with_both(worker).output().stdout.trim(), workers.url());
}

#[test]
fn a_file_with_the_shims_url_is_read_and_what_is_wrong_names_the_shims_variable() {
    let redis = Redis::start();
    let folder = Folder::new();
    let file = folder.file("url", redis.url() + "\n");
    let shim = || Shim::run(["exit"]).production(SHA).env("WORKER_TYPE", "extractor");
    let ended = shim().env("VERSION_GUARD_REDIS_URL_FILE", file).output();
    assert!(told(&ended, "is registered in Redis"), "{ended:?}");
    let ended = shim().env("VERSION_GUARD_REDIS_URL", "http://user:hunter2@host").output();
    assert!(told(&ended, "VERSION_GUARD_REDIS_URL can't be used"), "{ended:?}");
    assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
    let ended = shim().env("VERSION_GUARD_REDIS_URL_FILE", "/nowhere").output();
    assert!(told(&ended, "VERSION_GUARD_REDIS_URL_FILE /nowhere can't be used"), "{ended:?}");
}
