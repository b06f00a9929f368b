//! The start: the worker gets everything as if the shim were not there, wherever it is started.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::libc;

use crate::common::{
    Folder, Redis, Running, Sandbox, Shim, binary, eventually, fixture, found_out, holds, kill,
    silent_server, status_field, try_kill,
};

const EXIT_7: [&str; 2] = ["exit", "7"];

/// All but KILL and STOP, which nobody can block or ignore.
const SIGNALS: u64 = !(1 << 8 | 1 << 18);

/// A user as containers should have it: not root, and no way to become it.
const NOBODY: [&str; 7] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--bounding-set=-all",
    "--inh-caps=-all",
    "--no-new-privs",
];

fn stdout(shim: &Shim) -> Vec<u8> {
    shim.to_command().output().expect("a shim").stdout
}

/// A shell that does this first, then executes what follows.
fn first(script: &str) -> [String; 4] {
    ["sh".into(), "-c".into(), format!("{script}; exec \"$@\""), "sh".into()]
}

/// A shell that closes these standard streams, then executes what follows.
fn closing(streams: &[i32]) -> [String; 4] {
    let closed: Vec<String> = streams.iter().map(|fd| format!("{fd}>&-")).collect();
    let script = format!("exec \"$@\" {}", closed.join(" "));
    ["sh".into(), "-c".into(), script, "sh".into()]
}

/// Standard input, output and error in all combinations, none of them included.
fn sets_of_streams() -> impl Iterator<Item = Vec<i32>> {
    (0..8).map(|set| (0..3).filter(|fd| set & (1 << fd) != 0).collect())
}

#[test]
fn arguments_arrive_byte_for_byte() {
    let long = "x".repeat(100_000);
    let arguments: [&[u8]; 14] = [
        b"",
        b" ",
        b"--",
        b"run",
        b"-x",
        b"--help",
        b"--register-timeout=soon",
        b"a\nb\t",
        b"$HOME",
        b"\xff\xfe",
        "ü".as_bytes(),
        b"a=b",
        b"*",
        long.as_bytes(),
    ];
    let shim = Shim::run(["bytes"]).arguments(arguments.map(OsStr::from_bytes));
    let mut expected = b"bytes\0".to_vec();
    for argument in arguments {
        expected.extend(argument);
        expected.push(0);
    }
    assert!(stdout(&shim).starts_with(&expected));
}

#[test]
fn the_environment_arrives_byte_for_byte() {
    let entries: [&[u8]; 9] = [
        b"EMPTY=",
        b"TWICE=1",
        b"TWICE=2",
        b"NO_EQUALS_SIGN",
        b"",
        b"=no name",
        b"A=b=c\nd",
        b"\xff=\xfe",
        b"VERSION_GUARD_REGISTER_TIMEOUT=2s",
    ];
    let conditions = entries.map(|entry| OsString::from_vec([b"entry:", entry].concat()));
    let shim = Shim::run(["bytes"]).under(conditions);
    let expected: Vec<u8> = entries.iter().flat_map(|entry| [entry, &b"\0"[..]].concat()).collect();
    let found = stdout(&shim);
    assert!(found.ends_with(&expected), "{}", String::from_utf8_lossy(&found));
    assert_eq!(found, stdout(&shim.without_shim()));
}

#[test]
fn working_directory_umask_and_limits_are_as_without_the_shim() {
    let folder = Folder::new();
    let limits =
        ["prlimit", "--nofile=123:456", "--core=0", "--stack=4194304:8388608", "--data=1000000000"];
    let report = "pwd; umask; cat /proc/self/limits; nice";
    let shim = Shim::command("run")
        .worker(["sh", "-c", report])
        .behind(first(&format!("cd '{}'; umask 027", folder.path("").display())))
        .behind(limits)
        .behind(["nice", "-n", "3"]);
    let ended = shim.output();
    assert_eq!(ended.stdout, shim.without_shim().output().stdout);
    assert!(ended.stdout.starts_with(folder.path("").to_str().unwrap().trim_end_matches('/')));
    for part in ["\n0027\n", "123 ", "456 ", "\n3\n"] {
        assert!(ended.stdout.contains(part), "{part:?} in {}", ended.stdout);
    }
}

