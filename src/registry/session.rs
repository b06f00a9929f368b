//! Batches for one Redis, or for all masters of the Redis Cluster that it belongs to.
//!
//! The Redis library's own cluster client asks each time for the map of all slots and holds connections to
//! all nodes: a heartbeat would take some round trips in the place of two. Redirects are followed here.

use std::cell::Cell;
use std::io;
use std::mem;
use std::time::Duration;

use redis::{Cmd, RedisError, Value, cmd};
use tracing::warn;

use super::batch::{Batch, Replies, masters_of, or_first_error, redirect, with_asking};
use super::connection::{
    Access, Answer, Connection, ConnectionError, Contacts, Dialer, Endpoint, Host, Login, Stage,
};
use crate::escape::Escape;

/// How often a batch follows redirects; a cluster that is being resharded needs two.
const MAX_REDIRECTS: usize = 5;

/// What commands may take to be written that nobody waits for.
const POST_LIMIT: Duration = Duration::from_millis(50);

/// Talks to one Redis, in one attempt after the other, each by connections of its own.
pub struct Session {
    access: Access,
    stage: Cell<Stage>,
    /// The endpoint of the attempt in hand.
    endpoint: Option<Endpoint>,
    /// Open connections to the nodes that have been asked so far. Of an attempt that was cancelled or
    /// took too long, they stay until the next one.
    nodes: Vec<Node>,
    has_warned: bool,
    /// Whether any reply has ever come.
    has_been_answered: bool,
}

struct Node {
    host: Host,
    connection: Connection,
    is_logged_in: bool,
}

/// A batch on its way.
struct Pending {
    /// Its place among the batches.
    place: usize,
    batch: Batch,
    node: usize,
    /// The node serves the key only after ASKING.
    asking: bool,
}

impl Session {
    pub fn new(access: Access) -> Self {
        let stage = Cell::new(Stage::Resolving);
        Self {
            access,
            stage,
            endpoint: None,
            nodes: Vec::new(),
            has_warned: false,
            has_been_answered: false,
        }
    }

    pub fn has_been_answered(&self) -> bool {
        self.has_been_answered
    }

    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Connects, and gives the session to `talk`, all of it within the limit. Where one address of the
    /// Redis does not serve, such as a replica, the others are tried; `talk` begins anew there.
    ///
    /// # Errors
    /// What failed, or what was going on when time ran out.
    pub async fn within<T>(
        &mut self,
        limit: Duration,
        talk: impl AsyncFn(&mut Self) -> Result<T, ConnectionError>,
    ) -> Result<T, ConnectionError> {
        self.nodes.clear();
        match tokio::time::timeout(limit, self.attempt(talk)).await {
            Ok(result) => {
                self.nodes.clear();
                result
            }
            Err(_) => Err(ConnectionError::TimedOut { limit, stage: self.stage.get() }),
        }
    }

    async fn attempt<T>(
        &mut self,
        talk: impl AsyncFn(&mut Self) -> Result<T, ConnectionError>,
    ) -> Result<T, ConnectionError> {
        self.stage.set(Stage::Resolving);
        self.endpoint = Some(self.access.endpoint()?);
        let contacts = Contacts::default();
        let mut refused = None;
        loop {
            let talked = match self.open(&contacts).await {
                Ok(()) => talk(self).await,
                Err(error) => Err(error),
            };
            let error = match talked {
                Ok(done) => return Ok(done),
                Err(error) => self.explained(error).await,
            };
            let goes_on = error.is_of_this_address() && !contacts.left().is_empty();
            let first = refused.get_or_insert(error);
            if !goes_on {
                return Err(mem::replace(first, ConnectionError::Redirected));
            }
        }
    }

    /// Connects to an address of the endpoint that has not been tried.
    async fn open(&mut self, contacts: &Contacts) -> Result<(), ConnectionError> {
        self.nodes.clear();
        let (host, connection) = self.dialer()?.dial(contacts).await?;
        self.nodes.push(Node { host, connection, is_logged_in: false });
        Ok(())
    }

