//! The way to Redis: secrets in files, certificates, several addresses, and what is said where there is none.

use std::fs;

use nix::libc::SIGTERM;

use crate::common::redis::free_port;
use crate::common::{DATE, Ended, Folder, OTHER, Redis, Running, SHA, Shim, eventually};
use crate::registration::tls_redis;

const VERSION: &str = "fiskai:worker:extractor:version";

/// A worker of type extractor that says ready and lives until it is stopped.
fn extractor() -> Shim {
    Shim::command("run")
        .worker(["sh", "-c", "echo ready; exec sleep 60"])
        .env("GIT_SHA", SHA)
        .env("BUILD_DATE", DATE)
        .env("WORKER_TYPE", "extractor")
        .options(["--heartbeat", "200ms"])
}

fn with_password(password: &str) -> Redis {
    Redis::with(["--requirepass", password])
}

fn url(redis: &Redis, password: &str) -> String {
    format!("redis://:{password}@127.0.0.1:{}", redis.port)
}

fn is_registered(redis: &Redis, login: &[&str]) -> bool {
    redis.cli(login.iter().chain(&["EXISTS", VERSION])).ends_with('1')
}

fn stop(running: Running) -> Ended {
    running.signal(SIGTERM);
    running.end()
}

#[test]
fn a_url_in_a_file_is_read_anew_for_each_connection() {
    let redis = with_password("first1234");
    let folder = Folder::new();
    let file = folder.file("url", format!("{}\n", url(&redis, "first1234")));
    let mut running = extractor().env("REDIS_URL_FILE", file.clone()).ready();
    let login = ["--no-auth-warning", "-a", "first1234"];
    assert!(is_registered(&redis, &login));
    redis.cli(login.iter().chain(&["CONFIG", "SET", "requirepass", "second123"]));
    running.expect_log("has lost its registration");
    fs::write(&file, url(&redis, "second123")).unwrap();
    running.expect_log("is registered again");
    let ended = stop(running);
    assert!(
        !ended.stderr.contains("first1234") && !ended.stderr.contains("second123"),
        "{ended:?}"
    );
}

#[test]
fn a_url_file_that_comes_late_is_found() {
    let redis = Redis::start();
    let folder = Folder::new();
    let file = folder.path("url");
    let mut running = extractor().env("REDIS_URL_FILE", file.clone()).spawn();
    let warning = running.expect_log("is not registered");
    assert!(warning.contains("REDIS_URL_FILE") && warning.contains("No such file"), "{warning}");
    fs::write(&file, redis.url()).unwrap();
    running.expect_log("is registered in Redis at 127.0.0.1");
    assert_eq!(stop(running).code, 143);
}

#[test]
fn a_url_file_wins_over_the_variable_with_one_warning() {
    let redis = Redis::start();
    let folder = Folder::new();
    let file = folder.file("url", redis.url());
    let running = extractor()
        .env("REDIS_URL_FILE", file)
        .env("REDIS_URL", format!("redis://:s3cret12@127.0.0.1:{}", free_port()))
        .ready();
    assert!(is_registered(&redis, &[]));
    let ended = stop(running);
    let said = ended.stderr.lines().filter(|line| line.contains("REDIS_URL_FILE")).count();
    assert!(said == 1 && !ended.stderr.contains("s3cret12"), "{ended:?}");
}

#[test]
fn a_url_file_that_is_no_file_holds_nothing_up() {
    let folder = Folder::new();
    let fifo = folder.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let long = folder.file("long", "x".repeat(1_000_000));
    let odd = folder.file("odd", b"redis://\xff");
    for (file, reason) in [
        (fifo, "no regular file"),
        (folder.path(""), "no regular file"),
        (long, "longer than"),
        (odd, "not UTF-8"),
    ] {
        let mut running = extractor().env("REDIS_URL_FILE", file).spawn();
        running.expect_line("ready");
        running.expect_log(reason);
        assert_eq!(stop(running).code, 143);
    }
}

#[test]
fn an_expected_sha_in_a_file_is_the_expected_sha() {
    let folder = Folder::new();
    let file = folder.file("sha", format!("\u{feff}{OTHER}\r\n"));
    let shim = Shim::run(["exit", "0"]).env("GIT_SHA", SHA).env("EXPECTED_GIT_SHA_FILE", file);
    for (shim, is_twice) in [(shim.clone(), false), (shim.env("EXPECTED_GIT_SHA", SHA), true)] {
        let ended = shim.output();
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stderr.contains(&format!("Expected SHA: {OTHER}")), "{ended:?}");
        let said = ended.stderr.contains("beside EXPECTED_GIT_SHA_FILE, which counts");
        assert_eq!(said, is_twice, "{ended:?}");
    }
}

