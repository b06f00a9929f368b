//! `seal`: what the image build leaves behind. Each runs over a folder of its own in /etc/version-guard.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use crate::common::{DATE, Ended, OTHER, SHA, Sandbox, Shim, binary};

const PATH: &str = "/etc/version-guard/image.json";

fn seal(sandbox: &Sandbox) -> Shim {
    Shim::command("seal").inside(sandbox.clone())
}

fn sealed(shim: &Shim) -> Ended {
    let ended = shim.output();
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""), "{ended:?}");
    assert!(ended.lines().iter().all(|line| line.starts_with("[version] ")), "{ended:?}");
    ended
}

fn content(sandbox: &Sandbox) -> Value {
    serde_json::from_slice(&fs::read(sandbox.seal_path("image.json")).unwrap()).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn assert_failed(ended: &Ended) {
    assert_eq!((ended.code, ended.stdout.as_str()), (125, ""), "{ended:?}");
    let lines = ended.lines();
    assert_eq!(lines.len(), 1, "one sentence: {ended:?}");
    assert!(lines[0].starts_with("[version] ") && lines[0].contains(PATH), "{ended:?}");
}

#[test]
fn it_writes_exactly_the_sha_and_the_build_date() {
    let sandbox = Sandbox::new().seal_folder();
    let ended = sealed(&seal(&sandbox).options(["--git-sha", SHA, "--build-date", DATE]));
    assert_eq!(content(&sandbox), json!({ "gitSha": SHA, "buildDate": DATE }));
    assert_eq!(ended.lines().len(), 1, "{ended:?}");
    assert!(ended.stderr.contains(SHA), "{ended:?}");
}

#[test]
fn the_seal_is_roots_for_all_to_read_and_alone_in_its_folder() {
    let sandbox = Sandbox::new().seal_folder();
    sealed(&seal(&sandbox).options(["--git-sha", SHA]).behind([
        "sh",
        "-c",
        "umask 077; exec \"$@\"",
        "sh",
    ]));
    let path = sandbox.seal_path("image.json");
    let metadata = fs::symlink_metadata(&path).unwrap();
    assert!(metadata.is_file());
    assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o444, 0, 0));
    assert_eq!(names(path.parent().unwrap()), ["image.json"]);
}

#[test]
fn a_folder_that_is_not_there_is_made_for_all_to_enter_whatever_the_umask() {
    let sandbox =
        Sandbox::new().seal_folder().with("umount /etc/version-guard; rm -r /etc/version-guard");
    let script = "umask 077; \"$@\" && cat /etc/version-guard/image.json \
                  && stat --format '%n %a %u' /etc/version-guard /etc/version-guard/*";
    let ended = seal(&sandbox)
        .options(["--git-sha", SHA, "--build-date", DATE])
        .behind(["sh", "-c", script, "sh"])
        .output();
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let [content, folder, seal] = lines[..] else { panic!("{ended:?}") };
    assert_eq!(
        content,
        r#"{"gitSha":"a1b2c3d4e5f60718293a4b5c6d7e8f9012345678","buildDate":"2026-01-08T12:00:00Z"}"#
    );
    assert_eq!(folder, "/etc/version-guard 755 0");
    assert_eq!(seal, "/etc/version-guard/image.json 444 0");
}

#[test]
fn the_flags_win_over_their_twins_in_the_environment() {
    for (flags, expected) in [
        (vec![], json!({ "gitSha": OTHER, "buildDate": "yesterday" })),
        (vec!["--git-sha", SHA], json!({ "gitSha": SHA, "buildDate": "yesterday" })),
        (vec!["--build-date", DATE], json!({ "gitSha": OTHER, "buildDate": DATE })),
        (vec!["--git-sha", SHA, "--build-date", DATE], json!({ "gitSha": SHA, "buildDate": DATE })),
    ] {
        let sandbox = Sandbox::new().seal_folder();
        let shim = seal(&sandbox).env("GIT_SHA", OTHER).env("BUILD_DATE", "yesterday");
        sealed(&shim.options(flags));
        assert_eq!(content(&sandbox), expected);
    }
}

#[test]
fn blanks_and_line_ends_around_the_values_are_not_sealed() {
    let sandbox = Sandbox::new().seal_folder();
    let shim = seal(&sandbox).env("BUILD_DATE", format!("{DATE}\r\n"));
    sealed(&shim.options(["--git-sha", &format!(" {SHA}\n")]));
    assert_eq!(content(&sandbox), json!({ "gitSha": SHA, "buildDate": DATE }));
}

#[test]
fn sealing_again_replaces_the_seal() {
    let sandbox = Sandbox::new().seal_folder();
    sealed(&seal(&sandbox).options(["--git-sha", OTHER, "--build-date", "yesterday"]));
    sealed(&seal(&sandbox).options(["--git-sha", SHA]));
    assert_eq!(content(&sandbox), json!({ "gitSha": SHA, "buildDate": "" }));
}

