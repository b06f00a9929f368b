//! Properties of the way to Redis: whatever stands in the system's files, in a certificate or in a server's
//! reply.

use bolero::generator::produce;
use redis::{Value, cmd, parse_redis_value};
use tokio::io::AsyncWriteExt;

use super::common_name::common_names;
use super::login::{Login, Secret};
use super::name_servers::{NameServers, in_hosts_file};
use super::stream::Connection;
use crate::escape::is_harmless;
use crate::pieces;

#[test]
fn any_words_of_a_server_are_told_without_the_password() {
    const WORDS: &[&str] = &[
        "ERR",
        "unknown command",
        "'AUTH'",
        "with args beginning with: ",
        "'",
        "`",
        "\"",
        "qxzkwvjg",
        "qxzkwvjg-qxzkwvjg-x",
        "qxzk",
        "WRONGPASS",
        "NOAUTH",
        "\n",
        "\x1b[31m",
        "é",
        " ",
        "*",
        "***",
    ];
    let parts = (pieces::text(WORDS), pieces::text(&["qxzk", "wvjg", "-", "é", "x", "\u{1}"]));
    bolero::check!().with_generator(parts).for_each(|(words, password): &(String, String)| {
        // Of a shorter one nearly every word has a piece in it, and what stands in its place is asterisks.
        if password.len() < 4 || password.contains('*') {
            return;
        }
        let secret = Some(Secret(password.clone().into_bytes()));
        let login = Login { user: None, password: secret, database: 0 };
        let complaint = login.complaint("ERR", Some(&format!("{words}{password}{words}")));
        let told = complaint.to_string();
        assert!(!told.contains(password.as_str()), "{password:?}: {told:?}");
        assert!(told.chars().all(is_harmless), "{told:?}");
    });
}

#[test]
fn any_resolv_conf_and_any_hosts_file_name_servers_and_addresses_or_none() {
    const FILES: &[&str] = &[
        "nameserver ",
        "search ",
        "domain ",
        "options ",
        "sortlist ",
        "10.0.0.1",
        "::1",
        "fe80::1%lo",
        "fe80::1%",
        "256.0.0.1",
        "ndots:",
        "timeout:",
        "attempts:",
        "rotate",
        "use-vc",
        "no-aaaa",
        "99999999999",
        "0",
        "-1",
        "example.com",
        ".",
        "..",
        "-",
        "_x",
        "\n",
        "\t",
        " ",
        "#",
        ";",
        "\\",
        "\\046",
        "é",
        "xn--",
        "redis",
    ];
    let parts = (pieces::bytes(FILES), pieces::text(FILES), produce::<usize>());
    bolero::check!().with_generator(parts).for_each(|(file, host, rotated)| {
        let servers = NameServers::new(file, *rotated);
        assert!((1..=3).contains(&servers.addresses.len()));
        assert!(!servers.timeout.is_zero() && (1..=5).contains(&servers.attempts));
        if let Ok(names) = servers.candidates(host) {
            assert!((1..=servers.search.len() + 1).contains(&names.len()));
            assert!(names.iter().all(hickory_net::proto::rr::Name::is_fqdn));
        }
        let text = String::from_utf8_lossy(file);
        assert!(in_hosts_file(&text, host).len() <= text.lines().count());
    });
}

#[test]
fn any_change_of_a_certificate_leaves_a_name_or_none() {
    const CERTIFICATE: &[u8] = include_bytes!("../../../tests/fixtures/certificate.der");
    assert_eq!(common_names(CERTIFICATE), ["redis.internal"]);
    bolero::check!().with_type::<Vec<(u16, u8, bool)>>().for_each(|changes| {
        let mut certificate = CERTIFICATE.to_vec();
        for (place, byte, is_more) in changes {
            let place = usize::from(*place) % certificate.len();
            if *is_more {
                certificate.insert(place, *byte);
            } else {
                certificate[place] = *byte;
            }
        }
        let _ = common_names(&certificate);
    });
}

/// What a connection makes of a server that says this, in pieces of such a size, and hangs up.
fn replies(said: &[u8], size: usize, asked: usize) -> Vec<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut server, client) = tokio::io::duplex(size);
        let mut connection = Connection::new(Box::new(client), 4096);
        let commands = vec![cmd("PING"); asked];
        let (mut reads, mut writes) = tokio::io::split(&mut server);
        let talk = async {
            let _ = writes.write_all(said).await;
            let _ = writes.shutdown().await;
            let _ = tokio::io::copy(&mut reads, &mut tokio::io::sink()).await;
        };
        let (replies, error) = tokio::select! {
            end = connection.exchange(&commands) => end,
            () = async { talk.await; std::future::pending().await } => unreachable!(),
        };
        assert!(replies.len() == asked || error.is_some());
        replies
    })
}

#[test]
fn any_reply_is_the_same_in_whatever_pieces_it_comes() {
    const REPLIES: &[&str] = &[
        "+OK\r\n",
        ":1\r\n",
        "$3\r\na\r\n\r\n",
        "*2\r\n",
        "*-1\r\n",
        "-ERR x\r\n",
        "$-1\r\n",
        "_\r\n",
        "%1\r\n",
        ">1\r\n",
        "$9\r\nabc",
        "\r\n",
    ];
    let parts = (pieces::bytes(REPLIES), 1..=64_usize);
    bolero::check!().with_generator(parts).for_each(|(said, size)| {
        let first = parse_redis_value(said);
        for size in [*size, 64 * 1024] {
            let replies = replies(said, size, 3);
            // What is no reply ends all; the library passes over a byte of it between two pieces.
            assert!(first.is_err() || replies.first() == first.as_ref().ok(), "{replies:?}");
        }
    });
}
