//! A way to Redis on which anything may happen.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastrand::Rng;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

/// What happens to those who are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Everything passes.
    Clear,
    /// Nothing moves; what has been sent arrives later.
    Stall,
    /// All connections are reset, also new ones.
    Cut,
    /// A connection is reset now and then, in the middle of something.
    Flaky,
    /// A part of what was sent passes, and then the connection is closed.
    Truncate,
}

const ALL: [Weather; 5] =
    [Weather::Clear, Weather::Stall, Weather::Cut, Weather::Flaky, Weather::Truncate];

/// A TCP proxy to a port of 127.0.0.1, all of it in one thread; gone when it goes out of scope.
pub struct Chaos {
    pub port: u16,
    weather: Arc<AtomicU8>,
    stops: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Chaos {
    pub fn before(port: u16, seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let own_port = listener.local_addr().expect("an address").port();
        let (weather, stops) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicBool::new(false)));
        let (read_weather, read_stops) = (weather.clone(), stops.clone());
        let thread = thread::spawn(move || {
            let mut pairs = Vec::new();
            let mut rng = Rng::with_seed(seed);
            while !read_stops.load(Ordering::Relaxed) {
                let weather = ALL[usize::from(read_weather.load(Ordering::Relaxed))];
                pass(&listener, &mut pairs, port, weather, &mut rng);
            }
        });
        Self { port: own_port, weather, stops, thread: Some(thread) }
    }

    pub fn becomes(&self, weather: Weather) {
        let place = ALL.iter().position(|one| *one == weather).expect("one of them");
        self.weather.store(u8::try_from(place).expect("few"), Ordering::Relaxed);
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

type Pair = [TcpStream; 2];

/// Waits a moment for something to happen, and passes it on as the weather has it.
fn pass(listener: &TcpListener, pairs: &mut Vec<Pair>, port: u16, weather: Weather, rng: &mut Rng) {
    if weather == Weather::Cut {
        pairs.drain(..).for_each(|pair| reset(&pair));
    }
    let watched = if weather == Weather::Stall { &[] } else { &pairs[..] };
    let mut set = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    set.extend(watched.iter().flatten().map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN)));
    poll(&mut set, PollTimeout::from(20_u8)).expect("poll");
    let happened = |fd: &PollFd| fd.any().unwrap_or(false);
    let (news, ends): (bool, Vec<bool>) =
        (happened(&set[0]), set[1..].iter().map(happened).collect());
    // From the end on, so that places stay what they are while pairs go.
    for place in (0..ends.len() / 2).rev() {
        let stays = (0..2).filter(|end| ends[2 * place + end]).all(|end| {
            let (from, to) = (&pairs[place][end], &pairs[place][1 - end]);
            copy(from, to, weather, rng)
        });
        if !stays {
            let pair = pairs.swap_remove(place);
            if weather == Weather::Flaky {
                reset(&pair);
            }
        }
    }
    while news && let Ok((client, _)) = listener.accept() {
        client.set_nonblocking(false).expect("a socket");
        let redis = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpStream::connect_timeout(&redis, Duration::from_millis(500)) {
            Ok(server) if weather != Weather::Cut => pairs.push([client, server]),
            Ok(server) => reset(&[client, server]),
            Err(_) => reset(&[client.try_clone().expect("dup"), client]),
        }
    }
}

/// Whether the connection goes on.
fn copy(mut from: &TcpStream, mut to: &TcpStream, weather: Weather, rng: &mut Rng) -> bool {
    let mut bytes = [0; 16 * 1024];
    let Ok(count @ 1..) = from.read(&mut bytes) else { return false };
    match weather {
        Weather::Flaky if rng.u8(0..4) == 0 => false,
        Weather::Truncate if rng.bool() => {
            let _ = to.write_all(&bytes[..rng.usize(0..count)]);
            false
        }
        _ => to.write_all(&bytes[..count]).is_ok(),
    }
}

/// Closes both ends with a RST instead of a FIN; SO_LINGER of socket(7).
fn reset(pair: &Pair) {
    for end in pair {
        let _ = setsockopt(end, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
    }
}
