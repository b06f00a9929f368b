//! Which names and which name servers a lookup tries, and when an answer counts. Pure.
//! It follows resolv.conf(5) and what libc's resolver makes of it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_net::NetError;
use hickory_net::proto::rr::Name;
use resolv_conf::ScopedIp;

const DNS_PORT: u16 = 53;

/// What resolv.conf says.
#[derive(Debug)]
pub struct NameServers {
    pub addresses: Vec<SocketAddr>,
    pub search: Vec<Name>,
    ndots: usize,
    /// For one question to one server.
    pub timeout: Duration,
    pub attempts: u8,
    /// TCP alone.
    pub use_vc: bool,
    pub no_aaaa: bool,
}

impl NameServers {
    /// Reads a resolv.conf. What can't be understood of it is left out, as libc does; with `rotated` the
    /// servers begin at another one, where the file asks for that.
    pub fn new(text: &[u8], rotated: usize) -> Self {
        let (config, _) = resolv_conf::Config::parse_with_errors(text);
        let mut addresses: Vec<SocketAddr> =
            config.get_nameservers_or_local().iter().map(socket_address).collect();
        // More than three are ignored by every libc.
        addresses.truncate(3);
        if config.rotate && !addresses.is_empty() {
            let first = rotated % addresses.len();
            addresses.rotate_left(first);
        }
        let search = config.get_last_search_or_domain();
        Self {
            addresses,
            search: search.filter_map(|domain| Name::from_str_relaxed(domain).ok()).collect(),
            ndots: config.ndots.try_into().unwrap_or(1),
            timeout: Duration::from_secs(config.timeout.clamp(1, 30).into()),
            attempts: config.attempts.clamp(1, 5).try_into().unwrap_or(2),
            use_vc: config.use_vc,
            no_aaaa: config.no_aaaa,
        }
    }

    /// The names that a host name can stand for, in the order in which they are asked for.
    ///
    /// # Errors
    /// That it is no name.
    pub fn candidates(&self, host: &str) -> Result<Vec<Name>, NetError> {
        // Relaxed: compose services are often called something_like_this.
        let name = Name::from_str_relaxed(host)?;
        let mut absolute = name.clone();
        absolute.set_fqdn(true);
        if name.is_fqdn() {
            return Ok(vec![absolute]);
        }
        // What gets too long in a search domain is no name there.
        let searched =
            self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
        let dots = host.matches('.').count();
        Ok(if dots >= self.ndots {
            [absolute].into_iter().chain(searched).collect()
        } else {
            searched.chain([absolute]).collect()
        })
    }
}

fn socket_address(server: &ScopedIp) -> SocketAddr {
    match server {
        ScopedIp::V4(address) => (IpAddr::V4(*address), DNS_PORT).into(),
        ScopedIp::V6(address, zone) => {
            let index = |zone: &String| nix::net::if_::if_nametoindex(zone.as_str()).ok();
            let zone = zone.as_ref().and_then(|zone| zone.parse().ok().or_else(|| index(zone)));
            std::net::SocketAddrV6::new(*address, DNS_PORT, 0, zone.unwrap_or_default()).into()
        }
    }
}

/// What a name server says about one name.
#[derive(Debug)]
pub enum Answer {
    Addresses(Vec<IpAddr>),
    /// The name is there and has no address of this kind.
    NoData,
    NoSuchName,
    /// It does not know, or did not say.
    Failed(NetError),
}

/// The answer that counts of those that have come, in the servers' order; `None` while it is open. A "no"
/// of a server counts once all before it have failed.
pub fn settled(answers: &mut [Option<Answer>]) -> Option<Answer> {
    let last = answers.len().checked_sub(1)?;
    for (place, answer) in answers.iter_mut().enumerate() {
        match answer {
            None => return None,
            Some(Answer::Failed(_)) if place < last => {}
            Some(_) => return answer.take(),
        }
    }
    None
}

/// Takes those for failed that have not answered before a "no" came, and gives their places.
pub fn give_up(answers: &mut [Option<Answer>]) -> Vec<usize> {
    let is_no =
        |answer: &Option<Answer>| matches!(answer, Some(Answer::NoData | Answer::NoSuchName));
    let first_no = answers.iter().position(is_no).unwrap_or(answers.len());
    let mut silent = Vec::new();
    for (place, answer) in answers.iter_mut().enumerate().take(first_no) {
        if answer.is_none() {
            *answer = Some(Answer::Failed(NetError::Timeout));
            silent.push(place);
        }
    }
    silent
}

