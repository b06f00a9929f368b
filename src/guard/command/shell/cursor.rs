//! A place in a text, and how to go on from it.

/// How deep quotes, substitutions and commands may nest.
pub const MAX_DEPTH: u32 = 40;

/// A text that this reader can't make out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

pub type Read<T> = Result<T, Unreadable>;

/// A place in a text.
#[derive(Debug)]
pub struct Cursor {
    text: Vec<char>,
    pub at: usize,
    pub depth: u32,
}

impl Cursor {
    pub fn new(text: &str, depth: u32) -> Self {
        Self { text: text.chars().collect(), at: 0, depth }
    }

    pub fn peek(&self) -> Option<char> {
        self.peek_at(0)
    }

    pub fn peek_at(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    pub fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += 1;
        Some(character)
    }

    pub fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(ahead, character)| self.peek_at(ahead) == Some(character))
    }

    /// Goes behind this text, if it stands here.
    pub fn take(&mut self, text: &str) -> bool {
        let stands = self.starts_with(text);
        if stands {
            self.at += text.chars().count();
        }
        stands
    }

    /// The characters up to the first that is none of these.
    pub fn take_while(&mut self, is_one: impl Fn(char) -> bool) -> String {
        let from = self.at;
        while self.peek().is_some_and(&is_one) {
            self.at += 1;
        }
        self.slice(from, self.at)
    }

    pub fn slice(&self, from: usize, to: usize) -> String {
        self.text.get(from..to).unwrap_or_default().iter().collect()
    }

    /// Goes one level down for as long as `read` takes.
    pub fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        if self.depth >= MAX_DEPTH {
            return Err(Unreadable);
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Blanks, line continuations and a comment.
    pub fn skip_blanks(&mut self) {
        loop {
            if self.take(" ") || self.take("\t") || self.take("\r") || self.take("\\\n") {
                continue;
            }
            if self.peek() == Some('#') {
                self.take_while(|character| character != '\n');
            }
            return;
        }
    }

    /// What stands up to the bracket that closes the one before, which is passed, too.
    pub fn balanced(&mut self, open: char, close: char) -> Read<String> {
        let from = self.at;
        let mut depth = 1_u32;
        while let Some(character) = self.next() {
            match character {
                '\\' => {
                    self.next();
                }
                '\'' => {
                    self.take_while(|character| character != '\'');
                    self.next().ok_or(Unreadable)?;
                }
                '"' => self.deeper(Self::skip_double_quoted)?,
                '#' if open == '(' && self.is_behind_a_blank() => {
                    self.take_while(|character| character != '\n');
                }
                _ if character == open => depth += 1,
                _ if character == close => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(self.slice(from, self.at - 1));
                    }
                }
                _ => {}
            }
        }
        Err(Unreadable)
    }

    /// Whether the character that was taken last began a word.
    fn is_behind_a_blank(&self) -> bool {
        let before = self.at.checked_sub(2).and_then(|at| self.text.get(at));
        before.is_none_or(|before| before.is_whitespace())
    }

    fn skip_double_quoted(&mut self) -> Read<()> {
        loop {
            if self.take("$(") {
                self.deeper(|cursor| cursor.balanced('(', ')'))?;
            } else if self.take("${") {
                self.deeper(|cursor| cursor.balanced('{', '}'))?;
            } else {
                match self.next().ok_or(Unreadable)? {
                    '"' => return Ok(()),
                    '\\' => {
                        self.next();
                    }
                    _ => {}
                }
            }
        }
    }
}
