//! Batches on their way to one Redis, or to those masters of its cluster that hold their keys.
//!
//! The Redis library's own cluster client asks each time for the map of all slots and holds connections to
//! all nodes: a heartbeat would take some round trips in the place of two. Redirects are followed here.

use std::borrow::Cow;

use redis::{Arg, Cmd, RedisError, Value, cmd};

use super::batch::{
    ABORTED, Batch, Replies, masters_of, or_first_error, plausible, redirect, with_asking,
};
use super::connection::{ConnectionError, Host};
use super::session::Session;

/// How often a batch follows redirects; a cluster that is being resharded needs two.
const MAX_REDIRECTS: usize = 5;

/// A batch on its way.
struct Pending {
    /// Its place among the batches.
    place: usize,
    batch: Batch,
    node: usize,
    /// The node serves the key only after ASKING.
    asking: bool,
}

impl Pending {
    /// The commands that go to the node.
    fn as_sent(&self) -> Cow<'_, [Cmd]> {
        if self.asking { Cow::Owned(with_asking(&self.batch)) } else { Cow::Borrowed(&self.batch) }
    }
}

impl Session {
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
                            self.is_of_a_cluster = true;
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

    /// Sends a transaction that is to be done only where nobody has changed what is watched.
    ///
    /// # Errors
    /// A lost connection, or an error reply.
    pub async fn send_unless_changed(&mut self, batch: Batch) -> Result<(), ConnectionError> {
        match self.send_one(batch).await {
            Err(ConnectionError::Redis { code, .. }) if code == ABORTED => Ok(()),
            sent => sent.map(drop),
        }
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
        self.login.complaint(error.code().unwrap_or_default(), error.detail())
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
        let reply = self.ask_master(node, command).await?;
        reply.map_err(|error| self.error_reply(&error))
    }

    /// The same, where an error reply is a reply.
    ///
    /// # Errors
    /// A lost connection.
    pub async fn ask_master(
        &mut self,
        node: usize,
        command: &Cmd,
    ) -> Result<Result<Value, RedisError>, ConnectionError> {
        let batch = vec![command.clone()];
        let pending = vec![Pending { place: 0, batch, node, asking: false }];
        let replies = self.send_to_node(node, pending).await?;
        let replies: Option<Replies> = replies.into_iter().map(|(_, replies)| replies).next();
        let replies = replies.unwrap_or_else(|| Ok(Vec::new()));
        Ok(replies.map(|replies| replies.into_iter().next().unwrap_or(Value::Nil)))
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
        let node = self.dialer()?.dial_host(&host).await?;
        self.nodes.push(node);
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
        let sent: Vec<Cow<[Cmd]>> = batches.iter().map(Pending::as_sent).collect();
        let mut replies = Vec::new();
        for together in sent.chunks(if self.is_serial { 1 } else { sent.len() }) {
            let commands: Vec<&Cmd> = together.iter().flat_map(|batch| batch.iter()).collect();
            replies.extend(self.exchange(node, &commands).await?);
        }
        let mut replies = replies.into_iter();
        let answered = batches.iter().zip(&sent).map(|(one, batch)| {
            let replies = batch.iter().zip(replies.by_ref());
            let replies = replies.filter(|(command, _)| !is_asking(command));
            let replies: Vec<Value> = replies.map(|(_, reply)| reply).collect();
            or_first_error(replies).and_then(|replies| plausible(&one.batch, replies))
        });
        let answered: Vec<Replies> = answered.collect();
        drop(sent);
        Ok(batches.into_iter().zip(answered).collect())
    }
}

fn is_asking(command: &Cmd) -> bool {
    command.args_iter().next() == Some(Arg::Simple(b"ASKING"))
}
