//! Sealed code: any change is found and named, no change is none, and nothing hostile can hurt.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::libc::SIGTERM;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use crate::common::{Ended, SHA, Sandbox, Shim};

/// A folder right below the root: elsewhere, such as in a /tmp of its own, a mount would be above it.
fn code_folder() -> TempDir {
    TempDir::with_prefix_in("version-guard-test-", "/").expect("a folder for the test")
}

fn seal(code: &Path, sandbox: &Sandbox, more: &[&str]) -> Ended {
    let shim = Shim::command("seal").options(["--git-sha", SHA, "--code"]).options([code]);
    shim.options(more).inside(sandbox.clone()).output()
}

/// A sandbox whose image has sealed this code.
fn sealed(code: &Path) -> Sandbox {
    let sandbox = Sandbox::new().seal_folder();
    let ended = seal(code, &sandbox, &[]);
    assert_eq!(ended.code, 0, "{ended:?}");
    sandbox
}

fn starts(sandbox: &Sandbox) -> Ended {
    Shim::run(["exit", "0"]).env("NODE_ENV", "production").inside(sandbox.clone()).output()
}

fn assert_refused(ended: &Ended, line: &str) {
    assert_eq!(ended.code, 1, "{line}: {ended:?}");
    let lines = ended.lines();
    assert_eq!(
        lines[0], "[version] FATAL: Worker code differs from the image's seal!",
        "{ended:?}"
    );
    assert!(lines.iter().any(|shown| shown.contains(line)), "{line} in {ended:?}");
    let last = "[version] This worker is NOT running the code of its image. Exiting.";
    assert!(lines.contains(&last), "{ended:?}");
}

const NAMES: [&[u8]; 12] = [
    b"a",
    b"a-b",
    b"a.b",
    b"-rf",
    b"a b",
    b"line\nend",
    b"back\\slash",
    b"cr\r",
    b"\xff\xfe",
    b"caf\xc3\xa9",
    b"node_modules",
    b"zz",
];

/// A tree of files, folders and links with odd names; its files and links.
fn tree(root: &Path, random: &mut fastrand::Rng) -> Vec<PathBuf> {
    let mut folders = vec![root.to_owned()];
    let mut found = Vec::new();
    for _ in 0..random.usize(3..25) {
        let folder = folders[random.usize(..folders.len())].clone();
        let path = folder.join(OsString::from_vec(NAMES[random.usize(..NAMES.len())].to_vec()));
        if fs::symlink_metadata(&path).is_ok() {
            continue;
        }
        match random.u8(..6) {
            0 | 1 => {
                fs::create_dir(&path).unwrap();
                folders.push(path);
            }
            2 => {
                symlink(["nowhere", "../a", "/bin"][random.usize(..3)], &path).unwrap();
                found.push(path);
            }
            _ => {
                fs::write(&path, random.u64(..).to_string()).unwrap();
                let mode = if random.bool() { 0o755 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                found.push(path);
            }
        }
    }
    if found.is_empty() {
        fs::write(root.join("one"), "1").unwrap();
        found.push(root.join("one"));
    }
    found
}

/// One change to a tree, and how it is called.
fn change(root: &Path, found: &[PathBuf], random: &mut fastrand::Rng) -> &'static str {
    let path = &found[random.usize(..found.len())];
    let is_link = fs::symlink_metadata(path).unwrap().is_symlink();
    match random.u8(..5) {
        0 => {
            fs::write(root.join("added"), "").unwrap();
            "added"
        }
        1 => {
            fs::remove_file(path).unwrap();
            "missing"
        }
        2 if is_link => {
            fs::remove_file(path).unwrap();
            symlink("elsewhere", path).unwrap();
            "links to elsewhere, not to "
        }
        2 => {
            fs::write(path, "changed").unwrap();
            "changed"
        }
        3 if !is_link => {
            let mode = fs::metadata(path).unwrap().permissions().mode() ^ 0o111;
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            "executable"
        }
        3 => {
            fs::remove_file(path).unwrap();
            fs::write(path, "no link any more").unwrap();
            "added"
        }
        _ => {
            fs::rename(path, root.join("renamed")).unwrap();
            "renamed: added"
        }
    }
}

