//! Questions to one Redis, or to all masters of the Redis Cluster that it belongs to.

use std::cell::Cell;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value, cmd};

use super::connection::{ConnectionError, Endpoint, Stage};

/// Commands about one key that go together to the node that holds it. The first one names the key,
/// so that a node which doesn't hold it says so; a transaction is `MULTI` … `EXEC`.
pub type Question = Vec<Cmd>;

/// The reply to each command of a question, or the first complaint about one.
pub type Answer = Result<Vec<Value>, RedisError>;

/// How often a question follows redirects; a cluster that is being resharded needs two.
const MOST_REDIRECTS: usize = 5;

/// Open connections to the nodes that have been asked so far.
pub struct Session<'a> {
    endpoint: &'a Endpoint,
    stage: &'a Cell<Stage>,
    nodes: Vec<(Endpoint, MultiplexedConnection)>,
}

/// A question on its way.
struct Pending {
    /// Its place among the questions.
    place: usize,
    question: Question,
    node: usize,
    /// The node has the key only for those who say ASKING.
    asking: bool,
}

impl<'a> Session<'a> {
    /// # Errors
    /// Why there is no connection.
    pub async fn open(
        endpoint: &'a Endpoint,
        stage: &'a Cell<Stage>,
    ) -> Result<Self, ConnectionError> {
        let connection = endpoint.connect(stage).await?;
        Ok(Self { endpoint, stage, nodes: vec![(endpoint.clone(), connection)] })
    }

    /// Asks everything at once: one round trip for each node concerned, and one more for what a
    /// cluster redirects. The answers come in the order of the questions.
    ///
    /// # Errors
    /// A lost connection. What a server complains of is an answer.
    pub async fn ask(&mut self, questions: Vec<Question>) -> Result<Vec<Answer>, ConnectionError> {
        let mut answers: Vec<Option<Answer>> = questions.iter().map(|_| None).collect();
        let mut pending: Vec<Pending> = questions
            .into_iter()
            .enumerate()
            .map(|(place, question)| Pending { place, question, node: 0, asking: false })
            .collect();
        for _ in 0..=MOST_REDIRECTS {
            let mut redirected = Vec::new();
            for node in 0..self.nodes.len() {
                let (here, elsewhere): (Vec<_>, Vec<_>) =
                    pending.into_iter().partition(|one| one.node == node);
                pending = elsewhere;
                for (one, answer) in self.ask_node(node, here).await? {
                    match answer.as_ref().err().and_then(redirect) {
                        Some((host, port, asking)) => {
                            let node = self.node(&host, port).await?;
                            redirected.push(Pending { node, asking, ..one });
                        }
                        None => {
                            if let Some(place) = answers.get_mut(one.place) {
                                *place = Some(answer);
                            }
                        }
                    }
                }
            }
            if redirected.is_empty() {
                return answers
                    .into_iter()
                    .collect::<Option<_>>()
                    .ok_or(ConnectionError::Redirected);
            }
            pending = redirected;
        }
        Err(ConnectionError::Redirected)
    }

    /// Asks one question; what the server complains of is an error.
    ///
    /// # Errors
    /// A lost connection, or the server's complaint.
    pub async fn ask_one(&mut self, question: Question) -> Result<Vec<Value>, ConnectionError> {
        let answers = self.ask(vec![question]).await?;
        self.all_well(answers).map(|mut replies| replies.pop().unwrap_or_default())
    }

    /// The replies, if no server complained.
    ///
    /// # Errors
    /// The first complaint.
    pub fn all_well(&self, answers: Vec<Answer>) -> Result<Vec<Vec<Value>>, ConnectionError> {
        answers.into_iter().collect::<Result<_, _>>().map_err(|error| self.complaint(&error))
    }

    /// A server's complaint, without the password.
    pub fn complaint(&self, error: &RedisError) -> ConnectionError {
        self.endpoint.redis_error(error)
    }

    /// The number of the database that is selected.
    pub fn database(&self) -> i64 {
        self.endpoint.database()
    }

