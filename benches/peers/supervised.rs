//! A shim with one of the bench's own workers below it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::unistd::Pid;

#[derive(Debug)]
pub struct Supervised {
    pub name: &'static str,
    child: Child,
    /// None once the worker is let go.
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Supervised {
    /// Returns when the worker is ready.
    pub fn start(name: &'static str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let asks = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut supervised = Self { name, child, asks, answers };
        supervised.answer();
        supervised
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    pub fn ask(&mut self) {
        writeln!(self.asks.as_ref().expect("a pipe")).expect("the worker reads");
    }

    /// The worker's next line.
    pub fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "the worker of {} has ended", self.name);
        line.trim_end().to_owned()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.asks = None;
        self.child.wait().expect("wait");
    }
}
