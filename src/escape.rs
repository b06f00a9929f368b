//! Text from outside, made harmless.

use std::fmt::{self, Write};

use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};

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

/// Seen for what it is: neither a control character, nor invisible, nor a blank other than a space, nor
/// one that makes text read in another order than it is written.
pub fn is_harmless(character: char) -> bool {
    /// BRAILLE PATTERN BLANK: a symbol with nothing to see.
    const BLANK: char = '\u{2800}';
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    !character.is_control()
        && !character.is_whitespace()
        && character != BLANK
        && !CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
        && CodePointMapData::<GeneralCategory>::new().get(character) != GeneralCategory::Format
}

#[cfg(test)]
mod tests {
    use super::{Escape, is_harmless};
    use crate::pieces;

    #[test]
    fn control_characters_are_escaped_and_text_is_not() {
        assert_eq!(Escape("a\n\x1b[31m\u{202e}").to_string(), r"a\n\u{1b}[31m\u{202e}");
        assert_eq!(Escape("dépôt ✓ 'x' \\").to_string(), "dépôt ✓ 'x' \\");
    }

    #[test]
    fn what_can_not_be_seen_is_escaped() {
        for hidden in [
            '\u{feff}',
            '\u{ad}',
            '\u{200b}',
            '\u{200d}',
            '\u{2060}',
            '\u{34f}',
            '\u{180e}',
            '\u{fe0f}',
            '\u{3164}',
            '\u{115f}',
            '\u{ffa0}',
            '\u{e0041}',
            '\u{a0}',
            '\u{3000}',
            '\u{2028}',
            '\u{2066}',
            '\u{61c}',
            '\u{fff9}',
            '\u{2800}',
            '\u{85}',
        ] {
            let shown = Escape(&format!("a{hidden}b")).to_string();
            assert_eq!(shown, format!("a\\u{{{:x}}}b", hidden as u32));
        }
    }

    #[test]
    fn any_text_is_harmless_once_it_is_escaped_and_stays_as_it_is_from_then_on() {
        let pieces =
            &["\x1b[31m", "\n", "\r", "\0", "\u{202e}", "\u{200d}", "\u{85}", "dépôt", "\\"];
        bolero::check!().with_generator(pieces::text(pieces)).for_each(|text: &String| {
            let shown = Escape(text).to_string();
            assert!(shown.chars().all(is_harmless), "{shown:?}");
            assert_eq!(Escape(&shown).to_string(), shown);
            assert!(shown.chars().count() <= 10 * text.chars().count());
        });
    }
}
