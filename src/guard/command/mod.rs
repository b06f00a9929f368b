//! The reader of commands: from the worker's command to what it really executes, step by step.
//!
//! | what it comes to | as | refused |
//! |---|---|---|
//! | a runner's own program, whatever it is called | `Next::Runs` | where the runner is forbidden |
//! | Node with a runner: an option, NODE_OPTIONS, the first lines of what it loads | `Next::Runs` | the same |
//! | Node on a TypeScript file, or told to strip types, with no runner to take it | `Next::Runs`, `StripTypes` | the same |
//! | what only an execution would tell, a runner's name in it | `Next::Doubt` | the same |
//! | what only an execution would tell | nothing | never: the running tree is looked at |
//! | another program, whatever its arguments say | an end | never |
//!
//! Each reader takes a command and gives what it executes next, as values; here they are followed until
//! none is left. Nothing is executed, and files are read through `Files` alone.

mod dotenv;
mod files;
mod invocation;
mod javascript;
mod launchers;
mod lookup;
mod manifest;
mod node;
mod node_options;
mod packages;
mod pattern;
mod program;
mod shell;
mod shells;
mod words;
mod wrappers;

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use files::Files;
use invocation::{Invocation, Next, Place, Script, Variables};
use node_options::NodeOptions;

use crate::escape::Escape;
use crate::runner::Runner;
use crate::system::environment::Environment;

/// How many commands one may lead to.
const MAX_COMMANDS: usize = 1000;
/// How many of them may lead to one another.
const MAX_DEPTH: u32 = 48;

/// What reading a command has shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub runs: Vec<Run>,
    /// How it leads to each program at an end, whatever that does.
    pub ends: Vec<Vec<String>>,
    /// What could not be read, as sentences.
    pub unread: Vec<String>,
}

/// That code is run by a runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub runner: Runner,
    /// The command that shows it.
    pub words: Vec<String>,
    /// How the worker's command leads there.
    pub chain: Vec<String>,
    /// Whether the runner's name only stands in what can't be told before it is executed.
    pub is_doubtful: bool,
}

impl Run {
    /// The chain in one line, harmless.
    pub fn shown(&self) -> String {
        shown(&self.chain)
    }
}

impl fmt::Display for Run {
    /// What the worker's command does.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { runner, is_doubtful, .. } = self;
        match (runner, is_doubtful) {
            (Runner::StripTypes, false) => {
                write!(f, "The worker command has Node run TypeScript: {}", self.shown())
            }
            (_, false) => write!(f, "The worker command runs {runner}: {}", self.shown()),
            (_, true) => write!(
                f,
                "The worker command may run {runner}, which can't be told before it runs: {}. Write the command out, without eval and variables in its place",
                self.shown()
            ),
        }
    }
}

/// A chain in one line, harmless.
pub fn shown(chain: &[String]) -> String {
    let steps: Vec<String> = chain.iter().map(|step| Escape(step).to_string()).collect();
    steps.join(" → ")
}

/// Reads a command as it would be executed with these variables in this folder.
pub fn read(command: &[OsString], environment: &Environment, folder: &Path) -> Reading {
    let words = command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let place = Place {
        folder: folder.to_owned(),
        variables: Variables::new(environment),
        chain: Vec::new(),
        depth: 0,
        input: None,
    };
    let mut first = Invocation { words, place };
    first.place.push(first.shown());
    let mut files = Files::new();
    let mut reading = Reading::default();
    let mut waiting = vec![Next::Command(first)];
    let mut count = 0;
    while let Some(next) = waiting.pop() {
        count += 1;
        if count > MAX_COMMANDS {
            files.tell(format!("it leads to more than {MAX_COMMANDS} commands"));
            break;
        }
        if files.is_over() {
            break;
        }
        let mut following = reading.take(next, &mut files);
        following.reverse();
        waiting.append(&mut following);
    }
    reading.unread = files.unread;
    reading
}

/// What a program that runs already is: the runners that it loads or executes itself, not what it starts.
pub fn read_program(words: Vec<String>, node_options: Option<String>, folder: &Path) -> Vec<Run> {
    let mut variables = Variables::cleared();
    if let Some(options) = node_options {
        variables.set("NODE_OPTIONS", options);
    }
    let (folder, chain) = (folder.to_owned(), Vec::new());
    let place = Place { folder, variables, chain, depth: 0, input: None };
    let found = follow(&Invocation { words, place }, &mut Files::new());
    let runs = found.into_iter().filter_map(|next| match next {
        Next::Runs { runner, words, chain } => {
            Some(Run { runner, words, chain, is_doubtful: false })
        }
        _ => None,
    });
    runs.collect()
}

