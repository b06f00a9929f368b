//! The policy: what an image asks of its guards, so that one missing variable doesn't switch them off.

use std::fs;

use serde_json::{Value, json};

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
        let tsx = |policy| shim(SHA, policy).arguments(["tsx"]).env("NODE_ENV", node_env);
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
