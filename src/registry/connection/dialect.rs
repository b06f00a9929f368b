//! The options behind the `?` of a REDIS_URL, in the dialects of the usual clients. Pure.

use std::path::PathBuf;

use super::endpoint::{Endpoint, Place};
use super::login::{Login, Secret};

pub const NO_DATABASE: &str = "what stands behind the host is no number of a database";
pub const INSECURE: &str = "#insecure would send the password to anybody";

/// Options of other clients that say nothing about where Redis is and who logs in.
const NOT_OURS: [&str; 40] = [
    "abortconnect",
    "allowusernameinuri",
    "autopipelining",
    "blockingtimeout",
    "clientname",
    "client_name",
    "commandtimeout",
    "connecttimeout",
    "connect_timeout",
    "conn_max_idle_time",
    "conn_max_lifetime",
    "decode_responses",
    "dial_timeout",
    "enablereadycheck",
    "encoding",
    "family",
    "health_check_interval",
    "idle_timeout",
    "keepalive",
    "lazyconnect",
    "max_connections",
    "max_idle_conns",
    "max_retries",
    "maxretriesperrequest",
    "min_idle_conns",
    "min_retry_backoff",
    "max_retry_backoff",
    "pool_fifo",
    "pool_size",
    "pool_timeout",
    "protocol",
    "read_timeout",
    "retry_on_timeout",
    "single_connection_client",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_timeout",
    "timeout",
    "write_timeout",
    "verbatim",
];

/// The number of a database, where nothing is the first.
///
/// # Errors
/// That it is none.
pub fn database(text: &str) -> Result<u32, &'static str> {
    if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| NO_DATABASE) }
}

impl Endpoint {
    fn at_sentinels(&mut self, change: impl Fn(&mut Login)) {
        if let Place::Sentinels { login, .. } = &mut self.place {
            change(login.get_or_insert_default());
        }
    }

    /// Takes one option into account, and tells whether it is understood, or known not to concern a shim.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn heed(&mut self, name: &str, value: &str) -> Result<bool, &'static str> {
        let on = matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on" | "");
        let file = Some(PathBuf::from(value));
        let secret = || Secret(value.as_bytes().to_vec());
        match name.to_ascii_lowercase().as_str() {
            "ssl" | "tls" | "usessl" if on => self.tls = true,
            "ssl" | "tls" | "usessl" if self.tls => {
                self.odd.push("asks for TLS and for none: it is used".into());
            }
            "insecure" if on => return Err(INSECURE),
            "ssl" | "tls" | "usessl" | "insecure" => {}
            // What a template has not filled in.
            "db" | "database" | "virtualdb" | "user" | "username" | "pass" | "password"
            | "sentinelusername" | "sentinel_username" | "sentinelpassword"
            | "sentinel_password" | "ssl_ca_certs" | "ssl_certfile" | "ssl_keyfile"
            | "ssl_cert_reqs" | "ssl_check_hostname"
                if value.is_empty() => {}
            "db" | "database" | "virtualdb" => self.login.database = database(value)?,
            "user" | "username" => self.login.user = Some(value.to_owned()),
            "pass" | "password" => self.login.password = Some(secret()),
            "sentinelusername" | "sentinel_username" => {
                self.at_sentinels(|login| login.user = Some(value.to_owned()));
            }
            "sentinelpassword" | "sentinel_password" => {
                self.at_sentinels(|login| login.password = Some(secret()));
            }
            "ssl_ca_certs" => self.files.ca = file,
            "ssl_certfile" => self.files.cert = file,
            "ssl_keyfile" => self.files.key = file,
            "ssl_cert_reqs" if value.to_ascii_lowercase().ends_with("required") => {}
            "ssl_check_hostname" if on => {}
            "ssl_cert_reqs" | "ssl_check_hostname" => self.odd.push(format!(
                "asks with {name} for a server that is not checked: it is checked all the same"
            )),
            other => return Ok(NOT_OURS.contains(&other)),
        }
        Ok(true)
    }
}

/// That nobody here knows an option, with no more of it than what looks like a name.
pub fn unknown(name: &str) -> String {
    let looks_like_one =
        name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let name = if looks_like_one { name } else { "of another kind" };
    format!("has an option that is not known here: {name}")
}
