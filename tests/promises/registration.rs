//! The registration: what stands in Redis, for how long, and when it does not stand there at all.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{SIGCONT, SIGKILL, SIGSTOP, SIGTERM};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::common::net::{self, Answer, Chunk, Dnsmasq, Server};
use crate::common::{Ended, Folder, Redis, SHA, Sandbox, Shim, eventually, fixture, kill};

const BUILD_DATE: &str = "2026-01-08T11:55:00Z";
const KEY: &str = "fiskai:worker:extractor:version";

/// A worker that ends with 7, of the type whose key is `KEY`.
fn extractor(url: impl Into<String>) -> Shim {
    Shim::run(["exit", "7"])
        .production(SHA)
        .env("EXPECTED_GIT_SHA", SHA)
        .env("BUILD_DATE", BUILD_DATE)
        .registers("extractor", url.into())
}

fn hash(redis: &Redis, login: &[&str], key: &str) -> BTreeMap<String, String> {
    let text = redis.cli(login.iter().copied().chain(["HGETALL", key]));
    let lines: Vec<&str> = text.lines().collect();
    lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

/// The SHA that stands under the key.
fn registered(redis: &Redis) -> String {
    redis.cli(["HGET", KEY, "gitSha"])
}

fn assert_registers(redis: &Redis, shim: &Shim) {
    let ended = shim.output();
    assert_eq!(ended.code, 7, "{ended:?}");
    assert_eq!(registered(redis), SHA, "{ended:?}");
}

/// The shim's lines that say something of the registration.
fn registry_lines(ended: &Ended) -> Vec<&str> {
    ended.lines().into_iter().filter(|line| !line.contains("the guards let it start")).collect()
}

/// How many are connected to Redis, without the redis-cli that asks.
fn others(redis: &Redis) -> usize {
    redis.cli(["CLIENT", "LIST"]).lines().filter(|line| !line.contains("cmd=client")).count()
}

/// The clock of the machine, in the shape of the deployment integrity document.
fn now() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%3NZ"]).output();
    String::from_utf8(output.expect("date").stdout).expect("text").trim().to_owned()
}

#[test]
fn a_registration_has_exactly_the_documents_four_fields() {
    let redis = Redis::start();
    let before = now();
    let shim = extractor(redis.url()).worker(["sleep", "60"]).spawn();
    let pid = shim.pid();
    let fields = eventually("a registration", || {
        Some(hash(&redis, &[], KEY)).filter(|fields| !fields.is_empty())
    });
    let after = now();
    let started_at = fields["startedAt"].clone();
    let expected = [
        ("gitSha", SHA),
        ("buildDate", BUILD_DATE),
        ("startedAt", &started_at),
        ("pid", &pid.to_string()),
    ];
    assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    // Text of this shape sorts as time does.
    assert_eq!(started_at.len(), "2026-01-08T12:00:00.000Z".len());
    assert!((before..=after).contains(&started_at), "{started_at}");
}

#[test]
fn in_a_container_the_registered_pid_is_1() {
    let redis = Redis::start();
    assert_registers(&redis, &extractor(redis.url()).pid1());
    assert_eq!(redis.cli(["HGET", KEY, "pid"]), "1");
}

#[test]
fn a_registration_stands_with_its_expiry_before_the_worker_does_anything() {
    let redis = Redis::start();
    let socket = redis.socket();
    let shim = extractor(redis.url()).worker(["redis-cli", "-s", &socket, "TTL", KEY]);
    assert_eq!(shim.output().stdout, "86400\n");
}

#[test]
fn a_registration_replaces_whatever_stood_under_its_key() {
    let redis = Redis::start();
    for leftover in [
        &["HSET", KEY, "gitSha", "0f0f0f0", "hostname", "old"][..],
        &["SET", KEY, "text"],
        &["RPUSH", KEY, "a", "list"],
    ] {
        redis.cli(["DEL", KEY]);
        redis.cli(leftover);
        assert_registers(&redis, &extractor(redis.url()));
        let fields = hash(&redis, &[], KEY);
        let names: Vec<&str> = fields.keys().map(String::as_str).collect();
        assert_eq!(names, ["buildDate", "gitSha", "pid", "startedAt"], "{leftover:?}");
        assert!(redis.cli(["TTL", KEY]).parse::<i32>().unwrap() > 86_390, "{leftover:?}");
    }
}