/// The addresses that a hosts file has for a name; hosts(5).
pub fn in_hosts_file(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.trim_end_matches('.');
    let addresses = text.lines().filter_map(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
    });
    addresses.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hickory_net::NetError;

    use super::{Answer, NameServers, give_up, in_hosts_file, settled};

    fn names(resolv_conf: &str, host: &str) -> Vec<String> {
        let servers = NameServers::new(resolv_conf.as_bytes(), 0);
        servers.candidates(host).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_with_few_dots_is_searched_first() {
        let cluster = "search ns.svc.cluster.local svc.cluster.local\noptions ndots:2";
        assert_eq!(
            names(cluster, "redis.ns"),
            ["redis.ns.ns.svc.cluster.local.", "redis.ns.svc.cluster.local.", "redis.ns."]
        );
        assert_eq!(
            names(cluster, "redis.example.com"),
            [
                "redis.example.com.",
                "redis.example.com.ns.svc.cluster.local.",
                "redis.example.com.svc.cluster.local."
            ]
        );
        assert_eq!(names(cluster, "redis.ns."), ["redis.ns."]);
        assert_eq!(names("domain example.com", "redis"), ["redis.example.com.", "redis."]);
        assert_eq!(names("", "redis"), ["redis."]);
    }

    #[test]
    fn what_resolv_conf_says_wrong_is_left_out() {
        let long = "x".repeat(70);
        let text = format!(
            "nameserver 10.0.0.1\nnameserver nonsense\nsearch {long}.local good.local\nfoo bar\nnameserver 10.0.0.2\n"
        );
        assert_eq!(names(&text, "redis"), ["redis.good.local.", "redis."]);
        let servers = NameServers::new(text.as_bytes(), 0).addresses;
        assert_eq!(servers, ["10.0.0.1:53".parse().unwrap(), "10.0.0.2:53".parse().unwrap()]);
    }

    #[test]
    fn the_options_of_resolv_conf_count() {
        let text =
            "nameserver 10.0.0.1\nnameserver 10.0.0.2\noptions timeout:3 attempts:4 rotate use-vc";
        let servers = NameServers::new(text.as_bytes(), 1);
        assert_eq!((servers.timeout, servers.attempts), (Duration::from_secs(3), 4));
        assert!(servers.use_vc);
        assert_eq!(servers.addresses[0], "10.0.0.2:53".parse().unwrap());
    }

    #[test]
    fn a_no_counts_once_all_before_it_have_failed() {
        let failed = || Some(Answer::Failed(NetError::Timeout));
        assert!(settled(&mut []).is_none());
        assert!(settled(&mut [None, Some(Answer::NoSuchName)]).is_none());
        assert!(settled(&mut [failed(), None]).is_none());
        for answers in [
            &mut [failed(), Some(Answer::NoSuchName)],
            &mut [Some(Answer::NoSuchName), None],
            &mut [Some(Answer::NoSuchName), failed()],
        ] {
            assert!(matches!(settled(answers), Some(Answer::NoSuchName)));
        }
        assert!(matches!(settled(&mut [failed(), failed()]), Some(Answer::Failed(_))));
    }

    #[test]
    fn those_before_a_no_are_waited_for_only_so_long() {
        let mut answers = [None, Some(Answer::NoSuchName), None];
        assert_eq!(give_up(&mut answers), [0]);
        assert!(matches!(settled(&mut answers), Some(Answer::NoSuchName)));
    }

    #[test]
    fn a_hosts_file_names_addresses_in_any_case_and_with_comments() {
        let text =
            "127.0.0.1 localhost\n10.0.0.1\tredis.internal Redis # old\n::1 redis\nbad redis\n";
        let found: Vec<String> =
            in_hosts_file(text, "redis").iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.1", "::1"]);
        assert!(in_hosts_file(text, "old").is_empty());
        assert_eq!(in_hosts_file(text, "redis.internal.").len(), 1);
    }
}
