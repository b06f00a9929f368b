//! Words of a shell's language, as POSIX and bash(1) quote them.

use super::cursor::{Cursor, Read, Unreadable};
use crate::guard::command::invocation::UNKNOWN;

/// A word before its expansion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Word(pub Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Text {
        text: String,
        is_quoted: bool,
    },
    Parameter {
        name: String,
        /// What stands behind the name in braces: `:-`, `#` and the like, and its word.
        operator: Option<(String, Word)>,
        is_quoted: bool,
    },
    /// The commands between `$(` and `)`, or between backquotes.
    Substitution {
        commands: String,
        is_quoted: bool,
    },
}

impl Word {
    /// The text of a word that holds nothing to expand and no quotes.
    pub fn plain(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Piece::Text { text, is_quoted: false }] => Some(text),
            _ => None,
        }
    }

    pub fn text(text: &str) -> Self {
        Self(vec![Piece::Text { text: text.into(), is_quoted: false }])
    }

    /// `"$@"`.
    pub fn all_arguments() -> Self {
        Self(vec![Piece::Parameter { name: "@".into(), operator: None, is_quoted: true }])
    }

    /// Its text as it stands there, quotes gone and nothing expanded.
    pub fn unquoted(&self) -> String {
        let texts = self.0.iter().map(|piece| match piece {
            Piece::Text { text, .. } => text.clone(),
            Piece::Parameter { name, .. } => format!("${name}"),
            Piece::Substitution { commands, .. } => format!("$({commands})"),
        });
        texts.collect()
    }

    fn push(&mut self, character: char, quoted: bool) {
        match self.0.last_mut() {
            Some(Piece::Text { text, is_quoted }) if *is_quoted == quoted => text.push(character),
            _ => self.0.push(Piece::Text { text: character.into(), is_quoted: quoted }),
        }
    }
}

impl Cursor {
    /// The word that begins here, which may be an empty one in quotes; `None` where none begins.
    pub fn word(&mut self) -> Read<Option<Word>> {
        let mut word = Word::default();
        let from = self.at;
        while let Some(character) = self.peek() {
            match character {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                '\'' => {
                    self.at += 1;
                    self.single_quoted(&mut word)?;
                }
                '"' => {
                    self.at += 1;
                    self.double_quoted(&mut word)?;
                }
                '\\' => {
                    self.at += 1;
                    match self.next() {
                        Some('\n') => {}
                        Some(other) => word.push(other, true),
                        None => word.push('\\', false),
                    }
                }
                '$' | '`' => self.expansion(&mut word, false)?,
                UNKNOWN => self.untold(&mut word),
                other => {
                    self.at += 1;
                    word.push(other, false);
                }
            }
        }
        Ok((self.at > from).then_some(word))
    }

    fn single_quoted(&mut self, word: &mut Word) -> Read<()> {
        word.0.push(Piece::Text { text: String::new(), is_quoted: true });
        loop {
            match self.next() {
                Some('\'') => return Ok(()),
                Some(character) => word.push(character, true),
                None => return Err(Unreadable),
            }
        }
    }

    /// bash(1)'s `$'…'`, with C's escapes.
    fn escaped(&mut self, word: &mut Word) -> Read<()> {
        loop {
            match self.next() {
                Some('\'') => return Ok(()),
                Some('\\') => match self.next().ok_or(Unreadable)? {
                    'n' => word.push('\n', true),
                    't' => word.push('\t', true),
                    'x' => {
                        let from = self.at;
                        let digits = self.take_while(|character| character.is_ascii_hexdigit());
                        let digits = digits.get(..2).unwrap_or(&digits);
                        self.at = from + digits.len();
                        let code = u32::from_str_radix(digits, 16).map_err(|_| Unreadable)?;
                        word.push(char::from_u32(code).ok_or(Unreadable)?, true);
                    }
                    other => word.push(other, true),
                },
                Some(character) => word.push(character, true),
                None => return Err(Unreadable),
            }
        }
    }

    /// What only an execution would tell: one piece, whatever stands in it.
    fn untold(&mut self, word: &mut Word) {
        self.at += 1;
        let text = self.take_while(|character| character != UNKNOWN);
        self.at += 1;
        word.0.push(Piece::Text { text: format!("{UNKNOWN}{text}{UNKNOWN}"), is_quoted: true });
    }

