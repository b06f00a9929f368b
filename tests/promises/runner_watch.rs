//! The second look: a runner that no command shows is found in the running tree, and everything is
//! killed before a line of its code has run.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::libc::SIGTERM;

use crate::common::{
    DEADLINE, Ended, Folder, Redis, SHA, Sandbox, Shim, eventually, found_out, holds, left_behind,
    skip, status_field, within,
};

/// A real tsx, and a node of its own where there is one, as tests/run.sh installs them.
const RUNNERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/runners");

/// What node alone can't run, also one that strips types. It leaves a file behind and ends.
const WORKER: &str = "\
import fs from 'node:fs';
enum Job { First = 1 }
const job: Job = Job.First;
fs.writeFileSync(process.env.MARK as string, String(job));
";

/// Each a name, what is written into which file, and the command, which says nothing of tsx.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

/// What no reader of commands can follow.
const HIDDEN: [Case; 24] = [
    (
        "python, system() with a word that is put together",
        &[("start.py", "import os\nos.system('t' + 'sx src/worker.ts')\n")],
        &["python3", "start.py"],
    ),
    (
        "python becomes it",
        &[("start.py", "import os\nos.execvp('t' + 'sx', ['t' + 'sx', 'src/worker.ts'])\n")],
        &["python3", "start.py"],
    ),
    (
        "python, NODE_OPTIONS set on the way",
        &[(
            "start.py",
            "import os, subprocess\nos.environ['NODE_OPTIONS'] = '--import t' + 'sx'\nsubprocess.run(['node', 'src/worker.ts'])\n",
        )],
        &["python3", "start.py"],
    ),
    (
        "python, a daemon whose parents have ended",
        &[(
            "start.py",
            "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    os.execvp('t' + 'sx', ['t' + 'sx', 'src/worker.ts'])\n  os._exit(0)\nos.wait()\ntime.sleep(60)\n",
        )],
        &["python3", "start.py"],
    ),
    (
        "python, a second after its own start",
        &[("start.py", "import os, time\ntime.sleep(1)\nos.system('t' + 'sx src/worker.ts')\n")],
        &["python3", "start.py"],
    ),
    (
        "python, three seconds after its own start",
        &[("start.py", "import os, time\ntime.sleep(3)\nos.system('t' + 'sx src/worker.ts')\n")],
        &["python3", "start.py"],
    ),
    (
        "python, from a thread",
        &[(
            "start.py",
            "import subprocess, threading\nthread = threading.Thread(target=lambda: subprocess.run(['t' + 'sx', 'src/worker.ts']))\nthread.start()\nthread.join()\n",
        )],
        &["python3", "start.py"],
    ),
    (
        "python, through a link of another name",
        &[(
            "start.py",
            "import os\nos.symlink('node_modules/.bin/t' + 'sx', 'runner')\nos.system('./runner src/worker.ts')\n",
        )],
        &["python3", "start.py"],
    ),
    (
        "python, another folder",
        &[(
            "start.py",
            "import os\nos.chdir('node_modules/t' + 'sx')\nos.execvp('node', ['node', 'dist/cli.mjs', os.environ['FOLDER'] + '/src/worker.ts'])\n",
        )],
        &["python3", "start.py"],
    ),
    (
        "a supervisord with its ini file",
        &[
            ("programs.ini", "[program:worker]\nrunner=sx\ncommand=t%(runner)s src/worker.ts\n"),
            (
                "start.py",
                "import configparser, shlex, subprocess\nini = configparser.ConfigParser()\nini.read('programs.ini')\nprograms = [subprocess.Popen(shlex.split(ini[name]['command'])) for name in ini.sections()]\nfor program in programs:\n  program.wait()\n",
            ),
        ],
        &["python3", "start.py"],
    ),
    (
        "a foreman with its Procfile",
        &[
            ("Procfile", "web: sleep 60\nworker: ${RUNNER}x src/worker.ts\n"),
            (
                "start.sh",
                "export RUNNER=ts\nwhile IFS=: read -r name line; do sh -c \"$line\" & done <Procfile\nwait\n",
            ),
        ],
        &["sh", "start.sh"],
    ),
    (
        "perl becomes it",
        &[("start.pl", "exec 't' . 'sx', 'src/worker.ts';\n")],
        &["perl", "start.pl"],
    ),
    (
        "perl, a child of a child",
        &[(
            "start.pl",
            "if (!fork) { if (!fork) { exec 'node', '--import', 't' . 'sx', 'src/worker.ts' } wait; exit } wait;\n",
        )],
        &["perl", "start.pl"],
    ),
    (
        "make with variables",
        &[
            ("vars.mk", "RUN = t$(TAIL)\nTAIL = sx\n"),
            ("Makefile", "include vars.mk\nworker:\n\t$(RUN) src/worker.ts\n"),
        ],
        &["make", "-s", "worker"],
    ),
    (
        "awk",
        &[("start.awk", "BEGIN { exit system(\"t\" \"sx src/worker.ts\") }\n")],
        &["awk", "-f", "start.awk"],
    ),
    (
        "xargs",
        &[(
            "start.sh",
            "printf 'src/worker.ts t' | { cat; echo sx; } | xargs sh -c '\"$1\" \"$0\"'\n",
        )],
        &["sh", "start.sh"],
    ),
    (
        "a shell and base64",
        // The line is `tsx src/worker.ts`.
        &[("start.sh", "echo dHN4IHNyYy93b3JrZXIudHM= | base64 -d | sh\n")],
        &["sh", "start.sh"],
    ),
    (
        "a shell and eval",
        // The line is `tsx src/worker.ts`, its letters turned by half the alphabet.
        &[("start.sh", "eval \"$(echo gfk fep/jbexre.gf | tr a-z n-za-m)\"\n")],
        &["sh", "start.sh"],
    ),
    (
        "a shell, a file that it writes itself",
        &[("start.sh", "printf 't%s src/worker.ts\\n' sx >next.sh\n. ./next.sh\n")],
        &["sh", "start.sh"],
    ),
    (
        "node, fork with execArgv",
        &[(
            "start.js",
            "require('child_process').fork('src/worker.t' + 's', [], { execArgv: ['--import', 't' + 'sx'] });\n",
        )],
        &["node", "start.js"],
    ),
    (
        "node, spawn with a file URL",
        &[(
            "start.js",
            "const url = require('url').pathToFileURL('node_modules/t' + 'sx/dist/loader.mjs');\nrequire('child_process').spawn(process.execPath, ['--import', url.href, 'src/worker.t' + 's']);\n",
        )],
        &["node", "start.js"],
    ),
    (
        "node, NODE_OPTIONS set for its children",
        &[(
            "start.js",
            "process.env.NODE_OPTIONS = '--import t' + 'sx';\nrequire('child_process').fork('src/worker.t' + 's');\n",
        )],
        &["node", "start.js"],
    ),
    (
        "node, a cluster",
        &[(
            "start.js",
            "const cluster = require('cluster');\ncluster.setupPrimary({ exec: 'src/worker.t' + 's', execArgv: ['--import', 't' + 'sx'] });\ncluster.fork();\n",
        )],
        &["node", "start.js"],
    ),
    (
        "node, a shell's standard input",
        &[(
            "start.js",
            "const shell = require('child_process').spawn('sh');\nshell.stdin.end('t' + 'sx src/worker.ts\\n');\n",
        )],
        &["node", "start.js"],
    ),
];

