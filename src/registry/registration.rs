//! The settings of a registration.

use std::time::Duration;

use super::connection::Access;
use super::drift::OnDrift;
use super::key::{KeyPrefix, WorkerType};
use super::place::Place;

/// Where and as what the worker registers.
#[derive(Debug)]
pub struct Registration {
    /// What is needed to register, or why the worker runs unregistered; `None` where it is not meant to
    /// be registered.
    pub target: Result<(WorkerType, Access), Option<String>>,
    /// Where the worker runs.
    pub place: Place,
    pub key_prefix: KeyPrefix,
    /// At most this long for the first attempt.
    pub timeout: Duration,
    /// The time between two signs of life.
    pub heartbeat: Duration,
    /// What to do once the worker is no longer what is published, and how long after that.
    pub on_drift: OnDrift,
    pub drift_grace: Duration,
}
