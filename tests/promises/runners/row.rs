//! A row of the table: a command, the files and variables that it finds, and what it is said to do.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It runs code that was never compiled, by way of tsx or of Node.js itself.
    Guilty,
    /// It runs compiled code, or another language's.
    Innocent,
    /// It runs such code by way of another runner, which is a reason for a warning.
    Warned,
}

/// A command as it stands in somebody's image, and its surroundings.
#[derive(Clone)]
pub struct Row {
    pub kind: Kind,
    pub name: String,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub files: Files,
    /// Whether it goes on when its worker has ended, as what watches files does.
    pub stays: bool,
}

/// What stands in a folder.
#[derive(Clone, Default)]
pub struct Files {
    pub contents: BTreeMap<String, String>,
    pub links: BTreeMap<String, String>,
    /// The workspace of target/tools/runners that it is a copy of.
    pub workspace: Option<String>,
}

/// The rows of a table. What begins with `#` or `==` is for those who read it.
pub fn rows(table: &str) -> Vec<Row> {
    let mut projects = BTreeMap::from([("", Block::default())]);
    let mut rows = Vec::new();
    for block in blocks(table) {
        if block.kind == "project" {
            projects.insert(block.name, block);
            continue;
        }
        let kind = match block.kind {
            "guilty" => Kind::Guilty,
            "innocent" => Kind::Innocent,
            "warned" => Kind::Warned,
            other => panic!("no such kind: {other}"),
        };
        rows.push(row(kind, &block, &projects));
    }
    rows
}

/// A line that stands at the left, and those that are indented below it, each with its own below it.
#[derive(Default)]
struct Block<'a> {
    kind: &'a str,
    name: &'a str,
    lines: Vec<(&'a str, String)>,
}

fn blocks(table: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in table.lines() {
        if line.starts_with('#') || line.starts_with("==") {
            continue;
        }
        if let Some(content) = line.strip_prefix("    ") {
            let (_, text) =
                blocks.last_mut().and_then(|block| block.lines.last_mut()).expect("a file");
            *text += content;
            *text += "\n";
        } else if let Some(line) = line.strip_prefix("  ") {
            blocks.last_mut().expect("a row").lines.push((line, String::new()));
        } else if let Some((kind, name)) = line.split_once(": ") {
            blocks.push(Block { kind, name, lines: Vec::new() });
        } else if let Some((_, text)) = blocks.last_mut().and_then(|block| block.lines.last_mut())
            && !text.is_empty()
        {
            *text += "\n";
        }
    }
    for (_, text) in blocks.iter_mut().flat_map(|block| &mut block.lines) {
        text.truncate(text.trim_end().len());
        *text += "\n";
    }
    blocks
}

fn row(kind: Kind, block: &Block, projects: &BTreeMap<&str, Block>) -> Row {
    let mut row = Row {
        kind,
        name: block.name.to_owned(),
        arguments: Vec::new(),
        environment: Vec::new(),
        files: Files::default(),
        stays: false,
    };
    row.take(&projects["any"], projects);
    row.take(block, projects);
    assert!(!row.arguments.is_empty(), "{}: no command", row.name);
    row
}

impl Row {
    fn take(&mut self, block: &Block, projects: &BTreeMap<&str, Block>) {
        let mut scripts = Map::new();
        for (line, text) in &block.lines {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let files = &mut self.files;
            match word {
                "in" => self.take(&projects[rest], projects),
                "env" => {
                    let (name, value) = rest.split_once('=').expect("a variable");
                    self.environment.push((name.into(), value.into()));
                }
                "file" => drop(files.contents.insert(rest.into(), text.clone())),
                "link" => {
                    let (path, target) = rest.split_once(" -> ").expect("a link");
                    files.links.insert(path.into(), target.into());
                }
                "script" => {
                    let (name, command) = rest.split_once(" = ").expect("a script");
                    scripts.insert(name.into(), command.into());
                }
                "workspace" => files.workspace = Some(rest.into()),
                "stays" => self.stays = true,
                // As a Dockerfile tells its two forms apart; a Procfile's line is run by a shell, too.
                "CMD" | "worker:" => {
                    let in_shell = || ["/bin/sh", "-c", rest].map(str::to_owned).into();
                    self.arguments = serde_json::from_str(rest).unwrap_or_else(|_| in_shell());
                }
                // As a compose file's line is run.
                "command:" => self.arguments = words(rest),
                _ => panic!("{}: no such word: {line}", self.name),
            }
        }
        if !scripts.is_empty() {
            let package = json!({
                "name": "acme", "private": true, "scripts": scripts,
                "devDependencies": { "tsx": "4.23.15" },
            });
            self.files.contents.insert("package.json".into(), format!("{package:#}\n"));
        }
    }
}

/// A line in words, with quotes and backslashes as in a shell.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut characters) = (None, None, line.chars());
    while let Some(character) = characters.next() {
        let text: &mut String = match (character, quote) {
            (' ', None) => {
                words.extend(word.take());
                continue;
            }
            _ => word.get_or_insert_default(),
        };
        match (character, quote) {
            ('\'' | '"', None) => quote = Some(character),
            (character, Some(open)) if character == open => quote = None,
            ('\\', None | Some('"')) => text.extend(characters.next()),
            (character, _) => text.push(character),
        }
    }
    words.extend(word);
    words
}
