//! The registry in Redis: which instance runs what. For monitoring only; nothing here may hold up a
//! worker.

mod batch;
mod client;
mod connection;
mod departure;
mod drift;
mod drift_watch;
mod eviction;
mod expectation;
mod fleet;
mod key;
mod keyspace;
mod leftover;
mod place;
mod published;
mod reader;
mod record;
mod registrar;
mod registration;
mod report;
mod routing;
mod session;
mod standing;
mod task;
mod thread;
mod timestamp;

#[cfg(test)]
mod properties;

pub use connection::{Access, CertificateFiles, ConnectionError, Endpoint};
pub use departure::WorkerEnd;
pub use drift::OnDrift;
pub use expectation::{ALL_TYPES, Published, clear, publish};
pub use fleet::{Departed, EscapedText, Fleet, Instance, StoredRecord, age};
pub use key::{KeyPrefix, WorkerType, in_ms};
pub use place::Place;
pub use published::{now, published};
pub use reader::read;
pub use registrar::Registrar;
pub use registration::Registration;
pub use report::Overtaken;
pub use session::Session;
pub use standing::Standing;
pub use timestamp::rfc3339;