/// A seed makes the same tree and change each time.
#[test]
fn any_single_change_to_any_tree_is_found_and_no_change_is_none() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let folder = code_folder();
        let found = tree(folder.path(), &mut random);
        let sandbox = sealed(folder.path());
        let ended = starts(&sandbox);
        assert_eq!(ended.code, 0, "seed {seed}, unchanged: {ended:?}");
        let what = change(folder.path(), &found, &mut random);
        let ended = starts(&sandbox);
        assert_eq!(ended.code, 1, "seed {seed}, {what}: {ended:?}");
        assert!(ended.stderr.contains(what), "seed {seed}: {what} in {ended:?}");
    }
}

/// The control is a changed file, which sha256sum finds as well.
#[test]
fn the_manifest_is_sha256sums_also_for_odd_names() {
    let folder = code_folder();
    for name in NAMES {
        fs::write(folder.path().join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    let sandbox = sealed(folder.path());
    let manifest = sandbox.seal_path("code.sha256");
    let check =
        || Command::new("sha256sum").args(["-c", "--quiet", "--strict"]).arg(&manifest).output();
    let output = check().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = fs::read(&manifest).unwrap().split(|byte| *byte == b'\n').count();
    assert_eq!(lines, NAMES.len() + 1);
    assert_eq!(fs::metadata(&manifest).unwrap().permissions().mode() & 0o7777, 0o444);
    fs::write(folder.path().join("a"), "other").unwrap();
    assert!(!check().unwrap().status.success());
}

#[test]
fn ten_paths_are_named_and_the_others_counted() {
    let folder = code_folder();
    for number in 0..50 {
        fs::write(folder.path().join(format!("{number:02}")), "").unwrap();
    }
    let sandbox = sealed(folder.path());
    for number in 0..37 {
        fs::write(folder.path().join(format!("{number:02}")), "x").unwrap();
    }
    let ended = starts(&sandbox);
    assert_refused(&ended, "/00: changed");
    assert_eq!(ended.stderr.matches(": changed").count(), 10, "{ended:?}");
    assert!(
        ended.stderr.contains("[version]   /") && ended.stderr.contains("  and 27 more"),
        "{ended:?}"
    );
}

#[test]
fn outside_production_it_is_one_warning_and_enforced_always_it_is_refused() {
    let folder = code_folder();
    fs::write(folder.path().join("w"), "1").unwrap();
    let sandbox = sealed(folder.path());
    fs::write(folder.path().join("w"), "2").unwrap();
    let shim = Shim::run(["exit", "0"]).inside(sandbox);
    let ended = shim.output();
    assert_eq!((ended.code, ended.lines().len()), (0, 2), "{ended:?}");
    assert!(ended.lines()[0].contains("/w: changed"), "{ended:?}");
    assert_refused(&shim.env("VERSION_GUARD_ENFORCE", "always").output(), "/w: changed");
}

#[test]
fn the_guard_comes_after_the_others_and_before_any_network() {
    let folder = code_folder();
    fs::write(folder.path().join("w"), "1").unwrap();
    let sandbox = sealed(folder.path());
    fs::write(folder.path().join("w"), "2").unwrap();
    let shim = Shim::run(["exit", "0"]).or_tsx().env("NODE_ENV", "production").inside(sandbox);
    let shim = shim.registers("w", "redis://127.0.0.1:1").env("EXPECTED_GIT_SHA", "0f0f0f0f");
    let (ended, calls) = shim.traced("%network");
    assert_eq!(ended.code, 1, "{ended:?}");
    let fatal: Vec<_> = ended.lines().into_iter().filter(|line| line.contains("FATAL")).collect();
    assert_eq!(fatal.len(), 3, "{ended:?}");
    assert!(fatal[2].contains("Worker code differs"), "{ended:?}");
    assert!(!calls.contains("connect(") && !calls.contains("AF_INET"), "{calls}");
}

/// The control waits for the whole tree.
#[test]
fn a_sigterm_while_the_code_is_read_ends_the_run_at_once() {
    let folder = code_folder();
    let file = fs::File::create(folder.path().join("large")).unwrap();
    file.set_len(8 << 30).unwrap();
    let small = code_folder();
    fs::write(small.path().join("w"), "1").unwrap();
    let sandbox = sealed(small.path());
    // The seal of a tree that takes long to read, written by hand: sealing it would take as long.
    let manifest = format!("{}  {}/large\n", "00".repeat(32), folder.path().display());
    fs::remove_file(sandbox.seal_path("code.sha256")).unwrap();
    fs::write(sandbox.seal_path("code.sha256"), &manifest).unwrap();
    let seal = serde_json::json!({ "gitSha": SHA, "buildDate": "", "code": {
        "paths": [folder.path()], "sha256": "00", "bytes": manifest.len(), "files": 1,
    }});
    fs::remove_file(sandbox.seal_path("image.json")).unwrap();
    fs::write(sandbox.seal_path("image.json"), seal.to_string()).unwrap();
    let shim = Shim::run(["echo"]).env("NODE_ENV", "production").inside(sandbox).pid1();
    let running = shim.spawn();
    running.armed();
    std::thread::sleep(Duration::from_millis(50));
    let asked = Instant::now();
    running.signal(SIGTERM);
    let ended = running.end();
    assert_eq!((ended.code, ended.stdout.as_str()), (143, ""), "{ended:?}");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[test]
fn a_fifo_or_a_link_in_a_files_place_is_named_and_not_waited_for() {
    let folder = code_folder();
    let path = folder.path().join("w");
    fs::write(&path, "1").unwrap();
    let sandbox = sealed(folder.path());
    fs::remove_file(&path).unwrap();
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    assert_refused(&starts(&sandbox), "/w: neither a file nor a folder nor a link");
    fs::remove_file(&path).unwrap();
    symlink("/dev/zero", &path).unwrap();
    assert_refused(&starts(&sandbox), "/w: added, a link");
    assert_refused(&starts(&sandbox), "/w: missing");
}

/// Each is a seal or manifest that this program never wrote.
#[test]
fn a_hostile_manifest_is_refused_bounded_and_without_a_panic() {
    let folder = code_folder();
    let file = folder.path().join("w");
    fs::write(&file, "1").unwrap();
    let good = fs::read_to_string(sealed(folder.path()).seal_path("code.sha256")).unwrap();
    let digest = "ab".repeat(32);
    let other = |text: &str| text.as_bytes().to_vec();
    for (manifest, claims, reason) in [
        (None, Some(good.len()), "No such file"),
        (Some(other(&good.repeat(2))), Some(good.len()), "not the manifest that the seal names"),
        (Some(other(&good.repeat(2))), None, "line 2 names a path that is not sorted"),
        (Some(other("nonsense\n")), None, "line 1 is no line of sha256sum's"),
        (Some(other(&format!("{digest}  /etc/../passwd\n"))), None, "line 1 names a path"),
        (Some(other(&format!("{digest}  /a\0b\n"))), None, "line 1 names a path"),
        (Some(other(&format!("{digest}  /etc/passwd\n"))), None, "/etc/passwd: missing"),
        (Some(other(&"x".repeat(1_000_000))), None, "line 1 is no line of sha256sum's"),
        (Some(Vec::new()), None, "/w: added"),
    ] {
        let sandbox = Sandbox::new().seal_folder();
        let claims = claims.unwrap_or(manifest.as_ref().map_or(0, Vec::len));
        if let Some(manifest) = &manifest {
            fs::write(sandbox.seal_path("code.sha256"), manifest).unwrap();
        }
        let seal = serde_json::json!({ "gitSha": SHA, "buildDate": "", "code": {
            "paths": [folder.path()], "sha256": "00".repeat(32), "bytes": claims, "files": 1,
        }});
        fs::write(sandbox.seal_path("image.json"), seal.to_string()).unwrap();
        let ended = starts(&sandbox);
        assert_refused(&ended, reason);
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    }
    // A gigabyte where a few bytes are sealed is not read.
    let sandbox = sealed(folder.path());
    let manifest = sandbox.seal_path("code.sha256");
    fs::remove_file(&manifest).unwrap();
    fs::File::create(&manifest).unwrap().set_len(1 << 30).unwrap();
    assert_refused(&starts(&sandbox), "not the manifest that the seal names");
    fs::set_permissions(&manifest, fs::Permissions::from_mode(0o666)).unwrap();
    assert_refused(&starts(&sandbox), "can be written by others than root");
}

#[test]
fn code_in_a_seal_that_is_no_object_is_a_broken_seal() {
    for code in [
        "[]",
        "null",
        "1",
        r#"{"paths":[]}"#,
        r#"{"paths":["/a"],"sha256":"","bytes":0,"files":0,"more":1}"#,
    ] {
        let seal = format!(r#"{{"gitSha":"{SHA}","buildDate":"","code":{code}}}"#);
        let ended = starts(&Sandbox::new().sealed(seal));
        assert_eq!(ended.code, 1, "{code}: {ended:?}");
        assert!(ended.stderr.contains("GIT_SHA is 'unknown' in production!"), "{code}: {ended:?}");
    }
}

#[test]
fn what_can_not_be_sealed_is_refused_with_a_sentence_and_nothing_is_written() {
    let folder = code_folder();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("empty")).unwrap();
    fs::create_dir_all(path("code/sub")).unwrap();
    fs::write(path("code/w"), "1").unwrap();
    fs::create_dir(path("special")).unwrap();
    mkfifo(&path("special/fifo"), Mode::S_IRWXU).unwrap();
    symlink(path("code"), path("link")).unwrap();
    let inside = path("code/sub").display().to_string();
    for (code, more, reason) in [
        (path("nowhere"), vec![], "No such file"),
        (path("empty"), vec![], "there is no file in it"),
        (path("special"), vec![], "neither file nor folder nor link"),
        (path("link"), vec![], "give the path without links and dots"),
        (path("code/../code"), vec![], "give the path without links and dots"),
        ("code".into(), vec![], "No such file"),
        ("/".into(), vec![], "not the whole image"),
        ("/etc".into(), vec![], "the seal itself is in it"),
        (path("code"), vec!["--code", &inside], "sealed already"),
        (path("code"), vec!["--except", "/elsewhere"], "has to be in sealed code"),
    ] {
        let sandbox = Sandbox::new().seal_folder();
        let ended = seal(&code, &sandbox, &more);
        assert_eq!(ended.code, 125, "{reason}: {ended:?}");
        assert!(ended.lines().len() == 1 && ended.stderr.contains(reason), "{reason}: {ended:?}");
        let left = fs::read_dir(sandbox.seal_path("")).unwrap().count();
        assert_eq!(left, 0, "{reason}");
    }
}

#[test]
fn what_is_excepted_may_change_and_the_twins_seal_as_the_options_do() {
    let folder = code_folder();
    fs::create_dir(folder.path().join("tmp")).unwrap();
    fs::write(folder.path().join("w"), "1").unwrap();
    fs::write(folder.path().join("other"), "1").unwrap();
    let except = folder.path().join("tmp").display().to_string();
    let by_option = Sandbox::new().seal_folder();
    assert_eq!(seal(folder.path(), &by_option, &["--except", &except]).code, 0);
    let by_twin = Sandbox::new().seal_folder();
    let two = ["w", "other"].map(|name| folder.path().join(name).display().to_string());
    let shim =
        Shim::command("seal").options(["--git-sha", SHA]).env("VERSION_GUARD_CODE", two.join(":"));
    assert_eq!(shim.inside(by_twin.clone()).output().code, 0);
    fs::write(folder.path().join("tmp/data"), "1").unwrap();
    assert_eq!(starts(&by_option).code, 0);
    assert_eq!(starts(&by_twin).code, 0, "another file beside them is not sealed");
    fs::write(folder.path().join("other"), "2").unwrap();
    assert_refused(&starts(&by_option), "/other: changed");
    assert_refused(&starts(&by_twin), "/other: changed");
    // Sealed again without code, the image has none to be held to.
    let again = Shim::command("seal").options(["--git-sha", SHA]).inside(by_twin.clone());
    assert_eq!(again.output().code, 0);
    assert_eq!(starts(&by_twin).code, 0);
    assert!(!by_twin.seal_path("code.sha256").exists());
}

/// What a mount hides is refused, also where the same content stands in it.
#[test]
fn a_mount_at_above_or_below_the_code_is_refused() {
    let folder = code_folder();
    fs::create_dir_all(folder.path().join("app/sub")).unwrap();
    fs::write(folder.path().join("app/sub/w"), "1").unwrap();
    let code = folder.path().join("app");
    let sandbox = sealed(&code);
    assert_eq!(starts(&sandbox).code, 0);
    for (at, hidden) in
        [("app", "app"), ("app/sub", "app/sub"), ("app/sub/w", "app/sub/w"), ("", "")]
    {
        let at = folder.path().join(at).display().to_string();
        let hidden = folder.path().join(hidden).display().to_string();
        let mounted = sandbox.clone().with(&format!("mount --bind '{at}' '{at}'"));
        let line = format!("  {}: hidden by a mount of ", hidden.trim_end_matches('/'));
        assert_refused(&starts(&mounted), &line);
    }
}

/// The control is the same start with sealed code, which makes more of them.
#[test]
fn without_sealed_code_a_start_makes_no_system_call_for_it() {
    let folder = code_folder();
    fs::write(folder.path().join("w"), "1").unwrap();
    let plain = Sandbox::new().sealed(format!(r#"{{"gitSha":"{SHA}","buildDate":""}}"#));
    for (sandbox, inspects) in [(plain, false), (sealed(folder.path()), true)] {
        let shim = Shim::run(["exit", "0"]).env("NODE_ENV", "production").inside(sandbox);
        let (ended, calls) = shim.traced("open,openat,clone,clone3,socketpair,statx");
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(calls.contains("mountinfo"), inspects, "{calls}");
        assert_eq!(calls.contains("code.sha256"), inspects, "{calls}");
        assert_eq!(calls.contains("socketpair"), inspects, "{calls}");
    }
}

#[test]
fn instances_carry_their_sealed_code_and_verify_tells_of_different_ones() {
    let redis = crate::common::Redis::start();
    let shims: Vec<_> = ["1", "2"]
        .into_iter()
        .map(|content| {
            let folder = code_folder();
            fs::write(folder.path().join("w"), content).unwrap();
            let sandbox = sealed(folder.path());
            let shim = Shim::run(["sleep"]).inside(sandbox.clone());
            let mut running = shim.registers("extractor", redis.url()).spawn();
            running.expect_line("ready");
            (running, folder, sandbox)
        })
        .collect();
    let verify = Shim::command("verify").env("REDIS_URL", redis.url()).env("EXPECTED_GIT_SHA", SHA);
    let ended = verify.output();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.contains("[DIVERGED] extractor (2 instances)"), "{ended:?}");
    assert!(ended.stdout.contains("Different sealed code: 1 × "), "{ended:?}");
    let json = verify.clone().options(["--json", "--instances"]).output().stdout;
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["types"][0]["status"], "diverged");
    assert_eq!(report["types"][0]["codeSha256"].as_array().unwrap().len(), 2);
    let digest = report["types"][0]["instances"][0]["codeSha256"].as_str().unwrap();
    assert_eq!(digest.len(), 64);
    let metrics = verify.clone().options(["--format", "prometheus"]).output().stdout;
    assert!(metrics.contains("status=\"diverged\"} 2"), "{metrics}");
    assert_eq!(verify.options(["--allow-diverged"]).output().code, 0);
    let fields = redis.cli(["HKEYS", "fiskai:worker:extractor:version"]);
    assert!(!fields.contains("codeSha256"), "the document's key keeps its four fields: {fields}");
    drop(shims);
}
