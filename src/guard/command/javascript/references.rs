//! What a program's code loads and starts: modules, files of other threads and processes, and commands.

use super::live::live;
use super::tokens::{Kind, Token, tokens};

/// How many tokens of a call are read.
const MAX_TOKENS: usize = 400;
/// Words that may stand in an argument that tells a path.
const OF_PATHS: [&str; 18] = [
    "new",
    "URL",
    "import",
    "meta",
    "url",
    "dirname",
    "require",
    "resolve",
    "path",
    "join",
    "__dirname",
    "pathToFileURL",
    "fileURLToPath",
    "href",
    "pathname",
    "toString",
    "process",
    "cwd",
];

/// What code refers to.
#[derive(Debug, PartialEq, Eq)]
pub enum Reference {
    /// A module that is imported, required or registered.
    Module(String),
    /// A file that another thread or process of Node's begins with, and whether it is sought from the
    /// code's own folder.
    Entry(String, bool),
    /// The options of such a thread or process.
    Options(Vec<String>),
    /// A command that is executed; `None` stands for a word that can't be told.
    Command(Vec<Option<String>>),
    /// Commands that a shell executes.
    Shell(String),
}

/// All that is referred to where it is executed in production, in order.
pub fn references(code: &str) -> Vec<Reference> {
    let tokens = tokens(code);
    let live = live(&tokens);
    let starts_others = tokens.iter().any(|token| {
        ["child_process", "node:child_process", "execa", "cross-spawn"]
            .contains(&token.text.as_str())
    });
    let is_live = |at: &usize| live.get(*at).is_some_and(|is_live| *is_live);
    let found = (0..tokens.len()).filter(is_live);
    found.filter_map(|at| reference(&tokens, at, starts_others)).collect()
}

fn reference(tokens: &[Token], at: usize, starts_others: bool) -> Option<Reference> {
    let (before, rest) = tokens.split_at_checked(at)?;
    let (token, behind) = rest.split_first()?;
    match before {
        [.., last] if token.is_text() && (last.is("import") || last.is("from")) => {
            Some(Reference::Module(token.text.clone()))
        }
        _ if token.is("execArgv") => match behind {
            [colon, open, list @ ..] if colon.is(":") && open.is("[") => {
                let words = list.iter().take(MAX_TOKENS).take_while(|token| !token.is("]"));
                let texts = words.filter(|token| token.is_text());
                Some(Reference::Options(texts.map(|token| token.text.clone()).collect()))
            }
            _ => None,
        },
        [.., callee, close] if token.is("(") && close.is(")") && callee.is("Worker") => {
            entry(&arguments(behind))
        }
        [others @ .., callee] if token.is("(") && callee.kind == Kind::Word => {
            call(others, &callee.text, behind, starts_others)
        }
        _ => None,
    }
}

