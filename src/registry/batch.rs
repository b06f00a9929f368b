//! Batches of commands, and what is read out of the replies. Pure.

use std::time::{SystemTime, UNIX_EPOCH};

use redis::{Arg, Cmd, FromRedisValue, RedisError, Value, cmd, make_extension_error};

use super::connection::ConnectionError;
use super::key::in_ms;

/// Commands about one key that go together to the node that holds it. The first one names the key,
/// so that a node which doesn't hold it says so; a transaction is `MULTI` … `EXEC`.
pub type Batch = Vec<Cmd>;

/// A command of these words.
///
/// In memory of its size from the beginning: the Redis library's own way grows it word by word, and a
/// registration is some thirty commands.
pub fn command<const N: usize>(words: [&[u8]; N]) -> Cmd {
    let mut command = Cmd::with_capacity(N, words.iter().map(|word| word.len()).sum());
    for word in words {
        command.arg(word);
    }
    command
}

/// The reply to each command of a batch, or the first error among them.
pub type Replies = Result<Vec<Value>, RedisError>;

/// The replies, or the first error among them, those inside a transaction's included. It comes before
/// EXECABORT, which only says that there was one.
pub fn or_first_error(replies: Vec<Value>) -> Replies {
    let nested = replies.iter().flat_map(|reply| match reply {
        Value::Array(replies) => replies.as_slice(),
        _ => &[],
    });
    for reply in replies.iter().chain(nested) {
        if let Value::ServerError(error) = reply {
            return Err(error.clone().into());
        }
    }
    Ok(replies)
}

/// The code of a transaction that was not done, since another client has changed what was watched.
pub const ABORTED: &str = "ABORTED";

/// The replies, if EXEC's tells what was done.
///
/// # Errors
/// That it was not, or is something else, as of a server that says yes to everything.
pub fn plausible(batch: &[Cmd], replies: Vec<Value>) -> Replies {
    let is_transaction =
        batch.first().and_then(|first| first.args_iter().next()) == Some(Arg::Simple(b"MULTI"));
    match replies.last() {
        _ if !is_transaction => Ok(replies),
        Some(Value::Array(_)) if replies.first() == Some(&Value::Okay) => Ok(replies),
        Some(Value::Nil) => Err(make_extension_error(ABORTED.into(), None)),
        _ => Err(make_extension_error("ERR".into(), Some("a transaction has odd replies".into()))),
    }
}

/// Where a node says that the key is: host, port, and whether to say ASKING there.
pub fn redirect(error: &RedisError) -> Option<(String, u16, bool)> {
    let (address, _) = error.redirect_node()?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), port.parse().ok()?, error.code() == Some("ASK")))
}

/// The masters in a reply to CLUSTER SLOTS: first and last slot, then the nodes, the master first.
pub fn masters_of(slots: &Value) -> Vec<(String, u16)> {
    let Value::Array(ranges) = slots else {
        return Vec::new();
    };
    let master = |range: &Value| -> Option<(String, u16)> {
        let Value::Array(range) = range else { return None };
        let Some(Value::Array(master)) = range.get(2) else { return None };
        let host = match master.first()? {
            Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
            _ => String::new(),
        };
        let Some(Value::Int(port)) = master.get(1) else { return None };
        Some((host, (*port).try_into().ok()?))
    };
    ranges.iter().filter_map(master).collect()
}

/// The values in the last reply to `watch_version` or `read_version`.
pub fn fields(standing: &[Value]) -> impl Iterator<Item = Option<&[u8]>> {
    let values = match standing.last() {
        Some(Value::Array(values)) => values.as_slice(),
        _ => &[],
    };
    values.iter().map(|value| match value {
        Value::BulkString(bytes) => Some(bytes.as_slice()),
        _ => None,
    })
}

/// Unix time in ms, from a reply to TIME: seconds and microseconds.
pub fn unix_ms(time: &Value) -> Option<u64> {
    let (seconds, micros): (u64, u64) = redis::from_redis_value(time.clone()).ok()?;
    seconds.checked_mul(1000)?.checked_add(micros / 1000)
}

/// The time that a batch with TIME was answered with, in unix ms; this machine's where the server, such as
/// a proxy, has no such command.
///
/// # Errors
/// An error reply of another kind.
pub fn time_of(replies: &Replies) -> Result<u64, RedisError> {
    let own = || in_ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    match replies {
        Ok(replies) => Ok(replies.first().and_then(unix_ms).unwrap_or_else(own)),
        Err(error) if is_lacking(error) => Ok(own()),
        Err(error) => Err(error.clone()),
    }
}

