//! What a goodbye leaves behind.

use serde::{Deserialize, Serialize};

/// How many departures of a type are remembered.
pub const MAX_DEPARTURES: u64 = 10;

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerEnd {
    /// With this exit code.
    Exited(u8),
    /// By this signal.
    Killed(u8),
}

/// What a goodbye leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Departure {
    pub id: String,
    pub hostname: String,
    pub git_sha: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<u8>,
    /// Whether the worker was asked to stop, and did not end by itself.
    #[serde(default)]
    pub was_asked: bool,
    /// By Redis's clock, as RFC 3339.
    pub at: String,
}
