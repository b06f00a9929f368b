//! The reader of commands: from the worker's command to what it really executes, step by step.
//!
//! Each reader takes a command and gives what it executes next, as values; here they are followed until
//! none is left. Nothing is executed, and files are read through `Files` alone.

mod dotenv;
mod files;
mod invocation;
mod javascript;
mod launchers;
mod lookup;
mod manifest;
mod node;
mod node_options;
mod packages;
mod pattern;
mod program;
mod shell;
mod shells;
mod wrappers;

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use files::Files;
use invocation::{Invocation, Next, Place, Variables};
use node_options::NodeOptions;

use crate::escape::Escape;
use crate::runner::Runner;
use crate::system::environment::Environment;

/// How many commands one may lead to.
const MAX_COMMANDS: usize = 1000;
/// How many of them may lead to one another.
const MAX_DEPTH: u32 = 48;

/// What reading a command has shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub runs: Vec<Run>,
    /// How it leads to each program at an end, whatever that does.
    pub ends: Vec<Vec<String>>,
    /// What could not be read, as sentences.
    pub unread: Vec<String>,
}

/// That code is run by a runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub runner: Runner,
    /// The command that shows it.
    pub words: Vec<String>,
    /// How the worker's command leads there.
    pub chain: Vec<String>,
    /// Whether the runner's name only stands in what can't be told before it is executed.
    pub is_doubtful: bool,
}

impl Run {
    /// The chain in one line, harmless.
    pub fn shown(&self) -> String {
        shown(&self.chain)
    }
}

impl fmt::Display for Run {
    /// What the worker's command does.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { runner, is_doubtful, .. } = self;
        match (runner, is_doubtful) {
            (Runner::StripTypes, false) => {
                write!(f, "The worker command has Node run TypeScript: {}", self.shown())
            }
            (_, false) => write!(f, "The worker command runs {runner}: {}", self.shown()),
            (_, true) => write!(
                f,
                "The worker command may run {runner}, which can't be told before it runs: {}. Write the command out, without eval and variables in its place",
                self.shown()
            ),
        }
    }
}

/// A chain in one line, harmless.
pub fn shown(chain: &[String]) -> String {
    let steps: Vec<String> = chain.iter().map(|step| Escape(step).to_string()).collect();
    steps.join(" → ")
}

/// Reads a command as it would be executed with these variables in this folder.
pub fn read(command: &[OsString], environment: &Environment, folder: &Path) -> Reading {
    let words = command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let place = Place {
        folder: folder.to_owned(),
        variables: Variables::new(environment),
        chain: Vec::new(),
        depth: 0,
    };
    let mut files = Files::new();
    let mut reading = Reading::default();
    let mut waiting = vec![Next::Command(Invocation { words, place })];
    let mut count = 0;
    while let Some(next) = waiting.pop() {
        count += 1;
        if count > MAX_COMMANDS {
            files.tell(format!("it leads to more than {MAX_COMMANDS} commands"));
            break;
        }
        let (depth, mut following) = match next {
            Next::Runs { runner, words, chain } => {
                reading.runs.push(Run { runner, words, chain, is_doubtful: false });
                continue;
            }
            Next::Doubt { runner, words, chain } => {
                reading.runs.push(Run { runner, words, chain, is_doubtful: true });
                continue;
            }
            Next::Command(invocation) => {
                let following = follow(&invocation, &mut files);
                if following.is_empty() {
                    reading.ends.push(invocation.chain());
                }
                (invocation.place.depth, following)
            }
            Next::Shell(script) => (script.place.depth, shell::executed(&script, &mut files)),
        };
        if depth >= MAX_DEPTH {
            files.tell(format!("it leads to itself, or through more than {MAX_DEPTH} commands"));
            continue;
        }
        for next in &mut following {
            match next {
                Next::Command(Invocation { place, .. })
                | Next::Shell(invocation::Script { place, .. }) => place.depth = depth + 1,
                Next::Runs { .. } | Next::Doubt { .. } => {}
            }
        }
        following.reverse();
        waiting.append(&mut following);
    }
    reading.unread = files.unread;
    reading
}

/// What a command executes next.
fn follow<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let name = program::base(invocation.program());
    by_name(name, invocation, files)
        .unwrap_or_else(|| program::program(invocation, is_known, files))
}

/// The same by the reader of this name, where there is one.
fn by_name<'a>(
    name: &str,
    invocation: &Invocation<'a>,
    files: &mut Files,
) -> Option<Vec<Next<'a>>> {
    match name {
        "node" | "nodejs" => {
            let options = NodeOptions::parse(invocation.arguments());
            let mut found = node::node(invocation, files);
            found.extend(packages::run_by_node(&options, invocation, files));
            Some(found)
        }
        "busybox" => {
            let words = invocation.arguments().to_vec();
            Some(vec![Next::Command(Invocation { words, place: invocation.place.clone() })])
        }
        _ if shells::SHELLS.contains(&name) => Some(shells::shell(invocation, files)),
        _ => packages::managed(name, invocation, files)
            .or_else(|| launchers::launched(name, invocation, files))
            .or_else(|| wrappers::wrapped(name, invocation, files)),
    }
}

/// Whether a program that a link leads to is known by its name.
fn is_known(name: &str) -> bool {
    ["node", "nodejs", "npm", "npx", "pnpm", "yarn", "bun", "deno"].contains(&name)
        || shells::SHELLS.contains(&name)
}
