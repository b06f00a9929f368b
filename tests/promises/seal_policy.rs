//! The policy: what an image asks of its guards, so that one missing variable doesn't switch them off.

use std::fs;

use serde_json::{Value, json};

use crate::common::image::Image;
use crate::common::{Ended, SHA, Sandbox, Shim};

const ALWAYS: &str = r#""enforce":"always""#;
const REQUIRED: &str = r#""requireExpected":true"#;

/// A shim in an image with this seal, whose worker says `started`.
fn shim(git_sha: &str, policy: &str) -> Shim {
    let seal = format!(r#"{{"gitSha":"{git_sha}","buildDate":"",{policy}}}"#);
    Shim::command("run").worker(["echo", "started"]).inside(Sandbox::new().sealed(seal))
}

fn assert_refused(ended: &Ended, fatal: &str) {
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    let line = format!("[version] FATAL: {fatal}");
    assert!(ended.lines().contains(&&*line), "{ended:?}");
}

fn assert_started(ended: &Ended) {
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "started\n"), "{ended:?}");
}

fn content(seal: &Shim, sandbox: &Sandbox) -> Value {
    let ended = seal.clone().inside(sandbox.clone()).output();
    assert_eq!(ended.code, 0, "{ended:?}");
    serde_json::from_slice(&fs::read(sandbox.seal_path("image.json")).unwrap()).unwrap()
}

/// The control is a seal that asks for the other thing.
#[test]
fn enforced_always_tsx_and_unknown_are_refused_outside_production_with_the_reason() {
    for node_env in ["", "development", "prod"] {
        let tsx = |policy| shim(SHA, policy).or_tsx().env("NODE_ENV", node_env);
        let refused = tsx(ALWAYS).output();
        assert_refused(&refused, "Running via tsx in production!");
        assert!(refused.stderr.contains("NODE_ENV is not production"), "{refused:?}");
        assert_eq!(tsx(REQUIRED).env("EXPECTED_GIT_SHA", SHA).output().code, 0);
        let unknown = |policy| shim("unknown", policy).env("NODE_ENV", node_env);
        assert_refused(&unknown(ALWAYS).output(), "GIT_SHA is 'unknown' in production!");
        assert_started(&unknown(REQUIRED).env("EXPECTED_GIT_SHA", "unknown").output());
    }
    assert_started(&shim(SHA, ALWAYS).output());
}

#[test]
fn a_required_expected_sha_that_is_missing_is_refused_in_any_environment() {
    for node_env in ["production", ""] {
        let shim = shim(SHA, REQUIRED).env("NODE_ENV", node_env);
        for blank in ["", " \n"] {
            let ended = shim.clone().env("EXPECTED_GIT_SHA", blank).output();
            assert_refused(&ended, "EXPECTED_GIT_SHA is not set!");
        }
        let ended = shim.output();
        assert_eq!(
            ended.lines(),
            [
                "[version] FATAL: EXPECTED_GIT_SHA is not set!",
                "[version] Image was sealed with --require-expected",
                "[version] This worker CANNOT run - may be stale code.",
            ]
        );
        assert_started(&shim.env("EXPECTED_GIT_SHA", SHA).output());
    }
}

#[test]
fn the_environment_can_not_take_the_policy_away() {
    let shim = shim("unknown", ALWAYS).env("VERSION_GUARD_ENFORCE", "");
    assert_refused(&shim.output(), "GIT_SHA is 'unknown' in production!");
    let shim = self::shim(SHA, REQUIRED).env("VERSION_GUARD_REQUIRE_EXPECTED", "false");
    assert_refused(&shim.output(), "EXPECTED_GIT_SHA is not set!");
}