impl Reading {
    /// Takes what has been found, and gives what that executes next.
    fn take<'a>(&mut self, next: Next<'a>, files: &mut Files) -> Vec<Next<'a>> {
        let (depth, mut following) = match next {
            Next::Runs { runner, words, chain } => {
                self.runs.push(Run { runner, words, chain, is_doubtful: false });
                return Vec::new();
            }
            Next::Doubt { runner, words, chain } => {
                self.runs.push(Run { runner, words, chain, is_doubtful: true });
                return Vec::new();
            }
            Next::Command(invocation) => {
                let following = follow(&invocation, files);
                if following.is_empty() {
                    self.ends.push(invocation.chain());
                }
                (invocation.place.depth, following)
            }
            Next::Shell(script) => (script.place.depth, shell::executed(&script, files)),
        };
        if depth >= MAX_DEPTH && !following.is_empty() {
            files.tell(format!("it leads to itself, or through more than {MAX_DEPTH} commands"));
            following.clear();
        }
        for next in &mut following {
            if let Next::Command(Invocation { place, .. }) | Next::Shell(Script { place, .. }) =
                next
            {
                place.depth = depth + 1;
            }
        }
        following
    }
}

/// What a command executes next.
fn follow<'a>(invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let name = program::base(invocation.program());
    by_name(name, invocation, files)
        .unwrap_or_else(|| program::program(invocation, is_known, files))
}

/// The same by the reader of this name, where there is one.
fn by_name<'a>(
    name: &str,
    invocation: &Invocation<'a>,
    files: &mut Files,
) -> Option<Vec<Next<'a>>> {
    match name {
        "node" | "nodejs" => {
            let options = NodeOptions::parse(invocation.arguments());
            let mut found = node::node(invocation, &options, files);
            found.extend(packages::run_by_node(&options, invocation, files));
            Some(found)
        }
        "busybox" => {
            let words = invocation.arguments().to_vec();
            Some(vec![Next::Command(Invocation { words, place: invocation.place.clone() })])
        }
        _ if shells::SHELLS.contains(&name) => Some(shells::shell(invocation, files)),
        _ => packages::managed(name, invocation, files)
            .or_else(|| launchers::launched(name, invocation, files))
            .or_else(|| wrappers::wrapped(name, invocation, files)),
    }
}

/// Whether a program that a link leads to is known by its name.
fn is_known(name: &str) -> bool {
    ["node", "nodejs", "npm", "npx", "pnpm", "yarn", "bun", "deno"].contains(&name)
        || shells::SHELLS.contains(&name)
}

#[cfg(test)]
mod tests {
    use std::ffi::{CString, OsString};
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use tempfile::TempDir;

    use super::{Reading, Run, read};
    use crate::pieces;
    use crate::runner::Runner;
    use crate::system::environment::Environment;

