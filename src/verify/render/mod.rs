//! The report in the formats that `verify` prints. Pure.

#[cfg(test)]
mod fixture;
mod json;
mod prometheus;
mod table;
mod text;
mod words;

use clap::ValueEnum;

pub use json::json;
pub use prometheus::prometheus;
pub use table::table;
pub use text::Text;
pub use words::{Paint, progress};

/// How the verdict looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// That of the deployment integrity document.
    Text,
    Json,
    /// For the node exporter's textfile collector.
    Prometheus,
}