#[test]
fn the_key_prefix_is_an_option_with_a_twin() {
    let redis = Redis::start();
    let twin = |shim: Shim| shim.env("VERSION_GUARD_KEY_PREFIX", "from:twin");
    for (shim, key) in [
        (extractor(redis.url()), KEY),
        (twin(extractor(redis.url())), "from:twin:extractor:version"),
        (
            twin(extractor(redis.url())).options(["--key-prefix", "{from}:option"]),
            "{from}:option:extractor:version",
        ),
    ] {
        redis.cli(["FLUSHALL"]);
        assert_eq!(shim.output().code, 7);
        let keys = redis.cli(["--scan"]);
        assert!(keys.lines().any(|found| found == key), "{keys}");
        let prefix = key.split(":extractor").next().unwrap();
        assert!(prefix == "fiskai:worker" || !keys.contains("fiskai"), "{keys}");
    }
}

/// Starts it again and again and kills it at moments spread over its whole life. Returns how many
/// version keys there are in the end, and those that would stay for ever.
fn killed_at_any_moment(
    redis: &Redis,
    tries: u32,
    shim: impl Fn(&str) -> Shim,
) -> (usize, Vec<String>) {
    let life = (0..5).map(|_| shim("whole").output().took).min().unwrap().mul_f64(1.5);
    for number in 0..tries {
        let running = shim(&number.to_string()).spawn();
        wait(life.mul_f64(spread(number)));
        running.signal(SIGKILL);
        running.end();
    }
    let keys = redis.cli(["KEYS", "*:version"]).lines().count();
    let for_ever = "local found = {}
        for _, key in ipairs(redis.call('KEYS', '*')) do
            if redis.call('TTL', key) == -1 then found[#found + 1] = key end
        end
        return found";
    let found = redis.cli(["EVAL", for_ever, "0"]);
    (keys, found.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// From 0 to 1, evenly at any number of tries, and never in step with anything.
fn spread(number: u32) -> f64 {
    (f64::from(number) * 0.618_033_988_75).fract()
}

/// Lets a moment pass that is far shorter than a sleep is exact.
fn wait(moment: Duration) {
    let until = Instant::now() + moment;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

#[test]
fn a_shim_that_is_killed_at_any_moment_leaves_no_key_without_expiry() {
    let redis = Redis::start();
    let (keys, for_ever) =
        killed_at_any_moment(&redis, 200, |name| extractor(redis.url()).env("WORKER_TYPE", name));
    assert_eq!(for_ever, [""; 0]);
    // Some were killed before they registered, some after: the moments lay around it.
    assert!((1..200).contains(&keys), "{keys} of 200 registered");
}

#[test]
fn a_registrar_that_writes_first_and_sets_the_expiry_then_is_found_out() {
    let redis = Redis::start();
    let socket = redis.socket();
    let (_, for_ever) = killed_at_any_moment(&redis, 40, |name| {
        let script = format!(
            "redis-cli -s {socket} HSET {name} gitSha x; sleep 0.005; redis-cli -s {socket} EXPIRE {name} 86400"
        );
        Shim::of("/bin/sh".into(), ["-c", &script])
    });
    assert!(!for_ever.is_empty());
}

/// What redis-cli says of the key's expiry when what `talk` says to Redis is cut ever later, once
/// the key is there at all. `talk` ends when its connection does.
fn first_expiry(redis: &Redis, talk: impl Fn(u16)) -> String {
    let port = redis.port;
    let cut_after = |count| {
        let cut = Server::new(move |client, number| {
            let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("redis");
            if number == 1 {
                let _ = io::copy(&mut (&client).take(count), &mut server);
                let _ = server.shutdown(Shutdown::Write);
                // Redis has done what it was told when it closes its end.
                let _ = io::copy(&mut server, &mut io::sink());
            }
        });
        talk(cut.port);
        redis.cli(["TTL", KEY])
    };
    redis.cli(["FLUSHALL"]);
    (1..1000).step_by(2).map(cut_after).find(|expiry| expiry != "-2").expect("a key at last")
}

#[test]
fn a_registration_that_is_cut_anywhere_leaves_no_key_without_expiry() {
    let redis = Redis::start();
    let expiry = first_expiry(&redis, |port| {
        let ended = extractor(format!("redis://127.0.0.1:{port}")).worker(["true"]).output();
        assert_eq!(ended.code, 0, "{ended:?}");
    });
    assert!(expiry.parse::<i32>().unwrap() > 86_390, "{expiry}");
    let in_two_steps = first_expiry(&redis, |port| {
        let mut wire = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let _ = write!(wire, "DEL {KEY}\r\nHSET {KEY} gitSha x\r\nEXPIRE {KEY} 86400\r\n");
        let _ = wire.shutdown(Shutdown::Write);
        let _ = io::copy(&mut wire, &mut io::sink());
    });
    assert_eq!(in_two_steps, "-1", "who writes in two steps is found out");
}

#[test]
fn a_redis_url_names_user_password_and_database() {
    let password = ["--requirepass", "s3cr/t p@ss:"];
    let user = [
        "--user",
        "default",
        "off",
        "--user",
        "worker",
        "on",
        ">s3cr/t p@ss:",
        "~*",
        "&*",
        "+@all",
    ];
    let as_user = ["--user", "worker", "--pass", "s3cr/t p@ss:", "--no-auth-warning"];
    let as_default = ["--pass", "s3cr/t p@ss:", "--no-auth-warning"];
    for (server, login, before, after) in [
        (&password[..], &as_default[..], "redis://:s3cr%2Ft%20p%40ss%3A@127.0.0.1:", ""),
        (&password, &as_default, "redis://default:s3cr%2Ft%20p%40ss%3A@127.0.0.1:", "/0"),
        (&user, &as_user, "redis://worker:s3cr%2Ft%20p%40ss%3A@127.0.0.1:", ""),
        (&[], &["-n", "3"], "redis://127.0.0.1:", "/3"),
        (&[], &["-n", "0"], "redis://127.0.0.1:", "/"),
    ] {
        let redis = Redis::with(server);
        let url = format!("{before}{}{after}", redis.port);
        let ended = extractor(&url).output();
        assert_eq!(ended.code, 7, "{ended:?}");
        assert_eq!(hash(&redis, login, KEY)["gitSha"], SHA, "{url}: {ended:?}");
    }
}

#[test]
fn a_redis_url_may_name_a_unix_socket() {
    let redis = Redis::with(["--requirepass", "hunter2"]);
    let login = ["--pass", "hunter2", "--no-auth-warning", "-n", "2"];
    for scheme in ["redis+unix", "unix"] {
        redis.cli(login.into_iter().chain(["FLUSHALL"]));
        let url = format!("{scheme}://{}?db=2&pass=hunter2", redis.socket());
        let ended = extractor(&url).output();
        assert_eq!(hash(&redis, &login, KEY)["gitSha"], SHA, "{url}: {ended:?}");
    }
}

#[test]
fn a_redis_url_may_name_an_ipv6_address() {
    let redis = Redis::with(["--bind", "::1"]);
    assert_registers(&redis, &extractor(format!("redis://[::1]:{}", redis.port)));
}

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
const OF_REDIS: &str = "-subj /CN=redis -addext subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1";

fn openssl(folder: &Folder, line: &str) {
    net::openssl(&folder.path(""), line);
}

/// A redis-server that speaks TLS only, and the authority that vouches for it.
pub fn tls_redis() -> (Redis, Folder) {
    let folder = Folder::new();
    for authority in ["ca", "other"] {
        openssl(
            &folder,
            &format!(
                "req -x509 {NEW_KEY} -keyout {authority}.key -out {authority}.crt -days 2 -subj /CN={authority}"
            ),
        );
    }
    openssl(&folder, &format!("req {NEW_KEY} -keyout redis.key -out redis.csr {OF_REDIS}"));
    openssl(
        &folder,
        "x509 -req -in redis.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out redis.crt -days 2 -copy_extensions copy",
    );
    (speaking_tls(&folder, "ca.crt"), folder)
}

/// With the certificate and the key `redis` of this folder, and this authority for its clients'.
fn speaking_tls(folder: &Folder, authority: &str) -> Redis {
    let path = |name: &str| folder.path(name).display().to_string();
    let port = crate::common::redis::free_port();
    let arguments = [
        ["--port", "0"],
        ["--tls-port", &port.to_string()],
        ["--tls-cert-file", &path("redis.crt")],
        ["--tls-key-file", &path("redis.key")],
        ["--tls-ca-cert-file", &path(authority)],
        ["--tls-auth-clients", "no"],
        // The certificate does not name the second of these.
        ["--bind", "127.0.0.1 127.0.0.2 ::1"],
    ];
    Redis::on(port, arguments.concat().into_iter().map(str::to_owned).collect())
}

/// By the command that the README has for it.
#[test]
fn rediss_registers_where_a_self_signed_certificate_was_fetched_and_is_trusted() {
    let folder = Folder::new();
    openssl(
        &folder,
        &format!("req -x509 {NEW_KEY} -keyout redis.key -out redis.crt -days 2 {OF_REDIS}"),
    );
    let redis = speaking_tls(&folder, "redis.crt");
    let readme = include_str!("../../docker/README.md");
    let command = readme
        .split('`')
        .find(|span| span.starts_with("openssl s_client -connect HOST:PORT"))
        .expect("a command")
        .replace("HOST:PORT", &format!("127.0.0.1:{}", redis.port))
        .replace("\\|", "|");
    net::run(&folder.path(""), &["sh", "-c", &command]);
    let shim = || extractor(format!("rediss://127.0.0.1:{}", redis.port));
    assert_registers(&redis, &shim().env("VERSION_GUARD_REDIS_CA", folder.path("ca.pem")));
    let ended = shim().output();
    let lines = registry_lines(&ended);
    assert!(lines.iter().any(|line| line.contains("is self-signed")), "{lines:?}");
}

#[test]
fn rediss_registers_where_the_servers_authority_is_trusted() {
    let (redis, folder) = tls_redis();
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        redis.cli(["FLUSHALL"]);
        let shim = extractor(format!("rediss://{host}:{}", redis.port))
            .env("SSL_CERT_FILE", folder.path("ca.crt"));
        assert_registers(&redis, &shim);
    }
}

#[test]
fn rediss_refuses_a_server_whose_certificate_does_not_convince() {
    let (redis, folder) = tls_redis();
    for (host, authority, cause) in [
        ("127.0.0.1", "other.crt", "the issuer of its certificate is not known"),
        ("127.0.0.1", "nowhere.crt", "the issuer of its certificate is not known"),
        ("127.0.0.2", "ca.crt", "and not for 127.0.0.2: --redis-server-name"),
    ] {
        let shim = extractor(format!("rediss://{host}:{}", redis.port))
            .env("SSL_CERT_FILE", folder.path(authority));
        let ended = shim.output();
        assert_eq!(ended.code, 7, "{ended:?}");
        let lines = registry_lines(&ended);
        assert!(lines.len() == 1 && lines[0].contains(cause), "{authority}: {ended:?}");
        assert_eq!(redis.cli(["DBSIZE"]), "0");
    }
}

#[test]
fn a_plain_redis_url_never_reaches_a_server_that_speaks_tls() {
    let (redis, _folder) = tls_redis();
    let ended = extractor(redis.url()).output();
    assert_eq!((ended.code, registry_lines(&ended).len()), (7, 1), "{ended:?}");
    assert_eq!(redis.cli(["DBSIZE"]), "0");
}

/// A sandbox whose resolver asks this name server.
fn asking(server: Ipv4Addr, more: &str) -> Sandbox {
    Sandbox::new().over("/etc/resolv.conf", format!("{more}\nnameserver {server}\n"))
}

const HOSTS: &str = "127.0.0.1 localhost\n127.0.0.1 redis my_redis_1 Cache.Internal\n";

#[test]
fn host_names_come_from_the_hosts_file_whatever_resolv_conf_is() {
    let redis = Redis::start();
    let silent = net::name_server(|_| None);
    let hosts = |sandbox: Sandbox| sandbox.over("/etc/hosts", HOSTS);
    let resolv_conf = |content: &str| hosts(Sandbox::new()).over("/etc/resolv.conf", content);
    let missing = Sandbox::new().seal_folder().with("rm /etc/resolv.conf");
    for (name, sandbox) in [
        ("with a silent server", resolv_conf(&format!("nameserver {silent}\n"))),
        ("empty", resolv_conf("")),
        ("nonsense", resolv_conf("\0\u{fffd} nameserver\nnameserver x.y.z\noptions ndots:q\n")),
        ("missing", hosts(missing)),
        ("missing, as are nsswitch.conf and the rest", bare_etc()),
    ] {
        for host in ["localhost", "redis", "my_redis_1", "cache.internal", "REDIS"] {
            redis.cli(["FLUSHALL"]);
            let url = format!("redis://{host}:{}", redis.port);
            let ended = extractor(&url).inside(sandbox.clone()).output();
            assert_eq!(ended.code, 7, "{ended:?}");
            assert_eq!(registered(&redis), SHA, "resolv.conf {name}, {host}: {ended:?}");
        }
    }
}

/// An /etc that holds a hosts file and nothing else.
fn bare_etc() -> Sandbox {
    Sandbox::new().with(&format!(
        "mount -t tmpfs tmpfs /etc; printf '%s' '{HOSTS}' > /etc/hosts; mkdir /etc/version-guard"
    ))
}

#[test]
fn host_names_come_from_the_name_server() {
    let redis = Redis::start();
    let dnsmasq = Dnsmasq::with(&[
        "--local=/test/",
        "--address=/redis.b.test/127.0.0.1",
        "--address=/my_redis.b.test/127.0.0.1",
        "--host-record=both.test,127.0.0.1,::1",
        "--cname=alias.test,both.test",
    ]);
    for (search, host) in [
        ("", "redis.b.test"),
        ("", "redis.b.test."),
        ("", "both.test"),
        ("", "alias.test"),
        ("", "my_redis.b.test"),
        ("search b.test", "redis"),
        ("search a.test b.test", "redis"),
        ("search a.test b.test\noptions ndots:5", "my_redis"),
        // As in Kubernetes.
        ("search x.svc.test svc.test test\noptions ndots:5", "redis.b"),
        ("domain b.test", "redis"),
    ] {
        redis.cli(["FLUSHALL"]);
        let shim = extractor(format!("redis://{host}:{}", redis.port))
            .inside(asking(dnsmasq.address, search));
        let ended = shim.output();
        assert_eq!(ended.code, 7, "{ended:?}");
        assert_eq!(registered(&redis), SHA, "{search:?} {host}: {ended:?}");
    }
}

/// resolv.conf(5): a name server that refuses one search domain does not end the search.
#[test]
fn a_search_domain_that_the_name_server_refuses_is_passed_over() {
    for code in [2, 3, 5] {
        let redis = Redis::start();
        let server = net::name_server(move |question| {
            Some(match question.name.as_str() {
                "redis.b.test." => Answer::Address(Ipv4Addr::LOCALHOST.into()),
                _ => Answer::Code(code),
            })
        });
        let shim = extractor(format!("redis://redis:{}", redis.port))
            .inside(asking(server, "search a.test b.test"));
        assert_registers(&redis, &shim);
    }
}

#[test]
fn a_name_server_that_never_answers_for_ipv6_holds_nothing_up() {
    let redis = Redis::start();
    let server = net::name_server(|question| {
        (!question.ipv6).then_some(Answer::Address(Ipv4Addr::LOCALHOST.into()))
    });
    let shim = extractor(format!("redis://redis.test:{}", redis.port)).inside(asking(server, ""));
    assert_registers(&redis, &shim);
}

/// RFC 4074: some name servers say of one kind of address that there is no such name at all.
#[test]
fn a_name_that_is_denied_for_one_kind_of_address_may_have_another() {
    let redis = Redis::with(["--bind", "::1"]);
    let server = net::name_server(|question| {
        let ipv6 = || Answer::Address(Ipv6Addr::LOCALHOST.into());
        Some(if question.ipv6 { ipv6() } else { Answer::Code(3) })
    });
    let shim = extractor(format!("redis://redis.test:{}", redis.port)).inside(asking(server, ""));
    assert_registers(&redis, &shim);
}

#[test]
fn a_name_with_two_addresses_is_tried_at_both() {
    let redis = Redis::with(["--bind", "::1"]);
    let server = net::name_server(|question| {
        let (ipv4, ipv6) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        Some(Answer::Address(if question.ipv6 { ipv6.into() } else { ipv4.into() }))
    });
    let shim = extractor(format!("redis://redis.test:{}", redis.port)).inside(asking(server, ""));
    assert_registers(&redis, &shim);
}

#[test]
fn a_second_name_server_answers_where_the_first_is_silent() {
    let redis = Redis::start();
    let silent = net::name_server(|_| None);
    let dnsmasq = Dnsmasq::with(&["--address=/redis.test/127.0.0.1"]);
    for (first, second) in [(silent, dnsmasq.address), (dnsmasq.address, silent)] {
        redis.cli(["FLUSHALL"]);
        let shim = extractor(format!("redis://redis.test:{}", redis.port))
            .inside(asking(second, &format!("nameserver {first}")));
        assert_registers(&redis, &shim);
    }
}

/// Two keys of different slots in one transaction are an error there, which the control shows.
#[test]
fn a_redis_cluster_takes_the_registration() {
    let redis = Redis::with(["--cluster-enabled", "yes"]);
    redis.cli(["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    eventually("a cluster", || {
        redis.cli(["CLUSTER", "INFO"]).contains("cluster_state:ok").then_some(())
    });
    let two_keys = redis.cli(["EVAL", "return redis.call('GET', KEYS[2])", "2", "a", "b"]);
    assert!(two_keys.starts_with("CROSSSLOT"), "{two_keys}");
    assert_registers(&redis, &extractor(redis.url()));
}

#[test]
fn no_connection_is_held_once_registered() {
    let redis = Redis::start();
    let mut shim = extractor(redis.url()).worker([fixture("worker"), "sleep".into()]).spawn();
    shim.expect_line("ready");
    assert_eq!(registered(&redis), SHA);
    eventually("no connection but redis-cli's", || (others(&redis) == 0).then_some(()));
    assert!(shim.runs());
    // What is held is seen.
    let held = TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port)).unwrap();
    assert_eq!(others(&redis), 1);
    drop(held);
}

#[test]
fn a_refused_start_reaches_no_redis() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let shim = extractor(format!("redis://127.0.0.1:{port}"));
    let refused = [
        shim.clone().or_tsx(),
        shim.clone().without_env("GIT_SHA"),
        shim.clone().env("EXPECTED_GIT_SHA", "0f0f0f0"),
    ];
    for refused in refused {
        let ended = refused.output();
        assert_eq!(ended.code, 1, "{ended:?}");
        let knock = listener.accept().map(drop).map_err(|error| error.kind());
        assert_eq!(knock, Err(ErrorKind::WouldBlock), "{ended:?}");
    }
    assert_eq!(shim.output().code, 7);
    assert!(listener.accept().is_ok(), "who is let through does knock");
}

