//! The registry in Redis: which instance runs what. For monitoring only; nothing here may hold up a
//! worker.

mod batch;
mod client;
mod connection;
mod endpoint;
mod error;
mod fleet;
mod key;
mod keyspace;
mod leftover;
mod reader;
mod record;
mod registrar;
mod session;
mod task;

pub use endpoint::Endpoint;
pub use error::ConnectionError;
#[cfg(test)]
pub use fleet::StoredRecord;
pub use fleet::{Departed, EscapedText, Fleet, Instance, age};
pub use key::{KeyPrefix, WorkerType, in_ms};
pub use reader::read;
pub use record::WorkerEnd;
pub use registrar::Registrar;
pub use session::Session;
pub use task::Registration;
