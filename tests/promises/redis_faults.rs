//! Monitoring never hurts: whatever Redis does, the worker starts in time and its end is its own.

use std::io::Write;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;

use crate::common::net::{self, Answer, Server};
use crate::common::redis::free_port;
use crate::common::{Ended, Folder, Redis, Running, Sandbox, Shim, kill, status_field};

const LIMIT: Duration = Duration::from_secs(1);
const ROOM: Duration = Duration::from_millis(200);

/// A password with characters that a URL has to escape, and the URL's form of it.
const PASSWORD: &str = "s3cr/t-p@ss";
const ESCAPED: &str = "s3cr%2Ft-p%40ss";

/// A worker of type extractor that says ready and ends with 7, after these seconds.
fn worker_for(seconds: &str, url: &str) -> Shim {
    let script = format!("echo ready; sleep {seconds}; exit 7");
    Shim::command("run")
        .worker(["sh", "-c", &script])
        .env("GIT_SHA", "a1b2c3d")
        .registers("extractor", url)
}

fn at(port: u16) -> String {
    format!("redis://worker:{ESCAPED}@127.0.0.1:{port}")
}

/// How long it took from the shim's start to the worker's first line, and the end.
fn started_in(shim: &Shim) -> (Duration, Ended) {
    let start = Instant::now();
    let mut running = shim.spawn();
    running.expect_line("ready");
    (start.elapsed(), running.end())
}

/// The best of a few starts, so that a busy machine is not taken for a slow shim.
fn assert_starts_within(limit: Duration, shim: &Shim) {
    let mut times = Vec::new();
    while times.len() < 5 {
        times.push(started_in(shim).0);
        if times.last() <= Some(&limit) {
            return;
        }
    }
    panic!("the worker started after {times:?}, never within {limit:?}");
}

fn assert_keeps_the_password(ended: &Ended) {
    for secret in [PASSWORD, ESCAPED, "s3cr"] {
        assert!(!ended.stderr.contains(secret) && !ended.stdout.contains(secret), "{ended:?}");
    }
}

/// The worker starts in time; there is exactly one warning, with its cause, also after attempts in
/// the background, as text and as JSON; the exit code is the worker's; the password is not shown.
fn assert_harmless(url: &str, cause: &str, setting: impl Fn(Shim) -> Shim) {
    let text = setting(worker_for("0.7", url));
    // Long enough for a busy machine to write the warning before the worker is over.
    let json = setting(worker_for("0.3", url)).options(["--log-format", "json"]);
    let ended = text.output();
    assert_eq!(ended.code, 7, "{ended:?}");
    assert_keeps_the_password(&ended);
    let [_, warning] = ended.lines()[..] else { panic!("one line and one warning: {ended:?}") };
    let beginning = "[version] extractor is not registered in Redis at ";
    assert!(warning.starts_with(beginning) && warning.contains(cause), "{cause}: {ended:?}");
    let ended = json.output();
    assert_eq!(ended.code, 7, "{ended:?}");
    assert_keeps_the_password(&ended);
    let lines: Vec<serde_json::Value> =
        ended.lines().into_iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [_, warning] = &lines[..] else { panic!("one line and one warning: {ended:?}") };
    assert_eq!(warning["level"], "WARN", "{ended:?}");
    assert_eq!(warning["worker_type"], "extractor", "{ended:?}");
    assert!(warning["message"].as_str().unwrap().contains(cause), "{cause}: {ended:?}");
    assert_starts_within(LIMIT + ROOM, &setting(worker_for("0", url)));
}

fn as_it_is(shim: Shim) -> Shim {
    shim
}

#[test]
fn no_redis_at_all_is_harmless() {
    let url = format!("redis://worker:{ESCAPED}@{}:6379", net::own_address());
    assert_harmless(&url, "Connection refused", as_it_is);
}

#[test]
fn no_socket_file_is_harmless() {
    let url = format!("redis+unix:///nowhere/redis.sock?pass={ESCAPED}");
    assert_harmless(&url, "No such file", as_it_is);
}

#[test]
fn a_redis_that_accepts_and_says_nothing_is_harmless() {
    let cause = "no answer within 1s while waiting for its reply";
    assert_harmless(&at(Server::silent().port), cause, as_it_is);
}

#[test]
fn a_redis_that_accepts_and_hangs_up_is_harmless() {
    let server = Server::new(|connection, _| drop(connection));
    assert_harmless(&at(server.port), "127.0.0.1", as_it_is);
}

#[test]
fn a_redis_that_drips_a_byte_a_second_is_harmless() {
    let server = Server::new(|mut connection, _| {
        while connection.write_all(b"+").is_ok() {
            thread::sleep(Duration::from_secs(1));
        }
    });
    assert_harmless(&at(server.port), "no answer within 1s", as_it_is);
}