#[test]
fn a_seal_whose_policy_can_not_be_read_is_refused_everywhere() {
    for policy in [r#""enforce":"sometimes""#, r#""requireExpected":"yes""#, r#""enforce":"always"#]
    {
        let ended = shim(SHA, policy).output();
        assert_refused(&ended, "GIT_SHA is 'unknown' in production!");
    }
}

#[test]
fn seal_writes_the_policy_from_its_options_or_their_twins() {
    let folder = || Sandbox::new().seal_folder();
    let seal = Shim::command("seal").options(["--git-sha", SHA]);
    let none = json!({ "gitSha": SHA, "buildDate": "" });
    let both =
        json!({ "gitSha": SHA, "buildDate": "", "enforce": "always", "requireExpected": true });
    assert_eq!(content(&seal, &folder()), none);
    let options = seal.clone().options(["--enforce", "always", "--require-expected"]);
    assert_eq!(content(&options, &folder()), both);
    let twins = |enforce, require| {
        let seal = seal.clone().env("VERSION_GUARD_ENFORCE", enforce);
        seal.env("VERSION_GUARD_REQUIRE_EXPECTED", require)
    };
    assert_eq!(content(&twins("always", "true"), &folder()), both);
    assert_eq!(content(&twins("", ""), &folder()), none);
    assert_eq!(content(&twins("", "false"), &folder()), none);
    for (shim, named) in [
        (twins("never", ""), "VERSION_GUARD_ENFORCE is 'never': expected always"),
        (twins("", "maybe"), "VERSION_GUARD_REQUIRE_EXPECTED is 'maybe': expected true or false"),
        (seal.clone().options(["--enforce", "never"]), "expected always"),
    ] {
        let sandbox = folder();
        let ended = shim.inside(sandbox.clone()).output();
        assert_eq!(ended.code, 125, "{ended:?}");
        assert!(ended.stderr.contains(named), "{ended:?}");
        assert!(!sandbox.seal_path("image.json").exists());
    }
}

#[test]
fn check_and_the_start_line_tell_the_policy() {
    let both = format!("{ALWAYS},{REQUIRED}");
    let ended = shim(SHA, &both).env("EXPECTED_GIT_SHA", SHA).output();
    let start = format!("[version] GIT_SHA {SHA} (sealed, enforce always, require expected), ");
    assert!(ended.lines()[0].starts_with(&start), "{ended:?}");
    let seal = format!(r#"{{"gitSha":"{SHA}",{both}}}"#);
    let check = Shim::command("check").inside(Sandbox::new().sealed(seal));
    let text = check.output();
    assert!(text.stdout.contains("\nPolicy:       enforce always, require expected\n"), "{text:?}");
    assert!(text.stdout.contains("[REFUSED] mismatch: EXPECTED_GIT_SHA is not set"), "{text:?}");
    let json: Value =
        serde_json::from_str(&check.options(["--log-format", "json"]).output().stdout)
            .expect("an object");
    assert_eq!((&json["enforce"], &json["requireExpected"]), (&json!("always"), &json!(true)));
    let none = Shim::command("check").output();
    assert!(none.stdout.contains("\nPolicy:       none\n"), "{none:?}");
}

#[test]
fn uncommitted_code_is_refused_in_production_even_where_it_is_expected() {
    let dirty = "a1b2c3d-dirty";
    let shim = |policy| shim(dirty, policy).env("EXPECTED_GIT_SHA", dirty);
    let ended = shim(r#""requireExpected":false"#).env("NODE_ENV", "production").output();
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    assert_eq!(
        ended.lines(),
        [
            "[version] FATAL: GIT_SHA is 'a1b2c3d-dirty' in production!",
            "[version] Image was built from a tree with uncommitted changes",
            "[version] This worker CANNOT run - its code is in no commit.",
        ]
    );
    assert_refused(&shim(ALWAYS).output(), "GIT_SHA is 'a1b2c3d-dirty' in production!");
    assert_started(&shim(REQUIRED).output());
}

/// What must not run the worker's code, as `check` tells it of an image with this policy.
fn forbidden(policy: &str, asked: Option<&str>) -> Value {
    let seal = format!(r#"{{"gitSha":"{SHA}"{policy}}}"#);
    let check = Shim::command("check").inside(Sandbox::new().sealed(seal));
    let check = match asked {
        Some(list) => check.env("VERSION_GUARD_FORBID_RUNNERS", list),
        None => check,
    };
    let ended = check.options(["--log-format", "json"]).output();
    let report: Value = serde_json::from_str(&ended.stdout).expect("an object");
    report["forbidRunners"].clone()
}

#[test]
fn a_deployment_forbids_more_runners_than_are_sealed_and_allows_none_of_them() {
    const TS_NODE: &str = r#","forbidRunners":["ts-node"]"#;
    for (sealed, asked, expected) in [
        ("", None, json!(["tsx", "strip-types"])),
        ("", Some(""), json!(["tsx", "strip-types"])),
        ("", Some("bun,TSX"), json!(["tsx", "bun"])),
        (TS_NODE, None, json!(["ts-node"])),
        (TS_NODE, Some(" "), json!(["ts-node"])),
        (TS_NODE, Some("tsx"), json!(["tsx", "ts-node"])),
        (r#","forbidRunners":["tsx","ts-node"]"#, Some("bun"), json!(["tsx", "ts-node", "bun"])),
    ] {
        assert_eq!(forbidden(sealed, asked), expected, "{sealed} and {asked:?}");
    }
}

#[test]
fn a_runner_that_nobody_knows_is_refused_in_one_sentence_that_names_those_that_are_known() {
    let expected = "expected names with commas between them: tsx, strip-types, ts-node, swc-node, esbuild-register, jiti, vite-node, babel-node, bun, deno, sucrase";
    for command in ["run", "check", "seal"] {
        let shim = Shim::command(command).inside(Sandbox::new().seal_folder());
        let option = shim.clone().options(["--forbid-runners", "tsx,nonsense"]);
        let twin = shim.env("VERSION_GUARD_FORBID_RUNNERS", "tsx,nonsense");
        for shim in [option, twin] {
            let shim = if command == "run" { shim.worker(["echo", "started"]) } else { shim };
            let ended = shim.output();
            assert_eq!((ended.code, ended.stdout.as_str()), (125, ""), "{ended:?}");
            assert!(ended.stderr.contains(expected), "{ended:?}");
        }
    }
    let sealed = self::shim(SHA, r#""forbidRunners":["nonsense"]"#).output();
    assert_refused(&sealed, "GIT_SHA is 'unknown' in production!");
}

#[test]
fn seal_writes_what_the_image_forbids_what_it_allows_and_how_long_it_is_watched() {
    let image = Image::new();
    let sealed = |shim: Shim| {
        let ended = shim.output();
        assert_eq!(ended.code, 0, "{ended:?}");
        image.sealed().expect("a seal")
    };
    let none = json!({ "gitSha": SHA, "buildDate": "" });
    assert_eq!(sealed(image.seal()), none);
    let options = image.seal().options([
        "--forbid-runners",
        "ts-node,tsx",
        "--runner-watch",
        "1500us",
        "--allow-argument",
        "--queue=tsx",
        "--allow-argument",
        " 'a\tsx'\n",
    ]);
    assert_eq!(
        sealed(options),
        json!({
            "gitSha": SHA,
            "buildDate": "",
            "forbidRunners": ["tsx", "ts-node"],
            "allowArguments": ["--queue=tsx", " 'a\tsx'\n"],
            "runnerWatchMs": 2,
        })
    );
    let twins = |list, watch| {
        let seal = image.seal().env("VERSION_GUARD_FORBID_RUNNERS", list);
        seal.env("VERSION_GUARD_RUNNER_WATCH", watch).env("VERSION_GUARD_ALLOW_ARGUMENT", "tsx")
    };
    assert_eq!(sealed(twins("", "")), none);
    assert_eq!(
        sealed(twins("bun", "0s")),
        json!({ "gitSha": SHA, "buildDate": "", "forbidRunners": ["bun"], "runnerWatchMs": 0 })
    );
}

#[test]
fn what_the_image_allows_is_sealed_alone() {
    for command in ["run", "check"] {
        let shim = Shim::command(command).options(["--allow-argument", "tsx"]);
        let ended = shim.worker(["echo", "started"]).output();
        assert_eq!((ended.code, ended.stdout.as_str()), (125, ""), "{ended:?}");
    }
    let ended = Image::new().seal().options(["--allow-argument", ""]).output();
    assert_eq!(ended.code, 125, "{ended:?}");
}

#[test]
fn check_and_the_start_line_tell_what_is_forbidden_and_allowed() {
    let policy = r#""forbidRunners":["bun"],"runnerWatchMs":15000,"allowArguments":["tsx\u001b"]"#;
    let ended = shim(SHA, policy).env("VERSION_GUARD_FORBID_RUNNERS", "tsx").output();
    assert_started(&ended);
    let start = format!("[version] GIT_SHA {SHA} (sealed, forbid tsx,bun, runner watch 15s), ");
    assert!(ended.lines()[0].starts_with(&start), "{ended:?}");
    let seal = format!(r#"{{"gitSha":"{SHA}",{policy}}}"#);
    let check = Shim::command("check").inside(Sandbox::new().sealed(seal));
    let text = check.output();
    let told =
        "\nPolicy:       forbid bun, runner watch 15s\nAllowed:      tsx\\u{1b} (argument)\n";
    assert!(text.stdout.contains(told), "{text:?}");
    let json: Value =
        serde_json::from_str(&check.options(["--log-format", "json"]).output().stdout)
            .expect("an object");
    assert_eq!(json["forbidRunners"], json!(["bun"]), "{json}");
    assert_eq!(json["allowedArguments"], json!(["tsx\u{1b}"]), "{json}");
    assert_eq!(json["runnerWatchMs"], json!(15000), "{json}");
}
