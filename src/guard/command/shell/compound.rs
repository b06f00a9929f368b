//! Compound commands of a shell's language.

use std::rc::Rc;

use super::cursor::{Cursor, Read, Unreadable};
use super::lexer::{Word, is_of_name};
use super::parser::Parser;
use super::syntax::{Command, Simple};

impl Parser {
    /// The compound command that begins here, if one does.
    pub fn compound(&mut self) -> Read<Option<Command>> {
        if self.cursor.take("((") {
            let text = self.cursor.balanced('(', ')')?;
            self.cursor.take(")");
            let word = Cursor::as_if_quoted(&text, self.cursor.depth)?;
            return Ok(Some(Command::Arithmetic(word)));
        }
        if self.cursor.take("(") {
            let body = self.list()?;
            let is_closed = self.cursor.take(")");
            return is_closed.then(|| Some(Command::Subshell(Box::new(body)))).ok_or(Unreadable);
        }
        if self.take_word("coproc") {
            self.cursor.skip_blanks();
        }
        Ok(Some(if self.take_word("{") {
            let body = self.list()?;
            self.expect_word("}")?;
            body
        } else if self.take_word("if") {
            self.conditional()?
        } else if self.take_word("while") {
            self.repeated(false)?
        } else if self.take_word("until") {
            self.repeated(true)?
        } else if self.take_word("for") || self.take_word("select") {
            self.for_each()?
        } else if self.take_word("case") {
            self.case()?
        } else if self.stands("[[") {
            self.double_brackets()?
        } else if let Some(name) = self.function_name() {
            self.skip_lines()?;
            let body = self.deeper(Self::command)?;
            Command::Function(name, Rc::new(body))
        } else {
            return Ok(None);
        }))
    }

    fn conditional(&mut self) -> Read<Command> {
        let mut branches = Vec::new();
        let mut otherwise = Command::Sequence(Vec::new());
        loop {
            let condition = self.list()?;
            self.expect_word("then")?;
            branches.push((condition, self.list()?));
            self.skip_lines()?;
            if self.take_word("elif") {
                continue;
            }
            if self.take_word("else") {
                otherwise = self.list()?;
            }
            self.expect_word("fi")?;
            return Ok(Command::If(branches, Box::new(otherwise)));
        }
    }

    fn body(&mut self) -> Read<Box<Command>> {
        self.expect_word("do")?;
        let body = self.list()?;
        self.expect_word("done")?;
        Ok(Box::new(body))
    }

    fn repeated(&mut self, is_until: bool) -> Read<Command> {
        let condition = self.list()?;
        Ok(Command::Loop(Box::new(condition), self.body()?, is_until))
    }

    fn for_each(&mut self) -> Read<Command> {
        self.cursor.skip_blanks();
        if self.cursor.take("((") {
            self.cursor.balanced('(', ')')?;
            self.cursor.take(")");
            self.cursor.skip_blanks();
            self.cursor.take(";");
            return Ok(Command::For(String::new(), vec![Word::text("1")], self.body()?));
        }
        let name = self.cursor.take_while(is_of_name);
        self.skip_lines()?;
        // Without a list, the script's own arguments.
        let mut words = vec![Word::all_arguments()];
        if self.take_word("in") {
            words = self.words()?;
        }
        self.cursor.skip_blanks();
        self.cursor.take(";");
        Ok(Command::For(name, words, self.body()?))
    }

    fn words(&mut self) -> Read<Vec<Word>> {
        let mut words = Vec::new();
        loop {
            self.cursor.skip_blanks();
            match self.cursor.word()? {
                Some(word) => words.push(word),
                None => return Ok(words),
            }
        }
    }

    fn case(&mut self) -> Read<Command> {
        self.cursor.skip_blanks();
        let word = self.cursor.word()?.ok_or(Unreadable)?;
        self.expect_word("in")?;
        let mut arms = Vec::new();
        loop {
            self.skip_lines()?;
            if self.take_word("esac") {
                return Ok(Command::Case(word, arms));
            }
            self.cursor.take("(");
            let mut patterns = Vec::new();
            loop {
                self.cursor.skip_blanks();
                patterns.push(self.cursor.word()?.ok_or(Unreadable)?);
                self.cursor.skip_blanks();
                if self.cursor.take("|") {
                    continue;
                }
                if self.cursor.take(")") {
                    break;
                }
                return Err(Unreadable);
            }
            arms.push((patterns, self.list()?));
            self.skip_lines()?;
            if !self.cursor.take(";;&") && !self.cursor.take(";;") && !self.stands("esac") {
                return Err(Unreadable);
            }
        }
    }

    /// `[[ … ]]`, as one command of its words.
    fn double_brackets(&mut self) -> Read<Command> {
        let mut simple = Simple::default();
        loop {
            self.skip_lines()?;
            if self.take_word("]]") {
                simple.words.push(Word::text("]]"));
                return Ok(Command::Simple(simple));
            }
            if simple.words.last().and_then(Word::plain) == Some("=~") {
                let text = self.cursor.take_while(|character| !character.is_whitespace());
                simple.words.push(Word::text(&text));
                continue;
            }
            if let Some(word) = self.cursor.word()? {
                simple.words.push(word);
                continue;
            }
            // Operators, which stand alone here.
            let operator = self.cursor.take_while(|character| "&|<>()".contains(character));
            if operator.is_empty() {
                return Err(Unreadable);
            }
            simple.words.push(Word::text(&operator));
        }
    }

    /// The name in `name()` or `function name`, which is passed.
    fn function_name(&mut self) -> Option<String> {
        let from = self.cursor.at;
        let is_declared = self.take_word("function");
        self.cursor.skip_blanks();
        let name =
            self.cursor.take_while(|character| is_of_name(character) || "-.:".contains(character));
        self.cursor.skip_blanks();
        let has_brackets = self.cursor.take("(") && {
            self.cursor.skip_blanks();
            self.cursor.take(")")
        };
        if !name.is_empty() && (is_declared || has_brackets) {
            return Some(name);
        }
        self.cursor.at = from;
        None
    }
}
