//! Whether a process that runs is a runner: by what it executes, not by a word in its arguments.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use crate::runner::Runner;

/// A process as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub argv: Vec<OsString>,
    pub exe: PathBuf,
    pub folder: PathBuf,
    pub node_options: Option<OsString>,
}

/// Options of node's that load a module before the program.
const PRELOADS: [&str; 5] = ["--import", "--require", "-r", "--loader", "--experimental-loader"];

/// Options of node's whose value may stand behind a blank.
const WITH_VALUE: [&str; 5] = ["--conditions", "-C", "--env-file", "--title", "--input-type"];

/// Options of node's behind which no program stands.
const WITHOUT_PROGRAM: [&str; 4] = ["-e", "--eval", "-p", "--print"];

/// The runner that a process is, and what shows it; `None` where it is none.
pub fn runner_in(process: &Process) -> Option<(Runner, String)> {
    let program = process.exe.file_name().or_else(|| {
        let first = process.argv.first().map(Path::new);
        first.and_then(Path::file_name)
    });
    if program.is_none_or(|program| program != "node" && program != "nodejs") {
        return None;
    }
    let argv: Vec<String> =
        process.argv.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let options = process.node_options.as_deref().unwrap_or(OsStr::new("")).to_string_lossy();
    let options: Vec<String> = options.split_whitespace().map(String::from).collect();
    let (in_options, _) = preload(&options);
    if let Some((runner, option)) = in_options {
        return Some((runner, format!("NODE_OPTIONS has {option}")));
    }
    let (in_argv, entry) = preload(&argv);
    in_argv.or_else(|| {
        let entry = process.folder.join(entry?);
        let path = fs::canonicalize(&entry).unwrap_or(entry);
        let path = path.to_string_lossy().into_owned();
        Some((in_package(&path)?, path))
    })
}

/// The runner among the modules that node loads first, with its option; and the program behind them.
fn preload(words: &[String]) -> (Option<(Runner, String)>, Option<&String>) {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (option, value) = match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option, Some(value)),
            _ => (word.as_str(), None),
        };
        if PRELOADS.contains(&option) {
            let Some(value) = value.or_else(|| words.next().map(String::as_str)) else { break };
            if let Some(runner) = Runner::of_package(value).or_else(|| in_package(value)) {
                return (Some((runner, format!("{option} {value}"))), None);
            }
        } else if WITHOUT_PROGRAM.contains(&option) {
            break;
        } else if WITH_VALUE.contains(&option) && value.is_none() {
            words.next();
        } else if !word.starts_with('-') {
            return (None, Some(word));
        }
    }
    (None, None)
}

/// The runner in whose package a path lies.
fn in_package(path: &str) -> Option<Runner> {
    let mut behind = path.split("node_modules/").skip(1);
    behind.find_map(Runner::of_package)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Process, runner_in};
    use crate::runner::Runner;

    fn judged(exe: &str, argv: &[&str], node_options: Option<&str>) -> Option<Runner> {
        let process = Process {
            argv: argv.iter().map(Into::into).collect(),
            exe: PathBuf::from(exe),
            folder: "/nowhere".into(),
            node_options: node_options.map(Into::into),
        };
        runner_in(&process).map(|(runner, _)| runner)
    }

    #[test]
    fn what_node_loads_first_or_executes_shows_the_runner() {
        for argv in [
            &["node", "--import", "tsx", "w.ts"][..],
            &["node", "--enable-source-maps", "--import=tsx/esm", "w.ts"],
            &["node", "-r", "tsx/cjs", "w.ts"],
            &["node", "--import", "file:///app/node_modules/tsx/dist/loader.mjs", "w.ts"],
            &["node", "/app/node_modules/tsx/dist/cli.mjs", "w.ts"],
            &["node", "node_modules/.pnpm/tsx@4.0.0/node_modules/tsx/dist/cli.mjs", "w.ts"],
            &["node", "--import", "tsx", "-e", "0"],
        ] {
            assert_eq!(judged("/bin/node", argv, None), Some(Runner::Tsx), "{argv:?}");
        }
        let argv = &["node", "w.js"];
        assert_eq!(judged("/bin/node", argv, Some("--import tsx")), Some(Runner::Tsx));
    }

    #[test]
    fn the_word_in_data_or_in_a_title_shows_nothing() {
        for (exe, argv) in [
            ("/bin/node", &["node", "w.js", "--queue", "tsx"][..]),
            ("/bin/node", &["node", "w.js", "--import", "tsx"]),
            ("/bin/node", &["tsx"]),
            ("/bin/node", &["tsx", ""]),
            ("/bin/node", &["node", "-e", "tsx"]),
            ("/bin/node", &["node", "tsx/worker.js"]),
            ("/bin/node", &["node", "/app/node_modules/tsx-previews/w.js"]),
            ("/bin/grep", &["grep", "tsx"]),
            ("/bin/python3", &["python3", "w.py", "--import", "tsx"]),
            ("/bin/sh", &["sh", "-c", "tsx w.ts"]),
        ] {
            assert_eq!(judged(exe, argv, None), None, "{argv:?}");
        }
        assert_eq!(judged("/bin/sh", &["sh"], Some("--import tsx")), None);
        assert_eq!(judged("/bin/node", &["node", "w.js"], Some("--title tsx")), None);
    }
}
