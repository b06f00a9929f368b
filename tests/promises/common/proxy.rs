//! A wire to a real server that fails at a chosen byte of the conversation, and heals when it is told to.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

/// Whose bytes: the client's requests or the server's replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Request,
    Reply,
}

/// What happens once as many bytes of one side have passed as a fault names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Both ends are told that nothing more comes, as by a proxy that is restarted.
    Cut,
    /// Both ends get an RST, as from a firewall that has forgotten the connection.
    Reset,
    /// This side's receiver is told that nothing more comes; the other side goes on.
    HalfClose,
    /// Nothing passes any more and nobody is told.
    BlackHole,
    /// One byte arrives as another one: its bits that are set here are turned over.
    Corrupt(u8),
    /// What follows comes later.
    Delay(Duration),
    /// What follows comes byte by byte, with a pause after each.
    Drip(Duration),
}

#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub side: Side,
    /// How many bytes of that side pass before it.
    pub after: usize,
    pub what: What,
}

/// What is done with a connection.
#[derive(Clone)]
pub enum Behaviour {
    /// It is carried to this port of 127.0.0.1.
    LeadsTo(u16),
    /// The same, with a fault on the way.
    Fails(u16, Fault),
    /// This speaks in the server's place, until it returns.
    Speaks(Arc<dyn Fn(TcpStream) + Send + Sync>),
}

/// All that was said, both sides, one pair a connection.
type Heard = Arc<Mutex<Vec<[Vec<u8>; 2]>>>;

/// A TCP port whose behaviour can change at any time, for the connections that follow.
pub struct Proxy {
    pub port: u16,
    state: Arc<Mutex<(Behaviour, bool)>>,
    heard: Heard,
}

impl Proxy {
    pub fn new(behaviour: Behaviour) -> Self {
        Self::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"), behaviour)
    }

    /// Behind a listener that is already there.
    pub fn on(listener: TcpListener, behaviour: Behaviour) -> Self {
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(Mutex::new((behaviour, false)));
        let heard = Heard::default();
        let (of_thread, heard_by_thread) = (state.clone(), heard.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (behaviour, is_over) = of_thread.lock().expect("a lock").clone();
                if is_over {
                    return;
                }
                let number = {
                    let mut heard = heard_by_thread.lock().expect("a lock");
                    heard.push(Default::default());
                    heard.len() - 1
                };
                let wire = Wire { heard: heard_by_thread.clone(), number };
                thread::spawn(move || wire.serve(client, &behaviour));
            }
        });
        Self { port, state, heard }
    }

    /// One that speaks for itself.
    pub fn speaking(speak: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::new(Behaviour::Speaks(Arc::new(speak)))
    }

    /// What follows is done with new connections.
    pub fn becomes(&self, behaviour: Behaviour) {
        self.state.lock().expect("a lock").0 = behaviour;
    }

    /// From now on there is nothing but a way to this port of 127.0.0.1.
    pub fn leads_to(&self, port: u16) {
        self.becomes(Behaviour::LeadsTo(port));
    }

    /// What both sides have said so far on this connection, counted from 0, where it was carried on.
    pub fn conversation(&self, number: usize) -> [Vec<u8>; 2] {
        self.heard.lock().expect("a lock").get(number).cloned().unwrap_or_default()
    }

    pub fn connections(&self) -> usize {
        self.heard.lock().expect("a lock").len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.lock().expect("a lock").1 = true;
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

struct Wire {
    heard: Heard,
    number: usize,
}

impl Wire {
    fn serve(&self, client: TcpStream, behaviour: &Behaviour) {
        let (to, fault) = match behaviour {
            Behaviour::Speaks(speak) => return speak(client),
            Behaviour::LeadsTo(to) => (*to, None),
            Behaviour::Fails(to, fault) => (*to, Some(*fault)),
        };
        // Who can't be reached hangs up.
        if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) {
            self.carry(&[client, server], fault);
        }
    }

    /// Carries everything from each end to the other until both have ended or the fault says so.
    fn carry(&self, ends: &[TcpStream; 2], fault: Option<Fault>) {
        for end in ends {
            end.set_nodelay(true).expect("no delay");
        }
        let mut faulty = Faulty { fault, is_silent: false, is_shut: [false; 2] };
        let (mut is_open, mut passed) = ([true; 2], [0; 2]);
        while is_open[0] || is_open[1] {
            for place in readable(ends, is_open) {
                let side = [Side::Request, Side::Reply][place];
                let (mut from, to) = (&ends[place], &ends[1 - place]);
                let mut bytes = [0; 4096];
                let count = from.read(&mut bytes).unwrap_or(0);
                if count == 0 {
                    is_open[place] = false;
                    // Who waits in a black hole is not told, but once the client is gone it is over.
                    if faulty.is_silent && side == Side::Request {
                        return;
                    }
                    if !faulty.is_silent {
                        let _ = to.shutdown(Shutdown::Write);
                    }
                    continue;
                }
                let bytes = &mut bytes[..count];
                self.heard.lock().expect("a lock")[self.number][place].extend_from_slice(bytes);
                if !faulty.pass(side, bytes, passed[place], ends) {
                    return;
                }
                passed[place] += count;
            }
        }
    }
}

