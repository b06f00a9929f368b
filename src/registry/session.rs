//! Batches for one Redis, or for all masters of the Redis Cluster that it belongs to.

use std::cell::Cell;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value, cmd};

use super::batch::{Batch, Replies, masters_of, or_first_error, redirect};
use super::connection::connect;
use super::endpoint::Endpoint;
use super::error::{ConnectionError, Stage};

/// How often a batch follows redirects; a cluster that is being resharded needs two.
const MAX_REDIRECTS: usize = 5;

/// Open connections to the nodes that have been asked so far.
pub struct Session<'a> {
    endpoint: &'a Endpoint,
    stage: &'a Cell<Stage>,
    nodes: Vec<(Endpoint, MultiplexedConnection)>,
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

impl<'a> Session<'a> {
    /// Connects, logs in and gives the session to `talk`, all of it within the limit. Every
    /// connection of the session closes at the end.
    ///
    /// # Errors
    /// What failed, or what was going on when time ran out.
    pub async fn within<T>(
        endpoint: &Endpoint,
        limit: Duration,
        talk: impl AsyncFnOnce(&mut Session) -> Result<T, ConnectionError>,
    ) -> Result<T, ConnectionError> {
        let stage = Cell::new(Stage::Resolving);
        let all = async { talk(&mut Session::open(endpoint, &stage).await?).await };
        match tokio::time::timeout(limit, all).await {
            Ok(result) => result,
            Err(_) => Err(ConnectionError::TimedOut { limit, stage: stage.get() }),
        }
    }

    async fn open(endpoint: &'a Endpoint, stage: &'a Cell<Stage>) -> Result<Self, ConnectionError> {
        let connection = connect(endpoint, stage).await?;
        Ok(Self { endpoint, stage, nodes: vec![(endpoint.clone(), connection)] })
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
                            let node = self.node(&host, port).await?;
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

    /// An error reply, without the password.
    pub fn error_reply(&self, error: &RedisError) -> ConnectionError {
        self.endpoint.redis_error(error)
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
            Err(ConnectionError::Redis { code, .. }) if code == "ERR" => return Ok(vec![0]),
            Err(error) => return Err(error),
        };
        let mut masters = Vec::new();
        for (host, port) in masters_of(&slots) {
            let node = self.node(&host, port).await?;
            if !masters.contains(&node) {
                masters.push(node);
            }
        }
        Ok(masters)
    }

    /// The place of a node among those that are connected; connects if it is a new one.
    async fn node(&mut self, host: &str, port: u16) -> Result<usize, ConnectionError> {
        let node = self.endpoint.node(host, port);
        if let Some(place) = self.nodes.iter().position(|(known, _)| known.is(&node)) {
            return Ok(place);
        }
        let connection = connect(&node, self.stage).await?;
        self.nodes.push((node, connection));
        Ok(self.nodes.len() - 1)
    }

    async fn send_to_node(
        &mut self,
        node: usize,
        batches: Vec<Pending>,
    ) -> Result<Vec<(Pending, Replies)>, ConnectionError> {
        let Some((_, connection)) = self.nodes.get_mut(node) else {
            return Err(ConnectionError::Redirected);
        };
        if batches.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::new();
        for one in &batches {
            if one.asking {
                pipeline.add_command(cmd("ASKING"));
            }
            for command in &one.batch {
                pipeline.add_command(command.clone());
            }
        }
        let count = pipeline.len();
        let replies = connection
            .send_packed_commands(&pipeline, 0, count)
            .await
            .map_err(|error| self.endpoint.redis_error(&error))?;
        let mut replies = replies.into_iter();
        Ok(batches
            .into_iter()
            .map(|one| {
                replies.by_ref().take(usize::from(one.asking)).for_each(drop);
                let replies = replies.by_ref().take(one.batch.len()).collect();
                (one, or_first_error(replies))
            })
            .collect())
    }
}