    /// Puts a command that names no key to every master; the replies come in no order.
    ///
    /// # Errors
    /// A lost connection, a server's complaint, or a cluster that doesn't say who its masters are.
    pub async fn ask_masters(&mut self, command: &Cmd) -> Result<Vec<Value>, ConnectionError> {
        let mut replies = Vec::new();
        for node in self.masters().await? {
            replies.push(self.ask_master(node, command).await?);
        }
        Ok(replies)
    }

    /// Puts a command that names no key to one of the masters.
    ///
    /// # Errors
    /// A lost connection, or the server's complaint.
    pub async fn ask_master(
        &mut self,
        node: usize,
        command: &Cmd,
    ) -> Result<Value, ConnectionError> {
        let question = vec![command.clone()];
        let pending = vec![Pending { place: 0, question, node, asking: false }];
        let answers = self.ask_node(node, pending).await?;
        let replies = self.all_well(answers.into_iter().map(|(_, answer)| answer).collect())?;
        Ok(replies.into_iter().flatten().next().unwrap_or(Value::Nil))
    }

    /// The masters of the cluster, or the one Redis where there is none.
    ///
    /// # Errors
    /// A lost connection, or a server that doesn't permit the question: to take it for a single one
    /// would leave the others' keys out unseen.
    pub async fn masters(&mut self) -> Result<Vec<usize>, ConnectionError> {
        let slots = match self.ask_master(0, cmd("CLUSTER").arg("SLOTS")).await {
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
        let connection = node.connect(self.stage).await?;
        self.nodes.push((node, connection));
        Ok(self.nodes.len() - 1)
    }

    async fn ask_node(
        &mut self,
        node: usize,
        questions: Vec<Pending>,
    ) -> Result<Vec<(Pending, Answer)>, ConnectionError> {
        let Some((_, connection)) = self.nodes.get_mut(node) else {
            return Err(ConnectionError::Redirected);
        };
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::new();
        for one in &questions {
            if one.asking {
                pipeline.add_command(cmd("ASKING"));
            }
            for command in &one.question {
                pipeline.add_command(command.clone());
            }
        }
        let count = pipeline.len();
        let replies = connection
            .send_packed_commands(&pipeline, 0, count)
            .await
            .map_err(|error| self.endpoint.redis_error(&error))?;
        let mut replies = replies.into_iter();
        Ok(questions
            .into_iter()
            .map(|one| {
                replies.by_ref().take(usize::from(one.asking)).for_each(drop);
                let replies = replies.by_ref().take(one.question.len()).collect();
                (one, complaint_or(replies))
            })
            .collect())
    }
}

/// The first complaint among the replies, those inside a transaction's included. It comes before
/// EXECABORT, which only says that there was one.
fn complaint_or(replies: Vec<Value>) -> Answer {
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

/// Where a node says that the key is: host, port, and whether to say ASKING there.
fn redirect(error: &RedisError) -> Option<(String, u16, bool)> {
    let (address, _) = error.redirect_node()?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), port.parse().ok()?, error.code() == Some("ASK")))
}

/// The masters in a reply to CLUSTER SLOTS: first and last slot, then the nodes, the master first.
fn masters_of(slots: &Value) -> Vec<(String, u16)> {
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

#[cfg(test)]
mod tests {
    use redis::{Value, parse_redis_value};

    use super::{complaint_or, masters_of, redirect};

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
            let error = complaint_or(vec![reply(text)]).unwrap_err();
            let expected = expected.map(|(host, port, asking)| (host.to_owned(), port, asking));
            assert_eq!(redirect(&error), expected, "{text}");
        }
    }

    #[test]
    fn the_first_complaint_counts_and_not_that_there_was_one() {
        let replies = ["+OK\r\n", "-NOPERM x\r\n", "+QUEUED\r\n", "-EXECABORT y\r\n"].map(reply);
        assert_eq!(complaint_or(replies.into()).unwrap_err().code(), Some("NOPERM"));
        let nested = reply("*2\r\n:1\r\n-WRONGTYPE z\r\n");
        assert_eq!(complaint_or(vec![nested]).unwrap_err().code(), Some("WRONGTYPE"));
        assert!(complaint_or(vec![reply("*-1\r\n")]).is_ok());
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
