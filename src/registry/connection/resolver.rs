//! Name resolution, as libc does it and without libc: a static glibc binary dies of its name service in
//! images whose nsswitch.conf names a module of another glibc, and with it, as PID 1, the container.
//!
//! The questions are put by a DNS library's client. Its resolver is not used: it believes the first "no"
//! of two servers that it asks at once, fails for all of resolv.conf where one search domain is odd, and
//! throws a truncated answer away where TCP is blocked.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_net::NetError;
use hickory_net::proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Query, ResponseCode};
use hickory_net::proto::rr::{Name, RData, RecordType};
use hickory_net::runtime::{RuntimeProvider, TokioRuntimeProvider};
use hickory_net::tcp::TcpClientStream;
use hickory_net::udp::UdpClientStream;
use hickory_net::xfer::{DnsHandle, DnsRequestSender};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::name_servers::{Answer, NameServers, give_up, in_hosts_file, settled};
use crate::input::read_small;

/// How long a name server is waited for before the next one is asked, too.
const HEDGE: Duration = Duration::from_millis(200);
/// How long an answer is waited for before the question is put again, to the same server: what is lost
/// on the way is asked for in time for an attempt.
const RETRY: Duration = Duration::from_millis(400);
/// How long the whole of an answer is waited for whose beginning is there.
const TCP_LIMIT: Duration = Duration::from_millis(300);
/// How much longer the servers before one that says "no" are waited for: with the whole time that libc
/// gives them, 10 s, no attempt here would ever come past one that is dead.
const LAST_CALL: Duration = Duration::from_millis(700);
/// What is read of /etc/hosts and of /etc/resolv.conf, in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// What the system's files say.
pub struct Resolver {
    hosts: String,
    pub servers: NameServers,
    /// The places of the servers that were waited for in vain.
    silent: RefCell<BTreeSet<usize>>,
}

impl Resolver {
    /// Reads the files; a missing one is as good as an empty one.
    pub fn of_system() -> Self {
        let read = |path| read_small(Path::new(path), MAX_FILE_BYTES).unwrap_or_default();
        Self {
            hosts: String::from_utf8_lossy(&read("/etc/hosts")).into_owned(),
            servers: NameServers::new(&read("/etc/resolv.conf"), fastrand::usize(..)),
            silent: RefCell::default(),
        }
    }

    /// The addresses that need no name server: those of the hosts file, and of this machine by its
    /// usual name (RFC 6761).
    pub fn known(&self, host: &str) -> Vec<IpAddr> {
        let found = in_hosts_file(&self.hosts, host);
        if found.is_empty() && host.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
            return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        found
    }

    /// Asks the name servers: one after the other, the next one also while one is slow. Addresses count
    /// at once, whoever has them.
    pub async fn ask(&self, name: &Name, kind: RecordType) -> Answer {
        let servers = &self.servers.addresses;
        let mut answers: Vec<Option<Answer>> = servers.iter().map(|_| None).collect();
        let mut asked = FuturesUnordered::new();
        let (mut next, mut last_call) = (0, None);
        loop {
            while let (Some(server), Some(answer)) = (servers.get(next), answers.get_mut(next)) {
                let place = next;
                asked.push(async move { (place, self.ask_one(*server, name, kind).await) });
                next += 1;
                if !self.silent.borrow().contains(&place) {
                    break;
                }
                *answer = Some(Answer::Failed(NetError::Timeout));
            }
            let came = tokio::select! {
                came = asked.next() => came,
                () = sleep(HEDGE), if next < servers.len() => continue,
                () = sleep_until(last_call.unwrap_or_else(Instant::now)), if last_call.is_some() => {
                    self.silent.borrow_mut().extend(give_up(&mut answers));
                    return settled(&mut answers).unwrap_or(Answer::Failed(NetError::Timeout));
                }
            };
            let Some((place, answer)) = came else {
                return Answer::Failed(NetError::NoConnections);
            };
            if matches!(answer, Answer::Addresses(_)) {
                return answer;
            }
            if !matches!(answer, Answer::Failed(_)) {
                last_call = last_call.or(Some(Instant::now() + LAST_CALL));
            }
            if let Some(slot) = answers.get_mut(place) {
                *slot = Some(answer);
            }
            if let Some(answer) = settled(&mut answers) {
                return answer;
            }
        }
    }

