//! Faults of the name server: late, silent, lying, saying too much or too little.

use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::Stage;
use super::cases::{Case, Cases};
use super::trial::{ESCAPED, Outcome, Trial};
use crate::common::dns::{
    NameServer, Packet, Record, Tcp, Way, address, alias, labels, message, truncated,
};
use crate::common::net::{Question, own_address};
use crate::common::{Redis, Sandbox};

const HOST: &str = "redis.test";

/// A shim whose host name is to be told by a server that says this, until it comes to its senses.
fn asking(
    redis: &Arc<Redis>,
    more: &str,
    tcp: Tcp,
    says: impl Fn(&[u8], &Question, Way) -> Option<Packet> + Send + Sync + 'static,
) -> Trial {
    let server = Arc::new(NameServer::new(tcp, says));
    let (lifted, heard) = (server.clone(), server.clone());
    let resolv_conf = format!("nameserver {}\n{more}\n", server.address);
    Trial::at(&format!("redis://worker:{ESCAPED}@{HOST}:{}", redis.port), redis)
        .with(|shim| shim.inside(Sandbox::new().over("/etc/resolv.conf", resolv_conf)))
        .lifted_by(move || lifted.comes_to_its_senses())
        .overheard(move || heard.heard())
        .keeping(server)
}

/// Says this to each question, whatever it asks.
fn says(
    answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> impl Fn(&[u8], &Question, Way) -> Option<Packet> + Send + Sync {
    move |packet, _, _| Some(Packet::new(answer(packet)))
}

/// The reply with these addresses, to whoever asks for IPv4.
fn with(packet: &[u8], question: &Question, addresses: &[Record]) -> Vec<u8> {
    message(packet, 0, if question.ipv6 { &[] } else { addresses })
}

/// This machine.
fn here() -> Record {
    address(Ipv4Addr::LOCALHOST)
}

/// Somebody at Redis's port of an address of his own, and what he hears.
fn thief(port: u16) -> (Record, Arc<Mutex<Vec<u8>>>) {
    let place = own_address();
    let listener = TcpListener::bind((place, port)).expect("the port");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let all = heard.clone();
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = connection.read(&mut bytes) {
                all.lock().expect("a lock").extend_from_slice(&bytes[..count]);
            }
        }
    });
    (address(place), heard)
}

/// A server that answers with the thief's address in a way that no resolver may fall for.
fn lying(
    redis: &Arc<Redis>,
    lie: impl Fn(&[u8], &Question, Record) -> Packet + Send + Sync + 'static,
) -> Trial {
    let (address, heard) = thief(redis.port);
    let trial = asking(redis, "", Tcp::Refused, move |packet, question, _| {
        (!question.ipv6).then(|| lie(packet, question, address.clone()))
    });
    trial.overheard(move || heard.lock().expect("a lock").clone())
}

/// Addresses at which nobody listens.
fn nobody(count: u16) -> Vec<Record> {
    let [_, second, third, _] = own_address().octets();
    let one = |number: u16| {
        let [high, low] = number.to_be_bytes();
        address(Ipv4Addr::new(127, second, third ^ 0x80 ^ high, low))
    };
    (0..count).map(one).collect()
}

/// Domains without the host.
fn long_search_list() -> String {
    let domains: Vec<String> = (0..30).map(|number| format!("d{number}.test")).collect();
    format!("search {}\noptions ndots:15", domains.join(" "))
}

/// A domain with which the host's name is longer than a name may be.
fn too_long() -> String {
    format!("search {}.test d.test\noptions ndots:15", [&*"x".repeat(60); 4].join("."))
}

