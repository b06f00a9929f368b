//! The way to Redis: where it is, and how to get a connection to it.

mod access;
mod certificates;
mod common_name;
mod dial;
mod dialect;
mod ecdsa;
mod endpoint;
mod error;
mod login;
mod name_servers;
mod node;
mod refusal;
mod resolver;
mod sentinel;
mod stream;
mod tls;
mod url;
mod verifier;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod url_properties;

pub use access::Access;
pub use dial::{Contacts, Dialer};
pub use endpoint::{CertificateFiles, Endpoint, Host};
pub use error::{ConnectionError, Stage};
pub use login::Login;
pub use node::Node;
pub use tls::Trust;
