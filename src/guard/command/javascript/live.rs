//! Which tokens of a program are executed in production, as far as its conditions say. What stands behind
//! another condition counts as not executed, and what stands in a function as executed.

use super::tokens::{Kind, Token};

/// How deep blocks and brackets may stand in one another.
const MAX_DEPTH: u32 = 256;
/// What a line ends with or begins with when the statement goes on.
const GOES_ON: [&str; 21] = [
    ".", "?.", ",", "(", "[", "{", "=", "=>", "?", ":", "??", "&&", "||", "===", "!==", "==", "!=",
    "+", "*", "!", "<",
];
/// Words that stand behind a block's end in the same statement.
const BEHIND_BLOCK: [&str; 10] =
    ["else", "catch", "finally", "from", "as", "while", "of", "in", "instanceof", "with"];

/// Whether each of the tokens is executed.
pub fn live(tokens: &[Token]) -> Vec<bool> {
    let mut walk =
        Walk { tokens, live: vec![false; tokens.len()], at: 0, depth: 0, has_left: false };
    while walk.at < tokens.len() {
        walk.block(true);
    }
    walk.live
}

struct Walk<'t> {
    tokens: &'t [Token],
    live: Vec<bool>,
    at: usize,
    depth: u32,
    /// Whether what stands further on in the block is not reached.
    has_left: bool,
}

impl<'t> Walk<'t> {
    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.at)
    }

    fn is_at(&self, code: &str) -> bool {
        self.peek().is_some_and(|token| token.is(code))
    }

    fn is_before(&self, code: &str) -> bool {
        self.tokens.get(self.at + 1).is_some_and(|token| token.is(code))
    }

    /// The token before, in code.
    fn last(&self) -> Option<&'t Token> {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at))
    }

    fn take(&mut self, is_live: bool) {
        if let Some(live) = self.live.get_mut(self.at) {
            *live = is_live;
        }
        self.at += 1;
    }

    /// One level deeper; too deep, the rest is not read.
    fn deeper(&mut self, read: impl FnOnce(&mut Self)) {
        if self.depth >= MAX_DEPTH {
            self.at = self.tokens.len();
            return;
        }
        self.depth += 1;
        read(self);
        self.depth -= 1;
    }

    /// Statements up to the brace that ends them, with it.
    fn block(&mut self, is_live: bool) {
        while self.peek().is_some() {
            if self.is_at("}") {
                return self.take(is_live);
            }
            self.deeper(|walk| walk.statement(is_live && !walk.has_left));
        }
    }

    fn statement(&mut self, is_live: bool) {
        if self.is_at("{") {
            self.take(is_live);
            return self.block(is_live);
        }
        let leaves = is_live && (self.is_at("return") || self.is_at("throw"));
        self.expression(is_live, false);
        self.has_left |= leaves;
    }

    /// `if (…) … else …`.
    fn conditional(&mut self, is_live: bool) {
        self.take(is_live);
        self.take(is_live);
        let start = self.at;
        self.deeper(|walk| walk.expression(is_live, true));
        let end = self.at.saturating_sub(1);
        let truth = truth(self.tokens.get(start..end).unwrap_or_default());
        self.deeper(|walk| walk.statement(is_live && truth == Some(true)));
        if self.is_at("else") {
            self.take(is_live);
            self.deeper(|walk| walk.statement(is_live && truth == Some(false)));
        }
    }

    /// A statement without blocks of its own, or what stands between brackets up to the one that closes.
    fn expression(&mut self, is_live: bool, is_in_brackets: bool) {
        let (mut now, mut start) = (is_live, self.at);
        let begin = self.at;
        while let Some(token) = self.peek() {
            if self.at > begin && !is_in_brackets && self.ends_before(token) {
                return;
            }
            if token.is_text() {
                self.take(now);
                continue;
            }
            match token.text.as_str() {
                "(" | "[" => {
                    self.take(now);
                    self.deeper(|walk| walk.expression(now, true));
                }
                "{" => {
                    self.take(now);
                    let has_left = self.has_left;
                    self.deeper(|walk| walk.block(now));
                    self.has_left = has_left;
                }
                ")" | "]" if is_in_brackets => return self.take(now),
                "}" => return,
                ";" if !is_in_brackets => return self.take(now),
                "," | ";" => {
                    self.take(now);
                    (now, start) = (is_live, self.at);
                }
                "?" => {
                    now = false;
                    self.take(now);
                }
                "&&" | "||" => {
                    let before = truth(self.tokens.get(start..self.at).unwrap_or_default());
                    now = now && before == Some(token.is("&&"));
                    self.take(now);
                }
                "if" if self.is_before("(") && !self.last().is_some_and(|last| last.is(".")) => {
                    self.conditional(now);
                    if !is_in_brackets {
                        return;
                    }
                }
                "catch" | "switch" if !self.last().is_some_and(|last| last.is(".")) => {
                    self.uncertain();
                }
                _ => self.take(now),
            }
        }
    }

    /// What is only executed where something fails or has some value: `catch (…) {…}`, `switch (…) {…}`.
    fn uncertain(&mut self) {
        self.take(false);
        if self.is_at("(") {
            self.take(false);
            self.deeper(|walk| walk.expression(false, true));
        }
        if self.is_at("{") {
            self.take(false);
            self.deeper(|walk| walk.block(false));
        }
    }

    /// Whether the statement has ended before this token, without a semicolon.
    fn ends_before(&self, token: &Token) -> bool {
        let Some(last) = self.last() else { return false };
        let goes_on = |token: &Token| !token.is_text() && GOES_ON.contains(&token.text.as_str());
        if last.is("}") {
            let is_word = token.kind == Kind::Word;
            return is_word && !BEHIND_BLOCK.contains(&token.text.as_str());
        }
        token.begins_line && !goes_on(token) && !goes_on(last)
    }
}

/// Whether a condition holds in production, where it says so: it compares NODE_ENV with a string.
fn truth(condition: &[Token]) -> Option<bool> {
    let is_joint = |token: &Token| token.is("&&") || token.is("||");
    let mut parts = condition.split(is_joint).map(comparison);
    let mut joints = condition.iter().filter(|token| is_joint(token));
    let Some(joint) = joints.next() else { return parts.next().flatten() };
    if joints.any(|other| other.text != joint.text) {
        return None;
    }
    // One part that is false decides `&&`, and one that is true `||`.
    let decides = joint.is("||");
    let parts: Vec<Option<bool>> = parts.collect();
    if parts.contains(&Some(decides)) {
        return Some(decides);
    }
    parts.iter().all(|part| *part == Some(!decides)).then_some(!decides)
}

/// The same of one comparison.
fn comparison(condition: &[Token]) -> Option<bool> {
    let words = ["require", ".", "main", "===", "module"];
    if condition.len() == words.len()
        && condition.iter().zip(words).all(|(token, word)| token.is(word))
    {
        return Some(true);
    }
    if condition.iter().any(|token| token.is("!") || token.is("(")) {
        return None;
    }
    let names = |side: &[Token]| side.iter().any(|token| token.text == "NODE_ENV");
    let sign = condition
        .iter()
        .position(|token| ["===", "==", "!==", "!="].iter().any(|sign| token.is(sign)))?;
    let (left, right) = (condition.get(..sign)?, condition.get(sign + 1..)?);
    let value = match (left, right) {
        ([.., value], side) if value.is_text() && names(side) => value,
        (side, [value]) if value.is_text() && names(side) => value,
        _ => return None,
    };
    let is_equal = condition.get(sign)?.text.starts_with('=');
    Some((value.text == "production") == is_equal)
}
