//! Which ways a shell's commands go, where a status decides.

use super::condition::Status;
use super::evaluate::{Evaluator, Flow, UNKNOWN_STATUS};
use super::lexer::Word;
use super::state::State;
use super::syntax::Command;
use crate::guard::command::invocation::UNKNOWN;
use crate::guard::command::pattern;

/// How many words of a `for` its body is gone through with.
const MAX_TURNS: usize = 16;

impl<'a> Evaluator<'a, '_> {
    /// The right one of two, unless the left one's status decides.
    pub fn joined(
        &mut self,
        left: &Command,
        right: &Command,
        decisive: Status,
        state: &mut State<'a>,
    ) -> Flow {
        match self.command(left, state) {
            Flow::On(status) if status == decisive => Flow::On(status),
            Flow::On(Status::Unknown) => self.maybe(right, state),
            Flow::On(_) => self.command(right, state),
            flow => flow,
        }
    }

    /// What may be done or not.
    pub fn maybe(&mut self, command: &Command, state: &mut State<'a>) -> Flow {
        self.either_way(command, state);
        UNKNOWN_STATUS
    }

    /// The same, and what it leads to where it is done.
    fn either_way(&mut self, command: &Command, state: &mut State<'a>) -> Flow {
        let mut other = state.clone();
        let printed = self.printed.text.len();
        let flow = self.command(command, &mut other);
        if let Flow::On(_) = flow {
            state.merge(&other);
        }
        self.printed.is_told &= self.printed.text.len() == printed;
        flow
    }

    pub fn conditional(
        &mut self,
        branches: &[(Command, Command)],
        otherwise: &Command,
        state: &mut State<'a>,
    ) -> Flow {
        let mut is_certain = true;
        let mut all_end = true;
        for (condition, body) in branches {
            match self.command(condition, state) {
                Flow::On(Status::False) => {}
                Flow::On(Status::True) if is_certain => return self.command(body, state),
                Flow::On(status) => {
                    is_certain = false;
                    all_end &= self.either_way(body, state) == Flow::Ended;
                    if status == Status::True {
                        return if all_end { Flow::Ended } else { UNKNOWN_STATUS };
                    }
                }
                flow => return flow,
            }
        }
        if is_certain {
            return self.command(otherwise, state);
        }
        match self.command(otherwise, state) {
            Flow::Ended if all_end => Flow::Ended,
            _ => UNKNOWN_STATUS,
        }
    }

    pub fn case(
        &mut self,
        word: &Word,
        arms: &[(Vec<Word>, Command)],
        state: &mut State<'a>,
    ) -> Flow {
        let text = self.expand(word, state).join(" ");
        let mut all_end = text.contains(UNKNOWN);
        for (patterns, body) in arms {
            if text.contains(UNKNOWN) {
                all_end &= self.either_way(body, state) == Flow::Ended;
                continue;
            }
            let mut is_of =
                |pattern| pattern::matches(&self.expand(pattern, state).join(" "), &text);
            if patterns.iter().any(&mut is_of) {
                return self.command(body, state);
            }
        }
        // Without an arm for all that is left, it goes on behind.
        let is_whole = arms
            .iter()
            .any(|(patterns, _)| patterns.iter().any(|pattern| pattern.plain() == Some("*")));
        if all_end && is_whole { Flow::Ended } else { UNKNOWN_STATUS }
    }

    /// A loop: whatever the condition says later, the body may be gone through.
    pub fn repeated(
        &mut self,
        condition: &Command,
        body: &Command,
        is_until: bool,
        state: &mut State<'a>,
    ) -> Flow {
        match self.command(condition, state) {
            Flow::On(status) if status == Status::from(is_until) => Flow::On(Status::True),
            Flow::On(_) => self.maybe(body, state),
            flow => flow,
        }
    }

    /// The body with each of the words.
    pub fn for_each(
        &mut self,
        name: &str,
        words: &[Word],
        body: &Command,
        state: &mut State<'a>,
    ) -> Flow {
        let values: Vec<String> = words.iter().flat_map(|word| self.expand(word, state)).collect();
        for value in values.into_iter().take(MAX_TURNS) {
            state.assign(name, value);
            self.maybe(body, state);
        }
        UNKNOWN_STATUS
    }
}