fn call(
    before: &[Token],
    callee: &str,
    behind: &[Token],
    starts_others: bool,
) -> Option<Reference> {
    match callee {
        "require" | "import" | "register" if is_nodes(before, callee) => {
            let (path, _) = path(arguments(behind).first()?)?;
            Some(Reference::Module(path))
        }
        "Worker" => entry(&arguments(behind)),
        "fork" if starts_others => entry(&arguments(behind)),
        "spawn" | "spawnSync" | "execFile" | "execFileSync" | "execa" | "execaSync"
            if starts_others =>
        {
            command(&arguments(behind))
        }
        "execSync" | "exec" | "execaCommand" if starts_others => {
            let of = match before {
                [.., of, dot] if dot.is(".") => Some(of.text.as_str()),
                _ => None,
            };
            // A regular expression has such a method, too.
            let is_other = callee == "exec" && of.is_some_and(|of| !is_child_process(of));
            match arguments(behind).first()? {
                [text] if text.is_text() && !is_other => Some(Reference::Shell(text.text.clone())),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether a function is Node's, and not a method of the same name: `module.register()` is.
fn is_nodes(before: &[Token], callee: &str) -> bool {
    match before {
        [.., of, dot] if dot.is(".") => match callee {
            "register" => of.is("module") || of.is("Module") || of.is(")"),
            _ => of.is("module") && callee == "require",
        },
        _ => true,
    }
}

fn is_child_process(name: &str) -> bool {
    ["child_process", "childProcess", "cp", ")"].contains(&name)
}

/// The arguments of a call, from behind the bracket that opens them.
fn arguments(behind: &[Token]) -> Vec<&[Token]> {
    let (mut found, mut start, mut depth) = (Vec::new(), 0, 0_u32);
    for (at, token) in behind.iter().enumerate().take(MAX_TOKENS) {
        let is_one_of = |signs: [&str; 3]| signs.iter().any(|sign| token.is(sign));
        let ends = depth == 0 && is_one_of([")", "]", "}"]);
        if ends || depth == 0 && token.is(",") {
            found.extend(behind.get(start..at));
            start = at + 1;
        }
        if ends {
            return found;
        }
        if is_one_of(["(", "[", "{"]) {
            depth += 1;
        } else if is_one_of([")", "]", "}"]) {
            depth -= 1;
        }
    }
    found
}

/// The path that an argument tells, and whether it is sought from the code's own folder.
fn path(argument: &[Token]) -> Option<(String, bool)> {
    let may_be_one = |token: &Token| match token.kind {
        Kind::Text => true,
        Kind::Word => OF_PATHS.contains(&token.text.as_str()),
        Kind::Sign => [".", "(", ")", ",", "+"].contains(&token.text.as_str()),
    };
    if !argument.iter().all(may_be_one) {
        return None;
    }
    let texts: Vec<&str> =
        argument.iter().filter(|token| token.is_text()).map(|token| token.text.as_str()).collect();
    let names = |word: &str| argument.iter().any(|token| token.is(word));
    match texts[..] {
        [] => None,
        _ if names("__dirname") || names("dirname") => {
            Some((format!("./{}", texts.join("/")), true))
        }
        _ if names("cwd") => Some((format!("./{}", texts.join("/")), false)),
        [text] if names("URL") && !text.starts_with(['.', '/']) && !text.contains(':') => {
            Some((format!("./{text}"), true))
        }
        [text] => Some((text.to_owned(), names("URL") || names("require"))),
        _ => Some((texts.join("/"), false)),
    }
}

fn entry(arguments: &[&[Token]]) -> Option<Reference> {
    let (path, is_own) = path(arguments.first()?)?;
    Some(Reference::Entry(path, is_own))
}

/// A program and the list of its arguments.
fn command(arguments: &[&[Token]]) -> Option<Reference> {
    let program = match arguments.first()? {
        [text] if text.is_text() => text.text.clone(),
        [process, dot, path] if process.is("process") && dot.is(".") && path.is("execPath") => {
            "node".into()
        }
        _ => return None,
    };
    let mut words = vec![Some(program)];
    if let Some([open, list @ ..]) = arguments.get(1)
        && open.is("[")
    {
        words.extend(self::arguments(list).into_iter().filter(|one| !one.is_empty()).map(
            |argument| match argument {
                [text] if text.is_text() => Some(text.text.clone()),
                _ => None,
            },
        ));
    }
    Some(Reference::Command(words))
}

#[cfg(test)]
mod tests {
    use super::{Reference, references};

    fn modules(code: &str) -> Vec<String> {
        let found = references(code).into_iter().filter_map(|reference| match reference {
            Reference::Module(module) => Some(module),
            _ => None,
        });
        found.collect()
    }

    #[test]
    fn what_is_imported_is_found_however_it_is_written() {
        for code in [
            "require('tsx/cjs');",
            "#!/usr/bin/env node\nimport \"tsx/cjs\"\n",
            "import { register } from 'tsx/cjs'",
            "import{register}from'tsx/cjs';",
            "await import(`tsx/cjs`)",
            "const m = require ( 'tsx/cjs' )",
            "import { register } from 'node:module'; register('tsx/cjs', import.meta.url)",
            "require(require.resolve('tsx/cjs'))",
            "const r = /['\"`]/g; require('tsx/cjs')",
            "(async () => { await import('tsx/cjs') })()",
            "function start() { if (x) { y() } require('tsx/cjs') }\nstart()",
            "const x = a ? b : c\nrequire('tsx/cjs')",
            "if (process.env.NODE_ENV === 'production') require('tsx/cjs')",
            "if (isDev) console.log('x')\nrequire('tsx/cjs')",
            "if (process.env.NODE_ENV !== 'production') { x() } else { require('tsx/cjs') }",
            "process.env.NODE_ENV === 'production' && require('tsx/cjs')",
            "if (require.main === module) require('tsx/cjs')",
            "for (const x of y) { z(x) } require('tsx/cjs')",
            "try { require('tsx/cjs') } catch (e) { throw e }",
            "function f() { return 1 }\nrequire('tsx/cjs')",
            "if (!process.env.X) throw new Error('x')\nrequire('tsx/cjs')",
            "if (process.env.NODE_ENV !== 'production') { return }\nrequire('tsx/cjs')",
        ] {
            assert!(modules(code).contains(&"tsx/cjs".into()), "{code}");
        }
    }

    #[test]
    fn a_word_in_data_in_a_comment_or_behind_a_condition_is_not_imported() {
        for code in [
            "// require('tsx/cjs')\n",
            "/* import 'tsx/cjs' */",
            "console.log(\"require('tsx/cjs')\")",
            "const queue = 'tsx/cjs'",
            "queue('tsx/cjs')",
            "if (isDev) require('tsx/cjs')",
            "if (isDev)\n  require('tsx/cjs')\nelse\n  x()",
            "if (process.env.NODE_ENV !== 'production') { x(); require('tsx/cjs') } else { y() }",
            "if (process.env.NODE_ENV === 'production') { x() } else require('tsx/cjs')",
            "if ('production' == process.env['NODE_ENV']) x(); else if (y) require('tsx/cjs')",
            "if (process.env.NODE_ENV != 'production' && x) require('tsx/cjs')",
            "process.env.NODE_ENV !== 'production' && require('tsx/cjs')",
            "existsSync(dist) ? import(dist) : import('tsx/cjs')",
            "require(isDev ? 'tsx/cjs' : './dist/w.js')",
            "try { require('./dist/w.js') } catch { require('tsx/cjs') }",
            "if (process.env.NODE_ENV === 'production') { x(); return }\nrequire('tsx/cjs')",
            "() => { if (process.env.NODE_ENV === 'production') return x()\n require('tsx/cjs') }",
            "switch (process.env.NODE_ENV) { case 'development': require('tsx/cjs') }",
        ] {
            assert!(!modules(code).contains(&"tsx/cjs".into()), "{code}");
        }
    }

    #[test]
    fn files_of_threads_and_processes_are_found() {
        for (code, path, is_own) in [
            ("new Worker('./w.ts')", "./w.ts", false),
            ("new Worker(new URL('./w.ts', import.meta.url))", "./w.ts", true),
            ("new (require('node:worker_threads').Worker)('./w.ts')", "./w.ts", false),
            ("require('node:child_process').fork('./w.ts', x)", "./w.ts", false),
            ("import cp from 'child_process'; fork(path.join(__dirname, 'w.ts'))", "./w.ts", true),
        ] {
            let entry = Reference::Entry(path.into(), is_own);
            assert!(references(code).contains(&entry), "{code}: {:?}", references(code));
        }
        let code =
            "import(new URL('w.ts', import.meta.url)), require(path.join(__dirname, 'w.ts'))";
        assert_eq!(modules(code), ["./w.ts", "./w.ts"]);
    }

    #[test]
    fn commands_are_found_with_their_arguments() {
        let of = "require('child_process');";
        let some = |words: &[&str]| words.iter().map(|word| Some((*word).to_owned())).collect();
        for (code, expected) in [
            (
                "spawn('npx', ['tsx', 'w.ts'], {})",
                Reference::Command(some(&["npx", "tsx", "w.ts"])),
            ),
            ("spawn(process.execPath, ['w.ts'])", Reference::Command(some(&["node", "w.ts"]))),
            ("cp.execSync('tsx w.ts')", Reference::Shell("tsx w.ts".into())),
            (
                "x({ execArgv: ['--import', 'tsx'] })",
                Reference::Options(vec!["--import".into(), "tsx".into()]),
            ),
        ] {
            let found = references(&format!("{of}{code}"));
            assert!(found.contains(&expected), "{code}: {found:?}");
        }
        for code in ["re.exec('tsx w.ts')", "if (isDev) spawn('tsx', [])"] {
            assert_eq!(references(&format!("{of}{code}")).len(), 1, "{code}");
        }
    }

    #[test]
    fn what_is_nested_without_end_is_read_to_an_end() {
        for piece in ["{", "(", "if(x)", "if(x){}else ", "[", "require(", "x=>{", "a?b:", "`${"] {
            assert!(references(&piece.repeat(20_000)).is_empty(), "{piece}");
        }
    }
}