/// Programs by the name of `worker` to be found, or not to be executed.
fn programs() -> Folder {
    let folder = Folder::new();
    for name in ["bin", "plain", "directories", "directories/worker", "more", "none"] {
        fs::create_dir(folder.path(name)).expect("a folder");
    }
    symlink(fixture("worker"), folder.path("bin/worker")).expect("a link");
    folder.program("plain/worker", &fixture("worker"), "644");
    symlink("loop", folder.path("more/loop")).expect("a link");
    folder
}

/// execvp(3), and the codes of POSIX's "Command Search and Execution": 126 found, 127 not found.
#[test]
fn a_command_is_looked_for_as_execvp_does() {
    let folder = programs();
    let root = folder.path("");
    let root = root.to_str().unwrap().trim_end_matches('/');
    let not_found = "is not found";
    let forbidden = "can't be executed: EACCES";
    for (path, directory, command, code, words) in [
        // With a slash in it, PATH does not matter.
        ("", "bin", "./worker", 7, ""),
        ("none", "", "bin/worker", 7, ""),
        ("", "", "ROOT/bin/worker", 7, ""),
        ("ROOT/bin", "", "./worker", 127, not_found),
        ("", "", "bin/worker/worker", 127, not_found),
        // Folder by folder; those that are missing don't end the search.
        ("ROOT/bin", "", "worker", 7, ""),
        ("/nonexistent:ROOT/none:ROOT/bin", "", "worker", 7, ""),
        ("none:bin", "", "worker", 7, ""),
        ("ROOT/bin/worker:ROOT/bin", "", "worker", 7, ""),
        ("/nonexistent:ROOT/none", "bin", "worker", 127, "is not found in PATH /nonexistent"),
        // An empty folder is the working directory.
        ("", "bin", "worker", 7, ""),
        (":none", "bin", "worker", 7, ""),
        ("none:", "bin", "worker", 7, ""),
        ("none::none", "bin", "worker", 7, ""),
        // What can't be executed doesn't end the search either, and is told when nothing else is found.
        ("ROOT/plain:ROOT/directories:ROOT/bin", "", "worker", 7, ""),
        ("ROOT/plain:ROOT/none", "", "worker", 126, forbidden),
        ("ROOT/directories", "", "worker", 126, forbidden),
        ("", "", "ROOT/plain/worker", 126, forbidden),
        ("", "", "ROOT/directories", 126, forbidden),
        ("", "", "ROOT/more/loop", 126, "ELOOP"),
        ("ROOT/bin", "bin", "", 127, "is an empty word"),
    ] {
        let (path, command) = (path.replace("ROOT", root), command.replace("ROOT", root));
        let shim = Shim::command("run").worker([&command]).arguments(EXIT_7).env("PATH", &path);
        let mut started = shim.to_command();
        started.current_dir(folder.path(directory));
        let ended = Running::start(&mut started, false).end();
        assert_eq!(ended.code, code, "{command} in {path}: {ended:?}");
        assert!(ended.stderr.contains(words), "{command} in {path}: {ended:?}");
    }
}

#[test]
fn without_path_a_command_is_found_where_the_engine_would_look() {
    let shim = Shim::command("run").worker(["sh", "-c", "exit 7"]).without_env("PATH");
    assert_eq!(shim.output().code, 7);
}

#[test]
fn what_lies_on_a_noexec_mount_is_126() {
    let folder = Folder::new();
    let mount = folder.path("");
    let worker = mount.join("worker");
    for (options, code) in [("exec", 7), ("noexec", 126)] {
        let sandbox = Sandbox::new()
            .with(&format!("mount -t tmpfs -o {options} tmpfs '{}'", mount.display()))
            .with(&format!("cp '{}' '{}'", fixture("worker").display(), worker.display()));
        let shim = Shim::command("run").worker([&worker]).arguments(EXIT_7).inside(sandbox);
        let ended = shim.output();
        assert_eq!(ended.code, code, "{ended:?}");
        assert_eq!(ended.stderr.contains("mounted noexec"), code == 126, "{ended:?}");
    }
}

#[test]
fn a_missing_interpreter_is_126_and_is_named_as_the_reason() {
    let folder = Folder::new();
    let text = folder.file("text", "#!/nonexistent/interpreter\n");
    let script = folder.program("script", &text, "755");
    let ended = Shim::command("run").worker([&script]).output();
    assert_eq!(ended.code, 126, "{ended:?}");
    assert!(ended.stderr.contains("interpreter"), "{ended:?}");
    assert!(ended.stderr.contains(script.to_str().unwrap()), "{ended:?}");
}