    fn dialer(&self) -> Result<Dialer<'_>, ConnectionError> {
        let endpoint = self.endpoint.as_ref().ok_or(ConnectionError::Redirected)?;
        Ok(Dialer { access: &self.access, endpoint, stage: &self.stage })
    }

    /// Whether a Redis that lacks a command is a Sentinel.
    async fn explained(&mut self, error: ConnectionError) -> ConnectionError {
        let lacks = matches!(&error, ConnectionError::Redis { text, .. } if text.contains("unknown command"));
        let Some(node) = self.nodes.first_mut().filter(|_| lacks) else { return error };
        let (replies, _) = node.connection.exchange([&cmd("ROLE")]).await;
        match replies.first() {
            Some(Value::Array(role))
                if role.first() == Some(&Value::BulkString(b"sentinel".into())) =>
            {
                ConnectionError::Sentinel(node.host.to_string())
            }
            _ => error,
        }
    }

    /// Sends batches behind those that an attempt which was cancelled has sent, on the same
    /// connections, and waits for no reply: whenever Redis comes to what was sent before, it comes to
    /// these next. Gives back the connections, to be held until the end.
    pub async fn follow_up(&mut self, batches: &[Batch]) -> impl Sized + use<> {
        let mut nodes = mem::take(&mut self.nodes);
        for node in &mut nodes {
            node.connection.post(batches.iter().flatten(), POST_LIMIT).await;
        }
        nodes
    }

    /// Sends everything at once: one round trip for each node concerned, and one more for what a
    /// cluster redirects. The replies come in the order of the batches.
    ///
    /// # Errors
    /// A lost connection. An error reply is a reply.
    pub async fn send(&mut self, batches: Vec<Batch>) -> Result<Vec<Replies>, ConnectionError> {
        let mut replies: Vec<Option<Replies>> = batches.iter().map(|_| None).collect();
        let mut pending: Vec<Pending> = batches
            .into_iter()
            .enumerate()
            .map(|(place, batch)| Pending { place, batch, node: 0, asking: false })
            .collect();
        for _ in 0..=MAX_REDIRECTS {
            let mut redirected = Vec::new();
            for node in 0..self.nodes.len() {
                let (here, elsewhere): (Vec<_>, Vec<_>) =
                    pending.into_iter().partition(|one| one.node == node);
                pending = elsewhere;
                for (one, reply) in self.send_to_node(node, here).await? {
                    match reply.as_ref().err().and_then(redirect) {
                        Some((host, port, asking)) => {
                            let node = self.node(node, &host, port).await?;
                            redirected.push(Pending { node, asking, ..one });
                        }
                        None => {
                            if let Some(place) = replies.get_mut(one.place) {
                                *place = Some(reply);
                            }
                        }
                    }
                }
            }
            if redirected.is_empty() {
                return replies
                    .into_iter()
                    .collect::<Option<_>>()
                    .ok_or(ConnectionError::Redirected);
            }
            pending = redirected;
        }
        Err(ConnectionError::Redirected)
    }

    /// Sends one batch; an error reply is an error.
    ///
    /// # Errors
    /// A lost connection, or an error reply.
    pub async fn send_one(&mut self, batch: Batch) -> Result<Vec<Value>, ConnectionError> {
        let replies = self.send(vec![batch]).await?;
        self.all_ok(replies).map(|mut replies| replies.pop().unwrap_or_default())
    }

    /// The replies, if none is an error.
    ///
    /// # Errors
    /// The first error reply.
    pub fn all_ok(&self, replies: Vec<Replies>) -> Result<Vec<Vec<Value>>, ConnectionError> {
        replies.into_iter().collect::<Result<_, _>>().map_err(|error| self.error_reply(&error))
    }

    /// An error reply in the server's own words, harmless and without the password.
    pub fn error_reply(&self, error: &RedisError) -> ConnectionError {
        let code = error.code().unwrap_or_default();
        self.complaint(code, error.detail().unwrap_or_default())
    }

    fn complaint(&self, code: &str, detail: &str) -> ConnectionError {
        let text = format!("{code} {detail}");
        let redacted = match &self.endpoint {
            Some(endpoint) => endpoint.login.redact(text.trim()),
            None => text,
        };
        let text = Escape(redacted.trim_end_matches('.')).to_string();
        let is_about_login =
            matches!(code, "WRONGPASS" | "NOAUTH") || detail.contains("invalid password");
        match is_about_login {
            true => ConnectionError::Login { text },
            false => ConnectionError::Redis { code: Escape(code).to_string(), text },
        }
    }

    /// Sends a command that names no key to one of the masters.
    ///
    /// # Errors
    /// A lost connection, or an error reply.
    pub async fn send_to_master(
        &mut self,
        node: usize,
        command: &Cmd,
    ) -> Result<Value, ConnectionError> {
        let batch = vec![command.clone()];
        let pending = vec![Pending { place: 0, batch, node, asking: false }];
        let replies = self.send_to_node(node, pending).await?;
        let replies = self.all_ok(replies.into_iter().map(|(_, reply)| reply).collect())?;
        Ok(replies.into_iter().flatten().next().unwrap_or(Value::Nil))
    }

    /// The masters of the cluster, or the one Redis where there is none.
    ///
    /// # Errors
    /// A lost connection, or a server that doesn't permit the command: to take it for a single one
    /// would leave the others' keys out unseen.
    pub async fn masters(&mut self) -> Result<Vec<usize>, ConnectionError> {
        let slots = match self.send_to_master(0, cmd("CLUSTER").arg("SLOTS")).await {
            Ok(slots) => slots,
            // A proxy that knows no CLUSTER has words of its own for that.
            Err(ConnectionError::Redis { code, .. }) if code != "NOPERM" => return Ok(vec![0]),
            Err(error) => return Err(error),
        };
        let mut masters = Vec::new();
        for (host, port) in masters_of(&slots) {
            let node = self.node(0, &host, port).await?;
            if !masters.contains(&node) {
                masters.push(node);
            }
        }
        Ok(masters)
    }

    /// The place of a node among those that are connected; connects if it is a new one. A node that
    /// doesn't know its own address means: where you asked.
    async fn node(
        &mut self,
        asked: usize,
        name: &str,
        port: u16,
    ) -> Result<usize, ConnectionError> {
        let asked = self.nodes.get(asked).map(|node| node.host.name.as_str()).unwrap_or_default();
        let name = if matches!(name, "" | "?") { asked } else { name };
        let host = Host { name: name.to_owned(), port };
        if let Some(place) = self.nodes.iter().position(|known| known.host == host) {
            return Ok(place);
        }
        let connection = self.dialer()?.dial_host(&host).await?;
        self.nodes.push(Node { host, connection, is_logged_in: false });
        Ok(self.nodes.len() - 1)
    }

    async fn send_to_node(
        &mut self,
        node: usize,
        batches: Vec<Pending>,
    ) -> Result<Vec<(Pending, Replies)>, ConnectionError> {
        if batches.is_empty() {
            return Ok(Vec::new());
        }
        let batches: Vec<(Pending, Batch)> = batches
            .into_iter()
            .map(|one| {
                let batch = if one.asking { with_asking(&one.batch) } else { one.batch.clone() };
                (one, batch)
            })
            .collect();
        let commands: Vec<&Cmd> = batches.iter().flat_map(|(_, batch)| batch).collect();
        let mut replies = self.exchange(node, &commands).await?.into_iter();
        let answered = batches.into_iter().map(|(one, batch)| {
            let replies = batch.iter().zip(replies.by_ref());
            let replies = replies.filter(|(command, _)| !is_asking(command));
            (one, or_first_error(replies.map(|(_, reply)| reply).collect()))
        });
        Ok(answered.collect())
    }

    /// The replies to commands, behind the login where the connection is new: in the same round trip, but
    /// for another database than the first, where nothing may get into that one.
    async fn exchange(
        &mut self,
        node: usize,
        commands: &[&Cmd],
    ) -> Result<Vec<Value>, ConnectionError> {
        loop {
            let login = self.login();
            let Some(Node { connection, is_logged_in, .. }) = self.nodes.get_mut(node) else {
                return Err(ConnectionError::Redirected);
            };
            if *is_logged_in {
                let (replies, error) = connection.exchange(commands.iter().copied()).await;
                self.has_been_answered |= !replies.is_empty();
                return self.whole(replies, error);
            }
            let first = login.commands();
            let rest = if login.database == 0 { commands } else { &[] };
            let all = first.iter().chain(rest.iter().copied());
            // What follows a refused login need not be waited for.
            let is_refused = |replies: &[Value]| {
                !first.is_empty()
                    && login.answer(replies.first()) == Answer::Refused
                    && !may_be_open(replies, first.len())
            };
            let (mut replies, error) = connection.exchange_until(all, is_refused).await;
            *is_logged_in = true;
            self.has_been_answered |= !replies.is_empty();
            let rest = replies.split_off(first.len().min(replies.len()));
            match login.answer(replies.first()) {
                Answer::NoUsers => {
                    *is_logged_in = false;
                    self.forget_user();
                    continue;
                }
                Answer::Needless => {
                    self.warn_of_password("asks for no password, and REDIS_URL has one")
                }
                // The login came to nothing, and what followed it was done.
                Answer::Refused if rest.first().is_some_and(|reply| !is_error(reply)) => {
                    self.warn_of_password("refuses the login and lets everybody in");
                }
                Answer::Refused | Answer::Welcome => {
                    // Whatever else is wrong with one of them.
                    let wrong = replies.iter().find(|reply| is_error(reply));
                    if let Some(Value::ServerError(error)) = wrong {
                        return Err(
                            self.complaint(error.code(), error.details().unwrap_or_default())
                        );
                    }
                }
            }
            if login.database == 0 || error.is_some() {
                return self.whole(rest, error);
            }
        }
    }

    fn login(&self) -> Login {
        self.endpoint.as_ref().map(|endpoint| endpoint.login.clone()).unwrap_or_default()
    }

    fn forget_user(&mut self) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.login.user = None;
        }
    }

    fn warn_of_password(&mut self, it_does_so: &str) {
        if !mem::replace(&mut self.has_warned, true) {
            let redis = self.access.to_string();
            warn!(redis, "Redis at {redis} {it_does_so}: going on without");
        }
    }

    /// The replies, if all came. What a server says before it hangs up tells more than that it did.
    fn whole(
        &self,
        replies: Vec<Value>,
        error: Option<io::Error>,
    ) -> Result<Vec<Value>, ConnectionError> {
        let Some(error) = error else { return Ok(replies) };
        if let Some(Value::ServerError(error)) = replies.last() {
            return Err(self.complaint(error.code(), error.details().unwrap_or_default()));
        }
        let endpoint = self.endpoint.as_ref().filter(|endpoint| endpoint.tls);
        let trust = endpoint.and_then(|endpoint| self.access.trust(endpoint).ok());
        if let Some(refusal) = trust.and_then(|trust| trust.refusal(&error)) {
            return Err(ConnectionError::Tls(refusal));
        }
        Err(match error.kind() {
            _ if !replies.is_empty() => ConnectionError::Broken(error),
            io::ErrorKind::InvalidData => ConnectionError::NoRedis,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset if endpoint.is_none() => {
                ConnectionError::Closed
            }
            _ => ConnectionError::Broken(error),
        })
    }
}

fn is_error(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(_))
}

/// Whether a server that refuses a login, of whose commands so many are the login, may let in everybody:
/// what it says to the next one tells.
fn may_be_open(replies: &[Value], login: usize) -> bool {
    let is_wrong =
        matches!(replies.first(), Some(Value::ServerError(error)) if error.code() == "WRONGPASS");
    is_wrong && !replies.get(login).is_some_and(is_error)
}

fn is_asking(command: &Cmd) -> bool {
    command.args_iter().next() == Some(redis::Arg::Simple(b"ASKING"))
}