#[test]
fn what_is_missing_or_wrong_for_the_registration_is_named_in_one_warning() {
    let redis = Redis::start();
    let good = extractor(redis.url());
    let long = "x".repeat(65);
    let with = |name: &str, value: &str| good.clone().env(name, value);
    for (shim, named) in [
        (good.clone().without_env("WORKER_TYPE"), "WORKER_TYPE"),
        (with("WORKER_TYPE", ""), "WORKER_TYPE"),
        (with("WORKER_TYPE", "a b"), "WORKER_TYPE is 'a b'"),
        (with("WORKER_TYPE", "a:b"), "WORKER_TYPE is 'a:b'"),
        (with("WORKER_TYPE", "../*"), "WORKER_TYPE is '../*'"),
        (with("WORKER_TYPE", &long), "WORKER_TYPE is 'xxx"),
        (with("WORKER_TYPE", "a\n[version] b"), r"WORKER_TYPE is 'a\n[version] b'"),
        (good.clone().without_env("REDIS_URL"), "REDIS_URL"),
        (with("REDIS_URL", ""), "REDIS_URL"),
        (with("REDIS_URL", "redis:/127.0.0.1"), "REDIS_URL"),
        (with("REDIS_URL", "http://127.0.0.1:6379"), "REDIS_URL"),
        (with("REDIS_URL", "redis://127.0.0.1:99999"), "REDIS_URL"),
        (with("REDIS_URL", "redis://127.0.0.1:6379/x"), "REDIS_URL"),
        (with("REDIS_URL", "redis://${REDIS_HOST}:6379"), "REDIS_URL"),
        (with("REDIS_URL", "rediss://127.0.0.1:6379/#insecure"), "REDIS_URL"),
    ] {
        let ended = shim.output();
        assert_eq!(ended.code, 7, "{ended:?}");
        let lines = registry_lines(&ended);
        let warning = format!("[version] Not registered in Redis: {named}");
        assert!(lines.len() == 1 && lines[0].starts_with(&warning), "{named}: {ended:?}");
    }
    assert_eq!(redis.cli(["DBSIZE"]), "0");
}