#[test]
fn a_script_without_an_interpreter_line_runs_in_the_shell_with_its_arguments() {
    let folder = Folder::new();
    let text = folder.file("text", "printf '<%s>' \"$0\" \"$@\"; exit 7\n");
    let script = folder.program("script", &text, "755");
    for name in [script.to_str().unwrap(), "script"] {
        let shim = Shim::command("run").worker([name, "a b", "", "-c"]);
        let ended = shim.env("PATH", script.parent().unwrap()).output();
        assert_eq!(ended.code, 7, "{ended:?}");
        assert_eq!(ended.stdout, format!("<{}><a b><><-c>", script.display()));
    }
}

/// elf(5): a header in good order, for a machine that this is not.
#[test]
fn a_program_for_another_machine_is_126() {
    let folder = Folder::new();
    let mut header = vec![0_u8; 64];
    // 64 bits, little endian, version 1; ET_EXEC, EM_FAKE_ALPHA, version 1.
    header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    header[16..24].copy_from_slice(&[2, 0, 0x26, 0x90, 1, 0, 0, 0]);
    let program = folder.program("program", &folder.file("bytes", header), "755");
    let ended = Shim::command("run").worker([program]).output();
    assert_eq!(ended.code, 126, "{ended:?}");
    assert!(ended.stderr.contains("ENOEXEC"), "{ended:?}");
}

/// valgrind makes a fork of a vfork, without memory in common, as qemu does for images of another
/// platform.
#[test]
fn what_can_not_be_executed_is_known_where_the_shim_is_emulated() {
    let folder = Folder::new();
    let script = folder.program("script", &folder.file("text", "exit 9\n"), "755");
    let emulated = ["valgrind", "--tool=none", "-q", "--log-file=/dev/null"];
    let shim = Shim::command("run").behind(emulated);
    let cases = [("/etc/passwd", 126), ("/nowhere", 127)];
    for (name, code) in cases {
        let ended =
            shim.clone().options(["--remap-exit", &code.to_string()]).worker([name]).output();
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(ended.stderr.contains(&format!("The worker {name} ")), "{ended:?}");
    }
    assert_eq!(shim.clone().worker([script]).output().code, 9);
    assert_eq!(shim.task(["exit", "7"]).output().code, 7);
}

/// The shell itself is asked, since Rust's runtime opens /dev/null where a stream is closed.
fn closed_streams_stay_closed(shim: Shim, closed: &[i32]) -> Result<(), String> {
    let folder = Folder::new();
    let report = folder.path("report");
    let script =
        "for fd in 0 1 2; do [ -e /proc/$$/fd/$fd ] || r=\"$r$fd\"; done; echo \"$r\" >\"$0\"";
    let shim = shim
        .worker([OsStr::new("sh"), OsStr::new("-c"), OsStr::new(script), report.as_os_str()])
        .behind(closing(closed));
    let ended = shim.spawn().try_end()?;
    let expected: String = closed.iter().map(ToString::to_string).collect();
    let found = fs::read_to_string(&report).map_err(|error| format!("{error}: {ended:?}"))?;
    holds(found.trim() == expected, || format!("closed is {found:?} and not {expected:?}"))
}

#[test]
fn standard_streams_that_are_closed_at_the_start_are_closed_in_the_worker() {
    let redis = Redis::start();
    for closed in sets_of_streams() {
        assert_eq!(closed_streams_stay_closed(Shim::command("run"), &closed), Ok(()));
        let registered = Shim::command("run").registers("closed", redis.url());
        assert_eq!(closed_streams_stay_closed(registered.clone(), &closed), Ok(()));
        assert_eq!(closed_streams_stay_closed(registered.pid1(), &closed), Ok(()));
    }
    assert_eq!(redis.cli(["EXISTS", "fiskai:worker:closed:version"]), "1");
    found_out(closed_streams_stay_closed(Shim::faulty("leaks-descriptor"), &[0]), "closed is");
}