    async fn ask_one(&self, server: SocketAddr, name: &Name, kind: RecordType) -> Answer {
        let meaning = |response| meaning(response, name, kind);
        let by_tcp = async || meaning(self.by_tcp(server, name, kind).await);
        if self.servers.use_vc {
            return by_tcp().await;
        }
        match self.by_udp(server, name, kind).await {
            Ok(response) if response.truncation => match meaning(Ok(response)) {
                // What came is better than nothing, and than to wait for long.
                Answer::Addresses(some) => match timeout(TCP_LIMIT, by_tcp()).await {
                    Ok(Answer::Addresses(all)) => Answer::Addresses(all),
                    _ => Answer::Addresses(some),
                },
                _ => by_tcp().await,
            },
            // Such as one that is longer than it may be, and does not say so.
            Err(error) if !matches!(error, NetError::Timeout | NetError::Io(_)) => by_tcp().await,
            response => meaning(response),
        }
    }

    async fn by_udp(
        &self,
        server: SocketAddr,
        name: &Name,
        kind: RecordType,
    ) -> Result<DnsResponse, NetError> {
        let NameServers { timeout, attempts, .. } = self.servers;
        let mut stream = UdpClientStream::builder(server, Sockets::default())
            .with_timeout(Some(timeout * attempts.into()))
            .with_max_retries(attempts)
            .with_os_port_selection(true)
            .build();
        first(stream.send_message(request(name, kind, timeout))).await
    }

    async fn by_tcp(
        &self,
        server: SocketAddr,
        name: &Name,
        kind: RecordType,
    ) -> Result<DnsResponse, NetError> {
        let timeout = self.servers.timeout;
        // It stops what it has started when it is dropped.
        let sockets = Sockets::default();
        let exchange =
            TcpClientStream::exchange(server, None, timeout, None, sockets.clone()).await?;
        first(exchange.send(request(name, kind, timeout))).await
    }
}

/// The runtime's sockets, where UDP's are connected, as libc's are: nobody else can answer.
#[derive(Clone, Default)]
struct Sockets(TokioRuntimeProvider);

impl RuntimeProvider for Sockets {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = <TokioRuntimeProvider as RuntimeProvider>::Udp;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.0.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        own: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Tcp>>>> {
        self.0.connect_tcp(server, own, timeout)
    }

    fn bind_udp(
        &self,
        own: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Udp>>>> {
        Box::pin(async move {
            let socket = UdpSocket::bind(own).await?;
            socket.connect(server).await?;
            Ok(socket)
        })
    }
}

fn request(name: &Name, kind: RecordType, timeout: Duration) -> DnsRequest {
    let mut options = DnsRequestOptions::default();
    options.retry_interval = timeout.min(RETRY);
    // As libc: a server that knows no extensions may refuse a question with one.
    options.use_edns = false;
    DnsRequest::from_query(Query::query(name.clone(), kind), options)
}

async fn first(
    mut answers: impl StreamExt<Item = Result<DnsResponse, NetError>> + Unpin,
) -> Result<DnsResponse, NetError> {
    answers.next().await.unwrap_or(Err(NetError::Timeout))
}

/// What a response says of a name and its aliases; SERVFAIL, REFUSED and what is odd are no answers.
fn meaning(response: Result<DnsResponse, NetError>, name: &Name, kind: RecordType) -> Answer {
    let response = match response {
        Ok(response) => response,
        Err(error) => return Answer::Failed(error),
    };
    let (mut name, mut addresses) = (name, Vec::new());
    for record in &response.answers {
        match &record.data {
            _ if record.name != *name => {}
            RData::CNAME(alias) => name = &alias.0,
            data if record.record_type() == kind => addresses.extend(data.ip_addr()),
            _ => {}
        }
    }
    match response.response_code {
        ResponseCode::NoError if addresses.is_empty() => Answer::NoData,
        ResponseCode::NoError => Answer::Addresses(addresses),
        ResponseCode::NXDomain => Answer::NoSuchName,
        code => Answer::Failed(NetError::Message(words(code))),
    }
}

fn words(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::ServFail => "the name server says SERVFAIL",
        ResponseCode::Refused => "the name server says REFUSED",
        ResponseCode::FormErr => "the name server says FORMERR",
        ResponseCode::NotImp => "the name server says NOTIMP",
        _ => "the name server answers with an error",
    }
}
