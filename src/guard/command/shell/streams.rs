//! What a shell's commands read and print, as far as it can be told.

use std::mem;

use super::cursor::Cursor;
use super::evaluate::{Evaluator, Flow, UNKNOWN_STATUS};
use super::output::{Printed, printed};
use super::state::{State, unknown};
use super::syntax::{Command, Redirected, Simple};
use crate::guard::command::files::join;
use crate::guard::command::invocation::Input;

/// What of a command's output is kept, in bytes.
const MAX_PRINTED: usize = 64 * 1024;

impl<'a> Evaluator<'a, '_> {
    /// Commands side by side; what one prints, the next one reads.
    pub fn pipeline(&mut self, commands: &[Command], state: &State<'a>) -> Flow {
        let mut read = state.place.input.clone();
        let mut rest = commands.iter();
        while let Some(command) = rest.next() {
            let mut own = state.clone();
            own.place.input = read;
            if rest.as_slice().is_empty() {
                self.command(command, &mut own);
                break;
            }
            let file = file_of(command, &own);
            let printed = self.captured(|evaluator| {
                evaluator.command(command, &mut own);
            });
            read = file.or_else(|| printed.is_told.then_some(Input::Text(printed.text)));
        }
        UNKNOWN_STATUS
    }

    /// What is printed meanwhile, kept apart.
    pub fn captured(&mut self, run: impl FnOnce(&mut Self)) -> Printed {
        let before = mem::take(&mut self.printed);
        run(self);
        mem::replace(&mut self.printed, before)
    }

    /// What commands print that stand in a word.
    pub fn substituted(&mut self, commands: &str, state: &State<'a>) -> String {
        let printed = self.captured(|evaluator| {
            evaluator.text(commands, &mut state.clone());
        });
        if printed.is_told && !commands.is_empty() {
            printed.text.trim_end_matches('\n').to_owned()
        } else {
            unknown(&format!("{commands} {}", printed.text.trim_end()))
        }
    }

    /// What a command reads instead of what is there already.
    pub fn input(&mut self, simple: &Simple, state: &State<'a>) -> Option<Input> {
        match &simple.input {
            Some(Redirected::Here(here)) => {
                let text = here.text.get().cloned().unwrap_or_default();
                let word = Cursor::as_if_quoted(&text, 0).ok().filter(|_| here.is_expanded);
                let text = word.map_or(text, |word| self.expand(&word, state).join(" "));
                Some(Input::Text(text))
            }
            Some(Redirected::Text(word)) => Some(Input::Text(self.expand(word, state).join(" "))),
            Some(Redirected::File(word)) => {
                let path = self.expand(word, state).join(" ");
                Some(Input::File(join(&state.place.folder, path)))
            }
            None => None,
        }
    }

    /// Keeps what a command prints, where that can be told.
    pub fn print(&mut self, words: &[String], own: &State<'a>) {
        if own.functions.contains_key(words.first().map_or("", String::as_str)) {
            return;
        }
        match printed(words, own, self.files) {
            Some(Ok(text)) if self.printed.text.len() < MAX_PRINTED => self.printed.text += &text,
            Some(_) => self.printed.is_told = false,
            None => {}
        }
    }
}

/// The file that `cat` passes on as it is.
fn file_of(command: &Command, state: &State) -> Option<Input> {
    let Command::Simple(simple) = command else { return None };
    let [cat, path] = simple.words.as_slice() else { return None };
    let path = state.text(path, &mut |commands| unknown(commands));
    (cat.plain() == Some("cat")).then(|| Input::File(join(&state.place.folder, path)))
}
