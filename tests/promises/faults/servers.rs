//! Faults of Redis itself: real ones that refuse, and servers that say what no Redis should.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;

use super::Stage;
use super::cases::{Case, Cases};
use super::certificates::users;
use super::trial::{PASSWORD, Trial, admin, ask};
use super::wire::{faulty, url};
use crate::common::proxy::{Behaviour, Fault, Proxy, Side, What};
use crate::common::redis::free_port;
use crate::common::{Redis, eventually};

/// A Redis with these arguments that knows the users of all cases.
fn redis<const N: usize>(arguments: [&str; N]) -> Arc<Redis> {
    Arc::new(Redis::with(arguments.into_iter().map(str::to_owned).chain(users())))
}

/// A shim before this Redis, which redis-cli puts right with this command.
fn put_right<const N: usize>(redis: &Arc<Redis>, command: [&'static str; N]) -> Trial {
    let server = redis.clone();
    Trial::at(&url("redis", redis.port), redis).lifted_by(move || {
        let answer = admin(&server, command);
        assert!(answer == "OK", "{command:?}: {answer}");
    })
}

/// Somebody in Redis's place who answers this to so many commands as have just come.
fn saying(
    redis: &Arc<Redis>,
    words: impl Fn(&mut dyn Write, usize) + Send + Sync + 'static,
) -> Trial {
    let proxy = Arc::new(Proxy::speaking(move |mut connection| {
        let mut request = [0; 4096];
        while let Ok(count @ 1..) = connection.read(&mut request) {
            let lines = request[..count].split(|byte| *byte == b'\n');
            words(&mut connection, lines.filter(|line| line.starts_with(b"*")).count());
        }
    }));
    leading(proxy, redis)
}

/// Somebody who says again what he is told, changed in this way.
fn repeating(redis: &Arc<Redis>, repeat: fn(&[u8]) -> Vec<u8>) -> Trial {
    let proxy = Arc::new(Proxy::speaking(move |mut connection| {
        let mut request = [0; 4096];
        while let Ok(count @ 1..) = connection.read(&mut request) {
            let _ = connection.write_all(&repeat(&request[..count]));
        }
    }));
    leading(proxy, redis)
}

/// An error for each command that quotes the first so many bytes of all that came.
fn quoted(request: &[u8], length: usize) -> Vec<u8> {
    let text = String::from_utf8_lossy(request);
    let commands = text.matches("\n*").count() + 1;
    let words = text.split("\r\n").filter(|word| !word.starts_with(['*', '$']));
    let quote: String = words.collect::<Vec<_>>().join("' '").chars().take(length).collect();
    format!("-ERR unknown command, with args beginning with: '{quote}'\r\n").repeat(commands).into()
}

/// A real one that knows no AUTH and quotes 128 bytes of what was said: after a long user's name there is
/// room for the beginning of the password. One that knows it takes its place.
fn without_logins() -> Trial {
    let user = "u".repeat(115);
    let (without, with) = (Redis::with(["--rename-command", "AUTH", ""]), redis([]));
    let password = format!(">{PASSWORD}");
    admin(&with, ["ACL", "SETUSER", &user, "on", &password, "~*", "+@all"]);
    let proxy = Arc::new(Proxy::new(Behaviour::LeadsTo(without.port)));
    let (lifted, to) = (proxy.clone(), with.port);
    Trial::at(&url("redis", proxy.port).replace("worker", &user), &with)
        .lifted_by(move || lifted.leads_to(to))
        .keeping((without, proxy))
}

/// A shim before this proxy, which leads to Redis in the end.
fn leading(proxy: Arc<Proxy>, redis: &Arc<Redis>) -> Trial {
    let (lifted, to) = (proxy.clone(), redis.port);
    Trial::at(&url("redis", proxy.port), redis)
        .lifted_by(move || lifted.leads_to(to))
        .keeping(proxy)
}

/// Somebody who answers each command with these bytes.
fn bytes(redis: &Arc<Redis>, bytes: impl Into<Vec<u8>>) -> Trial {
    let bytes = bytes.into();
    saying(redis, move |connection, commands| _ = connection.write_all(&bytes.repeat(commands)))
}

/// What a server says that no shim may believe, or repeat as it is.
const NONSENSE: [(&str, &[u8]); 12] = [
    ("negative lengths", b"$-7\r\n*-7\r\n"),
    ("a length without an end", b"$999999999999\r\nx"),
    ("an array of 2^31 - 1", b"*2147483647\r\n"),
    ("an array of 2^63 - 1", b"*9223372036854775807\r\n"),
    ("a length beyond all numbers", b"$99999999999999999999999\r\n"),
    ("NUL bytes", b"\0\xff\xfe nonsense\r\n"),
    ("the right words in the wrong places", b":1\r\n+OK\r\n$2\r\nhi\r\n*0\r\n"),
    ("an empty error", b"-\r\n"),
    ("a title for the terminal", b"-ERR \x1b]0;forged\x07\x1b[2J\r\n"),
    ("a line of the log's own", b"-ERR x\x0b[version] forged\xc2\x85\xc2\x9b31m\xe2\x80\xae\r\n"),
    ("a redirect to nowhere", b"-MOVED 1 \x1b[31m:1\r\n"),
    ("a push", b">2\r\n$10\r\ninvalidate\r\n*0\r\n"),
];

/// What real servers say, in their own words, where it takes more than one machine to make them.
const WORDS: [(&str, &[u8]); 3] = [
    (
        "a master that is down",
        b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
    ),
    ("a slot that is on its way", b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n"),
    ("too few replicas", b"-NOREPLICAS Not enough good replicas to write.\r\n"),
];

/// What a Redis in protected mode says to whoever is not of its machine, before it hangs up.
const DENIED: &[u8] =
    b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is \
      set for the default user. In this mode connections are only accepted from the loopback \
      interface.\r\n";

pub fn cases(stage: &Stage) -> Vec<Case> {
    let mut cases = Cases::of("Redis", &stage.plain);
    cases.add("has no room for more clients", |_| crowded());
    cases.add("is out of memory", |_| {
        put_right(&redis(["--maxmemory", "1"]), ["CONFIG", "SET", "maxmemory", "0"])
    });
    cases.add("is loading", |_| loading());
    cases.add("is a replica", |_| {
        let port = free_port().to_string();
        put_right(&redis(["--replicaof", "127.0.0.1", &port]), ["REPLICAOF", "NO", "ONE"])
    });
    cases.add("is a cluster without slots", |_| {
        let slots = ["CLUSTER", "ADDSLOTSRANGE", "0", "16383"];
        put_right(&redis(["--cluster-enabled", "yes"]), slots)
    });
    cases.add("can't save", |_| unsaved());
    cases.add("lets the user write nothing", |_| {
        let redis = redis([]);
        admin(&redis, ["ACL", "SETUSER", "worker", "resetkeys", "~other"]);
        put_right(&redis, ["ACL", "SETUSER", "worker", "~*"])
    });
    cases.add("lets the user call nothing", |_| {
        let redis = redis([]);
        admin(&redis, ["ACL", "SETUSER", "worker", "nocommands"]);
        put_right(&redis, ["ACL", "SETUSER", "worker", "+@all"])
    });
    cases.add("knows another password", |_| {
        let redis = redis([]);
        admin(&redis, ["ACL", "SETUSER", "worker", "resetpass", ">another"]);
        put_right(&redis, ["ACL", "SETUSER", "worker", ">Zx7Qv/9Kp@Wm3Tj"])
    });
    cases.add("wants a login", |_| {
        let redis = redis([]);
        let server = redis.clone();
        Trial::at(&redis.url(), &redis).lifted_by(move || {
            admin(&server, ["ACL", "SETUSER", "default", "on", "nopass", "~*", "+@all"]);
        })
    });
    cases.add("is in protected mode", |redis| {
        let proxy = Arc::new(Proxy::speaking(|mut client| _ = client.write_all(DENIED)));
        leading(proxy, redis)
    });
    cases.add("is busy with a script", |_| busy());
    cases.add("goes between MULTI and EXEC", gone_before_exec);
    cases.add("sends without end, one line", |redis| {
        saying(redis, |connection, _| {
            let _ = connection.write_all(b"+");
            while connection.write_all(&[b'a'; 16 * 1024]).is_ok() {}
        })
    });
    cases.add("sends without end, replies", |redis| {
        saying(
            redis,
            |connection, _| {
                while connection.write_all(&b"+OK\r\n".repeat(4096)).is_ok() {}
            },
        )
    });
    cases
        .add("sends 100,000 arrays in each other", |redis| bytes(redis, b"*1\r\n".repeat(100_000)));
    cases.add("speaks HTTP", |redis| bytes(redis, b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    cases.add("is an echo", |redis| repeating(redis, <[u8]>::to_vec));
    cases.add("knows no logins", |_| without_logins());
    cases.add("quotes the login", |redis| repeating(redis, |request| quoted(request, 128)));
    cases.add("quotes a part of the password", |redis| {
        repeating(redis, |request| quoted(request, "AUTH' 'worker' 'Zx7Qv/9Kp".len()))
    });
    cases.add("quotes the password's end", |redis| {
        repeating(redis, |request| {
            let end = request.windows(8).position(|part| part == b"9Kp@Wm3T").unwrap_or(0);
            quoted(&request[end..], 128)
        })
    });
    for (name, words) in NONSENSE.into_iter().chain(WORDS) {
        cases.add(name, move |redis| bytes(redis, words));
    }
    cases.all()
}

/// All places are taken, until some leave.
fn crowded() -> Trial {
    let redis = redis(["--maxclients", "4"]);
    let guests: Vec<TcpStream> = (0..4)
        .map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port)).expect("a place"))
        .collect();
    eventually("a full house", || {
        ask(&redis, "PING").is_some_and(|answer| answer.contains("max number")).then_some(())
    });
    Trial::at(&url("redis", redis.port), &redis).lifted_by(move || drop(guests))
}

/// It reads its file at a pace of a key a millisecond, as if there were many gigabytes.
fn loading() -> Trial {
    let slowly =
        ["--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024"];
    let redis = redis(slowly);
    admin(&redis, ["DEBUG", "POPULATE", "5000", "key", "100"]);
    admin(&redis, ["CONFIG", "SET", "key-load-delay", "2000"]);
    let (server, loads) = (redis.clone(), redis.clone());
    std::thread::spawn(move || admin(&loads, ["DEBUG", "RELOAD"]));
    eventually("LOADING", || {
        ask(&redis, "ZCARD x").is_some_and(|answer| answer.starts_with("-LOADING")).then_some(())
    });
    Trial::at(&url("redis", redis.port), &redis).lifted_by(move || {
        admin(&server, ["CONFIG", "SET", "key-load-delay", "0"]);
    })
}

/// A folder stands where the file would be written.
fn unsaved() -> Trial {
    let redis = redis(["--save", "3600 1", "--dbfilename", "file"]);
    let folder = std::path::PathBuf::from(redis.socket()).with_file_name("file");
    std::fs::create_dir(folder).expect("a folder");
    admin(&redis, ["SET", "x", "1"]);
    admin(&redis, ["BGSAVE"]);
    eventually("MISCONF", || admin(&redis, ["SET", "x", "1"]).contains("MISCONF").then_some(()));
    put_right(&redis, ["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"])
}

/// A script that never ends, until somebody ends it.
fn busy() -> Trial {
    let redis = redis(["--busy-reply-threshold", "1"]);
    let runs = redis.clone();
    std::thread::spawn(move || admin(&runs, ["EVAL", "while true do end", "0"]));
    eventually("BUSY", || {
        ask(&redis, "PING").is_some_and(|answer| answer.starts_with("-BUSY")).then_some(())
    });
    put_right(&redis, ["SCRIPT", "KILL"])
}

/// What was queued is lost: as when it is restarted, both ends hear of a reset.
fn gone_before_exec(redis: &Arc<Redis>) -> Trial {
    let after = requests_until(redis, b"EXEC");
    faulty("redis", redis, Fault { side: Side::Request, after, what: What::Reset })
}

/// How many bytes a shim sends before it first says this.
fn requests_until(redis: &Arc<Redis>, word: &[u8]) -> usize {
    let proxy = Proxy::new(Behaviour::LeadsTo(redis.port));
    let ended = Trial::at(&url("redis", proxy.port), redis).with(|shim| shim.task(["exit", "7"]));
    ended.shim.output();
    let [requests, _] = proxy.conversation(0);
    requests.windows(word.len()).position(|part| part == word).expect("the word")
}
