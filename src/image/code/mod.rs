//! Sealed code: what the image's code was when it was built, and whether it still is. The models are
//! debsums and `rpm -V`, which name the files, and dm-verity, which lets only run what was signed.

mod bytes;
mod hash;
mod inspection;
mod inspector;
mod manifest;
mod mounts;
mod sealing;
mod tree;

pub use inspection::{Difference, Inspection, inspect};
pub use inspector::Inspector;
pub use manifest::MANIFEST;
pub use sealing::{SealedCode, SealingError, seal_code};
