//! Sentinels: who the master is.
//!
//! The Redis library's own Sentinel client connects by itself, with libc's name service and without any
//! of the options for certificates.

use redis::{Value, cmd, from_redis_value};

use super::endpoint::Host;
use super::error::ConnectionError;
use super::login::Login;
use super::stream::Connection;
use crate::escape::Escape;

/// Asks a Sentinel where the master of this name is. Sentinels often ask for no password where Redis does:
/// it is shown to one that wants it.
///
/// # Errors
/// That it does not know, or what it says instead.
pub async fn ask_for_master(
    sentinel: &mut Connection,
    master: &str,
    login: &Login,
) -> Result<Host, ConnectionError> {
    let question = cmd("SENTINEL").arg("get-master-addr-by-name").arg(master).clone();
    let mut reply = only(sentinel.exchange([&question]).await)?;
    if matches!(&reply, Value::ServerError(error) if error.code() == "NOAUTH") {
        let login = Login { database: 0, ..login.clone() };
        let commands: Vec<_> = login.commands().into_iter().chain([question]).collect();
        reply = only(sentinel.exchange(&commands).await)?;
    }
    match reply {
        Value::Nil => Err(ConnectionError::NoMaster { master: Escape(master).to_string() }),
        Value::ServerError(error) => {
            let text = format!("{} {}", error.code(), error.details().unwrap_or_default());
            let text = Escape(login.redact(&text).trim_end()).to_string();
            Err(ConnectionError::Redis { code: error.code().to_owned(), text })
        }
        reply => {
            let (name, port): (String, u16) = from_redis_value(reply).map_err(|_| odd())?;
            Ok(Host { name, port })
        }
    }
}

fn only((replies, error): (Vec<Value>, Option<std::io::Error>)) -> Result<Value, ConnectionError> {
    match (replies.into_iter().last(), error) {
        (Some(reply), _) => Ok(reply),
        (None, Some(error)) => Err(ConnectionError::Broken(error)),
        (None, None) => Err(odd()),
    }
}

fn odd() -> ConnectionError {
    ConnectionError::Redis { code: String::new(), text: "the Sentinel gives an odd reply".into() }
}
