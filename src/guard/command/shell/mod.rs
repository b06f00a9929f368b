//! A reader of shells' commands: POSIX's language, and what of bash(1) stands in start scripts.
//!
//! Own, since the crates that parse it are not for the first process of a container: of a few dozen
//! brackets one takes seconds for each, of a few thousand another one overflows its stack.

mod branch;
mod builtin;
mod compound;
mod condition;
mod cursor;
mod evaluate;
mod expansion;
mod lexer;
mod output;
mod parser;
mod state;
mod streams;
mod syntax;

pub use evaluate::executed;