#[test]
fn a_reader_sees_the_seal_before_or_the_one_after_and_never_half_of_one() {
    let sandbox = Sandbox::new().seal_folder();
    let long = "x".repeat(60_000);
    sealed(&seal(&sandbox).options(["--git-sha", SHA, "--build-date", &long]));
    let sealing = thread::spawn({
        let sandbox = sandbox.clone();
        move || {
            for git_sha in [OTHER, SHA].repeat(5) {
                sealed(&seal(&sandbox).options(["--git-sha", git_sha, "--build-date", &long]));
            }
        }
    });
    let mut seen = [SHA].into_iter().collect::<std::collections::BTreeSet<_>>();
    while !sealing.is_finished() {
        let seal = content(&sandbox);
        let git_sha = [SHA, OTHER].into_iter().find(|git_sha| seal["gitSha"] == *git_sha);
        seen.insert(git_sha.unwrap_or_else(|| panic!("{seal}")));
    }
    sealing.join().unwrap();
    assert_eq!(seen.len(), 2, "the control: readers saw the seal change");
}

#[test]
fn what_is_sealed_is_what_run_goes_by() {
    let sandbox = Sandbox::new().seal_folder();
    sealed(&seal(&sandbox).options(["--git-sha", SHA, "--build-date", DATE]));
    let ended = Shim::command("run")
        .worker(["sh", "-c", "echo $GIT_SHA $BUILD_DATE"])
        .production(OTHER)
        .env("EXPECTED_GIT_SHA", SHA)
        .inside(sandbox)
        .output();
    assert_eq!((ended.code, ended.stdout), (0, format!("{SHA} {DATE}\n")), "{}", ended.stderr);
}

#[test]
fn without_a_sha_it_warns_and_seals_and_production_refuses_the_image() {
    for git_sha in [None, Some(""), Some(" \n"), Some("unknown"), Some("HEAD"), Some("${GIT_SHA}")]
    {
        let sandbox = Sandbox::new().seal_folder();
        let shim = match git_sha {
            Some(git_sha) => seal(&sandbox).env("GIT_SHA", git_sha),
            None => seal(&sandbox),
        };
        let ended = sealed(&shim);
        assert_eq!(ended.lines().len(), 1, "{ended:?}");
        assert!(ended.stderr.contains("GIT_SHA") && ended.stderr.contains("refuse"), "{ended:?}");
        assert!(content(&sandbox)["gitSha"].is_string());

        let ended = Shim::run(["exit"]).production(SHA).inside(sandbox).output();
        assert_eq!(ended.code, 1, "{ended:?}");
        for line in [
            "[version] FATAL: GIT_SHA is 'unknown' in production!",
            "[version] Image was built without --build-arg GIT_SHA",
            "[version] This worker CANNOT run - may be stale code.",
        ] {
            assert!(ended.lines().contains(&line), "{ended:?}");
        }
    }
}

#[test]
fn a_value_that_is_no_text_is_named_and_not_sealed() {
    for variable in ["GIT_SHA", "BUILD_DATE"] {
        let sandbox = Sandbox::new().seal_folder();
        let odd = OsString::from_vec(b"a1b2c3d\xff".to_vec());
        let ended = seal(&sandbox).env("GIT_SHA", SHA).env(variable, odd).output();
        assert_eq!(ended.code, 125, "{ended:?}");
        let lines = ended.lines();
        let sentence = lines[0].contains(variable) && lines[0].contains("a1b2c3d");
        assert!(sentence && lines[0].contains("UTF-8"), "{ended:?}");
        assert!(!sandbox.seal_path("image.json").exists());
    }
}

#[test]
fn a_place_that_can_not_be_written_is_named_in_one_sentence() {
    let read_only =
        Sandbox::new().seal_folder().with("mount -o remount,ro,bind /etc/version-guard");
    let ended = seal(&read_only).options(["--git-sha", SHA]).output();
    assert_failed(&ended);
    assert!(ended.stderr.contains("Read-only file system"), "{ended:?}");

    let occupied = Sandbox::new().seal_folder();
    fs::create_dir(occupied.seal_path("image.json")).unwrap();
    assert_failed(&seal(&occupied).options(["--git-sha", SHA]).output());
    assert_eq!(names(occupied.seal_path("image.json").parent().unwrap()), ["image.json"]);
}

#[test]
fn a_user_who_is_not_root_is_told_that_this_step_needs_root() {
    let sandbox =
        Sandbox::new().seal_folder().with(&format!("cp '{}' /etc/shim", binary().display()));
    let ended = Shim::of("/etc/shim".into(), ["seal", "--git-sha", SHA])
        .behind(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .inside(sandbox)
        .output();
    assert_failed(&ended);
    assert!(ended.stderr.contains("root"), "{ended:?}");
}

#[test]
fn a_seal_that_does_not_fit_leaves_the_one_before_and_nothing_else() {
    let seal = format!(r#"{{"gitSha":"{SHA}","buildDate":""}}"#);
    // One page, which the seal takes.
    let sandbox = Sandbox::new()
        .seal_folder()
        .with("mount -t tmpfs -o size=4k tmpfs /etc/version-guard")
        .with(&format!("echo '{seal}' > {PATH}"));
    let script = "\"$@\"; code=$?; ls /etc/version-guard; cat /etc/version-guard/*; exit $code";
    let ended = Shim::command("seal")
        .options(["--git-sha", OTHER])
        .behind(["sh", "-c", script, "sh"])
        .inside(sandbox)
        .output();
    assert_eq!(ended.code, 125, "{ended:?}");
    assert_eq!(ended.stdout, format!("image.json\n{seal}\n"), "{ended:?}");
    assert!(ended.stderr.contains(PATH) && ended.stderr.contains("No space left"), "{ended:?}");
}
