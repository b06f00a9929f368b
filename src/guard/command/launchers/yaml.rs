//! The applications of an ecosystem file in YAML: keys with values a line, and lists.

use serde_json::{Map, Value};

use crate::clean::clean;

/// A line that says something: how far it stands from the left, and what it says.
type Line = (usize, String);

/// How deep values nest.
const MAX_DEPTH: u32 = 16;

/// Each application.
pub fn applications(text: &str) -> Vec<Value> {
    let lines: Vec<Line> = text.lines().flat_map(split).collect();
    let (document, _) = block(&lines, 0);
    match document.get("apps").cloned().unwrap_or(document) {
        Value::Array(all) => all,
        one => vec![one],
    }
}

/// A line without its comment; the dash of an item is a line of its own.
fn split(line: &str) -> Vec<Line> {
    let mut line = line.split_once(" #").map_or(line, |(before, _)| before).trim_end();
    let mut found = Vec::new();
    let mut column = 0;
    loop {
        let text = line.trim_start();
        column += line.len() - text.len();
        if text.is_empty() || text.starts_with('#') || text == "---" {
            return found;
        }
        let is_item = |rest: &&str| rest.is_empty() || rest.starts_with(' ');
        let Some(rest) = text.strip_prefix('-').filter(is_item) else {
            found.push((column, text.to_owned()));
            return found;
        };
        found.push((column, "-".to_owned()));
        column += 1;
        line = rest;
    }
}

/// The list, the keys or the one value that begins with the first line, and how many lines it has.
/// What stands in it stands further to the right, so that each line is looked at once a level.
fn block(lines: &[Line], depth: u32) -> (Value, usize) {
    let Some((column, first)) = lines.first().filter(|_| depth < MAX_DEPTH) else {
        return (Value::Null, lines.len());
    };
    let is_list = first == "-";
    let (mut list, mut map) = (Vec::new(), Map::new());
    let mut at = 0;
    while let Some((here, text)) = lines.get(at)
        && here == column
        && (text == "-") == is_list
    {
        at += 1;
        let rest = lines.get(at..).unwrap_or_default();
        let is_inside =
            |line: &Line| line.0 > *column || (!is_list && line.0 == *column && line.1 == "-");
        let count = rest.iter().position(|line| !is_inside(line)).unwrap_or(rest.len());
        let inside = rest.get(..count).unwrap_or_default();
        at += count;
        if is_list {
            list.push(block(inside, depth + 1).0);
        } else if let Some((key, value)) = pair(text) {
            let value =
                if value.is_empty() { block(inside, depth + 1).0 } else { scalar(value, depth) };
            map.insert(clean(key.trim()).to_owned(), value);
        } else {
            return (scalar(text, depth), at);
        }
    }
    (if is_list { Value::Array(list) } else { Value::Object(map) }, at)
}

/// A key, and what stands behind its colon.
fn pair(text: &str) -> Option<(&str, &str)> {
    match text.strip_suffix(':') {
        Some(key) if !key.contains(": ") => Some((key, "")),
        _ => text.split_once(": ").map(|(key, value)| (key, value.trim())),
    }
}

/// A value in quotes or without, or a list in brackets.
fn scalar(text: &str, depth: u32) -> Value {
    if depth >= MAX_DEPTH {
        return Value::Null;
    }
    match text.strip_prefix('[').and_then(|list| list.strip_suffix(']')) {
        Some(list) => list.split(',').map(|item| scalar(item.trim(), depth + 1)).collect(),
        None => Value::String(clean(text).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::applications;

    #[test]
    fn applications_are_found_however_they_are_written() {
        let expected =
            json!({"name": "w", "script": "a.ts", "args": ["x", "y"], "env": {"A": "1"}});
        for text in [
            "apps:\n  - name: w\n    script: a.ts # it\n    args:\n      - x\n      - 'y'\n    env:\n      A: 1\n",
            "apps:\n- name: w\n  script: \"a.ts\"\n  args: [x, y]\n  env:\n    A: 1\n",
            "# all\n---\napps:\n-\n  name: w\n  script: a.ts\n  args:\n  - x\n  - y\n  env:\n    A: '1'",
        ] {
            assert_eq!(applications(text), std::slice::from_ref(&expected), "{text}");
        }
    }
}
