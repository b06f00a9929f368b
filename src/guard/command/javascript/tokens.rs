//! A program's tokens: comments, strings and regular expressions are told apart from code.

/// How deep templates may stand in one another.
const MAX_DEPTH: u32 = 16;
/// Signs of more than one character that matter here, the longer ones first.
const SIGNS: [&str; 9] = ["===", "!==", "==", "!=", "=>", "&&", "||", "??", "?."];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name, a number or a regular expression.
    Word,
    /// A string, without its quotes.
    Text,
    /// A sign.
    Sign,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub kind: Kind,
    /// Whether it is the first one of its line.
    pub begins_line: bool,
}

impl Token {
    /// Whether it is this word or sign of code.
    pub fn is(&self, code: &str) -> bool {
        self.kind != Kind::Text && self.text == code
    }

    pub fn is_text(&self) -> bool {
        self.kind == Kind::Text
    }
}

/// The strings of a program, in order.
pub fn literals(code: &str) -> Vec<Token> {
    let mut found = tokens(code);
    found.retain(Token::is_text);
    found
}

/// All of them, in order.
pub fn tokens(code: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest =
        code.strip_prefix("#!").map_or(code, |line| line.split_once('\n').map_or("", |x| x.1));
    let mut begins_line = true;
    while let Some(first) = rest.chars().next() {
        let (token, length) = next(rest, first, found.last());
        let (passed, others) = rest.split_at_checked(length).unwrap_or((rest, ""));
        match token {
            Some((kind, text)) => {
                found.push(Token { text, kind, begins_line });
                begins_line = false;
            }
            None => begins_line |= passed.contains('\n'),
        }
        rest = others;
    }
    found
}

/// What stands first, nothing where that is a blank or a comment, and how long it is.
fn next(code: &str, first: char, last: Option<&Token>) -> (Option<(Kind, String)>, usize) {
    let until = |length: usize, kind| {
        let text = code.get(..length).unwrap_or_default().to_owned();
        (Some((kind, text)), length)
    };
    if code.starts_with("//") {
        return (None, code.find('\n').unwrap_or(code.len()));
    }
    if code.starts_with("/*") {
        return (None, code.find("*/").map_or(code.len(), |end| end + 2));
    }
    if first.is_whitespace() {
        return (None, first.len_utf8());
    }
    if matches!(first, '"' | '\'' | '`') {
        let (text, length) = string(code, first, 0);
        return (Some((Kind::Text, text)), length);
    }
    if is_of_name(first) {
        return until(code.find(|other| !is_of_name(other)).unwrap_or(code.len()), Kind::Word);
    }
    if first == '/'
        && may_begin_expression(last)
        && let Some(length) = expression(code)
    {
        return until(length, Kind::Word);
    }
    let sign = SIGNS.iter().find(|sign| code.starts_with(**sign));
    until(sign.map_or(first.len_utf8(), |sign| sign.len()), Kind::Sign)
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '$'
}

/// Whether a slash behind this is no division.
fn may_begin_expression(last: Option<&Token>) -> bool {
    let Some(last) = last else { return true };
    match last.kind {
        Kind::Text => false,
        Kind::Word => ["return", "typeof", "case"].contains(&last.text.as_str()),
        Kind::Sign => ![")", "]", "}"].contains(&last.text.as_str()),
    }
}

/// How long the regular expression is that begins here, if its line holds one.
fn expression(code: &str) -> Option<usize> {
    let mut is_in_class = false;
    let mut characters = code.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            '\n' => return None,
            '[' => is_in_class = true,
            ']' => is_in_class = false,
            '/' if !is_in_class => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The text of the string that begins here, and how long it is with its quotes.
fn string(code: &str, quote: char, depth: u32) -> (String, usize) {
    let mut text = String::new();
    let mut at = quote.len_utf8();
    while let Some(character) = code.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = code.get(at..).unwrap_or_default();
        let mut length = character.len_utf8();
        match character {
            '\\' => {
                let escaped = rest.chars().nth(1);
                length += escaped.map_or(0, char::len_utf8);
                text.extend(escaped);
            }
            '\n' if quote != '`' => return (text, at),
            _ if character == quote => return (text, at + length),
            '$' if quote == '`' && depth < MAX_DEPTH && rest.starts_with("${") => {
                length = embedded(rest, depth + 1);
                text.push_str(rest.get(..length).unwrap_or_default());
            }
            other => text.push(other),
        }
        at += length;
    }
    (text, code.len())
}

/// How long the code in a template is that begins here, with its braces.
fn embedded(code: &str, depth: u32) -> usize {
    let (mut at, mut braces) = (1, 0_u32);
    while let Some(character) = code.get(at..).and_then(|rest| rest.chars().next()) {
        let mut length = character.len_utf8();
        match character {
            '{' => braces += 1,
            '}' if braces <= 1 => return at + length,
            '}' => braces -= 1,
            '"' | '\'' | '`' => {
                length = string(code.get(at..).unwrap_or_default(), character, depth).1;
            }
            _ => {}
        }
        at += length;
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::literals;

    fn texts(code: &str) -> Vec<String> {
        literals(code).into_iter().map(|literal| literal.text).collect()
    }

    #[test]
    fn strings_are_told_apart_from_what_looks_like_them() {
        for code in [
            "x = 'tsx'",
            "// it's\nx = \"tsx\"",
            "/* `it's` */ x = `tsx`",
            "const r = /['\"`]/g; x = 'tsx'",
            "a = b / c; x = 'tsx' // '/",
            "#!/usr/bin/env node 'x'\nx = 'tsx'",
            "x = 't\\sx'",
        ] {
            assert_eq!(texts(code), ["tsx"], "{code}");
        }
    }

    #[test]
    fn a_template_holds_code_that_may_hold_another_one() {
        assert_eq!(texts("`a ${`b ${1}`} c` + 'x'"), ["a ${`b ${1}`} c", "x"]);
        assert_eq!(texts("`${{a: '}'}}`"), ["${{a: '}'}}"]);
        assert_eq!(texts(&"`${".repeat(50_000)).len(), 1);
    }
}
