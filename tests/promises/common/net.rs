//! Servers that behave badly, and a wire that can be held: all of them on loopback.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;

use super::eventually;

/// An address that no other test has, for what needs a certain port or one that stays closed.
pub fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let count = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes()[3];
    Ipv4Addr::new(127, 1 + count % 250, high, low.max(1))
}

/// A TCP server that does the same with each connection, in a thread for each.
pub struct Server {
    pub port: u16,
    count: Arc<AtomicUsize>,
}

impl Server {
    /// `serve` gets each connection and its number, from 1.
    pub fn new(serve: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
                let serve = serve.clone();
                thread::spawn(move || serve(connection, number));
            }
        });
        Self { port, count }
    }

    /// It accepts and never says a word.
    pub fn silent() -> Self {
        Self::new(|mut connection, _| while connection.read(&mut [0; 512]).is_ok_and(|n| n > 0) {})
    }

    /// It answers each request with what `answer` makes of it.
    pub fn answering(answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::new(move |mut connection, _| {
            let mut request = [0; 4096];
            while let Ok(count @ 1..) = connection.read(&mut request) {
                if connection.write_all(&answer(&request[..count])).is_err() {
                    return;
                }
            }
        })
    }

    /// A wire to a port of 127.0.0.1. `hold` is called with the number of the connection and what
    /// has just arrived, before that goes on.
    pub fn wire(to: u16, hold: impl Fn(usize, Chunk) + Send + Sync + 'static) -> Self {
        let hold = Arc::new(hold);
        Self::new(move |client, number| {
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { return };
            let (back_client, back_server) =
                (client.try_clone().expect("dup"), server.try_clone().expect("dup"));
            let back_hold = hold.clone();
            thread::spawn(move || {
                pump(back_server, back_client, |bytes| back_hold(number, Chunk::Reply(bytes)));
            });
            pump(client, server, |bytes| hold(number, Chunk::Request(bytes)));
        })
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Waits until there have been this many.
    pub fn expect_connections(&self, count: usize) {
        eventually("a connection", || (self.connections() >= count).then_some(()));
    }
}

/// What passes through a wire.
pub enum Chunk<'a> {
    Request(&'a [u8]),
    Reply(&'a [u8]),
}

fn pump(mut from: TcpStream, mut to: TcpStream, hold: impl Fn(&[u8])) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        hold(&bytes[..count]);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// A question to a name server: the name, and whether an IPv6 address is asked for.
pub struct Question {
    pub name: String,
    pub ipv6: bool,
}

/// What a name server says; `None` in its place is silence.
pub enum Answer {
    Address(IpAddr),
    Alias(&'static str),
    Code(u8),
}

/// A name server on port 53 of an address of its own, as RFC 1035 has it, and nothing beside.
pub fn name_server(
    answer: impl Fn(&Question) -> Option<Answer> + Send + Sync + 'static,
) -> Ipv4Addr {
    let address = own_address();
    let socket = UdpSocket::bind((address, 53)).expect("port 53");
    thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((count, client)) = socket.recv_from(&mut packet) {
            let (question, end) = question(&packet[..count]);
            if let Some(answer) = answer(&question) {
                let _ = socket.send_to(&reply(&packet[..end], &question, &answer), client);
            }
        }
    });
    address
}

/// What a packet asks, and where its question ends.
pub fn question(packet: &[u8]) -> (Question, usize) {
    let mut name = String::new();
    let mut at = 12;
    while packet[at] != 0 {
        let label = &packet[at + 1..at + 1 + usize::from(packet[at])];
        name += &String::from_utf8_lossy(label);
        name += ".";
        at += 1 + label.len();
    }
    (Question { name, ipv6: packet[at + 2] == 28 }, at + 5)
}

fn reply(packet: &[u8], question: &Question, answer: &Answer) -> Vec<u8> {
    let mut reply = packet.to_vec();
    let (code, kind, data) = match answer {
        Answer::Code(code) => (*code, 0, None),
        Answer::Address(IpAddr::V4(ip)) if !question.ipv6 => (0, 1, Some(ip.octets().to_vec())),
        Answer::Address(IpAddr::V6(ip)) if question.ipv6 => (0, 28, Some(ip.octets().to_vec())),
        Answer::Address(_) => (0, 0, None),
        Answer::Alias(name) => {
            let labels = name.split('.').map(|label| {
                [&[u8::try_from(label.len()).expect("a label")], label.as_bytes()].concat()
            });
            (0, 5, Some([labels.collect::<Vec<_>>().concat(), vec![0]].concat()))
        }
    };
    // A response, recursion available; no authority, no additional records.
    reply[2..4].copy_from_slice(&[0x81, 0x80 | code]);
    reply[6..12].copy_from_slice(&[0, u8::from(data.is_some()), 0, 0, 0, 0]);
    if let Some(data) = data {
        reply.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0]);
        reply.push(u8::try_from(data.len()).expect("a short record"));
        reply.extend(data);
    }
    reply
}

/// A real dnsmasq on port 53 of an address of its own; killed when it goes out of scope.
pub struct Dnsmasq {
    child: Child,
    pub address: Ipv4Addr,
}

impl Dnsmasq {
    pub fn with(arguments: &[&str]) -> Self {
        let address = own_address();
        let child = Command::new("/usr/sbin/dnsmasq")
            .args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"])
            .args(["--bind-interfaces", "--user=root", "--pid-file="])
            .arg(format!("--listen-address={address}"))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("dnsmasq");
        // It listens on TCP, too, and that can be asked for without a question.
        eventually("dnsmasq", || TcpStream::connect((address, 53)).ok());
        Self { child, address }
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program of the test's own to its end, which must be a good one.
pub fn run(directory: &Path, line: &[&str]) {
    let output =
        Command::new(line[0]).args(&line[1..]).current_dir(directory).output().expect("a program");
    assert!(output.status.success(), "{line:?}: {output:?}");
}

/// openssl(1) there, with these arguments, of which none has a blank in it.
pub fn openssl(directory: &Path, arguments: &str) {
    let words: Vec<&str> = ["openssl"].into_iter().chain(arguments.split(' ')).collect();
    run(directory, &words);
}
