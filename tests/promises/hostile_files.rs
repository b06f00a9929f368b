//! What the tsx guard reads may be anything: it says what it could not read, and holds up nothing.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::common::{Ended, Folder, SHA, Shim};

/// Far more than the 50 ms that it may take, on a machine that is busy.
const PROMPT: Duration = Duration::from_secs(5);

/// What `check` says of a command in a folder.
fn checked(folder: &Path, command: &[&str]) -> Ended {
    let shim = Shim::command("check").production(SHA).worker(command);
    let into = ["sh", "-c", "cd \"$0\" && exec \"$@\"", folder.to_str().unwrap()];
    let ended = shim.behind(into).output();
    assert!(ended.took < PROMPT, "{ended:?}");
    assert_eq!(ended.stderr, "", "{ended:?}");
    ended
}

fn warns(ended: &Ended, words: &str) {
    assert_eq!(ended.code, 0, "{ended:?}");
    let line = ended.stdout.lines().find(|line| line.contains("[WARN] The tsx guard can't follow"));
    assert!(line.is_some_and(|line| line.contains(words)), "{words}: {ended:?}");
}

#[test]
fn a_package_json_that_is_none_is_named() {
    type Make = fn(&Path);
    let make: [(&str, Make); 6] = [
        ("is longer than", |path| File::create(path).unwrap().set_len(1 << 30).unwrap()),
        ("is no JSON", |path| fs::write(path, "{\"scripts\": {\"x\": \"node w.js\"").unwrap()),
        ("is no JSON", |path| fs::write(path, [b'\0'; 100]).unwrap()),
        ("is no JSON", |path| fs::write(path, "[".repeat(100_000)).unwrap()),
        ("is no JSON", |path| fs::write(path, "").unwrap()),
        ("is no JSON", |path| fs::write(path, b"\xff\xfe{").unwrap()),
    ];
    for (words, make) in make {
        let folder = Folder::new();
        make(&folder.path("package.json"));
        warns(&checked(&folder.path(""), &["npm", "run", "x"]), words);
    }
}

#[test]
fn a_fifo_a_folder_or_a_link_to_itself_holds_up_nothing() {
    let make: [fn(&Path); 4] = [
        |path| mkfifo(path, Mode::S_IRWXU).unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| symlink("package.json", path).unwrap(),
        |path| symlink("/dev/zero", path).unwrap(),
    ];
    for make in make {
        for name in ["package.json", "start.sh", ".npmrc", "w.js"] {
            let folder = Folder::new();
            fs::write(folder.path("package.json"), r#"{"scripts": {"x": "sh start.sh"}}"#).unwrap();
            let _ = fs::remove_file(folder.path(name));
            make(&folder.path(name));
            for command in [&["npm", "run", "x"][..], &["sh", "./start.sh"], &["node", "w.js"]] {
                assert_eq!(checked(&folder.path(""), command).code, 0, "{name}: {command:?}");
            }
        }
    }
}

#[test]
fn what_leads_to_itself_or_to_too_much_is_said() {
    let folder = Folder::new();
    let scripts = r#"{"scripts": {"x": "npm run x", "y": "npm run y & npm run y"}}"#;
    fs::write(folder.path("package.json"), scripts).unwrap();
    fs::write(folder.path("again"), "#!/bin/sh\nexec ./again\n").unwrap();
    let many: Vec<String> = (0..200).map(|number| format!("sh ./{number}")).collect();
    fs::write(folder.path("many"), many.join("\n")).unwrap();
    for number in 0..200 {
        fs::write(folder.path(&number.to_string()), "true\n").unwrap();
    }
    fs::set_permissions(folder.path("again"), fs::Permissions::from_mode(0o755)).unwrap();
    warns(&checked(&folder.path(""), &["npm", "run", "x"]), "it leads to itself");
    warns(&checked(&folder.path(""), &["npm", "run", "y"]), "it leads to");
    warns(&checked(&folder.path(""), &["./again"]), "it leads to itself");
    warns(&checked(&folder.path(""), &["sh", "many"]), "more than 64 files");
}

/// The control is the same command that can be read.
#[test]
fn a_text_that_no_shell_would_take_is_refused_only_where_it_names_a_runner() {
    let folder = Folder::new();
    let deep = "if ".repeat(5000);
    for (text, code) in [
        ("tsx w.ts", 1),
        ("node w.js", 0),
        ("node w.js ((((", 0),
        ("tsx w.ts ((((", 1),
        (&"(".repeat(60), 0),
        (&deep, 0),
        ("eval \"$(unknown tsx)\"", 1),
        ("eval \"$(unknown node)\"", 0),
    ] {
        let ended = checked(&folder.path(""), &["sh", "-c", text]);
        assert_eq!(ended.code, code, "{ended:?}");
        if ended.stdout.contains("may run") {
            assert!(ended.stdout.contains("Write the command out"), "{ended:?}");
        }
    }
}

/// The control is a package.json that is needed: a script's.
#[test]
fn no_file_is_read_that_need_not_be() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("dist")).unwrap();
    fs::write(folder.path("dist/worker.js"), "console.log(1)").unwrap();
    fs::write(folder.path("package.json"), r#"{"scripts": {"x": "node dist/worker.js"}}"#).unwrap();
    let opened = |command: &[&str]| {
        let shim = Shim::command("check").production(SHA).worker(command);
        let into = ["sh", "-c", "cd \"$0\" && exec \"$@\"", folder.path("").to_str().unwrap()]
            .map(String::from);
        let (ended, calls) = shim.behind(into).traced("open,openat");
        assert_eq!(ended.code, 0, "{ended:?}");
        // With O_PATH nothing can be read.
        let in_folder = calls.lines().filter(|call| !call.contains("O_PATH")).filter(|call| {
            call.contains("worker.js") || call.contains("package.json") || call.contains("npmrc")
        });
        in_folder.map(str::to_owned).collect::<Vec<_>>()
    };
    let plain = opened(&["node", "dist/worker.js"]);
    assert!(matches!(&plain[..], [one] if one.contains("worker.js")), "{plain:#?}");
    let script = opened(&["npm", "run", "x"]);
    assert!(script.iter().any(|call| call.contains("package.json")), "{script:#?}");
}
