//! What a Redis of before version 6 says to logins and greetings of today, in front of a real one.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};

use crate::common::Server;

/// A front of this Redis, and its port. It lives as long as the test does.
pub fn front(redis: u16) -> u16 {
    let server = Server::new(move |client, _| {
        let redis = TcpStream::connect((Ipv4Addr::LOCALHOST, redis)).expect("redis");
        // It ends where either end does.
        let _ = pass(&client, &redis);
    });
    server.port
}

/// One command after the other, each with its reply.
fn pass(client: &TcpStream, redis: &TcpStream) -> io::Result<()> {
    let (mut commands, mut replies) = (BufReader::new(client), BufReader::new(redis));
    loop {
        let command = value(&mut commands)?;
        if command.is_empty() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&command).to_ascii_uppercase();
        let words: Vec<&str> = text.split("\r\n").skip(2).step_by(2).collect();
        let reply = match words[..] {
            ["AUTH", _, _] => b"-ERR wrong number of arguments for 'auth' command\r\n".to_vec(),
            ["HELLO" | "ACL", ..] => {
                b"-ERR unknown command `HELLO`, with args beginning with: \r\n".to_vec()
            }
            ["CLIENT", "SETINFO" | "MAINT_NOTIFICATIONS" | "NO-EVICT" | "NO-TOUCH", ..] => {
                b"-ERR Unknown subcommand or wrong number of arguments\r\n".to_vec()
            }
            _ => {
                (&mut &*redis).write_all(&command)?;
                value(&mut replies)?
            }
        };
        (&mut &*client).write_all(&reply)?;
    }
}

/// The bytes of one value of the protocol; none where the other end has closed.
fn value(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.read_until(b'\n', &mut bytes)?;
    let count = String::from_utf8_lossy(bytes.get(1..).unwrap_or_default()).trim().parse::<i64>();
    match (bytes.first(), count.unwrap_or(-1)) {
        (Some(b'$'), length @ 0..) => {
            let mut data = vec![0; usize::try_from(length).expect("a length") + 2];
            from.read_exact(&mut data)?;
            bytes.extend(data);
        }
        (Some(b'*'), count @ 1..) => {
            for _ in 0..count {
                bytes.extend(value(from)?);
            }
        }
        _ => {}
    }
    Ok(bytes)
}