    fn double_quoted(&mut self, word: &mut Word) -> Read<()> {
        word.0.push(Piece::Text { text: String::new(), is_quoted: true });
        loop {
            match self.peek() {
                None => return Err(Unreadable),
                Some('"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some('$' | '`') => self.expansion(word, true)?,
                Some(UNKNOWN) => self.untold(word),
                Some('\\') => {
                    self.at += 1;
                    match self.next() {
                        Some('\n') => {}
                        Some(special @ ('$' | '`' | '"' | '\\')) => word.push(special, true),
                        Some(other) => {
                            word.push('\\', true);
                            word.push(other, true);
                        }
                        None => return Err(Unreadable),
                    }
                }
                Some(other) => {
                    self.at += 1;
                    word.push(other, true);
                }
            }
        }
    }

    /// All of a text that a shell expands as if it stood in double quotes, such as a here-document.
    pub fn as_if_quoted(text: &str, depth: u32) -> Read<Word> {
        let mut cursor = Self::new(text, depth);
        let mut word = Word::default();
        while let Some(character) = cursor.peek() {
            if matches!(character, '$' | '`') {
                cursor.expansion(&mut word, true)?;
            } else {
                cursor.at += 1;
                word.push(character, true);
            }
        }
        Ok(word)
    }

    /// What begins with `$` or a backquote.
    fn expansion(&mut self, word: &mut Word, is_quoted: bool) -> Read<()> {
        if self.take("`") {
            let mut commands = String::new();
            loop {
                match self.next() {
                    Some('`') => break,
                    Some('\\') if matches!(self.peek(), Some('`' | '\\' | '$')) => {
                        commands.extend(self.next());
                    }
                    Some(other) => commands.push(other),
                    None => return Err(Unreadable),
                }
            }
            word.0.push(Piece::Substitution { commands, is_quoted });
        } else if self.take("$((") {
            self.at -= 1;
            self.balanced('(', ')')?;
            self.take(")");
            word.0.push(Piece::Substitution { commands: String::new(), is_quoted });
        } else if self.take("$(") {
            let commands = self.balanced('(', ')')?;
            word.0.push(Piece::Substitution { commands, is_quoted });
        } else if self.take("${") {
            let piece = self.deeper(|cursor| cursor.in_braces(is_quoted))?;
            word.0.push(piece);
        } else if !is_quoted && self.take("$'") {
            self.escaped(word)?;
        } else if !is_quoted && self.take("$\"") {
            self.double_quoted(word)?;
        } else {
            self.at += 1;
            let name = match self.peek() {
                Some(special) if "@*#?$!-0123456789".contains(special) => {
                    self.at += 1;
                    special.into()
                }
                _ => self.take_while(is_of_name),
            };
            if name.is_empty() {
                word.push('$', is_quoted);
            } else {
                word.0.push(Piece::Parameter { name, operator: None, is_quoted });
            }
        }
        Ok(())
    }

    /// What stands in `${…}`, behind the opening brace.
    fn in_braces(&mut self, is_quoted: bool) -> Read<Piece> {
        let from = self.at;
        self.balanced('{', '}')?;
        let inside = self.slice(from, self.at - 1);
        let mut inner = Self::new(&inside, self.depth);
        let is_length = inside.len() > 1 && inner.take("#");
        let is_indirect = !is_length && inside.len() > 1 && inner.take("!");
        let mut name = if is_indirect { "!".to_owned() } else { String::new() };
        name.push_str(&inner.take_while(is_of_name));
        if name.is_empty() {
            name.extend(inner.next());
        }
        if inner.peek() == Some('[') {
            name.push_str(&inner.take_while(|character| character != ']'));
            name.extend(inner.next());
            name = name.replace("[*]", "[@]");
        }
        let operators = [
            ":-", ":=", ":+", ":?", "##", "%%", ",,", "^^", "//", "-", "=", "+", "?", "#", "%",
            ",", "^", "/", ":",
        ];
        let operator = operators.iter().find(|operator| inner.take(operator));
        let Some(operator) = operator.filter(|_| !is_length) else {
            return Ok(match inner.peek() {
                None if !is_length => Piece::Parameter { name, operator: None, is_quoted },
                // A length, and whatever else only a shell knows.
                _ => Piece::Substitution { commands: String::new(), is_quoted },
            });
        };
        let rest = inner.slice(inner.at, inside.chars().count());
        let rest = if is_quoted {
            Self::as_if_quoted(&rest, self.depth)?
        } else {
            whole(&rest, self.depth)?
        };
        Ok(Piece::Parameter { name, operator: Some(((*operator).to_owned(), rest)), is_quoted })
    }
}

/// A word that may hold blanks, such as the one behind `:-`.
fn whole(text: &str, depth: u32) -> Read<Word> {
    let mut cursor = Cursor::new(text, depth);
    let mut all = Word::default();
    while let Some(character) = cursor.peek() {
        if let Some(word) = cursor.deeper(Cursor::word)? {
            all.0.extend(word.0);
        } else {
            cursor.at += 1;
            all.push(character, false);
        }
    }
    Ok(all)
}

pub fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}