#[test]
fn without_time_for_it_the_registration_is_made_beside_the_worker() {
    let redis = Redis::start();
    let shim = Shim::run(["sleep"]).production(SHA).registers("extractor", redis.url());
    let mut running = shim.options(["--register-timeout", "0s"]).spawn();
    let start = running.expect_log("the guards let it start");
    if !start.contains("is registered") {
        running.expect_log("extractor is registered in Redis");
    }
    assert_eq!(registered(&redis), SHA);
    running.signal(SIGTERM);
    let ended = running.end();
    assert_eq!(ended.code, 128 + SIGTERM, "{ended:?}");
    assert!(!ended.stderr.contains("is not registered"), "{ended:?}");
}

#[test]
fn without_time_for_it_a_redis_that_says_nothing_is_not_waited_for() {
    let server = Server::silent();
    let url = format!("redis://127.0.0.1:{}", server.port);
    let shim = Shim::run(["sleep"]).production(SHA).registers("extractor", url);
    let mut running = shim.options(["--register-timeout", "0s"]).spawn();
    running.expect_line("ready");
    assert_eq!(running.expect_log("").matches("is not registered").count(), 0);
    running.expect_log("is not registered");
    running.signal(SIGTERM);
    assert_eq!(running.end().code, 128 + SIGTERM);
}

