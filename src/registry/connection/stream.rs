//! One connection, over which commands go and replies come back in order.
//!
//! Commands and replies are the Redis library's. Its own connection is not used: of a server that says
//! why it hangs up, as one with too many clients does, it keeps the hanging up alone; it gives the words
//! of a refused login away; and what a cancelled request has sent can't be followed by another one.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use combine::parser::combinator::AnySendSyncPartialState;
use combine::stream::{Decoder, PointerOffset};
use futures_util::future::{Either, select};
use redis::{Cmd, RedisError, Value, parse_redis_value_async};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, Take, WriteHalf};
use tokio::time::timeout;

type Replies = Decoder<AnySendSyncPartialState, PointerOffset<[u8]>>;

/// A stream of bytes in both directions, whatever carries it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection; it closes when it is dropped.
pub struct Connection {
    reader: Take<ReadHalf<Box<dyn Stream>>>,
    writer: WriteHalf<Box<dyn Stream>>,
    replies: Replies,
    /// What has not been written yet.
    outgoing: io::Cursor<Vec<u8>>,
    /// How many replies are still to come.
    owed: usize,
    /// Whether any has.
    heard: Arc<AtomicBool>,
}

impl Connection {
    /// Reads at most this many bytes.
    pub fn new(stream: Box<dyn Stream>, max_reply_bytes: u64) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader: reader.take(max_reply_bytes),
            writer,
            replies: Decoder::new(),
            outgoing: io::Cursor::default(),
            owed: 0,
            heard: Arc::default(),
        }
    }

    pub fn is_owed(&self) -> bool {
        self.owed > 0
    }

    pub fn heard(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.heard)
    }

    /// Sends all commands at once, and gives their replies, in order, and the error that came in the
    /// place of the rest. Dropped before its end, it leaves a connection that can be used again.
    pub async fn exchange<'c>(
        &mut self,
        commands: impl IntoIterator<Item = &'c Cmd>,
    ) -> (Vec<Value>, Option<io::Error>) {
        self.exchange_until(commands, |_| false).await
    }

    /// The same, with no more replies than tell enough.
    pub async fn exchange_until<'c>(
        &mut self,
        commands: impl IntoIterator<Item = &'c Cmd>,
        is_enough: impl Fn(&[Value]) -> bool,
    ) -> (Vec<Value>, Option<io::Error>) {
        let of_others = self.owed;
        self.append(commands);
        let (mut replies, mut others) = (Vec::new(), of_others);
        let Self { reader, writer, replies: decoder, outgoing, owed, heard } = self;
        let read = async {
            while *owed > 0 && !is_enough(&replies) {
                let reply = parse_redis_value_async(decoder, reader)
                    .await
                    .map_err(|error| as_io(&error))?;
                *owed -= 1;
                heard.store(true, Ordering::Relaxed);
                if others > 0 {
                    others -= 1;
                } else {
                    replies.push(reply);
                }
            }
            Ok(())
        };
        let (read, write) = (Box::pin(read), Box::pin(flush(writer, outgoing)));
        let end = match select(read, write).await {
            Either::Left((end, _)) => end,
            // What can't be written may have been answered before: the server has hung up.
            Either::Right((_, read)) => read.await,
        };
        let error = end.err().map(|error| match self.reader.limit() {
            0 => io::Error::other("it says more than is read of it"),
            _ => error,
        });
        (replies, error)
    }

    /// Reads the replies that are still to come, at most this long.
    pub async fn settle(&mut self, limit: Duration) {
        let _ = timeout(limit, self.exchange([])).await;
    }

    /// Sends commands behind those that are on their way, and waits for no reply.
    pub async fn post<'c>(&mut self, commands: impl IntoIterator<Item = &'c Cmd>, limit: Duration) {
        self.append(commands);
        let _ = timeout(limit, flush(&mut self.writer, &mut self.outgoing)).await;
    }

    fn append<'c>(&mut self, commands: impl IntoIterator<Item = &'c Cmd>) {
        for command in commands {
            command.write_packed_command(self.outgoing.get_mut());
            self.owed += 1;
        }
    }
}

async fn flush(
    writer: &mut (impl AsyncWrite + Unpin),
    outgoing: &mut io::Cursor<Vec<u8>>,
) -> io::Result<()> {
    while outgoing.position() < outgoing.get_ref().len() as u64 {
        writer.write_buf(outgoing).await?;
    }
    outgoing.get_mut().clear();
    outgoing.set_position(0);
    writer.flush().await
}

/// The stream's own error, where that is the reason.
fn as_io(error: &RedisError) -> io::Error {
    let source = error.source().and_then(|source| {
        source.downcast_ref::<Arc<dyn Error + Send + Sync>>()?.downcast_ref::<io::Error>()
    });
    match source {
        // What a TLS error says is in it, and can't be taken out of what is shared: told by its text.
        Some(io) => {
            match io.get_ref().and_then(|inner| inner.downcast_ref::<tokio_rustls::rustls::Error>())
            {
                Some(tls) => io::Error::other(tls.clone()),
                None => io::Error::from(io.kind()),
            }
        }
        None => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
    }
}
