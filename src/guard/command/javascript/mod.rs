//! What a program in JavaScript loads and starts, as its first lines say. A reader of tokens, not of the
//! language.

mod live;
mod references;
mod tokens;

pub use references::{Reference, references};
pub use tokens::literals;
