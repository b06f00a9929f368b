//! The registry in Redis: who runs what. For monitoring only; nothing here may hold up a worker.

mod connection;
mod fleet;
mod record;
mod registrar;
mod session;

use redis::Value;

pub use connection::{ConnectionError, Endpoint};
#[cfg(test)]
pub use fleet::HeardRecord;
pub use fleet::{Fleet, Heard, Instance, age, read};
pub use record::WorkerType;
pub use registrar::Registrar;

/// Unix time in ms, from a reply to TIME: seconds and microseconds.
fn unix_ms(time: &Value) -> Option<u64> {
    let (seconds, micros): (u64, u64) = redis::from_redis_value(time.clone()).ok()?;
    seconds.checked_mul(1000)?.checked_add(micros / 1000)
}
