//! Text from outside, made harmless.

use std::fmt::{self, Write};

/// Shows a value that came from outside with its control characters escaped: it can neither forge a
/// log line nor reach the terminal behind it.
#[derive(Debug)]
pub struct Escape<'a>(pub &'a str);

impl fmt::Display for Escape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.chars().try_for_each(|character| {
            if is_harmless(character) {
                f.write_char(character)
            } else {
                write!(f, "{}", character.escape_default())
            }
        })
    }
}

/// Neither a control character nor one that makes text read in another order than it is written.
fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::Escape;

    #[test]
    fn control_characters_are_escaped_and_text_is_not() {
        assert_eq!(Escape("a\n\x1b[31m\u{202e}").to_string(), r"a\n\u{1b}[31m\u{202e}");
        assert_eq!(Escape("dépôt ✓ 'x' \\").to_string(), "dépôt ✓ 'x' \\");
    }
}
