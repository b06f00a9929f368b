//! The policy that is sealed in: guards that one missing variable doesn't switch off.

use crate::docker::{SHA, once, shell_worker};

/// The control is the same image without the policy.
#[test]
fn enforced_always_the_guards_hold_whatever_node_env_says() {
    let strict = [("VERSION_GUARD_ENFORCE", "always"), ("GIT_SHA", SHA)];
    let strict = shell_worker("version-guard-tests/always", &strict);
    let plain = shell_worker("version-guard-tests/plain", &[("GIT_SHA", SHA)]);
    for node_env in ["NODE_ENV=development", "NODE_ENV=", "NODE_ENV=prod"] {
        // For the guard it may run tsx; for whoever runs it, it prints.
        let command = "[ -z $$ ] && exec tsx w.ts; echo tsx";
        let said = once(["-e", node_env, &strict, "sh", "-c", command]);
        assert_eq!((said.code, &*said.stdout), (1, ""), "{}", said.stderr);
        assert!(said.stderr.contains("FATAL: Running via tsx in production!"), "{}", said.stderr);
        let said = once(["-e", node_env, &plain, "sh", "-c", command]);
        assert_eq!(said.stdout, "tsx\n", "{}", said.stderr);
    }
    let strict = [("VERSION_GUARD_ENFORCE", "always")];
    let strict = shell_worker("version-guard-tests/always-unknown", &strict);
    let said = once(["-e", "NODE_ENV=", "-e", &format!("GIT_SHA={SHA}"), &strict, "echo"]);
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("FATAL: GIT_SHA is 'unknown' in production!"), "{}", said.stderr);
}

#[test]
fn an_expected_sha_that_is_required_and_missing_is_refused_in_any_environment() {
    let policy = [("VERSION_GUARD_REQUIRE_EXPECTED", "true"), ("GIT_SHA", SHA)];
    let image = shell_worker("version-guard-tests/required", &policy);
    for node_env in ["NODE_ENV=production", "NODE_ENV="] {
        for expected in ["EXPECTED_GIT_SHA", "EXPECTED_GIT_SHA=", "EXPECTED_GIT_SHA= "] {
            let said = once(["-e", node_env, "-e", expected, &image, "echo", "started"]);
            assert_eq!((said.code, &*said.stdout), (1, ""));
            assert_eq!(
                said.stderr,
                "[version] FATAL: EXPECTED_GIT_SHA is not set!\n\
                 [version] Image was sealed with --require-expected\n\
                 [version] This worker CANNOT run - may be stale code.\n"
            );
        }
        let expected = format!("EXPECTED_GIT_SHA={SHA}");
        assert_eq!(
            once(["-e", node_env, "-e", &expected, &image, "echo", "started"]).stdout,
            "started\n"
        );
    }
}

#[test]
fn check_and_the_start_line_tell_the_policy() {
    let policy = [
        ("VERSION_GUARD_ENFORCE", "always"),
        ("VERSION_GUARD_REQUIRE_EXPECTED", "true"),
        ("GIT_SHA", SHA),
    ];
    let image = shell_worker("version-guard-tests/both", &policy);
    let expected = format!("EXPECTED_GIT_SHA={SHA}");
    let said = once(["-e", &expected, &image, "true"]);
    let start = format!("GIT_SHA {SHA} (sealed, enforce always, require expected)");
    assert!(said.stderr.contains(&start), "{}", said.stderr);
    let check = once(["--entrypoint", "version-guard", &image, "check"]);
    assert_eq!(check.code, 1);
    assert!(
        check.stdout.contains("Policy:       enforce always, require expected\n"),
        "{}",
        check.stdout
    );
    let sealed = once(["--entrypoint", "cat", &image, "/etc/version-guard/image.json"]).stdout;
    let fields = r#""enforce":"always","requireExpected":true,"code":{"#;
    assert!(sealed.contains(fields), "{sealed}");
}

#[test]
fn uncommitted_code_is_refused_in_production_even_where_it_is_expected() {
    let dirty = format!("{SHA}-dirty");
    let image = shell_worker("version-guard-tests/dirty", &[("GIT_SHA", &dirty)]);
    for expected in [String::new(), dirty.clone()] {
        let said = once(["-e", &format!("EXPECTED_GIT_SHA={expected}"), &image, "echo", "started"]);
        assert_eq!((said.code, &*said.stdout), (1, ""), "{}", said.stderr);
        let fatal = format!("[version] FATAL: GIT_SHA is '{dirty}' in production!\n");
        assert!(said.stderr.contains(&fatal), "{}", said.stderr);
    }
    assert_eq!(once(["-e", "NODE_ENV=", &image, "echo", "started"]).stdout, "started\n");
}
