//! A value as it is meant, out of the one that really arrives.

/// The value without what files, shells and YAML put around it: blanks, line ends, a byte order mark
/// and one pair of matching quotes. `docker run --env-file` passes quotes on, a secret that was made
/// with `echo` ends in a line end.
pub fn clean(value: &str) -> &str {
    let bare = without_blanks(value);
    let unquoted =
        ['"', '\''].iter().find_map(|quote| bare.strip_prefix(*quote)?.strip_suffix(*quote));
    unquoted.map_or(bare, without_blanks)
}

fn without_blanks(value: &str) -> &str {
    value.trim_matches(|character: char| character.is_whitespace() || character == '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::clean;
    use crate::pieces;

    const PIECES: &[&str] =
        &["\"", "'", " ", "\t", "\r\n", "\u{feff}", "\u{a0}", "\u{3000}", "a", "b c"];

    #[test]
    fn what_stands_around_a_value_goes() {
        for (value, cleaned) in [
            ("a", "a"),
            (" a b \r\n", "a b"),
            ("\u{feff}a", "a"),
            ("\"a\"", "a"),
            ("'a'\n", "a"),
            ("\" a\n\"", "a"),
            ("\u{a0}a\u{3000}", "a"),
            ("\"\"", ""),
            ("\u{feff} \t", ""),
        ] {
            assert_eq!(clean(value), cleaned, "{value:?}");
        }
    }

    #[test]
    fn what_is_no_pair_of_quotes_or_a_second_one_stays() {
        for (value, cleaned) in
            [("\"", "\""), ("\"a'", "\"a'"), ("a\"", "a\""), ("''a''", "'a'"), ("a\"b\"", "a\"b\"")]
        {
            assert_eq!(clean(value), cleaned, "{value:?}");
        }
    }

    #[test]
    fn any_value_is_a_part_of_what_came_and_has_no_blanks_around_it() {
        bolero::check!().with_generator(pieces::text(PIECES)).for_each(|value: &String| {
            let cleaned = clean(value);
            assert!(value.contains(cleaned));
            assert_eq!(cleaned.trim(), cleaned);
            if !cleaned.starts_with(['"', '\'']) {
                assert_eq!(clean(cleaned), cleaned);
                for around in ["\"", "'", "\u{feff}", " \r\n"] {
                    assert_eq!(clean(&format!(" {around}{cleaned}{around}\n")), cleaned);
                }
            }
        });
    }
}