/// What only says it: in an argument, a title, a name of a file. Each ends by itself with 0, later than
/// the watch.
const INNOCENT: [Case; 11] = [
    (
        "an argument of node's program",
        &[
            (
                "w.js",
                "setTimeout(() => process.exit(process.argv[3] === 't' + 'sx' ? 0 : 3), 400);\n",
            ),
            ("start.py", "import os\nos.execvp('node', ['node', 'w.js', '--queue', 't' + 'sx'])\n"),
        ],
        &["python3", "start.py"],
    ),
    (
        "an argument that looks like an option of node's",
        &[
            ("w.js", "setTimeout(() => {}, 400);\n"),
            (
                "start.py",
                "import os\nos.execvp('node', ['node', 'w.js', '--import', 't' + 'sx'])\n",
            ),
        ],
        &["python3", "start.py"],
    ),
    (
        "a title",
        &[("w.js", "process.title = 't' + 'sx';\nsetTimeout(() => {}, 400);\n")],
        &["node", "w.js"],
    ),
    (
        "a title that looks like a command",
        &[("w.js", "process.title = 'node --import t' + 'sx w.ts';\nsetTimeout(() => {}, 400);\n")],
        &["node", "w.js", "a-long-argument-that-leaves-room-for-the-title-of-this-process"],
    ),
    (
        "a title in NODE_OPTIONS",
        &[
            ("w.js", "setTimeout(() => {}, 400);\n"),
            (
                "start.py",
                "import os\nos.environ['NODE_OPTIONS'] = '--title=t' + 'sx'\nos.execvp('node', ['node', 'w.js'])\n",
            ),
        ],
        &["python3", "start.py"],
    ),
    (
        "what grep looks for",
        &[("start.sh", "x=sx\n(sleep 0.4; echo t$x) | grep -q t$x\n")],
        &["sh", "start.sh"],
    ),
    (
        "another program's argument",
        &[
            ("w.py", "import time\ntime.sleep(0.4)\n"),
            (
                "start.py",
                "import os\nos.execvp('python3', ['python3', 'w.py', '--import', 't' + 'sx'])\n",
            ),
        ],
        &["python3", "start.py"],
    ),
    (
        "another program's own name",
        &[("start.py", "import os\nos.execvp('sleep', ['t' + 'sx', '0.4'])\n")],
        &["python3", "start.py"],
    ),
    (
        "NODE_OPTIONS of a program that is not node",
        &[(
            "start.py",
            "import os\nos.environ['NODE_OPTIONS'] = '--import t' + 'sx'\nos.execvp('sleep', ['sleep', '0.4'])\n",
        )],
        &["python3", "start.py"],
    ),
    (
        "a folder",
        &[(
            "start.py",
            "import os\nos.mkdir('t' + 'sx')\nopen('t' + 'sx/w.js', 'w').write('setTimeout(() => {}, 400)')\nos.execvp('node', ['node', 't' + 'sx/w.js'])\n",
        )],
        &["python3", "start.py"],
    ),
    (
        "a file that is only read",
        &[("start.sh", "x=sx\necho >w.t$x\ntimeout 0.4 tail -f w.t$x || :\n")],
        &["sh", "start.sh"],
    ),
];

