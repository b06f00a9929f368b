//! What Prometheus's own tool says of the metrics, and of the alerts that come with them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{OTHER, Redis, SHA, Shim};

/// Exit code, and both streams together.
fn promtool(arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("the input");
    let output = child.wait_with_output().expect("promtool");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// The control is a counter without a help text.
#[test]
fn promtool_has_nothing_to_say_of_the_metrics() {
    let redis = Redis::start();
    let started = |worker_type, sha| {
        Shim::run(["sleep"]).env("GIT_SHA", sha).registers(worker_type, redis.url()).ready()
    };
    let _fleet = [started("extractor", SHA), started("ocr", OTHER)];
    let verify = Shim::command("verify").env("REDIS_URL", redis.url());
    let options = ["--format", "prometheus", "--require", "sentinel"];
    let ended = verify.env("EXPECTED_GIT_SHA", SHA).options(options).output();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.contains("status=\"stale\"} 1"), "{ended:?}");
    assert_eq!(promtool(&["check", "metrics"], &ended.stdout), (Some(0), String::new()));
    let (code, said) = promtool(&["check", "metrics"], "# TYPE jobs counter\njobs 1\n");
    assert!(code == Some(3) && said.contains("jobs no help text"), "{code:?}: {said}");
}

#[test]
fn alerts_are_raised_for_what_stays_stale_dead_or_crashing_and_for_nothing_else() {
    let (code, said) = promtool(&["test", "rules", "tests/promises/alerts.yml"], "");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = promtool(&["check", "rules", "docker/alerts.yml"], "");
    assert!(code == Some(0) && said.contains("3 rules found"), "{said}");
}