#[test]
fn to_run_unregistered_is_a_choice_and_no_warning() {
    for empty in [true, false] {
        let shim = extractor("").without_env("REDIS_URL").without_env("WORKER_TYPE");
        let shim = if empty { shim.env("REDIS_URL", "").env("WORKER_TYPE", "''") } else { shim };
        let ended = shim.output();
        assert_eq!((ended.code, ended.lines().len()), (7, 1), "{ended:?}");
        assert!(!ended.stderr.contains("Redis"), "{ended:?}");
    }
}

#[test]
fn a_worker_that_can_not_be_executed_leaves_no_registration_behind() {
    let redis = Redis::start();
    let folder = Folder::new();
    let plain = folder.file("plain", "not a program").display().to_string();
    let no_interpreter = folder.file("script", "#!/nowhere\n").display().to_string();
    net::run(&folder.path(""), &["chmod", "+x", "script"]);
    for (worker, code) in [
        ("no-such-program", 127),
        ("/nowhere/program", 127),
        (&plain, 126),
        (&no_interpreter, 126),
        ("/tmp", 126),
    ] {
        for shim in [extractor(redis.url()), extractor(redis.url()).pid1()] {
            let ended = shim.worker([worker]).output();
            assert_eq!(ended.code, code, "{ended:?}");
            assert_eq!(redis.cli(["DBSIZE"]), "0", "{ended:?}");
        }
    }
}