/// The worker's folder: its TypeScript, its dependencies, and where it leaves its mark.
struct App {
    folder: Folder,
}

impl App {
    /// `None`, and said so, where there is no tsx.
    fn new(files: &[(&str, &str)]) -> Option<Self> {
        let modules = Path::new(RUNNERS).join("node_modules");
        if !modules.join("tsx").exists() {
            skip("no tsx in target/tools/runners: tests/run.sh installs it");
            return None;
        }
        let folder = Folder::new();
        symlink(modules, folder.path("node_modules")).expect("a link");
        fs::create_dir(folder.path("src")).expect("a folder");
        folder.file("src/worker.ts", WORKER);
        folder.file("package.json", "{}");
        for (name, content) in files {
            folder.file(name, content);
        }
        Some(Self { folder })
    }

    fn shim<S: AsRef<std::ffi::OsStr>>(&self, command: impl IntoIterator<Item = S>) -> Shim {
        let bin = self.folder.path("node_modules/.bin");
        let path = format!("{RUNNERS}/bin:{}:/usr/local/bin:/usr/bin:/bin", bin.display());
        Shim::command("run")
            .behind(["env".into(), "-C".into(), self.path()])
            .env("PATH", path)
            .env("MARK", self.mark())
            .env("FOLDER", self.path())
            .worker(command)
    }

    fn path(&self) -> OsString {
        self.folder.path("").into()
    }

    fn mark(&self) -> PathBuf {
        self.folder.path("mark")
    }

    /// The processes that were started here and live.
    fn processes(&self) -> Vec<i32> {
        let mark = format!("MARK={}", self.mark().display()).into_bytes();
        let processes = fs::read_dir("/proc").expect("/proc").flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_ours = |pid: &i32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|entry| entry == mark)
        };
        pids.filter(is_ours).collect()
    }

    /// That all was killed, and why is said, before the mark was made.
    fn is_stopped(&self, ended: &Ended) -> Result<(), String> {
        let says = |line: &str| ended.lines().contains(&line);
        holds(!left_behind(&self.mark()), || format!("its code ran: {ended:?}"))?;
        holds(ended.code == 1, || format!("not stopped: {ended:?}"))?;
        holds(
            says("[version] FATAL: Running via tsx in production!")
                && says("[version] Workers must be compiled to JS and run with node.")
                && ended.stderr.contains("[version] Process "),
            || format!("not said: {ended:?}"),
        )?;
        within(DEADLINE, "nothing left", || self.processes().is_empty().then_some(()))
    }
}

/// Programs that take all of the machine's time.
struct Busy(Vec<Child>);