    /// A folder with these files; those that begin with `#!` are programs.
    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        folder
    }

    fn read_in(folder: &Path, variables: &[&str], command: &[&str]) -> Reading {
        let environment: Environment =
            variables.iter().map(|entry| CString::new(*entry).unwrap()).collect();
        let command: Vec<OsString> = command.iter().map(OsString::from).collect();
        read(&command, &environment, folder)
    }

    fn runners(reading: &Reading) -> Vec<Runner> {
        reading.runs.iter().filter(|run| !run.is_doubtful).map(|run| run.runner).collect()
    }

    fn by_shell(text: &str) -> Reading {
        read_in(Path::new("/"), &["PATH=/nowhere", "NODE_ENV=production"], &["sh", "-c", text])
    }

    const EXECUTED: &[&str] = &[
        "tsx w.ts",
        "exec tsx w.ts",
        "cd /app && exec tsx w.ts",
        "node migrate.js; tsx w.ts",
        "A=1 B='2 3' tsx w.ts",
        "if true; then tsx w.ts; fi",
        "if [ \"$NODE_ENV\" = production ]; then tsx w.ts; fi",
        "if some-check; then node w.js; else tsx w.ts; fi",
        "case $NODE_ENV in prod*) tsx w.ts ;; esac",
        "while true; do tsx w.ts; sleep 1; done",
        "for i in 1 2; do tsx w.ts; done",
        "(tsx w.ts)",
        "{ tsx w.ts; }",
        "tsx w.ts &",
        "tsx w.ts 2>&1 | tee log",
        "tsx w.ts > log 2>&1 < /dev/null",
        "run() { tsx \"$@\"; }; run w.ts",
        "function run { tsx w.ts; }; run",
        "CMD='tsx w.ts'; $CMD",
        "CMD=(tsx w.ts); \"${CMD[@]}\"",
        "${RUNNER:-tsx} w.ts",
        "set -- tsx w.ts; exec \"$@\"",
        "eval \"tsx w.ts\"",
        "sh <<EOF\ntsx w.ts\nEOF",
        "bash <<< 'tsx w.ts'",
        "echo 'tsx w.ts' | sh",
        "X=$(tsx print.ts); node w.js",
        "`echo tsx` w.ts",
        "\"tsx\" w.ts",
        "t''sx w.ts",
        "command tsx w.ts",
        "node w.js || tsx w.ts",
        "! tsx w.ts",
        "\\\ntsx w.ts",
        "# a comment\ntsx w.ts",
        "trap 'echo bye' TERM\ntsx w.ts & wait",
        "NODE_OPTIONS='--import tsx' node w.js",
        "export NODE_OPTIONS='--import tsx'; node w.js",
        "set -a; NODE_OPTIONS=--import=tsx; set +a; node w.js",
        "while [ $# -gt 0 ]; do shift; done; tsx w.ts",
        "set -euo pipefail; tsx w.ts",
        "set -- x tsx w.ts; exec \"${@:2}\"",
        ": \"${R:=tsx}\"; $R w.ts",
        "R=ts; R+=x; $R w.ts",
        "V=R; R=tsx; ${!V} w.ts",
        "C=(node tsx); ${C[1]} w.ts",
        "declare -A C=([dev]=node [prod]='tsx w.ts'); ${C[prod]}",
        "R=TSX; ${R,,} w.ts",
        "R=node-tsx; ${R/node-/} w.ts",
        "exec {fd}>/dev/null; tsx w.ts",
        "read -r R F <<< 'tsx w.ts'; $R $F",
        "run() { if [ -n \"$NODE_ENV\" ]; then echo tsx; else echo node; fi; }; $(run) w.ts",
        "printf 'tsx %s\\n' w.ts | bash",
        "cat <<EOF | sh\ntsx w.ts\nEOF",
        "bash -s -- w.ts <<'EOF'\ntsx \"$1\"\nEOF",
        "trap 'tsx w.ts' EXIT",
        "for ((i = 0; i < 2; i++)); do tsx w.ts; done",
        "diff <(tsx w.ts) x",
        "$'\\x74sx' w.ts",
        "cd /nowhere || exec tsx w.ts",
        "su -lc 'tsx w.ts' root",
        "sudo -Eu root tsx w.ts",
        "env -iS 'tsx w.ts'",
    ];

    #[test]
    fn a_command_in_a_commands_place_is_executed() {
        for text in EXECUTED {
            let reading = by_shell(text);
            assert!(runners(&reading).contains(&Runner::Tsx), "{text}: {reading:?}");
        }
    }

    #[test]
    fn a_word_elsewhere_is_not() {
        for text in [
            "node w.js --queue tsx",
            "echo tsx w.ts",
            "# tsx w.ts",
            "node w.js # tsx",
            "echo 'a; tsx w.ts'",
            "if [ \"$NODE_ENV\" != production ]; then tsx w.ts; else node w.js; fi",
            "case $NODE_ENV in dev*) tsx w.ts ;; *) node w.js ;; esac",
            "[ \"$NODE_ENV\" = production ] && exec node w.js; tsx w.ts",
            "[[ $NODE_ENV == prod* ]] && exec node w.js || exec tsx w.ts",
            "false && tsx w.ts",
            "true || tsx w.ts",
            "run() { tsx w.ts; }; node w.js",
            "exec node w.js; tsx w.ts",
            "exit 0; tsx w.ts",
            "cat <<EOF\ntsx w.ts\nEOF",
            "grep -r tsx .",
            "tsx=1 node w.js",
            "node tsx/w.js",
            "cp w.tsx w.ts",
            "command -v tsx || node w.js",
            "if command -v tsx; then tsx w.ts; else node w.js; fi",
            "NODE_OPTIONS='--import tsx'; node w.js",
            "python3 w.py --runner tsx",
            "RUNNER=tsx node w.js",
            "[[ $NODE_ENV =~ ^(dev|test)$ ]] && tsx w.ts",
            "[[ ( $NODE_ENV == dev || -z $NODE_ENV ) && -n x ]] && tsx w.ts",
            "[ \\( a = b -o c = d \\) -a e = e ] && tsx w.ts",
            "WATCH=0; if ((WATCH == 1)); then tsx w.ts; fi",
            "if (( ${WATCH:-0} )); then tsx w.ts; fi",
            "[ \"${NODE_ENV^^}\" = PRODUCTION ] || tsx w.ts",
            "[ -s /nowhere ] && tsx w.ts",
            "trap 'tsx w.ts' TERM; node w.js",
            "node \"$(find . ! -path '*tsx*')\"",
        ] {
            let reading = by_shell(text);
            assert!(reading.runs.is_empty(), "{text}: {reading:?}");
            assert!(reading.unread.is_empty(), "{text}: {reading:?}");
        }
    }

    #[test]
    fn what_can_not_be_told_is_in_doubt_only_where_it_names_a_runner() {
        for text in ["$(pick tsx node) w.ts", "eval \"$(cat <<< x; pick tsx)\"", "if tsx w.ts ((("]
        {
            let reading = by_shell(text);
            assert!(
                matches!(reading.runs[..], [Run { runner: Runner::Tsx, is_doubtful: true, .. }]),
                "{text}: {reading:?}"
            );
        }
        for text in ["$(pick) w.ts", "eval \"$(pick)\"", "echo dHN4 | base64 -d | sh", "if ((("] {
            assert!(by_shell(text).runs.is_empty(), "{text}: {:?}", by_shell(text));
        }
    }

    #[test]
    fn the_chain_tells_how_the_command_leads_there() {
        let scripts = r#"{"scripts": {"worker": "npm run x", "x": "exec tsx src/w.ts"}}"#;
        let folder = folder(&[("package.json", scripts)]);
        let reading = read_in(folder.path(), &[], &["nice", "npm", "run", "worker"]);
        assert_eq!(
            reading.runs[0].chain,
            [
                "nice npm run worker",
                "npm run worker",
                "package.json scripts.worker",
                "npm run x",
                "package.json scripts.x",
                "tsx src/w.ts"
            ]
        );
    }

    #[test]
    fn a_link_and_a_first_line_are_followed() {
        let folder = folder(&[
            ("node_modules/tsx/package.json", r#"{"name": "tsx"}"#),
            ("node_modules/tsx/cli.mjs", "#!/usr/bin/env node\n"),
            ("node_modules/ts-runner/package.json", r#"{"name": "tsx"}"#),
            ("a", "#!/usr/bin/env -S node --import tsx\n"),
            ("b", "#!/bin/sh\nexec ./a \"$@\"\n"),
            ("c", "#!/usr/bin/env node\nrequire('tsx/cjs');\n"),
            ("innocent", "#!/usr/bin/env node\nconsole.log('tsx')\n"),
            ("tsx/worker", "#!/bin/sh\nexec node w.js\n"),
            ("d.mjs", "import 'ts-runner/esm';\n"),
        ]);
        symlink("node_modules/tsx/cli.mjs", folder.path().join("worker")).unwrap();
        for command in ["./a", "./b", "./c", "./worker"] {
            assert_eq!(
                runners(&read_in(folder.path(), &[], &[command])),
                [Runner::Tsx],
                "{command}"
            );
        }
        assert_eq!(runners(&read_in(folder.path(), &[], &["node", "d.mjs"])), [Runner::Tsx]);
        for command in ["./innocent", "./tsx/worker"] {
            let reading = read_in(folder.path(), &[], &[command]);
            assert!(reading.runs.is_empty(), "{command}: {reading:?}");
        }
    }

    #[test]
    fn what_leads_to_itself_comes_to_an_end() {
        let scripts = r#"{"scripts": {"start": "npm start && npm start", "x": "npm run x"}}"#;
        let script = "#!/bin/sh\n. ./again\nexec ./again\n";
        let folder = folder(&[("package.json", scripts), ("again", script)]);
        symlink("loop", folder.path().join("loop")).unwrap();
        for command in [&["npm", "start"][..], &["npm", "run", "x"], &["./again"], &["sh", "again"]]
        {
            let reading = read_in(folder.path(), &[], command);
            assert!(
                !reading.unread.is_empty() && reading.runs.is_empty(),
                "{command:?}: {reading:?}"
            );
        }
        assert!(read_in(folder.path(), &[], &["./loop"]).runs.is_empty());
    }

    #[rustfmt::skip]
    const OF_A_SHELL: &[&str] = &[
        "tsx w.ts", "$(", ")", "`", "\"", "'", "${", "}", ":-", "<<EOF\n", "EOF\n", "\n", ";", "&&", "||",
        "|", "if ", "then ", "fi ", "case ", " in ", "esac ", ";; ", "while ", "do ", "done ", "for i in ",
        "(", "((", "[[ ", " ]]", "{ ", "f() ", "f ", "eval ", "exec ", "X=", "$X ", "$@", "\\", "#", "<<<",
        "npm run x ", "set -- ", ". ./x ",
    ];

    #[test]
    fn any_text_for_a_shell_is_read_to_an_end() {
        bolero::check!().with_generator(pieces::text(OF_A_SHELL)).for_each(|text: &String| {
            let _ = by_shell(&text.replace('\0', ""));
        });
    }

    /// The control is the time: each would take minutes, or all of the memory.
    #[test]
    fn what_doubles_itself_or_nests_without_end_is_read_to_an_end() {
        let began = std::time::Instant::now();
        let doubled = "X=$X$X; ".repeat(60);
        let values = (0..1000).map(|place| format!("export V{place}=$X; ")).collect::<Vec<_>>();
        for text in [
            format!("X=xxxxxxxx; {doubled} $X"),
            format!("set -- a; {}", "set -- \"$@\" \"$@\"; ".repeat(60)),
            format!("X=xxxxxxxx; {doubled} echo {}", "$X".repeat(50_000)),
            format!("X=xxxxxxxx; {doubled} {} {}", values.concat(), "Y=1 foo; ".repeat(1000)),
            "a && ".repeat(50_000) + "b",
            "command ".repeat(15_000) + "tsx",
            format!("B='{}'; {}", ":;".repeat(4000), "sh -c \"$B\"; ".repeat(1000)),
            format!("node -e '{}'", "=/[".repeat(40_000)),
            "find . ".to_owned() + &"-exec ".repeat(20_000),
            "concurrently ".to_owned() + &"a ".repeat(50_000),
        ] {
            let _ = by_shell(&text);
        }
        for value in ["-S ${A}", "-S ${A}${A}"] {
            let entry = format!("A={value}");
            let _ = read_in(Path::new("/"), &[&entry], &["env", "-S", "${A}"]);
        }
        let yaml = format!("script: {}{}\n", "[".repeat(50_000), "]".repeat(50_000));
        let names = (1..40).map(|n| format!("const a{n} = [a{}, a{}];", n - 1, n - 1));
        let config =
            format!("const a0 = [1, 1]; {} module.exports = a39", names.collect::<String>());
        let folder = folder(&[("e.yml", &yaml), ("ecosystem.config.js", &config)]);
        for file in ["e.yml", "ecosystem.config.js"] {
            let _ = read_in(folder.path(), &[], &["pm2-runtime", file]);
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(30), "{:?}", began.elapsed());
    }

    #[test]
    fn any_command_is_read_to_an_end() {
        let pieces = &[
            "npm\n",
            "run\n",
            "x\n",
            "npx\n",
            "-p\n",
            "--\n",
            "-c\n",
            "node\n",
            "--import\n",
            "tsx\n",
            "env\n",
            "-S\n",
            "pnpm\n",
            "-F\n",
            "yarn\n",
            "workspace\n",
            "pm2\n",
            "start\n",
            "nodemon\n",
            "concurrently\n",
            "timeout\n",
            "sh\n",
            "--call=\n",
            "@",
            "=",
            "data:,import 'tsx'\n",
            "..\n",
        ];
        let folder =
            folder(&[("package.json", r#"{"scripts": {"x": "npx x"}, "workspaces": ["*"]}"#)]);
        bolero::check!().with_generator(pieces::text(pieces)).for_each(|text: &String| {
            let words: Vec<&str> = text.split('\n').collect();
            let _ = read_in(folder.path(), &[], &words);
        });
    }

    #[test]
    fn any_package_json_is_read_or_named() {
        let pieces = &[
            "{",
            "}",
            "[",
            "]",
            "\"scripts\"",
            ":",
            ",",
            "\"x\"",
            "\"npm run x\"",
            "\"tsx w.ts\"",
            "null",
            "\"workspaces\"",
            "\"packages/*\"",
            "1",
            "\"name\"",
            "\"exports\"",
            "\"main\"",
        ];
        let folder = folder(&[]);
        let path = folder.path().join("package.json");
        bolero::check!().with_generator(pieces::text(pieces)).for_each(|text: &String| {
            fs::write(&path, text).unwrap();
            let _ = read_in(folder.path(), &[], &["npm", "run", "x", "-ws"]);
            let _ = read_in(folder.path(), &[], &["node", "."]);
        });
    }
}
