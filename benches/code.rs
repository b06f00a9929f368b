//! What it costs to see that the code is what was sealed, beside `sha256sum -c` and `git status` on the
//! same trees, in turn.
//!
//! It needs root, for a folder of its own at /etc/version-guard. Run it with `cargo bench --bench code`;
//! `--cold` drops the kernel's caches before each run; VERSION_GUARD_BIN names another build.
#![allow(clippy::print_stdout, clippy::expect_used, clippy::indexing_slicing)]
#![allow(clippy::disallowed_macros, clippy::too_many_lines)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;

/// Files and bytes in each: one large file, and trees as small and large projects have them.
const TREES: [(usize, usize); 6] = [
    (1, 10 << 20),
    (1, 500 << 20),
    (100, 100 << 10),
    (1_000, 10 << 10),
    (10_000, 4 << 10),
    (50_000, 1 << 10),
];

fn main() {
    if std::env::var_os("INSIDE").is_none() {
        // In a mount namespace: the machine's own /etc stays as it is.
        let script = "mount -t tmpfs -o mode=755 tmpfs /etc/version-guard && exec \"$@\"";
        let folder = Path::new("/etc/version-guard");
        let is_new = fs::create_dir(folder).is_ok();
        let status = Command::new("unshare")
            .args(["--mount", "--", "sh", "-c", script, "sh"])
            .args(std::env::args())
            .env("INSIDE", "1")
            .status()
            .expect("unshare");
        if is_new {
            fs::remove_dir(folder).expect("an empty folder");
        }
        assert!(status.success());
        return;
    }
    let ours = std::env::var("VERSION_GUARD_BIN")
        .unwrap_or_else(|_| env!("CARGO_BIN_EXE_version-guard").to_owned());
    let cold = std::env::args().any(|argument| argument == "--cold");
    println!(
        "{:>7} {:>8} {:>9} {:>12} {:>12} {:>7} {:>9}",
        "files", "bytes", "ms", "sha256sum", "git status", "ratio", "peak KiB"
    );
    for (files, size) in TREES {
        // Right below the root: a mount above the code would be refused.
        let root = format!("/version-guard-bench-{}", std::process::id());
        make_tree(&root, files, size);
        run(&[&ours, "seal", "--git-sha", "a1b2c3d", "--code", &root], cold);
        run(&["git", "-C", &root, "init", "-q"], false);
        fs::rename(format!("{root}/.git"), format!("{root}.git")).expect("a repository");
        let git = ["git", "--git-dir", &format!("{root}.git"), "--work-tree", &root];
        run(&[&git[..], &["add", "-A"]].concat(), false);
        let commands: [Vec<&str>; 3] = [
            vec![&ours, "run", "--", "/bin/true"],
            vec!["sha256sum", "-c", "--quiet", "/etc/version-guard/code.sha256"],
            [&git[..], &["status", "--porcelain"]].concat(),
        ];
        let mut times = vec![Vec::new(); commands.len()];
        for _ in 0..ROUNDS {
            for (command, times) in commands.iter().zip(&mut times) {
                times.push(run(command, cold));
            }
        }
        let ms: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
        println!(
            "{files:7} {size:8} {:9.1} {:12.1} {:12.1} {:7.2} {:>9}",
            ms[0],
            ms[1],
            ms[2],
            ms[0] / ms[1],
            peak(&ours)
        );
        fs::remove_dir_all(&root).expect("the tree");
        fs::remove_dir_all(format!("{root}.git")).expect("the repository");
    }
}

fn make_tree(root: &str, files: usize, size: usize) {
    let content: Vec<u8> = (0..size).map(|_| fastrand::u8(..)).collect();
    for number in 0..files {
        let folder = format!("{root}/{}", number / 200);
        fs::create_dir_all(&folder).expect("a folder");
        let mut content = content.clone();
        content.extend(number.to_le_bytes());
        fs::write(format!("{folder}/{number}.js"), content).expect("a file");
    }
}

fn run(line: &[&str], cold: bool) -> Duration {
    if cold {
        fs::write("/proc/sys/vm/drop_caches", "3").expect("root");
    }
    let start = Instant::now();
    let status = Command::new(line[0])
        .args(&line[1..])
        .env("NODE_ENV", "production")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("a program");
    assert!(status.success(), "{line:?}");
    start.elapsed()
}

/// The most memory that a check holds at once, as time(1) tells.
fn peak(ours: &str) -> String {
    let output = Command::new("/usr/bin/time").args(["-f", "%M", ours, "check"]).output();
    output.map_or("-".into(), |output| {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.split_whitespace().last().unwrap_or("-").to_owned()
    })
}

/// In milliseconds.
fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}
