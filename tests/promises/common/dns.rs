//! A name server that lies, is late, says too much or nothing, and comes to its senses when it is told
//! to: on port 53 of an address of its own, by UDP and, where it is asked for, by TCP (RFC 1035).

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::net::{Question, own_address, question};

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Udp,
    Tcp,
}

/// What is sent back to a question.
pub struct Packet {
    pub bytes: Vec<u8>,
    pub after: Duration,
    /// Whether it comes from another address than the one that was asked.
    pub by_another: bool,
}

impl Packet {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, after: Duration::ZERO, by_another: false }
    }

    pub fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }

    pub fn by_another(self) -> Self {
        Self { by_another: true, ..self }
    }
}

/// What a server does on TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tcp {
    Answers,
    /// Accepts and says nothing, as behind a firewall that drops.
    Silent,
    /// Nobody listens.
    Refused,
}

/// What is said to a question: its packet up to the end of the question, what it asks and how it came.
type Says = dyn Fn(&[u8], &Question, Way) -> Option<Packet> + Send + Sync;

struct State {
    says: Arc<Says>,
    is_over: bool,
}

pub struct NameServer {
    pub address: Ipv4Addr,
    state: Arc<Mutex<State>>,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl NameServer {
    pub fn new(
        tcp: Tcp,
        says: impl Fn(&[u8], &Question, Way) -> Option<Packet> + Send + Sync + 'static,
    ) -> Self {
        let address = own_address();
        let state = Arc::new(Mutex::new(State { says: Arc::new(says), is_over: false }));
        let server = Self { address, state, heard: Arc::default() };
        let socket = UdpSocket::bind((address, 53)).expect("port 53");
        let (state, heard) = (server.state.clone(), server.heard.clone());
        thread::spawn(move || {
            let mut packet = [0; 1500];
            while let Ok((count, client)) = socket.recv_from(&mut packet) {
                if state.lock().expect("a lock").is_over {
                    return;
                }
                if let Some(answer) = answer(&state, &heard, &packet[..count], Way::Udp) {
                    send(socket.try_clone().expect("a socket"), client, answer);
                }
            }
        });
        if tcp != Tcp::Refused {
            server.listen(tcp == Tcp::Answers);
        }
        server
    }

    fn listen(&self, answers: bool) {
        let listener = TcpListener::bind((self.address, 53)).expect("port 53");
        let (state, heard) = (self.state.clone(), self.heard.clone());
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if state.lock().expect("a lock").is_over {
                    return;
                }
                let (state, heard) = (state.clone(), heard.clone());
                thread::spawn(move || {
                    let mut connection = connection;
                    while let Some(packet) = framed(&mut connection) {
                        let reply = answer(&state, &heard, &packet, Way::Tcp);
                        let Some(reply) = reply.filter(|_| answers) else { continue };
                        thread::sleep(reply.after);
                        let length = u16::try_from(reply.bytes.len()).expect("a short message");
                        let bytes = [&length.to_be_bytes()[..], &reply.bytes].concat();
                        if connection.write_all(&bytes).is_err() {
                            return;
                        }
                    }
                });
            }
        });
    }

    /// From now on it knows that every name is this machine.
    pub fn comes_to_its_senses(&self) {
        self.says(|packet, question, _| {
            let answers = if question.ipv6 { vec![] } else { vec![address(Ipv4Addr::LOCALHOST)] };
            Some(Packet::new(message(packet, 0, &answers)))
        });
    }

    pub fn says(
        &self,
        says: impl Fn(&[u8], &Question, Way) -> Option<Packet> + Send + Sync + 'static,
    ) {
        self.state.lock().expect("a lock").says = Arc::new(says);
    }

    /// Every byte that it was sent.
    pub fn heard(&self) -> Vec<u8> {
        self.heard.lock().expect("a lock").clone()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.state.lock().expect("a lock").is_over = true;
        let _ = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|socket| socket.send_to(&[], (self.address, 53)));
        let _ = TcpStream::connect((self.address, 53));
    }
}

fn answer(state: &Mutex<State>, heard: &Mutex<Vec<u8>>, packet: &[u8], way: Way) -> Option<Packet> {
    heard.lock().expect("a lock").extend_from_slice(packet);
    let (question, end) = question(packet);
    let says = state.lock().expect("a lock").says.clone();
    says(&packet[..end], &question, way)
}

fn send(mut socket: UdpSocket, client: SocketAddr, packet: Packet) {
    if packet.by_another {
        socket = UdpSocket::bind((own_address(), 53)).expect("port 53");
    }
    if packet.after.is_zero() {
        let _ = socket.send_to(&packet.bytes, client);
        return;
    }
    thread::spawn(move || {
        thread::sleep(packet.after);
        let _ = socket.send_to(&packet.bytes, client);
    });
}

/// A message after its length, as TCP has it.
fn framed(connection: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    connection.read_exact(&mut length).ok()?;
    let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
    connection.read_exact(&mut packet).ok()?;
    Some(packet)
}

/// A record of an answer: its type, and its data. It is about the name that was asked for, or about
/// the one that stands at this place of the message.
#[derive(Debug, Clone)]
pub struct Record {
    kind: u8,
    data: Vec<u8>,
    owner: Option<&'static str>,
}

impl Record {
    /// The same about another name.
    pub fn of(self, owner: &'static str) -> Self {
        Self { owner: Some(owner), ..self }
    }
}

pub fn address(address: impl Into<IpAddr>) -> Record {
    let (kind, data) = match address.into() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (28, ip.octets().to_vec()),
    };
    Record { kind, data, owner: None }
}

pub fn alias(name: &str) -> Record {
    Record { kind: 5, data: labels(name), owner: None }
}

/// A name as messages have it: its labels, each after its length.
pub fn labels(name: &str) -> Vec<u8> {
    let label =
        |label: &str| [&[u8::try_from(label.len()).expect("a label")], label.as_bytes()].concat();
    let labels: Vec<Vec<u8>> = name.trim_end_matches('.').split('.').map(label).collect();
    [labels.concat(), vec![0]].concat()
}

/// The reply to a question: its code, and its answers.
pub fn message(packet: &[u8], code: u8, answers: &[Record]) -> Vec<u8> {
    let mut reply = packet.to_vec();
    // A response, recursion available; no authority, no additional records.
    reply[2..4].copy_from_slice(&[0x81, 0x80 | code]);
    let count = u16::try_from(answers.len()).expect("few answers").to_be_bytes();
    reply[6..12].copy_from_slice(&[count[0], count[1], 0, 0, 0, 0]);
    for record in answers {
        // The name of the question, by its place.
        reply.extend(record.owner.map_or_else(|| vec![0xc0, 12], labels));
        reply.extend([0, record.kind, 0, 1, 0, 0, 0, 1]);
        reply.extend(u16::try_from(record.data.len()).expect("a short record").to_be_bytes());
        reply.extend(&record.data);
    }
    reply
}

/// The same reply with the flag that more would have come by TCP.
pub fn truncated(mut reply: Vec<u8>) -> Vec<u8> {
    reply[2] |= 0x02;
    reply
}
