//! Sentinels: who the master is.
//!
//! The Redis library's own Sentinel client connects by itself, with libc's name service and without any
//! of the options for certificates.

use redis::{Cmd, Value, cmd, from_redis_value};

use super::endpoint::Host;
use super::error::ConnectionError;
use super::login::Login;
use super::node::Node;
use crate::escape::Escape;

/// Asks a Sentinel where the master of this name is. Sentinels often ask for no password where Redis does:
/// it is shown to one that wants it.
///
/// # Errors
/// That it does not know, or what it says instead.
pub async fn ask_for_master(
    sentinel: &mut Node,
    master: &str,
    login: &Login,
) -> Result<Host, ConnectionError> {
    let question = cmd("SENTINEL").arg("get-master-addr-by-name").arg(master).clone();
    let nobody = &mut Login::default();
    let mut reply = last(sentinel.exchange(&[&question], nobody).await?)?;
    if matches!(&reply, Value::ServerError(error) if error.code() == "NOAUTH") {
        let first = Login { database: 0, ..login.clone() }.commands();
        let commands: Vec<&Cmd> = first.iter().chain([&question]).collect();
        reply = last(sentinel.exchange(&commands, nobody).await?)?;
    }
    match reply {
        Value::Nil => Err(ConnectionError::NoMaster { master: Escape(master).to_string() }),
        Value::ServerError(error) => {
            let host = sentinel.host.to_string();
            let text = login.complaint(error.code(), error.details()).to_string();
            Err(if text.contains("unknown command") {
                ConnectionError::NoSentinel(host)
            } else {
                ConnectionError::Redis {
                    code: error.code().to_owned(),
                    text: format!("the Sentinel at {host}: {text}"),
                }
            })
        }
        reply => {
            let (name, port): (String, u16) = from_redis_value(reply).map_err(|_| odd())?;
            Ok(Host { name, port })
        }
    }
}

fn last(replies: Vec<Value>) -> Result<Value, ConnectionError> {
    replies.into_iter().last().ok_or_else(odd)
}

fn odd() -> ConnectionError {
    ConnectionError::Redis { code: String::new(), text: "the Sentinel gives an odd reply".into() }
}
