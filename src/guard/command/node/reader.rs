//! What reading a Node has found so far, and how it has come there.

use crate::guard::command::files::Files;
use crate::guard::command::invocation::{Invocation, Next, Place, cut, named_in};
use crate::runner::Runner;

pub struct NodeReader<'i, 'a, 'f> {
    pub invocation: &'i Invocation<'a>,
    pub files: &'f mut Files,
    /// The entry's own.
    pub arguments: Vec<String>,
    pub chain: Vec<String>,
    pub found: Vec<Next<'a>>,
}

impl<'a> NodeReader<'_, 'a, '_> {
    /// Where what it starts is executed.
    pub fn place(&self) -> Place<'a> {
        Place { chain: self.chain.clone(), ..self.invocation.place.clone() }
    }

    pub fn runs(&mut self, runner: Runner, step: Option<String>) {
        let chain = self.chain.iter().cloned().chain(step).collect();
        let words = self.invocation.words.clone();
        self.found.push(Next::Runs { runner, words, chain });
    }

    /// Whether a runner is there already, which then takes what is loaded afterwards.
    pub fn has_runner(&self) -> bool {
        self.found.iter().any(|next| matches!(next, Next::Runs { .. }))
    }

    /// With one step more in the chain.
    pub fn within(&mut self, step: &str, read: impl FnOnce(&mut Self)) {
        self.chain.push(cut(step).into_owned());
        read(self);
        self.chain.pop();
    }

    /// Text that can't be told, and may name a runner.
    pub fn doubt(&mut self, text: &str) {
        if let Some(runner) = named_in(text) {
            self.may_run(runner);
        }
    }

    pub fn may_run(&mut self, runner: Runner) {
        let (words, chain) = (self.invocation.words.clone(), self.chain.clone());
        self.found.push(Next::Doubt { runner, words, chain });
    }
}
