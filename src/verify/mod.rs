//! Is the fleet what it should be? The verdict, how it looks, and how it is followed.

mod error;
mod follow;
mod render;
mod verdict;

pub use error::CannotAsk;
pub use follow::{wait, watch};
pub use render::{Format, Paint, Text, json, prometheus};
pub use verdict::{Expected, Report};
