//! How much is measured: what the README's figures take, and a short form.

use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub struct Lengths {
    /// Starts of each shim.
    pub starts: usize,
    /// Starts of a Node worker behind each kind of guards.
    pub node_starts: usize,
    /// Starts of which the page faults are counted: they differ by a few.
    pub faulting_starts: usize,
    /// Blocks of signals to each shim.
    pub signal_blocks: usize,
    /// Containers of each shim in which orphans are made.
    pub reaping_rounds: usize,
    /// Processes of each shim whose memory is read.
    pub memory_rounds: usize,
    /// So long after the start it is read. The second look takes 15 s, a moment of a worker's life.
    pub memory_age: Duration,
    pub idle: Duration,
}

pub const FULL: Lengths = Lengths {
    starts: 1000,
    node_starts: 100,
    faulting_starts: 51,
    signal_blocks: 40,
    reaping_rounds: 40,
    memory_rounds: 5,
    memory_age: Duration::from_secs(16),
    idle: Duration::from_secs(30),
};

pub const QUICK: Lengths = Lengths {
    starts: 150,
    node_starts: 10,
    faulting_starts: 11,
    signal_blocks: 6,
    reaping_rounds: 4,
    memory_rounds: 1,
    memory_age: Duration::from_secs(1),
    idle: Duration::from_secs(3),
};