/// What `verify` says at each moment at which the shim of this worker and Redis say something.
fn seen_meanwhile(worker: &'static str) -> Vec<String> {
    let redis = Arc::new(Redis::start());
    let said = Arc::new(Mutex::new(Vec::new()));
    let (server, hear) = (Arc::downgrade(&redis), said.clone());
    let wire = Server::wire(redis.port, move |_, _| {
        let url = server.upgrade().expect("a server").url();
        let verify = Shim::command("verify").env("REDIS_URL", url).options(["--expected", SHA]);
        hear.lock().unwrap().push(verify.output().stdout);
    });
    let url = format!("redis://127.0.0.1:{}", wire.port);
    // Long enough for all that is asked meanwhile.
    let shim = extractor(url).options(["--register-timeout", "30s"]).worker([worker, "2"]);
    let ended = shim.output();
    assert_eq!(ended.code, if worker == "sleep" { 0 } else { 127 }, "{ended:?}");
    let said = said.lock().unwrap().clone();
    assert!(said.len() > 4, "{said:?}");
    said
}

#[test]
fn a_worker_that_can_not_be_executed_is_never_seen_ok() {
    let ok = |said: Vec<String>| said.iter().filter(|said| said.contains("[OK] extractor")).count();
    assert_eq!(ok(seen_meanwhile("no-such-program")), 0);
    assert!(ok(seen_meanwhile("sleep")) > 0);
}

