//! From an endpoint to a connection: names, addresses, Sentinels, TLS.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use hickory_net::proto::rr::{Name, RecordType};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

use super::endpoint::{Endpoint, Host, Place};
use super::error::{ConnectionError, Stage};
use super::name_servers::Answer;
use super::node::Node;
use super::resolver::Resolver;
use super::sentinel::ask_for_master;
use super::stream::Stream;
use super::tls::Trust;
use crate::escape::is_harmless;

/// How long an address is waited for before the next one is tried, too.
const HEDGE: Duration = Duration::from_millis(50);

/// How long IPv6 is waited for where IPv4 has no name, and the reverse.
const OTHER_KIND: Duration = Duration::from_millis(150);

/// One address of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    host: Host,
    address: IpAddr,
}

/// What an attempt has found of an endpoint so far.
#[derive(Debug, Default)]
pub struct Contacts {
    /// Each address, and whether it has been tried.
    addresses: RefCell<Vec<(Contact, bool)>>,
    /// The hosts whose names have been looked up.
    begun: RefCell<Vec<Host>>,
}

impl Contacts {
    fn add(&self, contact: &Contact) {
        let mut all = self.addresses.borrow_mut();
        if !all.iter().any(|(known, _)| known == contact) {
            all.push((contact.clone(), false));
        }
    }

    fn set_tried(&self, contact: &Contact) {
        for (known, tried) in self.addresses.borrow_mut().iter_mut() {
            *tried |= known == contact;
        }
    }

    /// The addresses that have not been tried.
    fn left(&self) -> Vec<Contact> {
        let all = self.addresses.borrow();
        all.iter().filter(|(_, tried)| !tried).map(|(contact, _)| contact.clone()).collect()
    }

    fn begin(&self, host: &Host) {
        self.begun.borrow_mut().push(host.clone());
    }

    fn has_begun(&self, host: &Host) -> bool {
        self.begun.borrow().contains(host)
    }
}

/// What it takes to connect.
pub struct Dialer<'a> {
    pub endpoint: &'a Endpoint,
    /// With TLS, whom to trust.
    pub trust: Option<&'a Arc<Trust>>,
    /// What is read from one connection at most, in bytes.
    pub max_reply_bytes: u64,
    pub stage: &'a Cell<Stage>,
    /// Which of the hosts and addresses to begin with.
    pub turn: usize,
}