#[test]
fn a_wrong_password_is_harmless() {
    let redis = Redis::with(["--requirepass", "another"]);
    assert_harmless(&at(redis.port), "the login is refused: WRONGPASS", as_it_is);
    let url = format!("redis://:{ESCAPED}@127.0.0.1:{}", redis.port);
    assert_harmless(&url, "the login is refused: WRONGPASS", as_it_is);
}

#[test]
fn a_missing_password_is_harmless() {
    let redis = Redis::with(["--requirepass", PASSWORD]);
    assert_harmless(&redis.url(), "NOAUTH", as_it_is);
}

#[test]
fn a_user_who_may_not_write_is_harmless() {
    let user = ["--user", "worker", "on", &format!(">{PASSWORD}"), "~other:*", "+@all"];
    assert_harmless(&at(Redis::with(user).port), "NOPERM", as_it_is);
}

#[test]
fn a_read_only_replica_is_harmless() {
    let redis = Redis::with(["--replicaof", "127.0.0.1", &free_port().to_string()]);
    assert_harmless(&redis.url(), "READONLY", as_it_is);
}

#[test]
fn a_redis_that_is_out_of_memory_is_harmless() {
    let redis = Redis::with(["--maxmemory", "1"]);
    assert_harmless(&redis.url(), "OOM", as_it_is);
}

#[test]
fn a_server_that_speaks_http_is_harmless() {
    let server =
        Server::answering(|_| b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".into());
    assert_harmless(&at(server.port), "127.0.0.1", as_it_is);
}

/// Bytes that ask a careless reader for endless memory, or for an endless stack.
#[test]
fn a_server_that_speaks_nonsense_is_harmless() {
    for nonsense in [
        b"\0\xff\xfe nonsense".to_vec(),
        b"$999999999999\r\nx".to_vec(),
        b"*2147483647\r\n".to_vec(),
        b"*9223372036854775807\r\n".to_vec(),
        b"$-7\r\n*-7\r\n".to_vec(),
        b"*1\r\n".repeat(100_000),
        b"+\x1b[31m\n[version] forged\r\n".to_vec(),
    ] {
        let server = Server::answering(move |_| nonsense.clone());
        assert_harmless(&at(server.port), "127.0.0.1", as_it_is);
    }
}

#[test]
fn a_server_that_never_stops_talking_is_harmless_also_to_the_containers_memory() {
    let server = Server::new(|mut connection, _| {
        let _ = connection.write_all(b"+");
        while connection.write_all(&[b'a'; 16 * 1024]).is_ok() {}
    });
    assert_harmless(&at(server.port), "127.0.0.1", as_it_is);
    let before = server.connections();
    let mut shim = worker_for("60", &at(server.port)).pid1().spawn();
    shim.expect_line("ready");
    // Then the first attempt is over.
    server.expect_connections(before + 2);
    let peak = status_field(shim.pid(), "VmHWM").unwrap();
    let kilobytes: u32 = peak.trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 80_000, "{peak}");
}

/// As Redis itself does it, which shows no more than 128 bytes of what it was sent.
fn quoting(request: &[u8]) -> Vec<u8> {
    let request = String::from_utf8_lossy(request);
    let parts = request.split("\r\n").filter(|part| !part.starts_with(['*', '$']));
    let quoted = format!("'{}'", parts.collect::<Vec<_>>().join("' '"));
    let end = quoted.char_indices().nth(128).map_or(quoted.len(), |(index, _)| index);
    format!("-ERR unknown command, with args beginning with: {}\r\n", &quoted[..end]).into()
}

#[test]
fn a_password_that_the_server_quotes_is_not_repeated() {
    let quotes = Server::answering(quoting).port;
    let redis = Redis::with(["--rename-command", "AUTH", "", "--rename-command", "HELLO", ""]);
    let long = "s3cr".repeat(100);
    for port in [quotes, redis.port] {
        for password in [ESCAPED, &long] {
            let url = format!("redis://worker:{password}@127.0.0.1:{port}");
            assert_harmless(&url, "unknown command", as_it_is);
            // The third version of the protocol logs in with HELLO.
            assert_harmless(&format!("{url}/?protocol=resp3"), "127.0.0.1", as_it_is);
        }
    }
}

#[test]
fn a_name_that_nobody_knows_is_harmless() {
    let unknown = net::name_server(|_| Some(Answer::Code(3)));
    let nobody =
        ["", &format!("nameserver {unknown}\n"), &format!("nameserver {}\n", net::own_address())];
    for resolv_conf in nobody {
        let sandbox = Sandbox::new().over("/etc/resolv.conf", resolv_conf);
        let url = format!("redis://worker:{ESCAPED}@redis.test:6379");
        assert_harmless(&url, "redis.test", |shim| shim.inside(sandbox.clone()));
    }
}

