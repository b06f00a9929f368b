//! The commands: each one's effects, in order. Only this floor knows several rooms.
//!
//! Those beside `run` are not inlined: what they need of the stack would be laid out at each start.

mod access;
mod announce;
mod check;
mod expect;
mod health;
mod interrupt;
mod quit;
mod reading;
mod run;
mod seal;
mod second_look;
mod usage;
mod verify;

pub use check::check;
pub use expect::expect;
pub use health::health;
pub use run::run;
pub use seal::seal;
pub use usage::explain;
pub use verify::verify;

pub use crate::verify::CannotAsk;
