//! Who the image says it is.

mod identity;
mod seal;

pub use identity::{GitSha, ImageIdentity, Source, meaningful};
pub use seal::{Seal, seal};
