//! The applications of an ecosystem file in JavaScript or JSON, as far as its literals tell them. A reader
//! of values, not of the language: what only an execution would tell is null.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// How deep values may stand in one another.
const MAX_DEPTH: u32 = 16;
/// How many values one holds that a name stands for.
const MAX_SIZE: usize = 1000;
/// How many tokens are read.
const MAX_TOKENS: usize = 20_000;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Text(String),
    Name(String),
    Sign(char),
}

/// Each object that has a script.
pub fn applications(code: &str) -> Vec<Value> {
    let mut reader = Reader { tokens: tokens(code), at: 0, named: HashMap::new() };
    let mut found = Vec::new();
    while let Some(token) = reader.token(0) {
        if let Token::Name(name) = token
            && reader.is_sign(1, '=')
        {
            let name = name.clone();
            let start = reader.at + 2;
            reader.at = start;
            let value = reader.value(0);
            reader.named.insert(name, value);
            reader.at = start;
        } else if reader.is_sign(0, '{') {
            let start = reader.at;
            let value = reader.value(0);
            if value.get("script").is_some() {
                found.push(value);
            } else {
                reader.at = start + 1;
            }
        } else {
            reader.at += 1;
        }
    }
    found
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    /// The values of variables.
    named: HashMap<String, Value>,
}