pub fn cases(stage: &Stage) -> Vec<Case> {
    let mut cases = Cases::of("name server", &stage.plain);
    cases.add("late by 200 ms", |redis| {
        late(redis, Duration::from_millis(200)).outcome(Outcome::NoFault)
    });
    cases.add("late by 3 s", |redis| late(redis, Duration::from_secs(3)).lifted_by(|| ()));
    cases.add("silent", |redis| asking(redis, "", Tcp::Silent, |_, _, _| None));
    cases.add("answers another question's number", |redis| {
        lying(redis, |packet, question, thief| {
            let mut reply = with(packet, question, &[thief]);
            reply[0] ^= 0xff;
            Packet::new(reply)
        })
    });
    cases.add("answers another question", |redis| {
        lying(redis, |packet, _, thief| {
            let other = [&packet[..12], &labels("other.test"), &[0, 1, 0, 1]].concat();
            Packet::new(message(&other, 0, &[thief]))
        })
    });
    cases.add("answers about another name", |redis| {
        lying(redis, |packet, question, thief| {
            Packet::new(with(packet, question, &[thief.of("other.test")]))
        })
    });
    cases.add("answers from another address", |redis| {
        lying(redis, |packet, question, thief| {
            Packet::new(with(packet, question, &[thief])).by_another()
        })
    });
    cases.add("answers with a question", |redis| {
        lying(redis, |packet, question, thief| {
            let mut reply = with(packet, question, &[thief]);
            reply[2] &= 0x7f;
            Packet::new(reply)
        })
    });
    cases.add("loses every other question", |redis| losing(redis).lifted_by(|| ()));
    cases.add("knows no questions with additions", |redis| {
        without_additions(redis).outcome(Outcome::NoFault)
    });
    cases.add("garbage", |redis| {
        asking(redis, "", Tcp::Refused, says(|packet| [&packet[..2], &[0xff; 40]].concat()))
    });
    cases.add("two bytes", |redis| {
        asking(redis, "", Tcp::Refused, says(|packet| packet[..2].into()))
    });
    cases.add("a name that points at itself", |redis| {
        asking(redis, "", Tcp::Refused, says(pointing_at_itself))
    });
    cases.add("truncated, with nothing, TCP open", |redis| {
        truncating(redis, Tcp::Answers, false).outcome(Outcome::NoFault)
    });
    cases.add("truncated, with an address, TCP refused", |redis| {
        truncating(redis, Tcp::Refused, true).outcome(Outcome::NoFault)
    });
    cases.add("truncated, with an address, TCP silent", |redis| {
        truncating(redis, Tcp::Silent, true).outcome(Outcome::NoFault)
    });
    cases.add("truncated, with nothing, TCP refused", |redis| {
        truncating(redis, Tcp::Refused, false)
    });
    cases.add("truncated, with nothing, TCP silent", |redis| truncating(redis, Tcp::Silent, false));
    cases.add("two aliases of each other", |redis| {
        asking(
            redis,
            "",
            Tcp::Answers,
            says(|packet| message(packet, 0, &[alias("b.test"), alias(HOST).of("b.test")])),
        )
    });
    cases.add("aliases without end", |redis| {
        asking(redis, "", Tcp::Answers, |packet, question, _| {
            let next = format!("x{}", question.name);
            let next = if next.len() < 60 { next } else { HOST.to_owned() };
            Some(Packet::new(message(packet, 0, &[alias(&next)])))
        })
    });
    cases.add("no such name, in 30 domains, each after 30 ms", |redis| {
        asking(redis, &long_search_list(), Tcp::Answers, |packet, _, _| {
            Some(Packet::new(message(packet, 3, &[])).after(Duration::from_millis(30)))
        })
    });
    cases.add("IPv6 alone, and no way there", |redis| {
        let nowhere = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        asking(redis, "", Tcp::Answers, move |packet, question, _| {
            let answers = if question.ipv6 { vec![address(nowhere)] } else { vec![] };
            Some(Packet::new(message(packet, 0, &answers)))
        })
    });
    cases.add("300 addresses, nobody there", |redis| many(redis, nobody(300)));
    cases.add("300 addresses, the last one is right", |redis| {
        many(redis, [nobody(299), vec![here()]].concat()).outcome(Outcome::NoFault)
    });
    cases.add("says that it failed", |redis| coded(redis, 2));
    cases.add("says that there is no such name", |redis| coded(redis, 3));
    cases.add("says that it can't do that", |redis| coded(redis, 4));
    cases.add("says that it won't", |redis| coded(redis, 5));
    cases.add("says nothing in many words", |redis| coded(redis, 0));
    cases.add("a domain that makes the name too long", |redis| {
        asking(redis, &too_long(), Tcp::Answers, says(|packet| message(packet, 3, &[])))
    });
    cases.all()
}

fn late(redis: &Arc<Redis>, by: Duration) -> Trial {
    asking(redis, "", Tcp::Answers, move |packet, question, _| {
        Some(Packet::new(with(packet, question, &[here()])).after(by))
    })
}

fn losing(redis: &Arc<Redis>) -> Trial {
    let heard = AtomicUsize::new(0);
    asking(redis, "", Tcp::Answers, move |packet, question, _| {
        let is_lost = heard.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        (!is_lost).then(|| Packet::new(with(packet, question, &[here()])))
    })
}

/// RFC 6891: who knows no EDNS says that the question makes no sense.
fn without_additions(redis: &Arc<Redis>) -> Trial {
    asking(redis, "", Tcp::Answers, |packet, question, _| {
        let has_additions = packet[10..12] != [0, 0];
        let answers = if has_additions || question.ipv6 { vec![] } else { vec![here()] };
        Some(Packet::new(message(packet, u8::from(has_additions), &answers)))
    })
}

fn truncating(redis: &Arc<Redis>, tcp: Tcp, with_address: bool) -> Trial {
    asking(redis, "", tcp, move |packet, question, way| {
        let whole = with(packet, question, &[here()]);
        Some(Packet::new(match way {
            Way::Tcp => whole,
            Way::Udp if with_address => truncated(whole),
            Way::Udp => truncated(message(packet, 0, &[])),
        }))
    })
}

fn many(redis: &Arc<Redis>, addresses: Vec<Record>) -> Trial {
    asking(redis, "", Tcp::Answers, move |packet, question, way| {
        let whole = with(packet, question, &addresses);
        Some(Packet::new(match way {
            Way::Udp if !question.ipv6 => truncated(message(packet, 0, &[])),
            _ => whole,
        }))
    })
}

fn coded(redis: &Arc<Redis>, code: u8) -> Trial {
    asking(redis, "", Tcp::Answers, says(move |packet| message(packet, code, &[])))
}

/// An answer about a name that is said to stand where it is said.
fn pointing_at_itself(packet: &[u8]) -> Vec<u8> {
    let mut reply = message(packet, 0, &[here()]);
    let place = u8::try_from(packet.len()).expect("a short question");
    reply[packet.len() + 1] = place;
    reply
}
