//! Whether a process that runs is a runner: by what it executes, not by a word in its arguments.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::command::{Run, read_program};

/// A process as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub argv: Vec<OsString>,
    pub exe: PathBuf,
    pub folder: PathBuf,
    pub node_options: Option<OsString>,
}

/// The runners that a process is, and what shows each; none where it is none. What it starts is not asked:
/// that is a process of its own.
pub fn runners_in(process: &Process) -> Vec<Run> {
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    // A title that was written over the arguments leaves empty ones behind.
    let arguments = process.argv.iter().skip(1).map(text).filter(|word| !word.is_empty());
    // Of another user's process the kernel tells no more than the arguments.
    let named = || Path::new(process.argv.first()?).file_name();
    let program = process.exe.file_name().or_else(named).unwrap_or_default().to_string_lossy();
    let folder = if process.folder.is_absolute() { &process.folder } else { Path::new("/") };
    match program.trim_end_matches(" (deleted)") {
        program @ ("node" | "nodejs" | "bun" | "deno") => {
            let words = [program.to_owned()].into_iter().chain(arguments).collect();
            read_program(words, process.node_options.as_ref().map(text), folder)
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Process, runners_in};
    use crate::runner::Runner;

    fn judged(exe: &str, argv: &[&str], node_options: Option<&str>) -> Option<Runner> {
        let process = Process {
            argv: argv.iter().map(Into::into).collect(),
            exe: PathBuf::from(exe),
            folder: "/nowhere".into(),
            node_options: node_options.map(Into::into),
        };
        runners_in(&process).first().map(|run| run.runner)
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
