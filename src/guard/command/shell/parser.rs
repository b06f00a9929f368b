//! From a shell's text to its commands: lists, pipelines, here-documents and simple commands.

use super::cursor::{Cursor, Read, Unreadable};
use super::lexer::{Word, is_of_name};
use super::syntax::{Assignment, Command, Here, Redirected, Simple};

/// How many commands `&&` and `||` join.
const MAX_LINKS: u32 = 200;

/// Reads commands, one after the other.
pub struct Parser {
    pub cursor: Cursor,
    /// Here-documents that begin at the next line: each with its delimiter, and whether tabs go.
    waiting: Vec<(Here, String, bool)>,
}

/// Reads a whole text.
///
/// # Errors
/// It is no shell's language, or nested deeper than anybody writes.
pub fn parse(text: &str, depth: u32) -> Read<Command> {
    let mut parser = Parser { cursor: Cursor::new(text, depth), waiting: Vec::new() };
    let body = parser.list()?;
    match parser.cursor.peek() {
        None => Ok(body),
        Some(_) => Err(Unreadable),
    }
}

impl Parser {
    /// Commands up to the end, a closing bracket or a word that closes what is around them.
    pub fn list(&mut self) -> Read<Command> {
        let mut all = Vec::new();
        loop {
            self.skip_lines()?;
            if self.cursor.peek().is_none() || self.is_closed() {
                return Ok(Command::Sequence(all));
            }
            all.push(self.and_or()?);
            self.cursor.skip_blanks();
            match self.cursor.peek() {
                None | Some('\n' | ')') => {}
                Some(';') => {
                    if !self.cursor.starts_with(";;") {
                        self.cursor.at += 1;
                    }
                }
                Some('&') => self.cursor.at += 1,
                Some(_) => return Err(Unreadable),
            }
        }
    }

    fn is_closed(&self) -> bool {
        let words = ["then", "elif", "else", "fi", "do", "done", "esac", "}"];
        self.cursor.peek() == Some(')')
            || self.cursor.starts_with(";;")
            || words.iter().any(|word| self.stands(word))
    }

    /// Whether this reserved word stands here, whole.
    pub fn stands(&self, word: &str) -> bool {
        let next = self.cursor.peek_at(word.len());
        self.cursor.starts_with(word)
            && next.is_none_or(|next| next.is_whitespace() || ";&|()<>".contains(next))
    }

    pub fn take_word(&mut self, word: &str) -> bool {
        let stands = self.stands(word);
        if stands {
            self.cursor.at += word.len();
        }
        stands
    }

    pub fn expect_word(&mut self, word: &str) -> Read<()> {
        self.skip_lines()?;
        if self.take_word(word) { Ok(()) } else { Err(Unreadable) }
    }

    /// Blanks and line ends, and the here-documents behind these.
    pub fn skip_lines(&mut self) -> Read<()> {
        loop {
            self.cursor.skip_blanks();
            if !self.cursor.take("\n") {
                return Ok(());
            }
            for (here, delimiter, tabs_go) in std::mem::take(&mut self.waiting) {
                let text = self.here_document(&delimiter, tabs_go);
                let _ = here.text.set(text);
            }
        }
    }

