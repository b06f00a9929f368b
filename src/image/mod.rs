//! What the image says it is.

mod identity;
mod policy;
mod seal;

pub use identity::{GitSha, ImageIdentity, Source, is_dirty, meaningful};
pub use policy::{Enforce, Policy};
pub use seal::Seal;
