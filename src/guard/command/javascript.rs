//! What JavaScript imports, as its first lines say. A reader of tokens, not of the language: comments and
//! strings are told apart from code, and a regular expression is taken for code.

/// A string in a program, and the code before it.
#[derive(Debug, PartialEq, Eq)]
pub struct Literal {
    pub text: String,
    /// The two tokens before it.
    before: [String; 2],
}

impl Literal {
    /// Whether it names what is imported, required or registered.
    pub fn is_specifier(&self) -> bool {
        let [other, last] = &self.before;
        match last.as_str() {
            "import" | "from" => true,
            "(" => ["require", "import", "register"].contains(&other.as_str()),
            _ => false,
        }
    }
}

/// The strings of a program, in order.
pub fn literals(code: &str) -> Vec<Literal> {
    let mut found = Vec::new();
    let mut before = [String::new(), String::new()];
    let mut rest =
        code.strip_prefix("#!").map_or(code, |line| line.split_once('\n').map_or("", |x| x.1));
    while let Some(first) = rest.chars().next() {
        let mut token = first.len_utf8();
        if rest.starts_with("//") {
            token = rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            token = rest.find("*/").map_or(rest.len(), |end| end + 2);
        } else if matches!(first, '"' | '\'' | '`') {
            let (text, length) = string(rest, first);
            token = length;
            found.push(Literal { text, before: before.clone() });
            remember(&mut before, "''");
        } else if is_of_name(first) {
            token = rest.find(|character| !is_of_name(character)).unwrap_or(rest.len());
            remember(&mut before, rest.get(..token).unwrap_or_default());
        } else if !first.is_whitespace() {
            remember(&mut before, rest.get(..token).unwrap_or_default());
        }
        rest = rest.get(token..).unwrap_or_default();
    }
    found
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '$'
}

fn remember(before: &mut [String; 2], token: &str) {
    before.swap(0, 1);
    let [_, last] = before;
    token.clone_into(last);
}

/// The text of the string that begins here, and how long it is with its quotes.
fn string(code: &str, quote: char) -> (String, usize) {
    let mut text = String::new();
    let mut characters = code.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
            '\n' if quote != '`' => return (text, at),
            _ if character == quote => return (text, at + 1),
            other => text.push(other),
        }
    }
    (text, code.len())
}

#[cfg(test)]
mod tests {
    use super::literals;

    fn specifiers(code: &str) -> Vec<String> {
        let found = literals(code).into_iter().filter(super::Literal::is_specifier);
        found.map(|literal| literal.text).collect()
    }

    #[test]
    fn what_is_imported_is_found_however_it_is_written() {
        for code in [
            "require('tsx/cjs');",
            "#!/usr/bin/env node\nimport \"tsx/cjs\"\n",
            "import { register } from 'tsx/cjs'",
            "await import(`tsx/cjs`)",
            "const m = require ( 'tsx/cjs' )",
            "import { register } from 'node:module'; register('tsx/cjs', import.meta.url)",
        ] {
            assert!(specifiers(code).contains(&"tsx/cjs".into()), "{code}");
        }
    }

    #[test]
    fn a_word_in_data_or_in_a_comment_is_not_imported() {
        for code in [
            "// require('tsx/cjs')\n",
            "/* import 'tsx/cjs' */",
            "console.log(\"require('tsx/cjs')\")",
            "const queue = 'tsx/cjs'",
            "queue('tsx/cjs')",
        ] {
            assert!(specifiers(code).is_empty(), "{code}");
        }
    }
}