/// It hears of the worker when that is long over.
#[test]
fn a_redis_that_wakes_up_late_knows_nothing_of_a_worker_that_never_ran() {
    let redis = Redis::start();
    kill(redis.pid(), SIGSTOP);
    let ended = extractor(redis.url()).worker(["no-such-program"]).output();
    kill(redis.pid(), SIGCONT);
    assert_eq!(ended.code, 127, "{ended:?}");
    eventually("its replies", || (redis.cli(["PING"]) == "PONG").then_some(()));
    assert_eq!(redis.cli(["DBSIZE"]), "0", "{}", redis.cli(["--scan"]));
}

/// A retraction during which somebody else registers under the same key, just before `moment` of it
/// reaches Redis.
fn somebody_registers_during_a_retraction(moment: &'static str) {
    let redis = Arc::new(Redis::start());
    let came = Arc::new(AtomicBool::new(false));
    // The wire outlives the test; with a hold on the server, so would the server.
    let (server, coming) = (Arc::downgrade(&redis), came.clone());
    let wire = Server::wire(redis.port, move |connection, chunk| {
        let Chunk::Request(bytes) = chunk else { return };
        if connection == 2 && contains(bytes, moment) && !coming.swap(true, Ordering::SeqCst) {
            let fields = ["buildDate", "", "startedAt", "later", "pid", "1"];
            let server = server.upgrade().expect("a server");
            server.cli(["HSET", KEY, "gitSha", "later"].into_iter().chain(fields));
        }
    });
    let url = format!("redis://127.0.0.1:{}", wire.port);
    let ended = extractor(url).worker(["no-such-program"]).output();
    assert_eq!(ended.code, 127, "{ended:?}");
    assert!(came.load(Ordering::SeqCst), "{moment} was seen: {ended:?}");
    assert_eq!(registered(&redis), "later", "{ended:?}");
}