#[test]
fn an_alias_of_nothing_is_harmless() {
    let alias = net::name_server(|question| {
        let known = question.name == "redis.test.";
        Some(if known { Answer::Alias("nowhere.test") } else { Answer::Code(0) })
    });
    let sandbox = Sandbox::new().over("/etc/resolv.conf", format!("nameserver {alias}\n"));
    let url = format!("redis://worker:{ESCAPED}@redis.test:6379");
    assert_harmless(&url, "redis.test", |shim| shim.inside(sandbox.clone()));
}

#[test]
fn a_name_that_is_none_is_harmless() {
    let empty = Sandbox::new().over("/etc/resolv.conf", "");
    for host in ["a..b", &"x".repeat(64), &["x"; 200].join("."), "%00", "ö"] {
        let shim = worker_for("0", &format!("redis://worker:{ESCAPED}@{host}:6379"));
        let (_, ended) = started_in(&shim.inside(empty.clone()));
        assert_eq!((ended.code, ended.lines().len()), (7, 2), "{ended:?}");
        assert_keeps_the_password(&ended);
    }
}

#[test]
fn a_name_server_that_never_answers_is_harmless() {
    let address = net::own_address();
    let _silent = UdpSocket::bind((address, 53)).unwrap();
    let sandbox = Sandbox::new().over("/etc/resolv.conf", format!("nameserver {address}\n"));
    let url = format!("redis://worker:{ESCAPED}@redis.test:6379");
    let cause = "no answer within 1s while resolving its name";
    assert_harmless(&url, cause, |shim| shim.inside(sandbox.clone()));
}

#[test]
fn a_server_that_never_finishes_the_tls_handshake_is_harmless() {
    let url = at(Server::silent().port).replace("redis://", "rediss://");
    assert_harmless(&url, "no answer within 1s while agreeing on TLS", as_it_is);
}

#[test]
fn a_server_that_speaks_no_tls_is_harmless() {
    let redis = Redis::start();
    let url = at(redis.port).replace("redis://", "rediss://");
    // Redis itself waits for a line end that no handshake has.
    assert_harmless(&url, "while agreeing on TLS", as_it_is);
    let server = Server::answering(|_| b"-ERR unknown command\r\n".into());
    let url = at(server.port).replace("redis://", "rediss://");
    assert_harmless(&url, "TLS failed", as_it_is);
}

#[test]
fn the_time_limit_is_an_option_with_a_twin() {
    let url = at(Server::silent().port);
    let limit = Duration::from_millis(200);
    let as_option = worker_for("0.3", &url).options(["--register-timeout", "200ms"]);
    let as_twin = worker_for("0.3", &url).env("VERSION_GUARD_REGISTER_TIMEOUT", "200ms");
    for shim in [as_option, as_twin] {
        assert_starts_within(limit + ROOM, &shim);
        let (took, ended) = started_in(&shim);
        assert!(took >= limit, "{took:?}");
        assert!(ended.stderr.contains("no answer within 200ms"), "{ended:?}");
    }
    // Without either it takes longer: the silence is real.
    assert!(started_in(&worker_for("0.3", &url)).0 >= LIMIT);
}

/// A worker that waits for SIGTERM, behind a shim whose registration has failed once.
fn unregistered(url: &str, cause: &str) -> Running {
    let mut shim =
        Shim::run(["echo"]).env("GIT_SHA", "a1b2c3d").registers("extractor", url).spawn();
    shim.expect_line("ready");
    shim.expect_log(cause);
    shim
}

/// Waits until Redis has the registration and one line has said so, and nothing more.
fn assert_registers_at_last(mut shim: Running, redis: &Redis) {
    let line = shim.expect_log("is registered in Redis at");
    assert_eq!(redis.cli(["HGET", "fiskai:worker:extractor:version", "gitSha"]), "a1b2c3d");
    shim.signal(libc::SIGTERM);
    let ended = shim.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines: Vec<&str> =
        ended.lines().into_iter().filter(|line| line.contains("registered in Redis")).collect();
    assert_eq!(lines.len(), 2, "{ended:?}");
    assert_eq!(lines[1], line);
}

#[test]
fn a_redis_that_is_started_later_gets_the_registration() {
    let address = net::own_address().to_string();
    let shim = unregistered(&format!("redis://{address}:6379"), "Connection refused");
    let redis = Redis::on(6379, ["--bind", &address].map(str::to_owned).into());
    assert_registers_at_last(shim, &redis);
}