#[test]
fn no_socket_of_the_shims_becomes_a_standard_stream() {
    for closed in sets_of_streams() {
        let (listener, url) = silent_server();
        let shim = Shim::run(EXIT_7)
            .registers("closed", url)
            .env("VERSION_GUARD_REGISTER_TIMEOUT", "500ms")
            .behind(closing(&closed));
        let running = shim.spawn();
        let _connection = listener.accept().expect("the registrar");
        for fd in 0..=2 {
            let target = fs::read_link(format!("/proc/{}/fd/{fd}", running.pid()));
            let target = target.unwrap_or_default();
            let target = target.to_string_lossy();
            assert!(!target.starts_with("socket:"), "{fd} is {target}");
        }
        assert_eq!(running.end().code, 7);
    }
}

/// What the worker has open, but for the numbers of pipes, which differ from run to run.
fn descriptors(shim: &Shim) -> Result<String, String> {
    let ended = shim.spawn().try_end()?;
    let kinds = ended.stdout.lines().map(|line| line.split('[').next().unwrap_or_default());
    Ok(kinds.collect::<Vec<_>>().join("\n"))
}

fn the_worker_has_the_descriptors_that_it_would_have_without_the_shim(
    shim: Shim,
) -> Result<(), String> {
    let shim = shim.task(["descriptors"]).behind(["sh", "-c", "exec \"$@\" 5<&0 7>&1", "sh"]);
    let (with, without) = (descriptors(&shim)?, descriptors(&shim.without_shim())?);
    let given = ["0 /dev/null", "1 pipe:", "2 pipe:", "5 /dev/null", "7 pipe:"];
    let there = given.iter().all(|given| without.lines().any(|line| line == *given));
    holds(there, || format!("without the shim: {without}"))?;
    holds(with == without, || format!("with the shim: {with}\nwithout: {without}"))
}

#[test]
fn inherited_descriptors_reach_the_worker_and_none_of_the_shims_own_does() {
    use the_worker_has_the_descriptors_that_it_would_have_without_the_shim as check;
    let redis = Redis::start();
    let (_listener, silent) = silent_server();
    let run = Shim::command("run").env("VERSION_GUARD_REGISTER_TIMEOUT", "200ms");
    for shim in [
        run.clone(),
        run.clone().registers("descriptors", redis.url()),
        // Given up for now, and trying on in the background while the worker starts.
        run.clone().registers("descriptors", silent),
    ] {
        assert_eq!(check(shim.clone()), Ok(()));
        assert_eq!(check(shim.pid1()), Ok(()));
    }
    assert_eq!(redis.cli(["EXISTS", "fiskai:worker:descriptors:version"]), "1");
    found_out(check(Shim::faulty("leaks-descriptor")), "with the shim");
}

/// The read end of a pipe whose write end is the worker's descriptor 9.
struct Pipe {
    folder: Folder,
    reader: fs::File,
}

