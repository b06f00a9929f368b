//! Made-up input for properties: what stands in real input, put together wrongly.
//!
//! A test whose name begins with `any` is a property. `cargo test` tries it for a moment; tests/fuzz.sh
//! tries it for as long as one likes, led by what of the code has been reached.

use bolero::ValueGenerator;
use bolero::generator::produce_with;

/// How many pieces stand behind each other at most.
const MAX_PIECES: usize = 48;

/// Text of these pieces, with characters of any kind between them.
pub fn text(pieces: &'static [&'static str]) -> impl ValueGenerator<Output = String> {
    produce_with::<Vec<(u8, char)>>().len(0..=MAX_PIECES).map_gen(move |choices| {
        choices.into_iter().fold(String::new(), |mut text, (choice, character)| {
            match chosen(pieces, choice) {
                Some(piece) => text.push_str(piece),
                None => text.push(character),
            }
            text
        })
    })
}

/// Bytes of these pieces, with bytes of any kind between them.
pub fn bytes(pieces: &'static [&'static str]) -> impl ValueGenerator<Output = Vec<u8>> {
    produce_with::<Vec<(u8, u8)>>().len(0..=MAX_PIECES).map_gen(move |choices| {
        choices.into_iter().fold(Vec::new(), |mut bytes, (choice, byte)| {
            match chosen(pieces, choice) {
                Some(piece) => bytes.extend(piece.bytes()),
                None => bytes.push(byte),
            }
            bytes
        })
    })
}

/// One of four is none.
fn chosen(pieces: &[&'static str], choice: u8) -> Option<&'static str> {
    let places = pieces.len() + pieces.len().div_ceil(3);
    pieces.get(usize::from(choice) % places).copied()
}