/// Whether a server says that it has no such command, in whatever words: an error reply of a kind that
/// Redis uses for something else says something else.
pub fn is_lacking(error: &RedisError) -> bool {
    const OTHERS: [&str; 16] = [
        "ASK",
        "BUSY",
        "CLUSTERDOWN",
        "CROSSSLOT",
        "DENIED",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "MOVED",
        "NOAUTH",
        "NOPERM",
        "OOM",
        "READONLY",
        "TRYAGAIN",
        "WRONGPASS",
        "WRONGTYPE",
    ];
    error.code().is_some_and(|code| !OTHERS.contains(&code))
        && !error.detail().is_some_and(|detail| detail.contains("max number of clients"))
}

/// The batch for a node that is taking a key over, which serves it after ASKING alone. Redis forgets
/// that after each command outside a transaction.
pub fn with_asking(batch: &[Cmd]) -> Batch {
    let mut asked = Vec::new();
    let mut is_in_transaction = false;
    for command in batch {
        let name = command.args_iter().next();
        if !is_in_transaction {
            asked.push(cmd("ASKING"));
        }
        let is = |word: &[u8]| name == Some(Arg::Simple(word));
        is_in_transaction = (is_in_transaction || is(b"MULTI")) && !is(b"EXEC");
        asked.push(command.clone());
    }
    asked
}

/// A reply as what it should be.
///
/// # Errors
/// That it is something else.
pub fn value<T: FromRedisValue>(reply: Option<&Value>) -> Result<T, ConnectionError> {
    redis::from_redis_value(reply.cloned().unwrap_or(Value::Nil)).map_err(|error| {
        ConnectionError::Redis { code: String::new(), text: format!("an odd reply: {error}") }
    })
}

#[cfg(test)]
mod tests {
    use redis::{Value, parse_redis_value};

    use super::{masters_of, or_first_error, redirect};

    fn reply(text: &str) -> Value {
        parse_redis_value(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_redirect_names_the_node_and_how_to_ask_it() {
        for (text, expected) in [
            ("-MOVED 3999 10.0.0.1:6381\r\n", Some(("10.0.0.1", 6381, false))),
            ("-ASK 3999 ::1:6381\r\n", Some(("::1", 6381, true))),
            ("-MOVED 3999 [::1]:6381\r\n", Some(("::1", 6381, false))),
            ("-MOVED 3999 :6381\r\n", Some(("", 6381, false))),
            ("-MOVED 3999 redis-1.internal:6381\r\n", Some(("redis-1.internal", 6381, false))),
            ("-MOVED 3999 10.0.0.1:x\r\n", None),
            ("-MOVED\r\n", None),
            ("-ERR no\r\n", None),
        ] {
            let error = or_first_error(vec![reply(text)]).unwrap_err();
            let expected = expected.map(|(host, port, asking)| (host.to_owned(), port, asking));
            assert_eq!(redirect(&error), expected, "{text}");
        }
    }

    #[test]
    fn the_first_error_counts_and_not_that_there_was_one() {
        let replies = ["+OK\r\n", "-NOPERM x\r\n", "+QUEUED\r\n", "-EXECABORT y\r\n"].map(reply);
        assert_eq!(or_first_error(replies.into()).unwrap_err().code(), Some("NOPERM"));
        let nested = reply("*2\r\n:1\r\n-WRONGTYPE z\r\n");
        assert_eq!(or_first_error(vec![nested]).unwrap_err().code(), Some("WRONGTYPE"));
        assert!(or_first_error(vec![reply("*-1\r\n")]).is_ok());
    }

    #[test]
    fn the_masters_are_the_first_nodes_of_the_slot_ranges() {
        let slots = reply(
            "*2\r\n*4\r\n:0\r\n:8191\r\n*2\r\n$9\r\n127.0.0.1\r\n:7000\r\n*2\r\n$1\r\nx\r\n:7003\r\n\
             *3\r\n:8192\r\n:16383\r\n*2\r\n$-1\r\n:7001\r\n",
        );
        assert_eq!(masters_of(&slots), [("127.0.0.1".to_owned(), 7000), (String::new(), 7001)]);
        assert_eq!(masters_of(&Value::Nil), []);
    }
}