impl Pipe {
    fn new() -> Self {
        let folder = Folder::new();
        let path = folder.path("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let reader = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .expect("a pipe");
        Self { folder, reader }
    }

    fn given_to(&self, shim: Shim) -> Shim {
        let script = format!("exec \"$@\" 9>'{}'", self.folder.path("pipe").display());
        shim.behind(["sh", "-c", &script, "sh"])
    }

    /// pipe(7): a read returns 0 once no write end is left, and EAGAIN as long as one is.
    fn is_at_its_end(&self) -> bool {
        nix::unistd::read(&self.reader, &mut [0; 1]) == Ok(0)
    }
}

fn a_pipe_ends_when_the_worker_closes_it(shim: Shim) -> Result<(), String> {
    let pipe = Pipe::new();
    let script = "echo ready; kill -STOP $$; exec 9>&-; exec sleep 1000";
    let mut running = pipe.given_to(shim.worker(["sh", "-c", script])).spawn();
    running.try_line()?;
    let worker = running.try_worker_pid()?;
    running.within("the worker's stop", || is_stopped(worker).then_some(()))?;
    holds(!pipe.is_at_its_end(), || "the worker has not got the pipe".into())?;
    try_kill(worker, libc::SIGCONT)?;
    running.within("the pipe's end", || pipe.is_at_its_end().then_some(()))?;
    try_kill(worker, libc::SIGKILL)?;
    running.try_end().map(drop)
}

fn is_stopped(pid: i32) -> bool {
    status_field(pid, "State").is_some_and(|state| state.starts_with('T'))
}

#[test]
fn a_pipe_that_the_worker_closes_is_at_its_end_while_the_shim_lives_on() {
    use a_pipe_ends_when_the_worker_closes_it as check;
    let redis = Redis::start();
    let run = Shim::command("run");
    assert_eq!(check(run.clone()), Ok(()));
    assert_eq!(check(run.clone().pid1()), Ok(()));
    assert_eq!(check(run.registers("pipe", redis.url())), Ok(()));
    found_out(check(Shim::faulty("keeps-copies")), "the pipe's end");
}

#[test]
fn a_pipe_is_at_its_end_when_the_worker_ends_and_the_shim_has_not_even_noticed() {
    let pipe = Pipe::new();
    let mut running = pipe.given_to(Shim::run(["sleep"])).spawn();
    running.expect_line("ready");
    let worker = running.worker_pid();
    running.has_closed(9);
    running.signal(libc::SIGSTOP);
    kill(worker, libc::SIGKILL);
    eventually("the pipe's end", || pipe.is_at_its_end().then_some(()));
    assert!(running.runs());
    running.signal(libc::SIGCONT);
    assert_eq!(running.end().code, 137);
}

/// The fields of /proc/PID/status that are about signals, as a program in C finds them.
fn the_worker_finds_signals_as_without_the_shim(
    shim: Shim,
    ignored: u64,
    blocked: u64,
) -> Result<(), String> {
    let numbers = |set: u64| (1..=64).filter(move |signal| set & (1 << (signal - 1)) != 0);
    let conditions: Vec<String> = numbers(ignored)
        .map(|signal| format!("ignore:{signal}"))
        .chain(numbers(blocked).map(|signal| format!("block:{signal}")))
        .collect();
    let shim = shim.worker(["cat", "/proc/self/status"]).under(&conditions);
    let field = |shim: &Shim, name: &str| {
        let ended = shim.spawn().try_end()?;
        let line =
            ended.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        let hexadecimal = line.ok_or_else(|| format!("{name}: {ended:?}"))?;
        u64::from_str_radix(hexadecimal, 16).map_err(|error| error.to_string())
    };
    let without = field(&shim.without_shim(), "SigIgn")?;
    holds(without == ignored, || format!("without the shim {without:x} is ignored"))?;
    let without = field(&shim.without_shim(), "SigBlk")?;
    holds(without == blocked, || format!("without the shim {without:x} is blocked"))?;
    for (name, expected) in [("SigBlk", blocked), ("SigIgn", ignored), ("SigCgt", 0), ("SigPnd", 0)]
    {
        let found = field(&shim, name)?;
        holds(found == expected, || format!("{name} is {found:016x} and not {expected:016x}"))?;
    }
    Ok(())
}

#[test]
fn the_workers_mask_and_dispositions_are_those_of_the_shims_start() {
    use the_worker_finds_signals_as_without_the_shim as check;
    let redis = Redis::start();
    let set = |signals: &[i32]| signals.iter().fold(0, |set, signal| set | 1 << (signal - 1));
    let run = Shim::command("run");
    for (ignored, blocked) in [
        (0, 0),
        (set(&[libc::SIGPIPE]), 0),
        (set(&[libc::SIGCHLD]), 0),
        (set(&[libc::SIGHUP, libc::SIGUSR1, libc::SIGTERM]), set(&[libc::SIGINT])),
        // libc's own, and the first and last real-time ones.
        (set(&[32, 33, 34, 64]), set(&[32, 33, 34, 64])),
        (0, SIGNALS),
        (SIGNALS, SIGNALS),
    ] {
        for shim in [
            run.clone(),
            run.clone().pid1(),
            // With a second thread, for which libc changes masks and dispositions.
            run.clone().registers("signals", redis.url()),
        ] {
            assert_eq!(check(shim, ignored, blocked), Ok(()), "{ignored:x} {blocked:x}");
        }
    }
    found_out(check(Shim::faulty("keeps-mask"), 0, 0), "SigBlk");
    found_out(check(Shim::faulty("forgets-dispositions"), 0, 0), "SigIgn");
}

fn the_shim_leaves_its_folder(shim: Shim) -> Result<(), String> {
    let folder = Folder::new();
    let shim = shim.task(["sleep"]).behind(first(&format!("cd '{}'", folder.path("").display())));
    let mut running = shim.spawn();
    running.try_line()?;
    let place = |pid| fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    let worker = place(running.try_worker_pid()?);
    let expected: PathBuf = folder.path("").components().collect();
    holds(worker == expected, || format!("the worker is in {}", worker.display()))?;
    let shim = running.try_pid()?;
    running.within("the shim at /", || (place(shim) == Path::new("/")).then_some(()))
}

#[test]
fn the_shims_own_working_directory_pins_no_mount() {
    use the_shim_leaves_its_folder as check;
    assert_eq!(check(Shim::command("run").pid1()), Ok(()));
    found_out(check(Shim::faulty("stays-in-folder").pid1()), "the shim at /");
}

#[test]
fn a_read_only_root_an_ordinary_user_and_no_capabilities_are_enough() {
    let redis = Redis::start();
    let report = "id -u; grep -E 'CapEff|NoNewPrivs' /proc/self/status; : >/tmp/x || exit 7";
    for kind in ["plain", "pid1"] {
        let shim = Shim::command("run")
            .worker(["sh", "-c", report])
            .registers(kind, redis.url())
            .inside(Sandbox::new().with("mount -o remount,ro,bind /"))
            .behind(NOBODY);
        let ended = if kind == "pid1" { shim.pid1() } else { shim }.output();
        let expected = "65534\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n";
        assert_eq!(ended.stdout, expected, "{ended:?}");
        // A shell ends with 2 when it can't redirect (dash), or goes on to its own exit.
        assert!(ended.code != 0 && ended.stderr.contains("Read-only file system"), "{ended:?}");
        assert_eq!(redis.cli(["EXISTS", &format!("fiskai:worker:{kind}:version")]), "1");
    }
}

/// A root that holds the shim and the fixture, and nothing else: no /dev, no /proc, no libraries.
fn empty_root() -> (Folder, Shim) {
    let folder = Folder::new();
    folder.program("shim", &binary(), "755");
    folder.program("worker", &fixture("worker"), "755");
    let shim = Shim::of("/shim".into(), ["run"]).worker(["/worker"]).arguments(EXIT_7);
    (folder, shim)
}

#[test]
fn an_empty_root_is_enough() {
    let redis = Redis::start();
    let (root, shim) = empty_root();
    let root = root.path("");
    let chroot = [OsStr::new("/usr/sbin/chroot"), root.as_os_str()];
    for closed in sets_of_streams() {
        let shim = shim.clone().behind(closing(&closed)).behind(chroot);
        for shim in [shim.clone(), shim.clone().pid1(), shim.registers("empty", redis.url())] {
            let ended = shim.output();
            assert_eq!(ended.code, 7, "{closed:?}: {ended:?}");
        }
    }
    assert_eq!(redis.cli(["EXISTS", "fiskai:worker:empty:version"]), "1");
}

#[test]
fn a_pipe_ends_with_the_worker_in_an_empty_root_too() {
    let (root, shim) = empty_root();
    let pipe = Pipe::new();
    let shim = pipe.given_to(shim.worker(["/worker", "sleep"]));
    let mut running =
        shim.behind([OsStr::new("/usr/sbin/chroot"), root.path("").as_os_str()]).spawn();
    running.expect_line("ready");
    running.has_closed(9);
    assert!(!pipe.is_at_its_end());
    kill(running.worker_pid(), libc::SIGKILL);
    assert_eq!(running.end().code, 137);
    assert!(pipe.is_at_its_end());
}

#[test]
fn a_worker_whose_loader_is_missing_is_126_in_an_empty_root() {
    let (root, shim) = empty_root();
    root.program("dynamic", Path::new("/bin/true"), "755");
    let shim = shim
        .worker(["/dynamic"])
        .behind([OsStr::new("/usr/sbin/chroot"), root.path("").as_os_str()]);
    let ended = shim.output();
    assert_eq!(ended.code, 126, "{ended:?}");
    assert!(ended.stderr.contains("loader"), "{ended:?}");
}

#[test]
fn the_binary_needs_neither_a_loader_nor_a_library() {
    let readelf = |program: &Path| {
        let output = Command::new("readelf").args(["-d", "-l", "-W"]).arg(program).output();
        String::from_utf8_lossy(&output.expect("readelf").stdout).into_owned()
    };
    let dynamic = readelf(Path::new("/bin/true"));
    let shim = readelf(&binary());
    assert!(shim.contains("LOAD"), "{shim}");
    for sign in ["INTERP", "(NEEDED)"] {
        assert!(dynamic.contains(sign), "readelf shows it where it is: {dynamic}");
        assert!(!shim.contains(sign), "{shim}");
    }
    let ldd = Command::new("ldd").arg(binary()).output().expect("ldd");
    let ldd = [ldd.stdout, ldd.stderr].concat();
    let ldd = String::from_utf8_lossy(&ldd);
    assert!(ldd.contains("not a dynamic executable") || ldd.contains("statically linked"), "{ldd}");
}

/// As older engines' default profiles do, instead of the ENOSYS that libc could deal with.
#[test]
fn a_seccomp_profile_that_refuses_newer_system_calls_does_no_harm() {
    let redis = Redis::start();
    let denied = ["clone3", "close_range", "pidfd_open", "pwritev2", "rseq"];
    let conditions = denied.map(|call| format!("deny:{call}"));
    let eperm = format!("{}\n", libc::EPERM);
    for call in denied {
        let shim = Shim::run(["errno", call]).under(&conditions);
        assert_eq!(shim.output().stdout, eperm, "the filter works");
        assert_ne!(
            Shim::run(["errno", call]).output().stdout,
            eperm,
            "and is none of the machine's"
        );
    }
    for shim in [Shim::run(EXIT_7), Shim::run(EXIT_7).registers("seccomp", redis.url())] {
        let ended = shim.under(&conditions).output();
        assert_eq!(ended.code, 7, "{ended:?}");
        assert!(ended.stderr.contains("the guards let it start"), "{ended:?}");
    }
    let ended = Shim::command("run").worker(["/no/such/worker"]).under(&conditions).output();
    assert_eq!(ended.code, 127, "{ended:?}");
    assert!(ended.stderr.contains("/no/such/worker is not found"), "{ended:?}");
}

/// getrlimit(2): RLIMIT_NPROC counts a user's processes and does not hold for root.
#[test]
fn when_no_process_can_be_made_it_says_so_once_and_ends_with_125() {
    let nobody = || Shim::run(EXIT_7).behind(NOBODY);
    let ended = nobody().behind(["prlimit", "--nproc=1"]).output();
    assert_eq!(ended.code, 125, "{ended:?}");
    let sentences = ended.lines().iter().filter(|line| line.contains("EAGAIN")).count();
    assert_eq!(sentences, 1, "{ended:?}");
    assert!(ended.stderr.contains("The worker's process can't be made"), "{ended:?}");
    assert_eq!(nobody().behind(["prlimit", "--nproc=10000"]).output().code, 7);
}

/// A race of the shim's own with the worker, unless it is at / before the worker is executed.
#[test]
fn the_shim_is_at_the_root_before_the_workers_first_instruction() {
    let folder = Folder::new();
    for _ in 0..50 {
        let shim = Shim::command("run").worker(["readlink", "/proc/1/cwd", "/proc/self/cwd"]);
        let shim = shim.behind(first(&format!("cd '{}'", folder.path("").display()))).pid1();
        let own: PathBuf = folder.path("").components().collect();
        assert_eq!(shim.output().stdout, format!("/\n{}\n", own.display()));
    }
}

/// Relative names are looked for where the shim was started.
#[test]
fn a_worker_by_a_relative_name_and_a_script_without_an_interpreter_line_are_found_in_the_directory()
{
    let folder = Folder::new();
    let script = folder.file("script.sh", "exit 9\n");
    folder.program("script", &script, "755");
    for (worker, code) in [("./script", 9), ("./nowhere", 127), ("./script.sh", 126)] {
        let cd = first(&format!("cd '{}'", folder.path("").display()));
        let ended = Shim::command("run").worker([worker]).behind(cd).output();
        assert_eq!(ended.code, code, "{ended:?}");
    }
}

/// sd_listen_fds(3), sd_watchdog_enabled(3).
#[test]
fn what_named_the_shim_to_a_service_names_the_worker() {
    let export = "export LISTEN_PID=$$ WATCHDOG_PID=$$ OTHER_PID=$$; exec \"$@\"";
    let worker = ["sh", "-c", "echo $LISTEN_PID $WATCHDOG_PID $OTHER_PID $$ $PPID"];
    let ended = Shim::command("run").worker(worker).behind(["sh", "-c", export, "sh"]).output();
    let pids: Vec<&str> = ended.stdout.split_whitespace().collect();
    let [listen, watchdog, other, worker, shim] = pids[..] else { panic!("{ended:?}") };
    assert_eq!((listen, watchdog, other), (worker, worker, shim), "{ended:?}");
    let strangers = Shim::command("run").worker(["sh", "-c", "echo $LISTEN_PID $WATCHDOG_PID"]);
    let ended = strangers.env("LISTEN_PID", "4194999").env("WATCHDOG_PID", "x").output();
    assert_eq!(ended.stdout, "4194999 x\n");
}

/// RLIMIT_NPROC counts threads as well; the control has room for one more.
#[test]
fn the_registrars_thread_gives_way_to_the_worker_where_there_is_room_for_one() {
    let redis = crate::common::Redis::start();
    for (limit, registered) in [(2, false), (3, true)] {
        // A user of the test's own: the limit counts all that a user has.
        let user = 54_000 + limit;
        let ended = Shim::run(EXIT_7)
            .registers("crowded", redis.url())
            .behind(["setpriv", &format!("--reuid={user}"), "--clear-groups", "--"])
            .behind(["prlimit", &format!("--nproc={limit}")])
            .output();
        assert_eq!(ended.code, 7, "{ended:?}");
        assert_eq!(ended.stderr.contains("it runs unregistered"), !registered, "{ended:?}");
    }
    assert_eq!(redis.cli(["ZCARD", "fiskai:workers"]), "0");
}

/// Each way to have no worker names its usual cause and a remedy, in one sentence.
#[test]
fn a_worker_that_can_not_be_executed_is_told_with_its_usual_cause() {
    let folder = Folder::new();
    let file = |name: &str, content: &[u8], mode: &str| {
        let source = folder.file(&format!("{name}.source"), content);
        folder.program(name, &source, mode).display().to_string()
    };
    let mut foreign = fs::read("/bin/true").unwrap();
    foreign[18..20].copy_from_slice(&183_u16.to_le_bytes());
    let loader = fs::read("/bin/true").unwrap();
    let with_loader = |path: &[u8]| {
        let mut program = loader.clone();
        let at = program.windows(8).position(|bytes| bytes == b"/lib64/l").unwrap();
        program[at..=at + path.len()].copy_from_slice(&[path, b"\0"].concat());
        program
    };
    let by_foreign = format!("#!{} -x\necho hi\n", folder.path("foreign").display());
    let cases = [
        (vec!["node dist/worker.js".to_owned()], 127, "one string with blanks"),
        (vec![file("windows", b"#!/bin/sh\r\nexit 7\r\n", "755")], 126, r"'#!/bin/sh\r'"),
        (
            vec![file("interpreter", b"#!/usr/bin/nowhere -x\n", "755")],
            126,
            "asks for '/usr/bin/nowhere -x'",
        ),
        (vec![file("foreign", &foreign, "755")], 126, "a program of aarch64's"),
        (vec![file("macos", b"\xcf\xfa\xed\xfe\x07\0\0\x01", "755")], 126, "a program of macOS's"),
        (
            vec![file("musl", &with_loader(b"/lib/ld-musl-x86_64.so"), "755")],
            126,
            "built on Alpine",
        ),
        (vec![file("glibc", &with_loader(b"/lib/ld-linux-nowhere"), "755")], 126, "glibc's"),
        (vec![file("by-foreign", by_foreign.as_bytes(), "755")], 126, "a program of aarch64's"),
        (vec![file("plain", b"exit 7\n", "644")], 126, "no executable bit"),
        (vec!["/etc".into()], 126, "is a directory"),
    ];
    for (worker, code, cause) in cases {
        let ended = Shim::command("run").worker(&worker).env("GIT_SHA", "a1b2c3d").output();
        assert_eq!(ended.code, code, "{ended:?}");
        let [_, sentence] = ended.lines()[..] else { panic!("{ended:?}") };
        assert!(sentence.contains(cause), "{cause}: {sentence}");
    }
}

#[test]
fn no_command_at_all_is_told_with_its_usual_cause() {
    for shim in [Shim::command("run"), Shim::command("run").options(["--"])] {
        let ended = shim.output();
        assert_eq!(ended.code, 125, "{ended:?}");
        for part in ["discards the CMD of the base image", "entrypoint:", "command:"] {
            assert!(ended.lines()[0].contains(part), "{ended:?}");
        }
    }
}