impl Busy {
    fn new() -> Self {
        let count = std::thread::available_parallelism().map_or(2, usize::from) * 3;
        let hog = || Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("sh");
        Self((0..count).map(|_| hog()).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn each_hidden_case_is_stopped(pid1: bool) {
    let mut faults = Vec::new();
    for (name, files, command) in HIDDEN {
        let Some(app) = App::new(files) else { return };
        let shim = app.shim(command).production(SHA);
        let ended = if pid1 { shim.pid1() } else { shim }.output();
        if let Err(fault) = app.is_stopped(&ended) {
            faults.push(format!("{name}: {fault}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_runner_that_no_command_shows_is_killed_before_its_code_runs() {
    each_hidden_case_is_stopped(false);
}

#[test]
fn so_it_is_as_pid_1_of_a_busy_machine() {
    let _busy = Busy::new();
    each_hidden_case_is_stopped(true);
}

/// The controls: every case would have run its code.
#[test]
fn each_of_them_runs_its_code_where_nobody_looks() {
    for (name, files, command) in HIDDEN {
        let Some(app) = App::new(files) else { return };
        // As PID 1, for its end to be everybody's.
        let shim = app.shim(command).production(SHA).options(["--runner-watch", "0s"]).pid1();
        let running = shim.spawn();
        eventually(name, || left_behind(&app.mark()).then_some(()));
        let _ = running.try_signal(SIGTERM);
        let ended = running.end();
        assert!(!ended.stderr.contains("FATAL"), "{name}: {ended:?}");
    }
}

#[test]
fn the_word_alone_kills_nobody() {
    for (name, files, command) in INNOCENT {
        let Some(app) = App::new(files) else { return };
        let ended = app.shim(command).production(SHA).options(["--runner-watch", "350ms"]).output();
        assert!(ended.code == 0 && !ended.stderr.contains("FATAL"), "{name}: {ended:?}");
    }
}

/// One case for what is the same with all.
fn hidden(files: &[(&str, &str)]) -> Option<(App, Shim)> {
    let start = ("start.py", "import os\nos.system('t' + 'sx src/worker.ts')\n");
    let app = App::new(&[&[start], files].concat())?;
    let shim = app.shim(["python3", "start.py"]);
    Some((app, shim))
}

#[test]
fn the_twin_turns_it_off_as_the_option_does() {
    let Some((app, shim)) = hidden(&[]) else { return };
    let ended = shim.production(SHA).env("VERSION_GUARD_RUNNER_WATCH", "0s").output();
    assert!(ended.code == 0 && left_behind(&app.mark()), "{ended:?}");
}

#[test]
fn outside_production_it_runs_and_nobody_looks_at_it() {
    let Some((app, shim)) = hidden(&[]) else { return };
    let looks = |shim: Shim| {
        let (ended, calls) = shim.env("GIT_SHA", SHA).traced("open,openat");
        (ended, calls.contains("/cmdline\""), calls)
    };
    let (ended, looked, calls) = looks(shim.clone());
    assert!(ended.code == 0 && left_behind(&app.mark()), "{ended:?}");
    assert!(!looked, "{calls}");
    let (_, looked, calls) = looks(shim.production(SHA));
    assert!(looked, "the trace sees it in production: {calls}");
}

#[test]
fn where_the_guards_are_enforced_always_it_is_stopped_outside_production() {
    let Some((app, shim)) = hidden(&[]) else { return };
    let ended = shim.env("GIT_SHA", SHA).options(["--enforce", "always"]).output();
    assert_eq!(app.is_stopped(&ended), Ok(()));
}

/// The image's own word: the seal's, with what it says beside the identity.
fn sealed(shim: Shim, policy: &str) -> Ended {
    let seal = format!(r#"{{"gitSha":"{SHA}","buildDate":"",{policy}}}"#);
    shim.env("NODE_ENV", "production").inside(Sandbox::new().sealed(&seal)).output()
}

#[test]
fn a_sealed_watch_can_not_be_turned_off_and_can_be_sealed_off() {
    let Some((app, shim)) = hidden(&[]) else { return };
    let off = shim.clone().options(["--runner-watch", "0s"]);
    assert_eq!(app.is_stopped(&sealed(off, r#""runnerWatchMs":5000"#)), Ok(()));
    let ended = sealed(shim, r#""runnerWatchMs":0"#);
    assert!(ended.code == 0 && left_behind(&app.mark()), "{ended:?}");
}

#[test]
fn what_is_not_forbidden_or_allowed_by_the_seal_goes_on() {
    for policy in [r#""forbidRunners":["bun"]"#, r#""allowArguments":["src/worker.ts"]"#] {
        let Some((app, shim)) = hidden(&[]) else { return };
        let ended = sealed(shim, policy);
        assert!(ended.code == 0 && left_behind(&app.mark()), "{ended:?}");
    }
}

#[test]
fn a_bad_duration_is_refused_with_the_name_of_its_variable() {
    let shim = Shim::run(["exit"]).env("VERSION_GUARD_RUNNER_WATCH", "soon");
    let ended = shim.output();
    assert_eq!(ended.code, 125, "{ended:?}");
    assert!(ended.stderr.contains("VERSION_GUARD_RUNNER_WATCH is 'soon'"), "{ended:?}");
}

#[test]
fn the_third_line_names_the_process_and_forges_no_other() {
    const FORGED: &str = "[version] all is well";
    let start = format!(
        "import os\nos.execvp('node', ['node', '--import', 't' + 'sx', 'src/worker.ts', 'a\\n{FORGED}\\x1b[2J', 'b' * 100000])\n"
    );
    let Some(app) = App::new(&[("start.py", &start)]) else { return };
    let ended = app.shim(["python3", "start.py"]).production(SHA).output();
    assert_eq!(app.is_stopped(&ended), Ok(()));
    let lines = ended.lines();
    let at = lines.iter().position(|line| line.contains("FATAL")).unwrap();
    let third = lines[at + 2];
    assert!(third.contains("node --import tsx src/worker.ts a\\n"), "{third}");
    assert!(third.len() < 1000, "{third}");
    assert!(lines.iter().all(|line| !line.starts_with(FORGED)), "{lines:#?}");
    assert!(!ended.stderr.contains('\x1b'), "{ended:?}");
}

#[test]
fn a_tree_that_grows_while_it_is_killed_leaves_nothing_behind() {
    let grow = "while :; do (sleep 60 & sleep 60) & sleep 0.002; done &\neval \"$(echo gfk fep/jbexre.gf | tr a-z n-za-m)\"\n";
    for pid1 in [false, true] {
        let Some(app) = App::new(&[("start.sh", grow)]) else { return };
        let shim = app.shim(["sh", "start.sh"]).production(SHA);
        let ended = if pid1 { shim.pid1() } else { shim }.output();
        assert_eq!(app.is_stopped(&ended), Ok(()));
    }
}

#[test]
fn its_instance_says_goodbye() {
    let Some((app, shim)) = hidden(&[]) else { return };
    let redis = Redis::start();
    let ended = shim.production(SHA).registers("extractor", redis.url()).output();
    assert_eq!(app.is_stopped(&ended), Ok(()));
    let instances: Vec<String> =
        redis.keys().into_iter().filter(|key| key.contains(":instance:")).collect();
    assert!(instances.is_empty(), "{instances:?}");
    assert_eq!(redis.cli(["ZCARD", "fiskai:workers"]), "0");
    assert_eq!(redis.cli(["HGET", "fiskai:worker:extractor:version", "gitSha"]), SHA);
}

/// Nothing but the main thread, which the watch is a part of.
fn nothing_wakes_after(watch: &str) -> Result<(), String> {
    let shim = Shim::run(["sleep"]).production(SHA).options(["--runner-watch", watch]);
    let mut running = shim.spawn();
    running.try_line()?;
    let pid = running.try_pid()?;
    let switches = || status_field(pid, "voluntary_ctxt_switches");
    let settled = within(Duration::from_secs(5), "rest", || {
        let before = switches();
        sleep(Duration::from_millis(500));
        (switches() == before).then_some(before)
    })?;
    sleep(Duration::from_secs(3));
    holds(switches() == settled, || "it wakes".into())
}

#[test]
fn when_the_watch_is_over_nothing_wakes_the_shim_any_more() {
    assert_eq!(nothing_wakes_after("300ms"), Ok(()));
    found_out(nothing_wakes_after("1h"), "rest");
}

#[test]
fn a_signal_reaches_the_worker_while_it_is_watched() {
    let mut running = Shim::run(["echo"]).production(SHA).pid1().ready();
    running.signal(SIGTERM);
    running.expect_line("15 from 1");
    assert_eq!(running.end().code, 0);
}

/// The pages of its code, which a start has touched, and what is executed next brings back.
fn lets_go_of_its_code_after(watch: &str) -> Result<(), String> {
    let shim = Shim::run(["echo"]).production(SHA).options(["--runner-watch", watch]);
    let mut running = shim.spawn();
    running.try_line()?;
    let pid = running.try_pid()?;
    let resident = || {
        let field = status_field(pid, "RssFile")?;
        field.split_whitespace().next()?.parse::<u32>().ok()
    };
    let before = resident().ok_or("no RssFile")?;
    within(Duration::from_secs(5), "less of it in memory", || {
        resident().filter(|now| *now < before / 2)
    })?;
    running.try_signal(SIGTERM)?;
    let line = running.try_line()?;
    holds(line.starts_with("15 "), || format!("{line:?} after a SIGTERM"))
}

#[test]
fn when_the_watch_is_over_the_shim_lets_go_of_its_code_and_works_on() {
    assert_eq!(lets_go_of_its_code_after("2s"), Ok(()));
    found_out(lets_go_of_its_code_after("1h"), "less of it in memory");
}
