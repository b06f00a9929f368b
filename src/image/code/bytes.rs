//! Paths are bytes, and JSON is text: bytes that are no printable ASCII stand there as `\xHH`.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

/// Bytes that are written as text, each escaped that is no printable ASCII, and a backslash as `\\`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EscapedBytes(pub Vec<u8>);

impl fmt::Display for EscapedBytes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|byte| match byte {
            b'\\' => f.write_str(r"\\"),
            b' '..=b'~' => write!(f, "{}", char::from(*byte)),
            byte => write!(f, r"\x{byte:02x}"),
        })
    }
}

impl Serialize for EscapedBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EscapedBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        unescaped(&text).map(Self).ok_or_else(|| de::Error::custom("expected an escaped path"))
    }
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'\\' => b'\\',
                b'x' => {
                    let digits = [rest.next()?, rest.next()?].map(char::from);
                    let [high, low] = digits.map(|digit| digit.to_digit(16));
                    u8::try_from(high? * 16 + low?).ok()?
                }
                _ => return None,
            },
            b' '..=b'~' => byte,
            _ => return None,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{EscapedBytes, unescaped};
    use crate::pieces;

    #[test]
    fn any_bytes_are_read_back_as_they_were() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = EscapedBytes(bytes.to_vec()).to_string();
            assert!(text.is_ascii() && !text.contains(char::is_control), "{text}");
            assert_eq!(unescaped(&text).as_deref(), Some(bytes));
        });
    }

    #[test]
    fn any_text_stands_for_the_bytes_that_it_is_read_as_or_is_refused() {
        let pieces = &["\\", "\\\\", "\\x", "\\x41", "\\xfF", "/app", "é", "\n", "x", "4"];
        bolero::check!().with_generator(pieces::text(pieces)).for_each(|text: &String| {
            let Some(bytes) = unescaped(text) else { return };
            assert!(text.is_ascii() && bytes.len() <= text.len());
            assert_eq!(unescaped(&EscapedBytes(bytes.clone()).to_string()), Some(bytes));
        });
    }

    #[test]
    fn what_is_not_escaped_is_refused() {
        for text in ["é", "\n", r"\", r"\n", r"\x4", r"\xzz", r"\x+1"] {
            assert_eq!(unescaped(text), None, "{text}");
        }
    }
}
