//! Attempts to talk to one Redis: each within its limit, at whatever address serves.

use std::cell::Cell;
use std::future::pending;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::{Cmd, Value, cmd};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::batch::Batch;
use super::connection::{
    Access, ConnectionError, Contacts, Dialer, Endpoint, Login, Node, Stage, Trust,
};

/// What commands may take to be written that nobody waits for.
const POST_LIMIT: Duration = Duration::from_millis(50);

/// How many connections that owe replies are kept beside those in use.
const MAX_ABANDONED: usize = 4;

/// What it may take to be told that a server is a Sentinel.
const ROLE_LIMIT: Duration = Duration::from_millis(200);

/// Talks to one Redis, in one attempt after the other, each by connections of its own.
// Each of them is a fact of its own.
#[allow(clippy::struct_excessive_bools)]
pub struct Session {
    access: Access,
    stage: Cell<Stage>,
    /// The endpoint of the attempt in hand.
    endpoint: Option<Endpoint>,
    /// Whom to trust there, with TLS.
    trust: Option<Arc<Trust>>,
    pub(super) login: Login,
    /// Open connections to the nodes that have been asked so far. Of an attempt that was cancelled or
    /// took too long, they stay until the next one.
    pub(super) nodes: Vec<Node>,
    /// Of attempts before, which owe replies: what was sent there may still be done.
    abandoned: Vec<Node>,
    /// Whether the server knows no users.
    has_no_users: bool,
    has_warned: bool,
    /// How many hosts and addresses have failed: each attempt begins where the last one has succeeded, or
    /// behind the one that has failed, which may be one that says nothing.
    turn: usize,
    /// Whether one transaction goes out after the other, for a proxy that takes no two at once.
    pub(super) is_serial: bool,
    /// Whether any reply has ever come.
    has_been_answered: bool,
    /// Whether any reply has ever named another node: different keys may be held by different ones.
    pub(super) is_of_a_cluster: bool,
}

impl Session {
    pub fn new(access: Access) -> Self {
        let stage = Cell::new(Stage::Resolving);
        Self {
            access,
            stage,
            endpoint: None,
            trust: None,
            login: Login::default(),
            nodes: Vec::new(),
            abandoned: Vec::new(),
            has_no_users: false,
            has_warned: false,
            turn: 0,
            is_serial: false,
            has_been_answered: false,
            is_of_a_cluster: false,
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
        self.abandon();
        let Ok(result) = timeout(limit, self.attempt(limit, talk)).await else {
            self.turn += 1;
            return Err(ConnectionError::TimedOut { limit, stage: self.stage.get() });
        };
        self.abandon();
        if result.is_ok() {
            // What was sent before has been done by now, too.
            self.abandoned.clear();
        }
        result
    }

    /// The same for what must not be done twice: at one address, which has all of the time.
    ///
    /// # Errors
    /// What failed, or what was going on when time ran out.
    pub async fn once<T>(
        &mut self,
        limit: Duration,
        talk: impl AsyncFn(&mut Self) -> Result<T, ConnectionError>,
    ) -> Result<T, ConnectionError> {
        self.abandon();
        let all = async {
            self.prepare()?;
            self.open(&Contacts::default()).await?;
            talk(self).await
        };
        let talked = timeout(limit, all).await;
        talked.unwrap_or_else(|_| Err(ConnectionError::TimedOut { limit, stage: self.stage.get() }))
    }

    /// Closes the connections, but for some that owe replies.
    fn abandon(&mut self) {
        self.abandoned.extend(self.nodes.drain(..).filter(Node::is_owed));
        let others = self.abandoned.len().saturating_sub(MAX_ABANDONED);
        self.abandoned.drain(..others);
    }

    /// Reads anew where Redis is and who logs in.
    fn prepare(&mut self) -> Result<(), ConnectionError> {
        self.stage.set(Stage::Resolving);
        let endpoint = self.access.endpoint()?;
        // Also where nobody listens yet: the files are there now.
        self.trust = endpoint.tls.then(|| self.access.trust(&endpoint)).transpose()?;
        self.login = endpoint.login.clone();
        if self.has_no_users {
            self.login.user = None;
        }
        self.endpoint = Some(endpoint);
        Ok(())
    }

    async fn attempt<T>(
        &mut self,
        limit: Duration,
        talk: impl AsyncFn(&mut Self) -> Result<T, ConnectionError>,
    ) -> Result<T, ConnectionError> {
        self.prepare()?;
        let mut contacts = Contacts::default();
        let mut refused = None;
        loop {
            // One that says nothing leaves time for the next.
            let share = limit / 2;
            let share_of_open = if self.has_several_hosts() { share } else { limit };
            let opened = timeout(share_of_open, self.open(&contacts)).await;
            let opened = opened.unwrap_or_else(|_| {
                Err(ConnectionError::TimedOut { limit: share_of_open, stage: self.stage.get() })
            });
            let talked = match opened {
                Ok(()) if self.dialer()?.has_more(&contacts) => {
                    let has_answered = self.nodes.first().map(Node::heard);
                    let says_nothing = async {
                        sleep(share).await;
                        if has_answered.is_some_and(|heard| heard.load(Ordering::Relaxed)) {
                            pending::<()>().await;
                        }
                    };
                    tokio::select! {
                        talked = talk(self) => talked,
                        () = says_nothing => {
                            Err(ConnectionError::TimedOut { limit: share, stage: self.stage.get() })
                        }
                    }
                }
                Ok(()) => talk(self).await,
                Err(error) => Err(error),
            };
            let error = match talked {
                Ok(done) => return Ok(done),
                Err(error) => self.explained(error).await,
            };
            self.turn += 1;
            if is_about_nesting(&error) && !mem::replace(&mut self.is_serial, true) {
                contacts = Contacts::default();
                continue;
            }
            let goes_on = error.is_of_this_address() && self.dialer()?.has_more(&contacts);
            let first = refused.get_or_insert(error);
            if !goes_on {
                return Err(mem::replace(first, ConnectionError::Redirected));
            }
        }
    }

    /// Connects to an address of the endpoint that has not been tried.
    async fn open(&mut self, contacts: &Contacts) -> Result<(), ConnectionError> {
        self.abandon();
        let node = self.dialer()?.dial(contacts).await?;
        self.nodes.push(node);
        Ok(())
    }

    fn has_several_hosts(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.hosts().len() > 1)
    }

