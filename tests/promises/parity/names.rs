//! Where host names come from: what a row's column for names makes of a client's surroundings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::thread;

use nix::sched::{CloneFlags, unshare};

use crate::common::net::{Answer, Dnsmasq, name_server, own_address};
use crate::common::{Redis, Sandbox};

/// What dnsmasq knows; of all else it says that there is no such name.
const RECORDS: [&str; 9] = [
    "--address=/#/",
    "--host-record=redis.test,redis.b.test,my_redis.test,redis.apps.svc.test,127.0.0.1",
    "--host-record=v6.test,::1",
    "--host-record=both.test,127.0.0.1,::1",
    "--cname=three.test,redis.test",
    "--cname=two.test,three.test",
    "--cname=one.test,two.test",
    "--log-facility=/dev/null",
    "--no-negcache",
];

/// All the name servers that a row can name in braces.
pub struct NameServers {
    words: BTreeMap<&'static str, String>,
    _dnsmasq: Dnsmasq,
}

impl NameServers {
    /// `several` are the names that have more than one address, with these in their order.
    pub fn start(several: &BTreeMap<String, Vec<Ipv4Addr>>) -> Self {
        let dnsmasq = Dnsmasq::with(&RECORDS);
        let code = |code| name_server(move |_| Some(Answer::Code(code)));
        let local = || vec![Ipv4Addr::LOCALHOST];
        let redis = || BTreeMap::from([("redis.test.".to_owned(), local())]);
        let words = [
            ("dns", dnsmasq.address),
            ("dead", own_address()),
            ("silent", name_server(|_| None)),
            ("servfail", code(2)),
            ("nxdomain", code(3)),
            ("refused", code(5)),
            (
                "silent-on-aaaa",
                name_server(|question| {
                    (!question.ipv6).then_some(Answer::Address(Ipv4Addr::LOCALHOST.into()))
                }),
            ),
            ("several", Several::over_udp(several.clone(), false)),
            ("truncates", Several::over_both(redis())),
            ("truncates-and-tcp-is-closed", Several::over_udp(redis(), true)),
            ("truncates-and-tcp-is-silent", Several::silent_over_tcp(redis())),
        ];
        let words = words.map(|(word, address)| (word, address.to_string()));
        Self { words: words.into(), _dnsmasq: dnsmasq }
    }

    /// What stands before a command line so that it finds names as the column says.
    pub fn wrapper(&self, column: &str) -> (Sandbox, Vec<OsString>) {
        let mut column = column.replace("\\t", "\t");
        for (word, address) in &self.words {
            column = column.replace(&format!("{{{word}}}"), address);
        }
        let (mut hosts, mut resolver) = (vec!["127.0.0.1 localhost"], Vec::new());
        for line in column.split("; ") {
            match line.strip_prefix("hosts ") {
                Some(line) => hosts.push(line),
                None => resolver.push(line),
            }
        }
        let sandbox = if resolver.contains(&"no resolv.conf") {
            Sandbox::new().seal_folder().with("rm /etc/resolv.conf")
        } else {
            Sandbox::new().over("/etc/resolv.conf", resolver.join("\n") + "\n")
        };
        let sandbox = sandbox.over("/etc/hosts", hosts.join("\n") + "\n");
        let wrapper = sandbox.wrapper();
        (sandbox, wrapper)
    }
}

/// A name server that has several addresses for a name, and what it is told to say of them over UDP.
struct Several(BTreeMap<String, Vec<Ipv4Addr>>);

impl Several {
    /// Over UDP alone: all of it, or no more than the first address of a name and that there were more.
    fn over_udp(names: BTreeMap<String, Vec<Ipv4Addr>>, truncates: bool) -> Ipv4Addr {
        let address = own_address();
        Self(names).serve(address, truncates, 1);
        address
    }

    /// Over UDP nothing but that there is more, over TCP all of it.
    fn over_both(names: BTreeMap<String, Vec<Ipv4Addr>>) -> Ipv4Addr {
        let address = own_address();
        let tcp = TcpListener::bind((address, 53)).expect("port 53");
        let all = Self(names.clone());
        Self(names).serve(address, true, 0);
        thread::spawn(move || {
            for client in tcp.incoming().flatten() {
                let _ = all.answer_over(client);
            }
        });
        address
    }

