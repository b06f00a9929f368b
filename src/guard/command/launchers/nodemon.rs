//! nodemon.

use serde_json::Value;

use crate::guard::command::files::{Files, join};
use crate::guard::command::invocation::{Invocation, Next, quoted};
use crate::guard::command::manifest::Manifest;
use crate::guard::command::words::string_option;

/// Options with a value, but for Node's.
const VALUES: [&str; 16] = [
    "-w",
    "--watch",
    "-e",
    "--ext",
    "-i",
    "--ignore",
    "--config",
    "-d",
    "--delay",
    "-s",
    "--signal",
    "--cwd",
    "-x",
    "--exec",
    "--scripts",
    "-I",
];
/// Options without one, but for Node's.
const FLAGS: [&str; 13] = [
    "-q",
    "--quiet",
    "-V",
    "--verbose",
    "-L",
    "--legacy-watch",
    "-C",
    "--on-change-only",
    "--spawn",
    "-N",
    "--no-stdin",
    "--exitcrash",
    "--",
];

/// nodemon.json, or what package.json has in its place.
struct Config {
    manifest: Option<Manifest>,
    json: Option<Value>,
}

impl Config {
    fn read(invocation: &Invocation, files: &mut Files) -> Self {
        let folder = &invocation.place.folder;
        let name = string_option(invocation.arguments(), &["--config"]).unwrap_or("nodemon.json");
        let text = files.text(&join(folder, name));
        let json = text.and_then(|text| serde_json::from_str(&text).ok());
        let manifest = Manifest::of(folder, files);
        let json = json.or_else(|| manifest.as_ref()?.get("nodemonConfig").cloned());
        Self { manifest, json }
    }

    fn text(&self, name: &str) -> Option<String> {
        Some(self.json.as_ref()?.get(name)?.as_str()?.to_owned())
    }

    /// What executes files with this extension.
    fn mapped(&self, extension: &str) -> Option<String> {
        Some(self.json.as_ref()?.get("execMap")?.get(extension)?.as_str()?.to_owned())
    }

    /// What a shell executes when it starts.
    fn on_start(&self) -> Option<String> {
        Some(self.json.as_ref()?.get("events")?.get("start")?.as_str()?.to_owned())
    }

    fn script(&self) -> Option<String> {
        self.text("script").or_else(|| self.manifest.as_ref()?.text("main").map(str::to_owned))
    }
}

/// What comes of nodemon, by its options, nodemon.json and the nodemonConfig of package.json.
pub fn nodemon<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let config = Config::read(invocation, files);
    let (of_node, mut script) = parts(invocation.arguments());
    if script.is_empty() {
        script.extend(config.script());
    }
    let extension = script.first().and_then(|script| script.rsplit_once('.')).map(|(_, end)| end);
    let exec = string_option(invocation.arguments(), &["-x", "--exec"]).map(str::to_owned);
    let exec = exec
        .or_else(|| config.text("exec"))
        .or_else(|| config.mapped(extension?))
        .or_else(|| (extension == Some("ts")).then(|| "ts-node".into()));
    let event = config.on_start().map(|text| invocation.by_shell(&text));
    let main = match exec {
        Some(exec) => {
            let line: Vec<_> = script.iter().map(|word| quoted(word)).collect();
            invocation.by_shell(&format!("{exec} {}", line.join(" ")))
        }
        None => invocation.command([vec!["node".to_owned()], of_node, script].concat()),
    };
    event.into_iter().chain([main]).collect()
}

/// Node's own options, and the script with its arguments.
fn parts(words: &[String]) -> (Vec<String>, Vec<String>) {
    let mut of_node = Vec::new();
    let mut rest = words;
    while let Some((word, others)) = rest.split_first() {
        let word = word.as_str();
        if VALUES.contains(&word) {
            rest = others.get(1..).unwrap_or_default();
        } else if ["-r", "--require", "--import", "--loader"].contains(&word) {
            of_node.extend(rest.iter().take(2).cloned());
            rest = others.get(1..).unwrap_or_default();
        } else if word.starts_with('-') {
            of_node.extend(rest.iter().take(1).filter(|_| !FLAGS.contains(&word)).cloned());
            rest = others;
        } else {
            break;
        }
    }
    (of_node, rest.to_vec())
}