fn contains(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

#[test]
fn a_retraction_leaves_the_record_that_another_has_written_before_it() {
    somebody_registers_during_a_retraction("WATCH");
}

#[test]
fn a_retraction_leaves_the_record_that_another_writes_while_it_looks() {
    somebody_registers_during_a_retraction("EXEC");
}

/// The bound of an exit that waits for no answer: where a busy machine makes an attempt and its
/// retraction slower than that, the registration may stay.
const EXIT_BOUND: Duration = Duration::from_millis(75);

/// A run that a SIGTERM ends when Redis has the registration and the shim has not yet been told.
/// Returns how many keys are left, and how long the end took from the signal on.
fn sigterm_between_write_and_answer() -> (String, Duration) {
    let redis = Redis::start();
    let shim_pid = Arc::new(AtomicI32::new(0));
    let target = shim_pid.clone();
    let (signalled, release) = (Arc::new(OnceLock::new()), Arc::new(AtomicBool::new(false)));
    let (signals, go_on) = (signalled.clone(), release.clone());
    let wire = Server::wire(redis.port, move |connection, chunk| {
        if connection == 1 && matches!(chunk, Chunk::Reply(bytes) if contains(bytes, "QUEUED")) {
            eventually("the shim's pid", || (target.load(Ordering::SeqCst) != 0).then_some(()));
            let _ = signals.set(Instant::now());
            kill(target.load(Ordering::SeqCst), SIGTERM);
            eventually("the test's end", || go_on.load(Ordering::SeqCst).then_some(()));
        }
    });
    let folder = Folder::new();
    let marker = folder.path("marker");
    let worker = ["touch".into(), marker.display().to_string()];
    let shim = extractor(format!("redis://127.0.0.1:{}", wire.port))
        .worker([fixture("worker")])
        .arguments(worker)
        .spawn();
    shim_pid.store(shim.pid(), Ordering::SeqCst);
    let ended = shim.end();
    let took = signalled.get().map(Instant::elapsed);
    release.store(true, Ordering::SeqCst);
    assert_eq!(ended.code, 128 + SIGTERM, "{ended:?}");
    assert!(!marker.exists(), "{ended:?}");
    (redis.cli(["DBSIZE"]), took.expect("a write"))
}

#[test]
fn a_sigterm_after_the_write_and_before_redis_answers_takes_the_registration_back() {
    let runs = (0..50).map(|_| sigterm_between_write_and_answer());
    let timely: Vec<_> = runs.filter(|(_, took)| *took < EXIT_BOUND).take(5).collect();
    assert_eq!(timely.len(), 5, "the machine is too busy to tell");
    assert!(timely.iter().all(|(left, _)| left == "0"), "{timely:?}");
}

/// SIGTERM at moments spread over 3 ms, or the whole of a start where that takes longer, from the
/// shim's first instructions on.
fn sigterm_at_any_moment(runs: u32, shim: impl Fn(Shim) -> Shim) {
    let redis = Redis::start();
    let folder = Folder::new();
    let program = folder.path("worker");
    // Copied by another process: a descriptor of this one, open for writing, could be inherited by
    // what other tests start, and no program can be executed while one is.
    net::run(&folder.path(""), &["cp", &fixture("worker").display().to_string(), "worker"]);
    // What tells whether the worker was started is the kernel, which opens a program to execute it. The
    // guard has opened it before, to see what it is, and closed it: two of the same would be told as one.
    let opened = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).unwrap();
    let watched = AddWatchFlags::IN_OPEN | AddWatchFlags::IN_CLOSE_NOWRITE;
    opened.add_watch(&program, watched).unwrap();
    let started = || match opened.read_events() {
        Ok(events) => {
            let opens = events.iter().filter(|one| one.mask.contains(AddWatchFlags::IN_OPEN));
            opens.count() > 1
        }
        Err(Errno::EAGAIN) => false,
        Err(errno) => panic!("{errno}"),
    };
    let shim = |name: &str, task: &[&str]| {
        shim(extractor(redis.url()).worker([&program]).arguments(task).env("WORKER_TYPE", name))
    };
    let start = (0..5).map(|_| {
        let mut running = shim("whole", &["sleep"]).spawn();
        running.armed();
        let armed = Instant::now();
        running.expect_line("ready");
        armed.elapsed()
    });
    let start = start.min().unwrap();
    let seen = opened.read_events().unwrap();
    let opens = seen.iter().filter(|one| one.mask.contains(AddWatchFlags::IN_OPEN)).count();
    assert_eq!(opens, 10, "the guard's and the kernel's, of five starts");
    redis.cli(["FLUSHALL"]);
    let sweep = start.max(Duration::from_millis(3));
    let mut without_worker = BTreeMap::new();
    for number in 0..runs {
        let name = format!("w{number}");
        let running = shim(&name, &["sleep"]).spawn();
        running.armed();
        let moment = sweep.mul_f64(spread(number));
        wait(moment);
        let signalled = Instant::now();
        running.signal(SIGTERM);
        let ended = running.end();
        let ending = signalled.elapsed();
        assert_eq!(ended.code, 128 + SIGTERM, "after {moment:?}: {ended:?}");
        if !started() {
            assert_eq!(ended.stdout, "", "after {moment:?}: {ended:?}");
            without_worker.insert(format!("fiskai:worker:{name}:version"), (moment, ending, ended));
        }
    }
    let keys = redis.cli(["KEYS", "*:version"]);
    let left_behind = keys.lines().filter_map(|key| without_worker.get(key));
    let (slow, wrong): (Vec<_>, Vec<_>) =
        left_behind.partition(|(_, ending, _)| *ending > EXIT_BOUND);
    assert!(wrong.is_empty(), "{wrong:?}");
    let count = u32::try_from(without_worker.len()).unwrap();
    assert!((1..runs).contains(&count), "{count} of {runs}: the moments lay around the spawn");
    assert!(slow.len() * 2 < without_worker.len(), "too many excuses to tell: {slow:?}");
}

#[test]
fn a_sigterm_before_there_is_a_worker_leaves_no_registration_behind() {
    sigterm_at_any_moment(1000, |shim| shim);
}

#[test]
fn a_sigterm_before_there_is_a_worker_leaves_no_registration_behind_as_pid_1() {
    sigterm_at_any_moment(200, Shim::pid1);
}