#[test]
fn a_redis_that_hung_gets_the_registration() {
    let redis = Redis::start();
    kill(redis.pid(), libc::SIGSTOP);
    let shim = unregistered(&redis.url(), "no answer within 1s");
    kill(redis.pid(), libc::SIGCONT);
    assert_registers_at_last(shim, &redis);
}

#[test]
fn a_replica_that_is_promoted_gets_the_registration() {
    let redis = Redis::with(["--replicaof", "127.0.0.1", &free_port().to_string()]);
    let shim = unregistered(&redis.url(), "READONLY");
    redis.cli(["REPLICAOF", "NO", "ONE"]);
    assert_registers_at_last(shim, &redis);
}

/// A shim that waits for the answer of a silent server, and the folder where its worker would leave
/// a marker.
fn registering(
    server: &Server,
    timeout: &str,
    as_that: impl Fn(Shim) -> Shim,
) -> (Running, Folder) {
    let folder = Folder::new();
    let marker = folder.path("marker").into_os_string();
    let before = server.connections();
    let shim = Shim::run(["touch".into(), marker])
        .env("GIT_SHA", "a1b2c3d")
        .registers("extractor", at(server.port))
        .options(["--register-timeout", timeout]);
    let running = as_that(shim).spawn();
    server.expect_connections(before + 1);
    (running, folder)
}

#[test]
fn with_redis_hung_the_shim_ends_with_its_worker() {
    let server = Server::silent();
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let mut shim = worker_for("0", &at(server.port))
            .options(["--register-timeout", "100ms"])
            .worker(["sh", "-c", script])
            .spawn();
        shim.expect_line("ready");
        let signalled = Instant::now();
        shim.signal(libc::SIGTERM);
        let ended = shim.end();
        assert_eq!(ended.code, 7, "{ended:?}");
        best = best.min(signalled.elapsed());
    }
    assert!(best < Duration::from_secs(1), "{best:?}");
}

#[test]
fn a_sigterm_while_registering_ends_the_run_at_once() {
    let server = Server::silent();
    for kind in [as_it_is, Shim::pid1] {
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let (shim, folder) = registering(&server, "10s", kind);
            let signalled = Instant::now();
            shim.signal(libc::SIGTERM);
            let ended = shim.end();
            best = best.min(signalled.elapsed());
            assert_eq!(ended.code, 143, "{ended:?}");
            assert!(!folder.path("marker").exists(), "{ended:?}");
            assert_keeps_the_password(&ended);
        }
        assert!(best < Duration::from_millis(100), "{best:?}");
    }
}

#[test]
fn any_signal_that_ends_a_process_ends_the_run_while_registering() {
    let server = Server::silent();
    let rtmin_3 = 37;
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR1, rtmin_3] {
        for kind in [as_it_is, Shim::pid1] {
            let (shim, folder) = registering(&server, "10s", kind);
            shim.signal(signal);
            let ended = shim.end();
            assert_eq!(ended.code, 128 + signal, "{ended:?}");
            assert!(!folder.path("marker").exists(), "{ended:?}");
        }
    }
}

#[test]
fn a_signal_that_ends_nobody_does_not_end_the_run_while_registering() {
    let server = Server::silent();
    for kind in [as_it_is, Shim::pid1] {
        let (shim, folder) = registering(&server, "300ms", kind);
        for signal in [libc::SIGWINCH, libc::SIGURG, libc::SIGCONT] {
            shim.signal(signal);
        }
        assert_eq!(shim.end().code, 0);
        assert!(folder.path("marker").exists());
    }
}

#[test]
fn a_signal_ignored_on_entry_does_not_end_the_run_while_registering() {
    let server = Server::silent();
    let ignoring = |shim: Shim| shim.behind(["sh", "-c", "trap '' HUP INT; exec \"$@\"", "sh"]);
    for kind in [as_it_is, Shim::pid1] {
        let (shim, folder) = registering(&server, "300ms", |shim| kind(ignoring(shim)));
        shim.signal(libc::SIGHUP);
        shim.signal(libc::SIGINT);
        assert_eq!(shim.end().code, 0);
        assert!(folder.path("marker").exists());
    }
}

#[test]
fn the_password_is_not_on_the_shims_command_line() {
    let mut shim = worker_for("60", &at(Server::silent().port)).pid1().spawn();
    shim.expect_line("ready");
    let line = std::fs::read(format!("/proc/{}/cmdline", shim.pid())).unwrap();
    let line = String::from_utf8(line).unwrap();
    assert!(line.contains("run") && !line.contains("s3cr"), "{line}");
}
