//! The wall: at its build an image is searched for what must not run its code.

use std::fs::{self, File};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use crate::common::image::Image;
use crate::common::{Ended, SHA, Shim};

fn sealed(image: &Image, options: &[&str]) -> Ended {
    let ended = image.seal().options(options).output();
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""), "{ended:?}");
    assert!(image.sealed().is_some(), "{ended:?}");
    ended
}

/// The warnings before the line that says what was sealed.
fn warnings(image: &Image, runners: &str) -> Vec<String> {
    let ended = sealed(image, &["--forbid-runners", runners]);
    let mut lines = ended.lines();
    assert!(lines.pop().is_some_and(|line| line.contains("Sealed as")), "{ended:?}");
    lines.into_iter().map(String::from).collect()
}

fn warning(place: &str, package: &str) -> String {
    format!(
        "[version] {place} holds {package}, a forbidden runner: leave it out with npm ci --omit=dev, or copy the compiled code alone from a stage that builds it"
    )
}

#[test]
fn a_forbidden_runner_is_named_wherever_a_package_manager_puts_it() {
    let image = |path: &str| Image::new().folder(path);
    for (image, runners, place, package) in [
        (image("/app/node_modules/tsx"), "tsx", "/app/node_modules/tsx", "tsx"),
        (
            image("/app/node_modules/.pnpm/tsx@4.19.2/node_modules/tsx"),
            "tsx",
            "/app/node_modules/.pnpm/tsx@4.19.2/node_modules/tsx",
            "tsx",
        ),
        (
            image("/usr/local/lib/node_modules/tsx"),
            "tsx,bun",
            "/usr/local/lib/node_modules/tsx",
            "tsx",
        ),
        (
            image("/usr/lib/node_modules/ts-node-dev"),
            "TS-Node",
            "/usr/lib/node_modules/ts-node-dev",
            "ts-node-dev",
        ),
        (
            image("/app/packages/a/node_modules/@swc-node/register"),
            "tsx,swc-node",
            "/app/packages/a/node_modules/@swc-node/register",
            "@swc-node/register",
        ),
        (
            Image::new().file("/app/.yarn/cache/tsx-npm-4.19.2-1b2c3d-4e5f.zip", ""),
            "tsx",
            "/app/.yarn/cache/tsx-npm-4.19.2-1b2c3d-4e5f.zip",
            "tsx",
        ),
        (
            Image::new().file("/app/.pnp.cjs", "    [\"tsx\", [\\\n      [\"npm:4.19.2\", {\\\n"),
            "tsx",
            "/app/.pnp.cjs",
            "tsx",
        ),
        (
            Image::new().file("/app/node_modules/runner/package.json", r#"{"name":"tsx"}"#),
            "tsx",
            "/app/node_modules/runner",
            "tsx",
        ),
    ] {
        assert_eq!(warnings(&image, runners), [warning(place, package)]);
    }
}

#[test]
fn an_image_without_them_is_sealed_and_nothing_is_said_of_it() {
    let innocent = Image::new()
        .folder("/app/node_modules/tsx-previews")
        .folder("/app/node_modules/@company/tsx")
        .folder("/app/node_modules/ts-node")
        .folder("/app/tsx")
        .file("/app/node_modules/a/package.json", r#"{"name":"a","devDependencies":{"tsx":"4"}}"#)
        .file("/app/node_modules/b/package.json", "[")
        .file("/app/package.json", r#"{"name":"tsx"}"#)
        .file("/app/.pnp.cjs", "[\"tsx\", null]")
        .file("/app/.yarn/cache/tsx-previews-npm-1.0.0-a-b.zip", "");
    assert!(warnings(&innocent, "tsx").is_empty());
    let ended = sealed(&innocent, &["--forbid-runners", "tsx", "--strict"]);
    assert_eq!(ended.lines().len(), 1, "{ended:?}");
    assert_eq!(warnings(&innocent, "ts-node").len(), 1, "the control");
}

#[test]
fn who_forbids_nothing_is_told_nothing() {
    let image = Image::new().folder("/app/node_modules/tsx");
    let ended = sealed(&image, &[]);
    assert_eq!(ended.lines().len(), 1, "{ended:?}");
}

#[test]
fn strict_refuses_and_leaves_what_was_sealed_before() {
    let image = Image::new().folder("/app/node_modules/tsx");
    let options = ["--forbid-runners", "tsx", "--strict"];
    let strict = image.seal().options(options);
    let twins = image.seal().env("VERSION_GUARD_FORBID_RUNNERS", "tsx");
    for shim in [strict.clone(), twins.env("VERSION_GUARD_STRICT", "true")] {
        let ended = shim.output();
        assert_eq!((ended.code, ended.stdout.as_str()), (125, ""), "{ended:?}");
        let [place, refusal] = ended.lines()[..] else { panic!("{ended:?}") };
        assert_eq!(place, warning("/app/node_modules/tsx", "tsx"));
        assert!(refusal.contains("Not sealed") && refusal.contains("--strict"), "{ended:?}");
        assert!(image.sealed().is_none() && !image.path("/etc/version-guard").exists());
    }
    sealed(&image, &["--build-date", "before"]);
    assert_eq!(strict.output().code, 125);
    assert_eq!(image.sealed().unwrap(), json!({ "gitSha": SHA, "buildDate": "before" }));
    fs::remove_dir(image.path("/app/node_modules/tsx")).unwrap();
    sealed(&image, &options);
}

#[test]
fn strict_seals_no_image_that_does_not_say_which_commit_and_when() {
    for (git_sha, date, value) in [
        ("a1b2c3d", "", "a1b2c3d"),
        ("v1.4.2", "", "v1.4.2"),
        ("latest", "", "latest"),
        ("", "", ""),
        (SHA, "yesterday", "yesterday"),
        (SHA, "2026-01-08 12:00", "2026-01-08 12:00"),
    ] {
        let image = Image::new();
        let told = image.seal_of(git_sha).options(["--build-date", date]);
        let ended = told.clone().options(["--strict"]).output();
        assert_eq!(ended.code, 125, "{value}: {ended:?}");
        let [line] = ended.lines()[..] else { panic!("{ended:?}") };
        assert!(line.contains("--strict") && line.contains(&format!("'{value}'")), "{line}");
        assert!(image.sealed().is_none());
        // Without it the same is a warning.
        let ended = told.output();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.stderr.contains(&format!("'{value}'")), "{ended:?}");
        assert!(image.sealed().is_some());
    }
    let image = Image::new();
    sealed(&image, &["--strict", "--build-date", "2026-01-08T12:00:00+01:00"]);
}

/// The control is the same folder on the image's own file system.
#[test]
fn other_file_systems_are_not_the_image_and_hide_nothing_of_it() {
    let image = Image::new().folder("/srv/node_modules/tsx");
    let own = warning("/srv/node_modules/tsx", "tsx");
    for mounted in ["/mnt", "/dev", "/proc"] {
        let image = image.clone().mount(mounted, "node_modules/tsx");
        assert_eq!(warnings(&image, "tsx"), [&*own], "{mounted}");
    }
    let both = image.folder("/mnt/node_modules/tsx");
    assert_eq!(warnings(&both, "tsx"), [warning("/mnt/node_modules/tsx", "tsx"), own]);
}

#[test]
fn links_are_not_followed_and_a_package_is_named_once() {
    let store = "/app/node_modules/.pnpm/tsx@4.19.2/node_modules/tsx";
    let image = Image::new()
        .mount("/mnt", "node_modules/tsx")
        .link("/app/loop", "/")
        .link("/srv/node_modules", "/mnt/node_modules")
        .link("/gone/node_modules/tsx", "/nowhere")
        .link("/app/node_modules/tsx", ".pnpm/tsx@4.19.2/node_modules/tsx")
        .file(&format!("{store}/package.json"), r#"{"name":"tsx"}"#);
    assert_eq!(warnings(&image, "tsx"), [warning(store, "tsx")]);
    let elsewhere = Image::new().folder("/opt/runner").link("/app/node_modules/tsx", "/opt/runner");
    assert_eq!(warnings(&elsewhere, "tsx"), [warning("/app/node_modules/tsx", "tsx")]);
}

#[test]
fn of_many_places_ten_are_named_and_the_others_counted() {
    let of = |count: usize| {
        let paths = (0..count).map(|number| format!("/app/{number:02}/node_modules/tsx"));
        paths.fold(Image::new(), |image, path| image.folder(&path))
    };
    assert_eq!(warnings(&of(10), "tsx").len(), 10);
    let lines = warnings(&of(13), "tsx");
    assert_eq!(lines.len(), 11, "{lines:?}");
    assert_eq!(lines[9], warning("/app/09/node_modules/tsx", "tsx"));
    assert_eq!(lines[10], "[version] and 3 more");
}

#[test]
fn what_can_not_be_read_is_told_and_holds_nothing_up() {
    let image = Image::new();
    mkfifo(&image.path("/a/.pnp.cjs"), Mode::S_IRWXU).unwrap();
    mkfifo(&image.path("/a/node_modules/b/package.json"), Mode::S_IRWXU).unwrap();
    File::create(image.path("/b/.pnp.cjs")).unwrap().set_len(1 << 30).unwrap();
    let lines = warnings(&image, "tsx");
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert!(line.contains("/b/.pnp.cjs can't be searched for forbidden runners"), "{line}");
    let ended = image.seal().options(["--forbid-runners", "tsx", "--strict"]).output();
    assert_eq!(ended.code, 125, "{ended:?}");
}

#[test]
fn a_name_from_outside_reaches_no_terminal_unescaped() {
    let image = Image::new().folder("/app/a\x1b[2J\n/node_modules/tsx");
    let lines = warnings(&image, "tsx");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(!lines[0].contains('\x1b') && lines[0].contains("node_modules/tsx"), "{lines:?}");
}

#[test]
fn in_json_place_and_package_are_fields() {
    let image = Image::new().folder("/app/node_modules/tsx");
    let ended = sealed(&image, &["--forbid-runners", "tsx", "--log-format", "json"]);
    let line: Value = serde_json::from_str(ended.stderr.lines().next().unwrap()).unwrap();
    assert_eq!(line["path"], "/app/node_modules/tsx", "{line}");
    assert_eq!(line["package"], "tsx", "{line}");
}
