//! What the image says it is.

mod code;
mod identity;
mod ownership;
mod policy;
mod seal;
mod sha;
mod wall;

pub use code::{Difference, Inspection, Inspector, MANIFEST, SealedCode, inspect};
pub use identity::{GitSha, ImageIdentity, Source};
pub use policy::{Enforce, Policy};
pub use seal::Seal;
pub use sha::{
    MIN_DIGITS, abbreviates, is_commit, is_dirty, is_same, is_too_short, is_whole, meaningful,
};
pub use wall::{Place, packages_of};