    /// Over UDP the first address of a name; over TCP it accepts and says nothing.
    fn silent_over_tcp(names: BTreeMap<String, Vec<Ipv4Addr>>) -> Ipv4Addr {
        let address = own_address();
        let tcp = TcpListener::bind((address, 53)).expect("port 53");
        thread::spawn(move || {
            let clients: Vec<TcpStream> = tcp.incoming().flatten().collect();
            drop(clients);
        });
        Self(names).serve(address, true, 1);
        address
    }

    fn serve(self, address: Ipv4Addr, truncates: bool, at_most: usize) {
        let udp = UdpSocket::bind((address, 53)).expect("port 53");
        thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((count, client)) = udp.recv_from(&mut packet) {
                let most = if truncates { at_most } else { usize::MAX };
                let mut reply = self.reply(&packet[..count], most);
                reply[2] |= if truncates { 2 } else { 0 };
                let _ = udp.send_to(&reply, client);
            }
        });
    }

    /// One question after the other, each behind its length.
    fn answer_over(&self, mut client: TcpStream) -> std::io::Result<()> {
        loop {
            let mut length = [0; 2];
            client.read_exact(&mut length)?;
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            client.read_exact(&mut question)?;
            let reply = self.reply(&question, usize::MAX);
            let length = u16::try_from(reply.len()).expect("a short reply").to_be_bytes();
            client.write_all(&[&length[..], &reply].concat())?;
        }
    }

    /// A reply of RFC 1035 with as many addresses at most.
    fn reply(&self, packet: &[u8], at_most: usize) -> Vec<u8> {
        let mut name = String::new();
        let mut at = 12;
        while packet[at] != 0 {
            let end = at + 1 + usize::from(packet[at]);
            name += &String::from_utf8_lossy(&packet[at + 1..end]).to_ascii_lowercase();
            name += ".";
            at = end;
        }
        let is_ipv4 = packet[at + 2] == 1;
        let found = self.0.get(&name);
        let none = Vec::new();
        let addresses = found.filter(|_| is_ipv4).unwrap_or(&none);
        let addresses = &addresses[..addresses.len().min(at_most)];
        let mut reply = packet[..at + 5].to_vec();
        reply[2..4].copy_from_slice(&[0x81, if found.is_some() { 0x80 } else { 0x83 }]);
        let count = u8::try_from(addresses.len()).expect("few addresses");
        reply[6..12].copy_from_slice(&[0, count, 0, 0, 0, 0]);
        for address in addresses {
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            reply.extend(address.octets());
        }
        reply
    }
}

/// A network of its own, with nothing in it but loopback: a name server at `::1` and, on the same port as
/// outside, a way to a Redis. It is there until this goes out of scope.
pub struct Network {
    pub wrapper: Vec<OsString>,
    _ends: Sender<()>,
}

impl Network {
    pub fn with(port: u16, socket: String) -> Self {
        let (ends, end) = mpsc::channel::<()>();
        let (tells, told) = mpsc::channel();
        thread::spawn(move || {
            // From here on what this thread opens and starts is in there.
            unshare(CloneFlags::CLONE_NEWNET).expect("a network");
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
            assert!(up.expect("ip").success(), "loopback");
            let records = RECORDS.into_iter().chain(["--listen-address=::1"]);
            let _dnsmasq = Dnsmasq::with(&records.collect::<Vec<_>>());
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port");
            thread::spawn(move || forward(&listener, &socket));
            let here = std::fs::read_link("/proc/thread-self").expect("this thread");
            tells.send(here).expect("who asked");
            let _ = end.recv();
        });
        let thread = told.recv().expect("a network");
        let place = format!("--net=/proc/{}/ns/net", thread.display());
        Self { wrapper: ["nsenter", &place, "--"].map(OsString::from).into(), _ends: ends }
    }
}

/// A way from a port of this thread's network to a socket of the file system.
fn forward(listener: &TcpListener, socket: &str) {
    use std::os::unix::net::UnixStream;
    for client in listener.incoming().flatten() {
        let Ok(server) = UnixStream::connect(socket) else { return };
        let (mut from_client, mut to_server) =
            (client.try_clone().expect("dup"), server.try_clone().expect("dup"));
        thread::spawn(move || {
            let _ = std::io::copy(&mut from_client, &mut to_server);
            let _ = to_server.shutdown(std::net::Shutdown::Write);
        });
        let (mut from_server, mut to_client) = (server, client);
        thread::spawn(move || {
            let _ = std::io::copy(&mut from_server, &mut to_client);
            let _ = to_client.shutdown(std::net::Shutdown::Write);
        });
    }
}