    fn here_document(&mut self, delimiter: &str, tabs_go: bool) -> String {
        let mut text = String::new();
        while self.cursor.peek().is_some() {
            let line = self.cursor.take_while(|character| character != '\n');
            self.cursor.take("\n");
            let line = if tabs_go { line.trim_start_matches('\t') } else { &line };
            if line == delimiter {
                break;
            }
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    fn and_or(&mut self) -> Read<Command> {
        let mut left = self.pipeline()?;
        for _ in 0..MAX_LINKS {
            self.cursor.skip_blanks();
            let is_and = self.cursor.take("&&");
            if !is_and && !self.cursor.take("||") {
                return Ok(left);
            }
            self.skip_lines()?;
            let right = Box::new(self.pipeline()?);
            left = if is_and {
                Command::And(Box::new(left), right)
            } else {
                Command::Or(Box::new(left), right)
            };
        }
        Err(Unreadable)
    }

    fn pipeline(&mut self) -> Read<Command> {
        self.cursor.skip_blanks();
        if self.take_word("!") {
            let negated = self.deeper(Self::pipeline)?;
            return Ok(Command::Not(Box::new(negated)));
        }
        let first = self.deeper(Self::command)?;
        let mut all = vec![first];
        loop {
            self.cursor.skip_blanks();
            if self.cursor.starts_with("||") || !self.cursor.take("|") {
                break;
            }
            self.cursor.take("&");
            self.skip_lines()?;
            all.push(self.deeper(Self::command)?);
        }
        match all.len() {
            1 => all.pop().ok_or(Unreadable),
            _ => Ok(Command::Pipeline(all)),
        }
    }

    pub fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        self.cursor.deeper(|_| Ok(()))?;
        self.cursor.depth += 1;
        let result = read(self);
        self.cursor.depth -= 1;
        result
    }

    pub fn command(&mut self) -> Read<Command> {
        let compound = self.compound()?;
        let Some(compound) = compound else { return self.simple() };
        // What a compound command reads and writes is nothing to follow.
        let mut redirected = Simple::default();
        loop {
            self.cursor.skip_blanks();
            if !self.redirection(&mut redirected)? {
                return Ok(compound);
            }
        }
    }

    fn simple(&mut self) -> Read<Command> {
        let mut simple = Simple::default();
        loop {
            self.cursor.skip_blanks();
            if self.redirection(&mut simple)? {
                continue;
            }
            let declares = simple.words.first().and_then(Word::plain).is_some_and(|name| {
                ["declare", "local", "readonly", "export", "typeset"].contains(&name)
            });
            if let Some((name, appends)) = self.assigned_name(simple.words.is_empty(), declares) {
                let values = self.assigned_values()?;
                simple.assignments.push(Assignment { name, appends, values });
                continue;
            }
            if self.descriptor_name() {
                continue;
            }
            match self.cursor.word()? {
                Some(word) => simple.words.push(word),
                None if simple == Simple::default() => return Err(Unreadable),
                None => return Ok(Command::Simple(simple)),
            }
        }
    }

    /// The name in `NAME=` or `NAME+=`, which is passed, and whether it is the latter: before a command, or
    /// where one declares an array.
    fn assigned_name(&mut self, is_before: bool, declares: bool) -> Option<(String, bool)> {
        let from = self.cursor.at;
        let name = self.cursor.take_while(is_of_name);
        let is_name = name.starts_with(|first: char| !first.is_ascii_digit());
        let appends = self.cursor.starts_with("+=");
        if is_name
            && (self.cursor.take("+=") || self.cursor.take("="))
            && (is_before || declares && self.cursor.peek() == Some('('))
        {
            return Some((name, appends));
        }
        self.cursor.at = from;
        None
    }

    /// Whether `{NAME}` stood here before a redirection, for the descriptor that this opens.
    fn descriptor_name(&mut self) -> bool {
        let from = self.cursor.at;
        let is_one = self.cursor.take("{")
            && !self.cursor.take_while(is_of_name).is_empty()
            && self.cursor.take("}")
            && matches!(self.cursor.peek(), Some('<' | '>'));
        if !is_one {
            self.cursor.at = from;
        }
        is_one
    }

    fn assigned_values(&mut self) -> Read<Vec<Word>> {
        if !self.cursor.take("(") {
            return Ok(vec![self.cursor.word()?.unwrap_or_default()]);
        }
        let mut values = Vec::new();
        loop {
            self.skip_lines()?;
            if self.cursor.take(")") {
                return Ok(values);
            }
            values.push(self.cursor.word()?.ok_or(Unreadable)?);
        }
    }

    /// Whether a redirection stood here; what is read from it is kept.
    fn redirection(&mut self, simple: &mut Simple) -> Read<bool> {
        let from = self.cursor.at;
        let number = self.cursor.take_while(|character| character.is_ascii_digit());
        let operators = ["<<<", "<<-", "<<", "&>>", "&>", ">>", ">&", ">|", "<&", "<>", ">", "<"];
        let operator = operators.into_iter().find(|operator| self.cursor.take(operator));
        let Some(operator) = operator else {
            self.cursor.at = from;
            return Ok(false);
        };
        if matches!(operator, "<" | ">") && self.cursor.take("(") {
            simple.beside.push(self.cursor.balanced('(', ')')?);
            return Ok(true);
        }
        self.cursor.skip_blanks();
        let word = self.cursor.word()?.ok_or(Unreadable)?;
        match operator {
            "<<<" => simple.input = Some(Redirected::Text(word)),
            "<" if number.is_empty() || number == "0" => {
                simple.input = Some(Redirected::File(word));
            }
            "<<" | "<<-" => {
                let here = Here { is_expanded: word.plain().is_some(), ..Here::default() };
                self.waiting.push((here.clone(), word.unquoted(), operator == "<<-"));
                simple.input = Some(Redirected::Here(here));
            }
            _ => {}
        }
        Ok(true)
    }
}