#[test]
fn a_file_that_is_missing_or_holds_no_sha_is_an_error_and_is_not_shown() {
    let folder = Folder::new();
    let shim = Shim::run(["exit", "7"]).env("GIT_SHA", SHA).env("EXPECTED_GIT_SHA", SHA);
    let empty = folder.file("empty", "\n");
    let other = folder.file("other", "a log file\nwith a s3cret in it\n");
    for file in [folder.path("none"), empty, other] {
        for shim in [shim.clone(), Shim::command("check"), Shim::command("verify")] {
            let ended = shim.env("EXPECTED_GIT_SHA_FILE", file.clone()).output();
            assert_eq!(ended.code, 125, "{ended:?}");
            assert!(ended.stderr.contains("EXPECTED_GIT_SHA_FILE is '"), "{ended:?}");
            assert!(!ended.stderr.contains("s3cret"), "{ended:?}");
        }
    }
}

#[test]
fn what_stands_in_the_place_of_a_path_is_not_shown() {
    let (redis, folder) = tls_redis();
    let key = fs::read_to_string(folder.path("redis.key")).unwrap();
    let body = key.lines().nth(1).unwrap().to_owned();
    let url = format!("rediss://127.0.0.1:{}", redis.port);
    for (name, value, secret) in [
        ("VERSION_GUARD_REDIS_KEY", key.clone(), body.as_str()),
        ("VERSION_GUARD_REDIS_CA", key.clone(), &body),
        ("REDIS_URL_FILE", "redis://:hunter2@h".to_owned(), "hunter2"),
    ] {
        let certificate = folder.path("redis.crt");
        let mut running = extractor()
            .env("REDIS_URL", url.clone())
            .env("VERSION_GUARD_REDIS_CERT", certificate)
            .env(name, value)
            .spawn();
        running.expect_line("ready");
        running.expect_log("egistered");
        let ended = stop(running);
        assert!(!ended.stderr.contains(secret), "{name}: {ended:?}");
    }
}

#[test]
fn an_empty_url_file_names_no_redis() {
    let folder = Folder::new();
    let mut running = extractor().env("REDIS_URL_FILE", folder.file("url", " \n")).spawn();
    running.expect_log("it is empty");
    running.expect_line("ready");
    stop(running);
}

#[test]
fn verify_expects_what_stands_in_the_file_unless_it_is_told_otherwise() {
    let redis = Redis::start();
    let running = extractor().env("REDIS_URL", redis.url()).ready();
    let folder = Folder::new();
    let verify = Shim::command("verify")
        .env("REDIS_URL_FILE", folder.file("url", redis.url()))
        .env("EXPECTED_GIT_SHA_FILE", folder.file("sha", OTHER));
    assert_eq!(verify.output().code, 1);
    assert_eq!(verify.options(["--expected", SHA]).output().code, 0);
    stop(running);
}

#[test]
fn a_database_that_there_is_not_gets_nothing_into_the_first_one() {
    let redis = Redis::start();
    let mut running = extractor().env("REDIS_URL", format!("{}/99", redis.url())).spawn();
    running.expect_log("ERR DB index is out of range");
    running.expect_line("ready");
    assert_eq!(redis.cli(["DBSIZE"]), "0");
    stop(running);
}

#[test]
fn a_password_where_none_is_asked_for_costs_one_warning() {
    let redis = Redis::start();
    let running = extractor().env("REDIS_URL", url(&redis, "hunter2")).ready();
    assert!(is_registered(&redis, &[]));
    // Some heartbeats.
    let calls = || redis.cli(["INFO", "commandstats"]).matches("cmdstat_pexpire").count();
    eventually("heartbeats", || (calls() > 0).then_some(()));
    let ended = stop(running);
    let said: Vec<&str> =
        ended.stderr.lines().filter(|line| line.contains("asks for no password")).collect();
    assert!(said.len() == 1 && !ended.stderr.contains("hunter2"), "{ended:?}");
    assert!(!ended.stderr.contains("not registered"), "{ended:?}");
}

#[test]
fn authorities_are_read_before_the_worker_starts_and_may_be_gone_then() {
    let (mut redis, folder) = tls_redis();
    let authority = folder.path("mine.crt");
    fs::copy(folder.path("ca.crt"), &authority).unwrap();
    // Nobody listens when they are read.
    redis.stop();
    let script = format!("cd '{}' && exec \"$@\"", folder.path("").display());
    let mut running = extractor()
        .env("REDIS_URL", format!("rediss://127.0.0.1:{}", redis.port))
        .env("VERSION_GUARD_REDIS_CA", "mine.crt")
        .behind(["sh", "-c", &script, "sh"])
        .ready();
    running.expect_log("Connection refused");
    fs::remove_file(authority).unwrap();
    redis.restart();
    running.expect_log("is registered in Redis");
    stop(running);
}

