//! The image's identity: the seal is its word, and a seal that can't be relied on is no identity.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::common::{DATE, Ended, Folder, OTHER, Sandbox, Shim, binary, fixture};

const SEALED: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678";

fn seal(git_sha: &str) -> String {
    format!(r#"{{"gitSha": "{git_sha}", "buildDate": "{DATE}"}}"#)
}

/// A shim whose worker says what it sees of the identity.
fn shim() -> Shim {
    Shim::command("run").worker(["sh", "-c", "echo \"${GIT_SHA-unset} ${BUILD_DATE-unset}\""])
}

fn assert_seen(ended: &Ended, seen: &str) {
    assert_eq!((ended.code, ended.stdout.as_str()), (0, format!("{seen}\n").as_str()), "{ended:?}");
}

fn assert_refused_as_unknown(ended: &Ended, reason: &str) {
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{reason}: {ended:?}");
    let lines = ended.lines();
    assert!(
        lines.contains(&"[version] FATAL: GIT_SHA is 'unknown' in production!"),
        "{reason}: {lines:#?}"
    );
    let said = lines.iter().any(|line| {
        line.starts_with("[version] ")
            && line.contains("/etc/version-guard/image.json")
            && line.contains(reason)
    });
    assert!(said, "{reason}: {lines:#?}");
}

/// The hole in a GIT_SHA that is baked with ENV: what deploys the image overrides it. The control is
/// the same run without a seal, which is fooled.
#[test]
fn a_stale_image_that_is_told_to_be_new_is_refused_by_its_seal() {
    let told = shim().production(OTHER).env("EXPECTED_GIT_SHA", OTHER);
    assert_eq!(told.output().code, 0);
    let ended = told.inside(Sandbox::new().sealed(seal(SEALED))).output();
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{ended:?}");
    for line in [
        "[version] FATAL: Version mismatch!",
        "[version]   Image SHA:    a1b2c3d4e5f60718293a4b5c6d7e8f9012345678",
        "[version]   Expected SHA: 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f",
        "[version] This worker is running STALE code. Exiting.",
    ] {
        assert!(ended.lines().contains(&line), "{ended:?}");
    }
}

#[test]
fn a_git_sha_that_contradicts_the_seal_is_warned_about_and_overridden_for_the_worker() {
    let ended = shim()
        .production(OTHER)
        .env("BUILD_DATE", "yesterday")
        .env("EXPECTED_GIT_SHA", SEALED)
        .inside(Sandbox::new().sealed(seal(SEALED)))
        .output();
    assert_seen(&ended, &format!("{SEALED} {DATE}"));
    let lines = ended.lines();
    let warnings: Vec<_> = lines.iter().filter(|line| line.contains(OTHER)).collect();
    assert_eq!(warnings.len(), 1, "{lines:#?}");
    assert!(warnings[0].contains("GIT_SHA") && warnings[0].contains(SEALED), "{warnings:?}");
}

#[test]
fn an_environment_that_agrees_with_the_seal_or_says_nothing_is_not_warned_about() {
    for git_sha in
        [None, Some(SEALED), Some(" a1b2c3d4e5f60718293a4b5c6d7e8f9012345678\n"), Some("")]
    {
        let shim = shim().env("NODE_ENV", "production").env("EXPECTED_GIT_SHA", SEALED);
        let shim = match git_sha {
            Some(git_sha) => shim.env("GIT_SHA", git_sha),
            None => shim,
        };
        let ended = shim.inside(Sandbox::new().sealed(seal(SEALED))).output();
        assert_seen(&ended, &format!("{SEALED} {DATE}"));
        let lines = ended.lines();
        let named = lines.iter().filter(|line| line.contains("GIT_SHA")).count();
        assert_eq!(named, 1, "only the line that the guards let it start: {lines:#?}");
    }
}

#[test]
fn a_seal_without_a_build_date_takes_none_from_the_environment() {
    let sandbox = Sandbox::new().sealed(format!(r#"{{"gitSha":"{SEALED}"}}"#));
    let ended = shim().env("BUILD_DATE", "yesterday").inside(sandbox).output();
    assert_seen(&ended, &format!("{SEALED} "));
}

#[test]
fn blanks_and_line_ends_around_the_sealed_sha_do_not_count() {
    let sandbox = Sandbox::new().sealed(seal(&format!(" {SEALED}\\r\\n")));
    let shim = shim().env("NODE_ENV", "production").env("EXPECTED_GIT_SHA", SEALED);
    assert_seen(&shim.inside(sandbox).output(), &format!("{SEALED} {DATE}"));
}

#[test]
fn the_sealed_identity_is_all_that_changes_in_the_workers_environment() {
    let odd = OsString::from_vec(b"\xff = \n".to_vec());
    let shim = Shim::run(["bytes"]).env("GIT_SHA", OTHER).env("ODD", odd).env("EMPTY", "");
    let entries = |shim: Shim| {
        let ended = shim.output();
        let mut entries: Vec<String> = ended.stdout.split('\0').map(str::to_owned).collect();
        // What the sandbox's own shell leaves.
        entries.retain(|entry| !["PWD=", "OLDPWD=", "_="].iter().any(|own| entry.starts_with(own)));
        entries.sort();
        entries
    };
    let unsealed = entries(shim.clone());
    assert!(unsealed.contains(&format!("GIT_SHA={OTHER}")), "{unsealed:?}");
    let mut expected: Vec<String> =
        unsealed.into_iter().filter(|entry| !entry.starts_with("GIT_SHA=")).collect();
    expected.extend([format!("GIT_SHA={SEALED}"), format!("BUILD_DATE={DATE}")]);
    expected.sort();
    assert_eq!(entries(shim.inside(Sandbox::new().sealed(seal(SEALED)))), expected);
}

#[test]
fn without_a_seal_the_worker_sees_the_identity_that_it_was_given() {
    assert_seen(&shim().output(), "unset unset");
    let given = shim().production(" a1b2c3d\t").env("BUILD_DATE", " today ");
    assert_seen(&given.output(), " a1b2c3d\t  today ");
}

#[test]
fn a_seal_that_says_nothing_is_refused_in_production_whatever_the_environment_says() {
    for word in ["", " ", "unknown", "null", "undefined", "HEAD", "${GIT_SHA}"] {
        let ended = shim().production(OTHER).inside(Sandbox::new().sealed(seal(word))).output();
        assert_refused_as_unknown(&ended, word.trim());
    }
}

/// Ways to break a seal, and a word of the reason.
type Breakage = (&'static str, fn(&Path));

const BROKEN: [Breakage; 14] = [
    ("EOF", |path| fs::write(path, "").unwrap()),
    ("column", |path| fs::write(path, "{gitSha: a1b2c3d}").unwrap()),
    ("EOF", |path| fs::write(path, &seal(SEALED)[..30]).unwrap()),
    ("trailing", |path| fs::write(path, seal(SEALED).repeat(2)).unwrap()),
    ("enforceMore", |path| {
        fs::write(path, seal(SEALED).replace('}', r#","enforceMore":true}"#)).unwrap();
    }),
    ("gitSha", |path| fs::write(path, r#"{"buildDate":""}"#).unwrap()),
    ("duplicate", |path| {
        fs::write(path, format!(r#"{{"gitSha":"{SEALED}","gitSha":"{OTHER}"}}"#)).unwrap();
    }),
    ("invalid type", |path| fs::write(path, r#"{"gitSha":1234567}"#).unwrap()),
    ("column", |path| fs::write(path, b"{\"gitSha\":\"a1b2c3d\xff\"}").unwrap()),
    ("longer than 4194304", |path| fs::write(path, seal(SEALED) + &" ".repeat(4 << 20)).unwrap()),
    ("no regular file", |path| fs::create_dir(path).unwrap()),
    // Whose open(2) for reading waits for a writer, for ever.
    ("no regular file", |path| mkfifo(path, Mode::from_bits_truncate(0o444)).unwrap()),
    // Which never ends.
    ("no regular file", |path| symlink("/dev/zero", path).unwrap()),
    ("No such file", |path| symlink("/etc/version-guard/gone", path).unwrap()),
];

fn broken(breakage: fn(&Path)) -> Sandbox {
    let sandbox = Sandbox::new().seal_folder();
    breakage(&sandbox.seal_path("image.json"));
    sandbox
}

#[test]
fn a_broken_seal_is_refused_in_production_with_the_reason_whatever_the_environment_says() {
    for (reason, breakage) in BROKEN {
        let shim = shim().production(OTHER).env("EXPECTED_GIT_SHA", OTHER);
        assert_refused_as_unknown(&shim.inside(broken(breakage)).output(), reason);
    }
}

/// What the seal asked of the guards is lost with it, so it is taken to have asked for everything.
#[test]
fn outside_production_a_broken_seal_is_refused_too() {
    for (reason, breakage) in BROKEN {
        let shim = shim().env("GIT_SHA", OTHER).env("BUILD_DATE", "yesterday");
        assert_refused_as_unknown(&shim.inside(broken(breakage)).output(), reason);
    }
}

/// The control is the same worker and a seal that all may read.
#[test]
fn a_seal_that_the_workers_user_may_not_read_is_refused_in_production() {
    for (folder, mode) in [(0o755, 0o400), (0o700, 0o444), (0o755, 0o444)] {
        let sandbox = Sandbox::new()
            .sealed(seal(SEALED))
            .with(&format!("cp '{}' /etc/shim", binary().display()))
            .with(&format!("chmod {folder:o} /etc/version-guard"));
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(sandbox.seal_path("image.json"), permissions).unwrap();
        let ended = Shim::of("/etc/shim".into(), ["run"])
            .worker(["sh", "-c", "echo \"$GIT_SHA\""])
            .production(OTHER)
            .behind(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .inside(sandbox)
            .output();
        if (folder, mode) == (0o755, 0o444) {
            assert_seen(&ended, SEALED);
        } else {
            assert_refused_as_unknown(&ended, "Permission denied");
        }
    }
}

#[test]
fn an_empty_folder_for_the_seal_is_no_seal() {
    let ended = shim().production(OTHER).inside(Sandbox::new().seal_folder()).output();
    assert_seen(&ended, &format!("{OTHER} unset"));
}

#[test]
fn no_variable_moves_the_seal() {
    let elsewhere = Folder::new();
    let file = elsewhere.file("image.json", seal(OTHER));
    let variables = [
        "VERSION_GUARD_SEAL",
        "VERSION_GUARD_SEAL_PATH",
        "VERSION_GUARD_SEAL_FILE",
        "VERSION_GUARD_IMAGE",
        "VERSION_GUARD_IMAGE_JSON",
        "VERSION_GUARD_PATH",
        "VERSION_GUARD_ETC",
        "VERSION_GUARD_ROOT",
        "VERSION_GUARD_CONFIG",
        "SEAL",
        "SEAL_PATH",
        "HOME",
        "XDG_CONFIG_HOME",
        "XDG_CONFIG_DIRS",
    ];
    for value in [file.clone(), elsewhere.path(""), seal(OTHER).into()] {
        let set =
            |shim: Shim| variables.iter().fold(shim, |shim, variable| shim.env(*variable, &value));
        let sealed = set(shim()).inside(Sandbox::new().sealed(seal(SEALED)));
        assert_seen(&sealed.output(), &format!("{SEALED} {DATE}"));
        assert_seen(&set(shim()).output(), "unset unset");
    }
}

#[test]
fn the_seal_and_the_workers_program_are_the_files_that_the_shim_opens() {
    let (ended, calls) = Shim::run(["exit"]).production(SEALED).traced("open,openat");
    assert_eq!(ended.code, 0, "{ended:?}");
    // Where the runtime looks for its stack, and the shim for descriptors that are the worker's.
    // With O_PATH nothing is opened, but held: the directory that the worker starts in.
    let own =
        calls.lines().filter(|call| !call.contains("\"/proc/self/") && !call.contains("O_PATH"));
    let opened: Vec<&str> = own.filter_map(|call| call.split('"').nth(1)).collect();
    let worker = fixture("worker").display().to_string();
    assert_eq!(opened, ["/etc/version-guard/image.json", worker.as_str()], "{calls}");
}

/// Who else can write the seal could say that any code is the expected one. The control is the last.
#[test]
fn a_seal_counts_only_when_it_is_roots_alone() {
    let sealed = || Sandbox::new().sealed(seal(SEALED));
    let path = "/etc/version-guard";
    for (change, reason) in [
        (format!("chown 1000 {path}/image.json"), "owned by uid 1000"),
        (format!("chown 65534 {path}/image.json"), "unmapped root"),
        (format!("chmod 0464 {path}/image.json"), "mode 0464"),
        (format!("chmod 0446 {path}/image.json"), "mode 0446"),
        (format!("chown 1000 {path}"), "/etc/version-guard is owned by uid 1000"),
        (format!("chmod 0775 {path}"), "/etc/version-guard can be written by others"),
        (format!("chmod 1777 {path}"), "/etc/version-guard can be written by others"),
    ] {
        for shim in [shim().production(OTHER), shim().env("GIT_SHA", OTHER)] {
            let ended = shim.inside(sealed().with(&change)).output();
            assert_refused_as_unknown(&ended, reason);
        }
    }
    for change in
        ["true".into(), format!("chgrp 1000 {path}/image.json"), format!("chmod 0755 {path}")]
    {
        assert_seen(&shim().inside(sealed().with(&change)).output(), &format!("{SEALED} {DATE}"));
    }
}

#[test]
fn a_seal_behind_a_link_that_leads_nowhere_or_as_an_array_is_no_seal_that_counts() {
    let sandbox = Sandbox::new().seal_folder();
    let dangling =
        "umount /etc/version-guard; rmdir /etc/version-guard; ln -s /gone /etc/version-guard";
    let ended = shim().production(OTHER).inside(sandbox.with(dangling)).output();
    assert_refused_as_unknown(&ended, "No such file");
    let array = format!(r#" ["{SEALED}", "{DATE}", null, false]"#);
    let ended = shim().production(OTHER).inside(Sandbox::new().sealed(array)).output();
    assert_refused_as_unknown(&ended, "no JSON object");
}
