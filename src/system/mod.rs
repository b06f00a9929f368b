//! What the kernel is asked for where no safe wrapper exists. All unsafe code of the shim is here.
//!
//! Signals are numbers here, not an enum: real-time ones and those that libc keeps for itself
//! (32 and 33) have to pass as well, so masks go to the kernel without libc in between.
#![allow(unsafe_code)]

#[cfg(target_env = "musl")]
pub mod allocator;
pub mod children;
pub mod descriptors;
mod entry;
pub mod environment;
pub mod kernel;
pub mod memory;
pub mod process;
pub mod signals;
pub mod spawn;
pub mod terminal;
