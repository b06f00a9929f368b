//! Patterns with `*`, `?` and `[…]`, as a shell's `case` and the package managers' globs have them.

/// How long a pattern and a text may be, in bytes: to compare them takes as many steps as both are long,
/// multiplied.
const MAX_BYTES: usize = 1024;

/// Whether a text is of a pattern, whole.
pub fn matches(pattern: &str, text: &str) -> bool {
    if pattern.len() > MAX_BYTES || text.len() > MAX_BYTES {
        return false;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut of, mut retry) = (0, 0, None);
    while of < text.len() {
        let step = one(pattern.get(at..).unwrap_or_default(), text.get(of).copied());
        if pattern.get(at) == Some(&'*') {
            retry = Some((at, of));
            at += 1;
        } else if let Some(length) = step {
            at += length;
            of += 1;
        } else if let Some((star, matched)) = retry {
            retry = Some((star, matched + 1));
            at = star + 1;
            of = matched + 1;
        } else {
            return false;
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|rest| *rest == '*')
}

/// How much of a pattern this character is matched by.
fn one(pattern: &[char], text: Option<char>) -> Option<usize> {
    let text = text?;
    match pattern.first()? {
        '?' => Some(1),
        '\\' => (pattern.get(1) == Some(&text)).then_some(2),
        '[' => {
            let end = pattern.iter().skip(2).position(|one| *one == ']')? + 2;
            let set = pattern.get(1..end)?;
            let (is_not, set) = match set.split_first() {
                Some(('!' | '^', rest)) => (true, rest),
                _ => (false, set),
            };
            let mut is_in = set.contains(&text);
            for range in set.windows(3) {
                if let [from, '-', to] = range {
                    is_in |= (*from..=*to).contains(&text);
                }
            }
            (is_in != is_not).then_some(end + 1)
        }
        other => (*other == text).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_pattern_is_for_the_whole_text() {
        for (pattern, text) in [
            ("*", ""),
            ("a*c", "abbbc"),
            ("*.ts", "w.test.ts"),
            ("-*", "-x"),
            ("[a-c]?", "bz"),
            ("[!a]*", "b"),
            ("a\\*", "a*"),
            ("packages/*", "packages/worker"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a*c", "ab"), ("[a-c]", "d"), ("?", ""), ("", "a")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
