//! Is the fleet what it should be? The verdict, how it looks, and how it is followed.

mod blocks;
mod crash;
mod deaths;
mod error;
mod follow;
mod moment;
mod render;
mod requirement;
mod verdict;

pub use error::CannotAsk;
pub use follow::{wait, watch};
pub use render::{Format, Paint, Text, json, prometheus};
pub use requirement::Requirement;
pub use verdict::{Expected, Report};
