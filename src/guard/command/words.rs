//! Command lines: options, their values, and what is left.

/// What is left behind options, those in `values` with a word each, and so many operands.
pub fn behind_options<'w>(
    words: &'w [String],
    values: &[&str],
    mut operands: usize,
) -> &'w [String] {
    let mut rest = words;
    while let Some((word, others)) = rest.split_first() {
        rest = if word == "--" {
            return others.get(operands..).unwrap_or_default();
        } else if values.contains(&word.as_str()) || values.iter().any(|one| ends_with(word, one)) {
            others.get(1..).unwrap_or_default()
        } else if word.starts_with('-') && word.len() > 1 {
            others
        } else if operands > 0 {
            operands -= 1;
            others
        } else {
            return rest;
        };
    }
    rest
}

/// Whether short options stand together, this one at last: `-Eu`.
fn ends_with(word: &str, option: &str) -> bool {
    let Some(letters) = word.strip_prefix('-') else { return false };
    let last = option.strip_prefix('-').filter(|option| option.len() == 1);
    letters.len() > 1
        && letters.chars().all(|letter| letter.is_ascii_alphabetic())
        && last.is_some_and(|last| letters.ends_with(last))
}

/// The value of one of these options, as a word behind it or behind `=`.
pub fn string_option<'w>(words: &'w [String], names: &[&str]) -> Option<&'w str> {
    let mut words = words.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if names.contains(&word.as_str()) || names.iter().any(|name| ends_with(word, name)) {
            return words.next().map(String::as_str);
        }
        if let Some((name, value)) = word.split_once('=')
            && names.contains(&name)
        {
            return Some(value);
        }
    }
    None
}

/// What stands before `--`, and what behind it.
pub fn halves(words: &[String]) -> (&[String], &[String]) {
    match words.iter().position(|word| word == "--") {
        Some(at) => (words.get(..at).unwrap_or_default(), words.get(at + 1..).unwrap_or_default()),
        None => (words, &[]),
    }
}

/// Each value of an option that may be repeated.
pub fn options<'w>(words: &'w [String], names: &[&str]) -> Vec<&'w str> {
    let mut found = Vec::new();
    let mut rest = words;
    while let Some((word, others)) = rest.split_first() {
        if word == "--" {
            break;
        }
        let is_one = |name: &&str| {
            word == name || word.strip_prefix(*name).is_some_and(|value| value.starts_with('='))
        };
        if names.iter().any(is_one) {
            found.extend(string_option(rest, names));
        }
        rest = others;
    }
    found
}

/// The words that are neither options nor the values of these.
pub fn operands(words: &[String], values: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = words;
    loop {
        rest = behind_options(rest, values, 0);
        let Some((word, others)) = rest.split_first() else { return found };
        found.push(word.clone());
        rest = others;
    }
}

/// Words with blanks between them and quotes around some, as `env -S` and others read them.
pub fn split(text: &str) -> Vec<String> {
    let (mut words, mut current, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', None | Some('"')) => current.get_or_insert_default().extend(characters.next()),
            (end, Some(open)) if end == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(character);
                current.get_or_insert_default();
            }
            (blank, None) if blank.is_whitespace() => words.extend(current.take()),
            (other, _) => current.get_or_insert_default().push(other),
        }
    }
    words.extend(current);
    words
}