impl Dialer<'_> {
    /// Connects to the endpoint, by an address that this attempt has not tried yet.
    ///
    /// # Errors
    /// What failed.
    pub async fn dial(&self, contacts: &Contacts) -> Result<Node, ConnectionError> {
        match &self.endpoint.place {
            Place::Unix(path) => {
                self.stage.set(Stage::Connecting);
                let stream = UnixStream::connect(path).await.map_err(ConnectionError::Connect)?;
                let here = Host { name: "127.0.0.1".into(), port: 0 };
                Ok(self.node(here, Box::new(stream)))
            }
            Place::Hosts(hosts) => self.dial_any(hosts, contacts).await,
            Place::Sentinels { hosts, master, login } => {
                let mut sentinel = self.dial_any(hosts, contacts).await?;
                let login = login.as_ref().unwrap_or(&self.endpoint.login);
                let host = ask_for_master(&mut sentinel, master, login).await?;
                self.dial_host(&host).await
            }
        }
    }

    /// Whether there is an address or a host that this attempt has not tried.
    pub fn has_more(&self, contacts: &Contacts) -> bool {
        let mut hosts = self.endpoint.hosts().iter();
        !contacts.left().is_empty() || hosts.any(|host| !contacts.has_begun(host))
    }

    /// Connects to one host, such as another node of the same cluster.
    ///
    /// # Errors
    /// What failed.
    pub async fn dial_host(&self, host: &Host) -> Result<Node, ConnectionError> {
        self.dial_any(std::slice::from_ref(host), &Contacts::default()).await
    }

    async fn dial_any(&self, hosts: &[Host], contacts: &Contacts) -> Result<Node, ConnectionError> {
        let resolver = OnceCell::new();
        let mut hosts: Vec<&Host> = hosts.iter().filter(|host| !contacts.has_begun(host)).collect();
        rotate(&mut hosts, self.turn);
        let known = contacts.left();
        let reached = async {
            let others = async {
                first_of(hosts.iter().map(|host| self.reach(host, &resolver, contacts))).await
            };
            if known.is_empty() {
                return others.await;
            }
            match self.connect_to_any(known, contacts).await {
                Err(_) if !hosts.is_empty() => others.await,
                reached => reached,
            }
        };
        let (contact, stream) = reached.await?;
        contacts.set_tried(&contact);
        // A transaction is one write; waiting for more of it would only cost time.
        let _ = stream.set_nodelay(true);
        let Some(trust) = self.trust else {
            return Ok(self.node(contact.host, Box::new(stream)));
        };
        self.stage.set(Stage::Tls);
        // A node announces its address; the certificate may have the name that the URL has.
        let own = contact.host.name.as_str();
        let configured = self.endpoint.names().filter(|_| own.parse::<IpAddr>().is_ok());
        let names: Vec<&str> = [own].into_iter().chain(configured).collect();
        let stream = trust.agree(stream, &names).await?;
        Ok(self.node(contact.host, Box::new(stream)))
    }

    fn node(&self, host: Host, stream: Box<dyn Stream>) -> Node {
        self.stage.set(Stage::Talking);
        Node::new(host, stream, self.trust.cloned(), self.max_reply_bytes)
    }

    /// The first connection to a host, by whatever it is called.
    async fn reach(
        &self,
        host: &Host,
        resolver: &OnceCell<Resolver>,
        contacts: &Contacts,
    ) -> Result<(Contact, TcpStream), ConnectionError> {
        contacts.begin(host);
        let of = |address| Contact { host: host.clone(), address };
        if let Ok(address) = host.name.parse() {
            return self.connect_to_any(vec![of(address)], contacts).await;
        }
        let resolver = resolver.get_or_init(Resolver::of_system);
        let known = resolver.known(&host.name);
        if !known.is_empty() {
            return self.connect_to_any(known.into_iter().map(of).collect(), contacts).await;
        }
        if !host.name.chars().all(is_harmless) {
            // A server has named it; the resolver's own words would repeat it.
            return Err(ConnectionError::NoAddress { host: host.shown() });
        }
        let failed = |source| ConnectionError::Resolve { host: host.shown(), source };
        let mut refused = ConnectionError::NoAddress { host: host.shown() };
        for name in resolver.servers.candidates(&host.name).map_err(failed)? {
            match self.reach_by_name(host, &name, resolver, contacts).await {
                Err(ConnectionError::NoAddress { .. }) => {}
                // Another name may be known, as libc sees it, but this one was not told not to be.
                Err(error @ ConnectionError::Resolve { .. }) => refused = error,
                reached => return reached,
            }
        }
        Err(refused)
    }

    /// The same by one name, as name servers know it. IPv4 and IPv6 each for itself: some name servers
    /// never answer for one of them.
    async fn reach_by_name(
        &self,
        host: &Host,
        name: &Name,
        resolver: &Resolver,
        contacts: &Contacts,
    ) -> Result<(Contact, TcpStream), ConnectionError> {
        let no_address = || ConnectionError::NoAddress { host: host.shown() };
        let family = async |kind| match resolver.ask(name, kind).await {
            Answer::Addresses(addresses) => {
                let of = |address| Contact { host: host.clone(), address };
                let all = addresses.into_iter().map(of).collect();
                self.connect_to_any(all, contacts).await.map_err(Some)
            }
            // Of another kind there may be one.
            Answer::NoData => Err(None),
            Answer::NoSuchName => Err(Some(no_address())),
            Answer::Failed(source) => {
                Err(Some(ConnectionError::Resolve { host: host.shown(), source }))
            }
        };
        self.stage.set(Stage::Resolving);
        let ipv4 = Box::pin(family(RecordType::A));
        if resolver.servers.no_aaaa {
            return ipv4.await.map_err(|error| error.unwrap_or_else(no_address));
        }
        let ipv6 = Box::pin(family(RecordType::AAAA));
        let (first, other) = match select(ipv4, ipv6).await {
            Either::Left((first, other)) | Either::Right((first, other)) => (first, other),
        };
        match first {
            Ok(reached) => Ok(reached),
            // A name server may say so of one kind alone, wrongly (RFC 4074); not for long, since
            // others never answer for IPv6.
            Err(Some(error @ ConnectionError::NoAddress { .. })) => {
                timeout(OTHER_KIND, other).await.unwrap_or(Err(None)).map_err(|_| error)
            }
            // The one that had an address has more to tell.
            Err(Some(error @ ConnectionError::Connect(_))) => other.await.map_err(|_| error),
            Err(first) => {
                let other = other.await;
                other.map_err(|other| other.or(first).unwrap_or_else(no_address))
            }
        }
    }

    async fn connect_to_any(
        &self,
        mut all: Vec<Contact>,
        contacts: &Contacts,
    ) -> Result<(Contact, TcpStream), ConnectionError> {
        self.stage.set(Stage::Connecting);
        rotate(&mut all, self.turn);
        for contact in &all {
            contacts.add(contact);
        }
        let each = all.into_iter().map(|contact| async move {
            let connected = TcpStream::connect((contact.address, contact.host.port)).await;
            match connected {
                Ok(stream) => Ok((contact, stream)),
                Err(error) => {
                    contacts.set_tried(&contact);
                    Err(ConnectionError::Connect(error))
                }
            }
        });
        first_of(each).await
    }
}

fn rotate<T>(all: &mut [T], turn: usize) {
    if !all.is_empty() {
        all.rotate_left(turn % all.len());
    }
}

/// The first success: each one begins when the one before has failed or takes long. Else the first
/// failure.
async fn first_of<T>(
    each: impl IntoIterator<Item = impl Future<Output = Result<T, ConnectionError>>>,
) -> Result<T, ConnectionError> {
    let (mut waiting, mut begun) = (each.into_iter().peekable(), FuturesUnordered::new());
    let mut refused = None;
    loop {
        begun.extend(waiting.next());
        let came = tokio::select! {
            came = begun.next() => came,
            () = sleep(HEDGE), if waiting.peek().is_some() => continue,
        };
        match came {
            Some(Ok(success)) => return Ok(success),
            Some(Err(error)) => refused = refused.or(Some(error)),
            None => {
                let nobody = || ConnectionError::Connect(io::ErrorKind::AddrNotAvailable.into());
                return Err(refused.unwrap_or_else(nobody));
            }
        }
    }
}