    pub(super) fn dialer(&self) -> Result<Dialer<'_>, ConnectionError> {
        let endpoint = self.endpoint.as_ref().ok_or(ConnectionError::Redirected)?;
        Ok(Dialer {
            endpoint,
            trust: self.trust.as_ref(),
            max_reply_bytes: self.access.max_reply_bytes,
            stage: &self.stage,
            turn: self.turn,
        })
    }

    /// Whether a Redis that lacks a command is a Sentinel.
    async fn explained(&mut self, error: ConnectionError) -> ConnectionError {
        let may_be = match &error {
            ConnectionError::Redis { text, .. } => text.contains("unknown command"),
            error => matches!(error, ConnectionError::Login { .. }),
        };
        let Some(node) = self.nodes.first_mut().filter(|_| may_be) else { return error };
        let (role, nobody) = ([&cmd("ROLE")], &mut Login::default());
        let asked = timeout(ROLE_LIMIT, node.exchange(&role, nobody)).await;
        let replies = asked.map_or_else(|_| Vec::new(), Result::unwrap_or_default);
        match replies.first() {
            Some(Value::Array(role))
                if role.first() == Some(&Value::BulkString(b"sentinel".into())) =>
            {
                ConnectionError::Sentinel(node.host.to_string())
            }
            _ => error,
        }
    }

    /// The replies of one node, behind the login where it is new.
    pub(super) async fn exchange(
        &mut self,
        node: usize,
        commands: &[&Cmd],
    ) -> Result<Vec<Value>, ConnectionError> {
        let Some(node) = self.nodes.get_mut(node) else { return Err(ConnectionError::Redirected) };
        let replies = node.exchange(commands, &mut self.login).await;
        self.has_been_answered |= node.has_answered();
        let known = self.endpoint.as_ref().and_then(|endpoint| endpoint.login.user.as_ref());
        self.has_no_users |= known.is_some() && self.login.user.is_none();
        if let Some(it_does_so) = node.note.take()
            && !mem::replace(&mut self.has_warned, true)
        {
            let redis = self.access.to_string();
            warn!(redis, "Redis at {redis} {it_does_so}: going on without");
        }
        replies
    }

    /// Sends batches behind those that an attempt which was cancelled has sent and Redis has not answered
    /// within the patience,
    /// on the same connections, and waits for no reply: whenever Redis comes to what was sent before, it
    /// comes to these next. Gives back the connections, to be held until the end.
    pub async fn follow_up(&mut self, batches: &[Batch], patience: Duration) -> impl Sized + use<> {
        let mut nodes = mem::take(&mut self.nodes);
        nodes.append(&mut self.abandoned);
        for node in &mut nodes {
            node.settle(patience).await;
        }
        nodes.retain(Node::is_owed);
        for node in &mut nodes {
            node.post(batches.iter().flatten(), POST_LIMIT).await;
        }
        nodes
    }
}

/// Whether a proxy, such as Envoy, takes a transaction behind another one for one within it.
fn is_about_nesting(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::Redis { text, .. } if text.contains("MULTI calls can not be nested"))
}
