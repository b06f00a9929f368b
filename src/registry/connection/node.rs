//! A node: one connection to one server, and the login there.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{Cmd, Value};

use super::endpoint::Host;
use super::error::ConnectionError;
use super::login::{Answer, Login};
use super::stream::{Connection, Stream};
use super::tls::Trust;

/// A server that is connected to.
pub struct Node {
    pub host: Host,
    connection: Connection,
    /// With TLS, what explains its errors.
    trust: Option<Arc<Trust>>,
    is_logged_in: bool,
    /// That the login came to nothing, as the rest of a sentence about the server.
    pub note: Option<&'static str>,
}

impl Node {
    pub fn new(
        host: Host,
        stream: Box<dyn Stream>,
        trust: Option<Arc<Trust>>,
        max_reply_bytes: u64,
    ) -> Self {
        Self {
            host,
            connection: Connection::new(stream, max_reply_bytes),
            trust,
            is_logged_in: false,
            note: None,
        }
    }

    /// The replies to commands, behind the login where the connection is new: in the same round trip, but
    /// for another database than the first, where nothing may get into that one.
    ///
    /// # Errors
    /// A lost connection, or a refused login. An error reply to a command is a reply.
    pub async fn exchange(
        &mut self,
        commands: &[&Cmd],
        login: &mut Login,
    ) -> Result<Vec<Value>, ConnectionError> {
        while !self.is_logged_in {
            let first = login.commands();
            let rest = if login.database == 0 { commands } else { &[] };
            let all = first.iter().chain(rest.iter().copied());
            // What follows a refused login need not be waited for.
            let is_over = |replies: &[Value]| is_refused(login, &first, replies);
            let (mut replies, error) = self.connection.exchange_until(all, is_over).await;
            let rest = replies.split_off(first.len().min(replies.len()));
            // Where the login has come to nothing all the same.
            let was_done = rest.first().is_some_and(|reply| !is_error(reply));
            let mut of_login = replies.iter();
            if login.password.is_some() {
                match login.answer(of_login.next()) {
                    Answer::NoUsers if !was_done => {
                        login.user = None;
                        continue;
                    }
                    Answer::NoUsers | Answer::Needless => {
                        self.note = Some("asks for no password, and REDIS_URL has one");
                    }
                    Answer::Refused if was_done => {
                        self.note = Some("refuses the login and lets everybody in");
                    }
                    Answer::Refused | Answer::Welcome => of_login = replies.iter(),
                }
            }
            if let Some(Value::ServerError(error)) = of_login.find(|reply| is_error(reply)) {
                return Err(login.complaint(error.code(), error.details()));
            }
            self.is_logged_in = true;
            if login.database == 0 || error.is_some() {
                return self.whole(rest, error, login);
            }
        }
        let (replies, error) = self.connection.exchange(commands.iter().copied()).await;
        self.whole(replies, error, login)
    }

    /// Whether a reply is owed, whose command may still be done.
    pub fn is_owed(&self) -> bool {
        self.connection.is_owed()
    }

    /// Whether any reply has come.
    pub fn has_answered(&self) -> bool {
        self.connection.heard().load(Ordering::Relaxed)
    }

    /// What becomes true with the first reply.
    pub fn heard(&self) -> Arc<AtomicBool> {
        self.connection.heard()
    }

    /// Waits for the replies that are owed, at most this long.
    pub async fn settle(&mut self, limit: Duration) {
        self.connection.settle(limit).await;
    }

    /// Sends commands behind those that are on their way, and waits for no reply.
    pub async fn post(&mut self, commands: impl IntoIterator<Item = &Cmd>, limit: Duration) {
        self.connection.post(commands, limit).await;
    }

    /// The replies, if all came. What a server says before it hangs up tells more than that it did.
    fn whole(
        &self,
        replies: Vec<Value>,
        error: Option<io::Error>,
        login: &Login,
    ) -> Result<Vec<Value>, ConnectionError> {
        let Some(error) = error else { return Ok(replies) };
        if let Some(Value::ServerError(error)) = replies.last() {
            return Err(login.complaint(error.code(), error.details()));
        }
        if let Some(refusal) = self.trust.as_ref().and_then(|trust| trust.refusal(&error)) {
            return Err(ConnectionError::Tls(refusal));
        }
        let hangs_up =
            matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset);
        Err(match error.kind() {
            _ if self.has_answered() => ConnectionError::Broken(error),
            io::ErrorKind::InvalidData => ConnectionError::NoRedis,
            _ if hangs_up && self.trust.is_none() => ConnectionError::Closed,
            _ => ConnectionError::Broken(error),
        })
    }
}

/// Whether these replies to a login and what follows it are enough. Where the password is wrong, the next
/// one tells whether the server lets in everybody.
fn is_refused(login: &Login, first: &[Cmd], replies: &[Value]) -> bool {
    let is_wrong =
        matches!(replies.first(), Some(Value::ServerError(error)) if error.code() == "WRONGPASS");
    !first.is_empty()
        && login.answer(replies.first()) == Answer::Refused
        && (!is_wrong || replies.get(first.len()).is_some_and(is_error))
}

fn is_error(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(_))
}