#[test]
fn a_self_signed_server_that_is_not_pinned_is_told_so() {
    let (redis, folder) = tls_redis();
    let said = |authority: &str| {
        let shim = Shim::command("verify")
            .env("REDIS_URL", format!("rediss://localhost:{}", redis.port))
            .env("VERSION_GUARD_REDIS_CA", folder.path(authority))
            .options(["--expected", SHA]);
        shim.output().stderr
    };
    assert!(said("other.crt").contains("the issuer of its certificate is not known here"));
    // The control, and the server's own certificate as its authority.
    for trusted in ["ca.crt", "redis.crt"] {
        assert!(!said(trusted).contains("TLS failed"), "{trusted}: {}", said(trusted));
    }
}

#[test]
fn a_file_of_certificates_that_can_not_be_used_is_named() {
    let (redis, folder) = tls_redis();
    let folder_path = folder.path("");
    let empty = folder.file("empty", "");
    let key = folder.path("redis.key");
    for (option, file, reason) in [
        ("--redis-ca", folder.path("none"), "No such file"),
        ("--redis-ca", folder_path, "no regular file"),
        ("--redis-ca", empty.clone(), "no certificate in PEM"),
        ("--redis-ca", key.clone(), "no certificate in PEM"),
        ("--redis-cert", folder.path("redis.crt"), "--redis-key is missing"),
        ("--redis-key", key, "--redis-cert is missing"),
    ] {
        let mut running = extractor()
            .env("REDIS_URL", format!("rediss://127.0.0.1:{}", redis.port))
            .options([option.into(), file])
            .spawn();
        let warning = running.expect_log("is not registered");
        assert!(warning.contains(option) && warning.contains(reason), "{option}: {warning}");
        running.expect_line("ready");
        stop(running);
    }
}

/// A Sentinel of the test's own, and its port.
struct Sentinel(std::process::Child, u16);

impl Sentinel {
    fn start(folder: &Folder, more: &str) -> Self {
        let port = free_port();
        let folder_path = folder.path("");
        let text = format!("port {port}\nbind 127.0.0.1\ndir {}\n{more}", folder_path.display());
        let child = std::process::Command::new("redis-server")
            .arg(folder.file("sentinel.conf", text))
            .arg("--sentinel")
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let answers = || std::net::TcpStream::connect(("127.0.0.1", port)).ok();
        eventually("the Sentinel", answers);
        Self(child, port)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn asked_by_verify(url: String) -> Ended {
    Shim::command("verify").env("REDIS_URL", url).options(["--expected", SHA]).output()
}

#[test]
fn a_url_that_points_at_a_sentinel_is_told_so_and_one_that_should_as_well() {
    let folder = Folder::new();
    let sentinel = Sentinel::start(&folder, "");
    let port = sentinel.1;
    let said = asked_by_verify(format!("redis://127.0.0.1:{port}"));
    assert_eq!(said.code, 2, "{said:?}");
    let hint = format!(
        "it is a Sentinel, which holds no keys itself: write redis+sentinel://127.0.0.1:{port}/"
    );
    assert!(said.stderr.contains(&hint), "{said:?}");
    let redis = Redis::start();
    let said = asked_by_verify(format!("redis+sentinel://127.0.0.1:{}/main", redis.port));
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.contains("it is no Sentinel: write redis://127.0.0.1:"), "{said:?}");
}

#[test]
fn a_sentinel_may_have_a_password_of_its_own() {
    let redis = with_password("masters12");
    let folder = Folder::new();
    let more = format!(
        "requirepass sentinels\nsentinel monitor main 127.0.0.1 {} 1\nsentinel auth-pass main masters12\n",
        redis.port
    );
    let sentinel = Sentinel::start(&folder, &more);
    let url = format!("redis+sentinel://:masters12@127.0.0.1:{}/main", sentinel.1);
    let mut running = extractor().env("REDIS_URL", url.clone()).spawn();
    let warning = running.expect_log("is not registered");
    assert!(warning.contains("the Sentinel at 127.0.0.1:"), "{warning}");
    running.expect_line("ready");
    stop(running);
    for option in ["sentinel_password", "sentinelPassword"] {
        let running = extractor().env("REDIS_URL", format!("{url}?{option}=sentinels")).ready();
        assert!(is_registered(&redis, &["--no-auth-warning", "-a", "masters12"]));
        redis.cli(["--no-auth-warning", "-a", "masters12", "FLUSHALL"]);
        let ended = stop(running);
        assert!(!ended.stderr.contains("masters12") && !ended.stderr.contains("=sentinels"));
    }
}

#[test]
fn an_option_of_a_url_that_nobody_knows_is_named_and_those_of_other_clients_are_not() {
    let redis = Redis::start();
    let base = redis.url();
    for (options, warned) in [
        ("?socket_timeout=5&max_retries=3&family=6", 0),
        ("?nonsense=1", 1),
        ("?ssl_cert_reqs=none", 1),
    ] {
        let running = extractor().env("REDIS_URL", format!("{base}/0{options}")).ready();
        let ended = stop(running);
        let lines = ended.stderr.lines().filter(|line| line.contains("REDIS_URL")).count();
        assert_eq!(lines, warned, "{options}: {ended:?}");
        assert!(ended.stderr.contains("is registered"), "{ended:?}");
    }
}