impl Reader {
    fn token(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead)
    }

    fn is_sign(&self, ahead: usize, sign: char) -> bool {
        self.token(ahead) == Some(&Token::Sign(sign))
    }

    /// Whether a value ends here: all else would make it an expression.
    fn is_end(&self) -> bool {
        match self.token(0) {
            Some(Token::Sign(sign)) => matches!(sign, ',' | ';' | '}' | ']' | ')'),
            Some(Token::Text(_)) => false,
            Some(Token::Name(_)) | None => true,
        }
    }

    /// The value that begins here.
    fn value(&mut self, depth: u32) -> Value {
        let found = match self.token(0).cloned() {
            _ if depth > MAX_DEPTH => Value::Null,
            Some(Token::Text(text)) => {
                self.at += 1;
                Value::String(text)
            }
            Some(Token::Name(name)) => {
                self.at += 1;
                self.of_name(&name)
            }
            Some(Token::Sign('[')) => self.list(depth),
            Some(Token::Sign('{')) => self.object(depth),
            _ => Value::Null,
        };
        if self.is_end() { found } else { self.skipped() }
    }

    fn of_name(&self, name: &str) -> Value {
        let is_plain = name.starts_with(|first: char| first.is_ascii_digit());
        if is_plain || name == "true" || name == "false" {
            return Value::String(name.to_owned());
        }
        self.named.get(name).filter(|value| size(value) <= MAX_SIZE).cloned().unwrap_or_default()
    }

    /// No value, but what stands in its place is passed over.
    fn skipped(&mut self) -> Value {
        let mut depth = 0_u32;
        while let Some(token) = self.token(0) {
            match token {
                Token::Sign('(' | '[' | '{') => depth += 1,
                Token::Sign(',' | ';' | '}' | ']' | ')') if depth == 0 => break,
                Token::Sign(')' | ']' | '}') => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        Value::Null
    }

    fn list(&mut self, depth: u32) -> Value {
        self.at += 1;
        let mut all = Vec::new();
        while self.token(0).is_some() && !self.is_sign(0, ']') {
            let start = self.at;
            all.push(self.value(depth + 1));
            self.pass(start, ']');
        }
        self.at += 1;
        Value::Array(all)
    }

    fn object(&mut self, depth: u32) -> Value {
        self.at += 1;
        let mut all = Map::new();
        while let Some(token) = self.token(0).filter(|_| !self.is_sign(0, '}')).cloned() {
            let start = self.at;
            match token {
                Token::Text(key) | Token::Name(key) if self.is_sign(1, ':') => {
                    self.at += 2;
                    let value = self.value(depth + 1);
                    all.insert(key, value);
                }
                // What is named as its variable is, or another object's entries.
                Token::Name(key) if self.is_sign(1, ',') || self.is_sign(1, '}') => {
                    all.insert(key.clone(), self.of_name(&key));
                    self.at += 1;
                }
                Token::Sign('.') if self.is_sign(1, '.') && self.is_sign(2, '.') => {
                    self.at += 3;
                    if let Value::Object(others) = self.value(depth + 1) {
                        all.extend(others);
                    }
                }
                _ => {
                    self.skipped();
                }
            }
            self.pass(start, '}');
        }
        self.at += 1;
        Value::Object(all)
    }

    /// Goes on behind a comma, and in any case further than from where it was.
    fn pass(&mut self, start: usize, end: char) {
        if self.is_sign(0, ',') || (self.at == start && !self.is_sign(0, end)) {
            self.at += 1;
        }
    }
}

fn tokens(code: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next().filter(|_| found.len() < MAX_TOKENS) {
        let mut length = first.len_utf8();
        if rest.starts_with("//") {
            length = rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            length = rest.find("*/").map_or(rest.len(), |end| end + 2);
        } else if matches!(first, '"' | '\'' | '`') {
            let (text, end) = string(rest, first);
            length = end;
            found.push(Token::Text(text));
            // What is inserted makes it an expression.
            if first == '`' && rest.get(..end).is_some_and(|text| text.contains("${")) {
                found.push(Token::Sign('+'));
            }
        } else if is_of_name(first) {
            length = rest.find(|character| !is_of_name(character)).unwrap_or(rest.len());
            found.push(Token::Name(rest.get(..length).unwrap_or_default().to_owned()));
        } else if !first.is_whitespace() {
            found.push(Token::Sign(first));
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    found
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '$'
}

/// The text of the string that begins here, and how long it is with its quotes.
fn string(code: &str, quote: char) -> (String, usize) {
    let mut text = String::new();
    let mut characters = code.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
            _ if character == quote => return (text, at + 1),
            other => text.push(other),
        }
    }
    (text, code.len())
}

/// How many values a value holds.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(all) => 1 + all.iter().map(size).sum::<usize>(),
        Value::Object(all) => 1 + all.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::applications;

    #[test]
    fn applications_are_found_however_they_are_written() {
        for code in [
            "module.exports = { apps: [{ name: 'w', script: 'a.ts', args: ['x'] }] };",
            "const apps = [{ name: 'w', script: 'a.ts', args: ['x'], }];\nmodule.exports = { apps };",
            "export default { apps: [{ name: \"w\", 'script': `a.ts`, args: ['x'] }] }",
            "{\"name\": \"w\", \"script\": \"a.ts\", \"args\": [\"x\"]}",
            "const base = { name: 'w', script: 'b.ts' };\nexports.apps = [{ ...base, script: 'a.ts', args: ['x'] }]",
            "const entry = 'a.ts'; exports.apps = [{ name: 'w', script: entry, args: ['x'] }]",
        ] {
            let found = applications(code);
            let expected = json!({"name": "w", "script": "a.ts", "args": ["x"]});
            assert!(found.contains(&expected), "{code}: {found:?}");
        }
    }

    #[test]
    fn what_only_an_execution_tells_is_null() {
        for script in ["dev ? 'a.ts' : 'b.js'", "`a.${x}`", "'a' + x", "x || 'a.ts'", "f('a.ts')"] {
            let code = format!("module.exports = {{ apps: [{{ script: {script}, name: 'w' }}] }}");
            let found = applications(&code);
            let of = |name| found.first().and_then(|app| app.get(name)).cloned();
            assert_eq!((of("script"), of("name")), (Some(Value::Null), Some(json!("w"))), "{code}");
        }
    }

    #[test]
    fn what_is_broken_comes_to_an_end() {
        for code in
            ["{", "{[", "[}", "{a:", "{...", "x = ", "{script: {script: [", "{)", "'", "((", "=}"]
        {
            applications(&code.repeat(50));
        }
    }
}
