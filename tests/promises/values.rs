//! Values as they really arrive: with what files, shells, YAML and pipelines put around them.

use std::os::unix::ffi::OsStringExt;

use crate::common::{OTHER, SHA, Shim};

/// What comes of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    /// The worker starts, and nothing but the start line is said.
    Starts,
    /// The worker starts after one warning that shows this.
    Warns(&'static str),
    /// The unknown guard refuses.
    Unknown,
    /// The mismatch guard refuses, and says this.
    Mismatch(&'static str),
    /// A usage error that shows this.
    Usage(&'static str),
}

use Verdict::{Mismatch, Starts, Unknown, Usage, Warns};

const PLACEHOLDER: Verdict = Mismatch("placeholder");

/// NODE_ENV of an image that has no SHA: in production it is refused.
const NODE_ENV: &[(&str, Verdict)] = &[
    ("production", Unknown),
    ("\"production\"", Unknown),
    ("'production'", Unknown),
    ("Production", Unknown),
    ("PRODUCTION", Unknown),
    ("production\n", Unknown),
    ("production\r\n", Unknown),
    (" production ", Unknown),
    ("\tproduction", Unknown),
    ("\u{feff}production", Unknown),
    ("\" Production\"\r\n", Unknown),
    ("development", Warns("unknown")),
    ("test", Warns("unknown")),
    ("", Warns("unknown")),
];

/// NODE_ENV of an image in order.
const NODE_ENV_IN_ORDER: &[(&str, Verdict)] = &[
    ("production", Starts),
    ("development", Starts),
    ("staging", Starts),
    ("\"production\"", Warns(r#"NODE_ENV is '"production"'"#)),
    ("production\n", Warns(r"NODE_ENV is 'production\n'")),
    ("Production", Warns("NODE_ENV is 'Production'")),
    ("\u{feff}production", Warns(r"NODE_ENV is '\u{feff}production'")),
    ("prod", Warns("NODE_ENV is 'prod', which is not production")),
    ("PRD", Warns("NODE_ENV is 'PRD', which is not production")),
    ("live", Warns("NODE_ENV is 'live', which is not production")),
    ("prod-eu", Warns("which is not production")),
    ("producton", Warns("which is not production")),
];

/// GIT_SHA in production.
const GIT_SHA: &[(&str, Verdict)] = &[
    (SHA, Starts),
    ("A1B2C3D4E5F60718293A4B5C6D7E8F9012345678", Starts),
    ("a1b2c3d4e5f60718293a4b5c6d7e8f9012345678a1b2c3d4e5f60718293a4b5c", Starts),
    ("a1b2c3d", Starts),
    ("\"a1b2c3d\"", Starts),
    ("'a1b2c3d'\n", Starts),
    ("\u{feff}a1b2c3d\r\n", Starts),
    ("v1.4.2", Warns("no commit's SHA")),
    ("build-481", Warns("no commit's SHA")),
    ("2026.11.25", Warns("no commit's SHA")),
    ("a1b2\u{200b}c3d", Unknown),
    ("__GIT_SHA__", Unknown),
    ("@GIT_SHA@", Unknown),
    ("CI_COMMIT_SHORT_SHA", Unknown),
    ("CHANGE_ME", Unknown),
    ("HEAD~1", Unknown),
    ("process.env.GIT_SHA", Unknown),
    ("\"a1b2c3d", Unknown),
    ("", Unknown),
    ("\"\"", Unknown),
    ("\u{feff}", Unknown),
    ("unknown", Unknown),
    ("\"unknown\"", Unknown),
    ("NULL", Unknown),
    ("None", Unknown),
    ("nil", Unknown),
    ("n/a", Unknown),
    ("TODO", Unknown),
    ("latest", Unknown),
    ("main", Unknown),
    ("master", Unknown),
    ("refs/heads/main", Unknown),
    ("GIT_SHA", Unknown),
    ("$GIT_SHA", Unknown),
    ("${GIT_SHA}", Unknown),
    ("${GIT_SHA:-unknown}", Unknown),
    ("$(git rev-parse HEAD)", Unknown),
    ("`git rev-parse HEAD`", Unknown),
    ("$SOURCE_COMMIT", Unknown),
    ("{{ .sha }}", Unknown),
    ("{{.Values.image.sha}}", Unknown),
    ("<no value>", Unknown),
    ("<sha>", Unknown),
    ("%GIT_SHA%", Unknown),
    ("\\$GIT_SHA", Unknown),
    ("fatal: not a git repository", Unknown),
    ("a1b2c3d 0f0f0f0", Unknown),
    ("0000000000000000000000000000000000000000", Unknown),
    ("0000000000000000000000000000000000000000000000000000000000000000", Unknown),
    ("a1b2c3d-dirty", Mismatch("a1b2c3d-dirty")),
];

/// EXPECTED_GIT_SHA where the image is SHA.
const EXPECTED_GIT_SHA: &[(&str, Verdict)] = &[
    (SHA, Starts),
    ("\"a1b2c3d4e5f60718293a4b5c6d7e8f9012345678\"", Starts),
    ("a1b2c3d4e5f60718293a4b5c6d7e8f9012345678\n", Starts),
    ("\u{feff}a1b2c3d4e5f60718293a4b5c6d7e8f9012345678", Starts),
    ("A1B2C3D4E5F60718293A4B5C6D7E8F9012345678", Starts),
    (OTHER, Mismatch(OTHER)),
    ("a1b2c3d", Mismatch("abbreviation")),
    ("A1B2C3D", Mismatch("abbreviation")),
    ("$(git rev-parse HEAD)", PLACEHOLDER),
    ("${GIT_SHA}", PLACEHOLDER),
    ("{{ .Values.sha }}", PLACEHOLDER),
    ("<no value>", PLACEHOLDER),
    ("latest", PLACEHOLDER),
    ("unknown", PLACEHOLDER),
];

/// Options, by their twins.
const OPTIONS: &[(&str, &str, Verdict)] = &[
    ("VERSION_GUARD_STOP_TIMEOUT", "30", Starts),
    ("VERSION_GUARD_STOP_TIMEOUT", "\"30s\"", Starts),
    ("VERSION_GUARD_STOP_TIMEOUT", "500ms\r\n", Starts),
    ("VERSION_GUARD_STOP_TIMEOUT", "", Starts),
    ("VERSION_GUARD_STOP_TIMEOUT", "\"\"", Starts),
    ("VERSION_GUARD_STOP_TIMEOUT", "soon", Usage("VERSION_GUARD_STOP_TIMEOUT is 'soon'")),
    ("VERSION_GUARD_STOP_TIMEOUT", "1.5", Usage("expected a duration")),
    ("VERSION_GUARD_HEARTBEAT", " 30 ", Starts),
    ("VERSION_GUARD_HEARTBEAT", "2h", Usage("from 100ms to 1h")),
    ("VERSION_GUARD_WARN_ON_REAP", "1", Starts),
    ("VERSION_GUARD_WARN_ON_REAP", "TRUE", Starts),
    ("VERSION_GUARD_WARN_ON_REAP", "'yes'", Starts),
    ("VERSION_GUARD_WARN_ON_REAP", "On\n", Starts),
    ("VERSION_GUARD_WARN_ON_REAP", "0", Starts),
    ("VERSION_GUARD_WARN_ON_REAP", "no", Starts),
    ("VERSION_GUARD_WARN_ON_REAP", "off", Starts),
    ("VERSION_GUARD_WARN_ON_REAP", "perhaps", Usage("expected true or false")),
    ("VERSION_GUARD_SIGNAL_SCOPE", "Group", Starts),
    ("VERSION_GUARD_SIGNAL_SCOPE", "\"worker\"", Starts),
    ("VERSION_GUARD_SIGNAL_SCOPE", "all", Usage("expected worker or group")),
    ("VERSION_GUARD_LOG_FORMAT", "Text\n", Starts),
    ("VERSION_GUARD_LOG", "INFO", Starts),
    ("VERSION_GUARD_LOG", "debug", Usage("expected error, warn or info")),
    ("VERSION_GUARD_REWRITE_SIGNAL", "\"HUP:USR1, QUIT:USR2,\"", Starts),
    ("VERSION_GUARD_REMAP_EXIT", "'143:0'", Starts),
    ("VERSION_GUARD_KEY_PREFIX", "\"team:worker\"\n", Starts),
    ("VERSION_GUARD_ENFORCE", "ALWAYS", Starts),
    ("VERSION_GUARD_ENFORCE", "\u{feff}always\n", Starts),
    ("VERSION_GUARD_ENFORCE", "never", Usage("expected always")),
    ("VERSION_GUARD_FORBID_RUNNERS", "\"TSX, ts-node,\"\n", Starts),
    ("VERSION_GUARD_FORBID_RUNNERS", " ", Starts),
    ("VERSION_GUARD_FORBID_RUNNERS", ",", Usage("VERSION_GUARD_FORBID_RUNNERS is ','")),
    (
        "VERSION_GUARD_FORBID_RUNNERS",
        "tsx,tsc",
        Usage("expected names with commas between them: tsx, strip-types, ts-node, swc-node, "),
    ),
    ("WORKER_TYPE", "\"\"", Starts),
    ("WORKER_TYPE", "\"extractor\"", Warns("REDIS_URL is not set")),
    ("WORKER_TYPE", "extractor\n", Warns("REDIS_URL is not set")),
    ("WORKER_TYPE", "my worker", Warns("WORKER_TYPE is 'my worker'")),
    ("REDIS_URL", "' '", Starts),
];

fn assert_verdict(shim: &Shim, what: &str, verdict: Verdict) {
    let ended = shim.output();
    let lines = ended.lines();
    let (code, shown) = match verdict {
        Starts => (0, "let it start"),
        Warns(shown) => (0, shown),
        Unknown => (1, "FATAL: GIT_SHA is 'unknown' in production!"),
        Mismatch(shown) => (1, shown),
        Usage(shown) => (125, shown),
    };
    assert_eq!(ended.code, code, "{what}: {ended:?}");
    assert!(ended.stderr.contains(shown), "{what}: {shown:?} in {ended:?}");
    match verdict {
        Starts => assert_eq!(lines.len(), 1, "{what}: {ended:?}"),
        Warns(_) => assert_eq!(lines.len(), 2, "{what}: {ended:?}"),
        Usage(_) => assert_eq!(ended.stdout, "", "{what}: {ended:?}"),
        _ => assert!(lines[0].contains("FATAL"), "{what}: {ended:?}"),
    }
}

#[test]
fn each_value_is_taken_as_it_is_meant_or_refused_with_a_sentence() {
    let shim = Shim::run(["exit", "0"]);
    let in_order = shim.clone().env("GIT_SHA", SHA).env("EXPECTED_GIT_SHA", SHA);
    let production = in_order.clone().env("NODE_ENV", "production");
    for (value, verdict) in NODE_ENV {
        assert_verdict(&shim.clone().env("NODE_ENV", *value), value, *verdict);
    }
    for (value, verdict) in NODE_ENV_IN_ORDER {
        assert_verdict(&in_order.clone().env("NODE_ENV", *value), value, *verdict);
    }
    for (value, verdict) in GIT_SHA {
        let shim = production.clone().env("GIT_SHA", *value).env("EXPECTED_GIT_SHA", *value);
        assert_verdict(&shim, value, *verdict);
    }
    for (value, verdict) in EXPECTED_GIT_SHA {
        assert_verdict(&production.clone().env("EXPECTED_GIT_SHA", *value), value, *verdict);
    }
    for (name, value, verdict) in OPTIONS {
        assert_verdict(
            &production.clone().env(*name, *value),
            &format!("{name}={value}"),
            *verdict,
        );
    }
}

#[test]
fn a_value_that_is_no_text_is_no_production_and_no_sha() {
    let bytes = |text: &[u8]| std::ffi::OsString::from_vec(text.to_vec());
    let shim =
        Shim::run(["exit", "0"]).env("GIT_SHA", SHA).env("NODE_ENV", bytes(b"production\xa0"));
    assert_verdict(&shim, "NODE_ENV", Warns("which is not production"));
    let shim = Shim::run(["exit", "0"]).production(SHA).env("GIT_SHA", bytes(b"a1b2c3d\xff"));
    assert_verdict(&shim, "GIT_SHA", Unknown);
}

#[test]
fn a_team_without_node_env_has_the_guards_by_one_variable() {
    for (shim, fatal) in [
        (Shim::run(["exit", "0"]), "GIT_SHA is 'unknown' in production!"),
        (Shim::run(["exit", "0"]).or_tsx().env("GIT_SHA", SHA), "Running via tsx in production!"),
    ] {
        assert_eq!(shim.output().code, 0);
        let twin = shim.clone().env("VERSION_GUARD_ENFORCE", "always");
        for shim in [twin, shim.options(["--enforce", "always"])] {
            let ended = shim.output();
            assert_eq!(ended.code, 1, "{ended:?}");
            assert!(ended.lines()[0].ends_with(&format!("FATAL: {fatal}")), "{ended:?}");
            assert!(ended.stderr.contains("VERSION_GUARD_ENFORCE or --enforce"), "{ended:?}");
        }
    }
    let check = Shim::command("check").env("VERSION_GUARD_ENFORCE", "always").output();
    assert_eq!(check.code, 1, "{check:?}");
}
