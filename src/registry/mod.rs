//! The registry in Redis: who runs what. For monitoring only; nothing here may hold up a worker.

mod connection;
mod record;
mod registrar;

pub use connection::Endpoint;
pub use record::WorkerType;
pub use registrar::Registrar;