/// Which of the open ends have something to read, or nothing more; one that has is waited for.
fn readable(ends: &[TcpStream; 2], is_open: [bool; 2]) -> Vec<usize> {
    let places: Vec<usize> = (0..2).filter(|place| is_open[*place]).collect();
    let asked = places.iter().map(|place| PollFd::new(ends[*place].as_fd(), PollFlags::POLLIN));
    let mut asked: Vec<PollFd> = asked.collect();
    let _ = poll(&mut asked, PollTimeout::NONE);
    let is_ready = |end: &PollFd| end.revents().is_some_and(|events| !events.is_empty());
    places
        .into_iter()
        .zip(&asked)
        .filter(|(_, end)| is_ready(end))
        .map(|(place, _)| place)
        .collect()
}

/// The state of one connection's fault.
struct Faulty {
    fault: Option<Fault>,
    is_silent: bool,
    /// Whether the receiver of this side has been told that nothing more comes.
    is_shut: [bool; 2],
}

impl Faulty {
    /// Passes on what may pass of the bytes of one side, of which so many have passed before. Tells
    /// whether the connection goes on.
    fn pass(&mut self, side: Side, bytes: &mut [u8], passed: usize, ends: &[TcpStream; 2]) -> bool {
        let place = usize::from(side == Side::Reply);
        let mut to = &ends[1 - place];
        if self.is_silent || self.is_shut[place] {
            return true;
        }
        let Some(fault) = self.fault.filter(|fault| fault.side == side) else {
            return to.write_all(bytes).is_ok();
        };
        let Some(before) = fault.after.checked_sub(passed).filter(|before| *before <= bytes.len())
        else {
            // Not yet, or what comes after it.
            return match fault.what {
                What::Drip(pause) if fault.after < passed => drip(to, bytes, pause),
                _ => to.write_all(bytes).is_ok(),
            };
        };
        let (first, rest) = bytes.split_at_mut(before);
        // A fault at the very end of what has come waits for the next byte, except to hang up, for
        // which there may be none.
        if to.write_all(first).is_err() {
            return false;
        }
        match fault.what {
            What::Cut => {
                self.is_shut = [true; 2];
                for end in ends {
                    let _ = end.shutdown(Shutdown::Write);
                }
            }
            What::Reset => {
                let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
                for end in ends {
                    setsockopt(end, sockopt::Linger, &at_once).expect("an RST at the close");
                }
                return false;
            }
            What::HalfClose => {
                self.is_shut[place] = true;
                let _ = to.shutdown(Shutdown::Write);
            }
            What::BlackHole => self.is_silent = true,
            _ if rest.is_empty() => {}
            What::Corrupt(bits) => {
                rest[0] ^= bits;
                return to.write_all(rest).is_ok();
            }
            What::Delay(pause) => {
                thread::sleep(pause);
                return to.write_all(rest).is_ok();
            }
            What::Drip(pause) => return drip(to, rest, pause),
        }
        true
    }
}

fn drip(mut to: &TcpStream, bytes: &[u8], pause: Duration) -> bool {
    bytes.iter().all(|byte| {
        thread::sleep(pause);
        to.write_all(&[*byte]).is_ok()
    })
}
