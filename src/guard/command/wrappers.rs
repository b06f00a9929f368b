//! Programs that execute another one: how to find it among their arguments.

use super::dotenv;
use super::files::{Files, join};
use super::invocation::{Invocation, Next, Script};

/// Where the command stands that a wrapper executes.
enum Before {
    /// Behind its options, of which these take a value, and so many operands.
    Options(&'static [&'static str], usize),
    /// Behind `--`, or after this word.
    Dashes(&'static str),
}

use Before::{Dashes, Options};

/// Wrappers whose command stands behind their own options.
const WRAPPERS: &[(&str, Before)] = &[
    ("asdf", Dashes("exec")),
    ("aws-vault", Dashes("")),
    ("berglas", Dashes("")),
    ("catatonit", Options(&["-P"], 0)),
    ("catchsegv", Options(&[], 0)),
    ("chamber", Dashes("")),
    (
        "chpst",
        Options(
            &[
                "-u", "-U", "-b", "-/", "-n", "-l", "-L", "-m", "-d", "-o", "-p", "-f", "-c", "-t",
                "-r",
            ],
            0,
        ),
    ),
    ("chroot", Options(&[], 1)),
    ("chrt", Options(&["-T", "-P", "-D"], 1)),
    ("corepack", Options(&[], 0)),
    ("ddtrace-run", Options(&[], 0)),
    ("direnv", Dashes("exec")),
    ("doas", Options(&["-u", "-C"], 0)),
    (
        "dockerize",
        Options(
            &[
                "-wait",
                "-timeout",
                "-wait-retry-interval",
                "-template",
                "-stdout",
                "-stderr",
                "-wait-http-header",
            ],
            0,
        ),
    ),
    ("docker-init", Options(&["-p", "-e"], 0)),
    ("doppler", Dashes("")),
    ("dotenvx", Dashes("")),
    ("dumb-init", Options(&["-r", "--rewrite"], 0)),
    ("envconsul", Options(&["-config", "-prefix", "-secret", "-upcase"], 0)),
    ("faketime", Options(&[], 1)),
    ("flock", Options(&["-w", "--timeout", "--wait", "-E", "--conflict-exit-code"], 1)),
    ("fnm", Dashes("exec")),
    ("gosu", Options(&[], 1)),
    ("infisical", Dashes("")),
    ("ionice", Options(&["-c", "--class", "-n", "--classdata"], 0)),
    ("mise", Dashes("")),
    ("newrelic-admin", Options(&[], 1)),
    ("nice", Options(&["-n", "--adjustment"], 0)),
    ("nohup", Options(&[], 0)),
    ("nsenter", Options(&["-t", "--target", "-S", "-G"], 0)),
    ("numactl", Options(&["-N", "-m", "-C", "-i", "-p"], 0)),
    ("op", Dashes("")),
    ("opentelemetry-instrument", Options(&[], 0)),
    ("prlimit", Options(&["-p", "-o"], 0)),
    ("proxychains", Options(&["-f"], 0)),
    ("proxychains4", Options(&["-f"], 0)),
    ("s6-envdir", Options(&[], 1)),
    ("s6-setuidgid", Options(&[], 1)),
    ("setarch", Options(&[], 1)),
    (
        "setpriv",
        Options(
            &[
                "--reuid",
                "--regid",
                "--ruid",
                "--euid",
                "--rgid",
                "--egid",
                "--groups",
                "--inh-caps",
                "--ambient-caps",
                "--bounding-set",
                "--securebits",
                "--selinux-label",
                "--apparmor-profile",
                "--pdeathsig",
                "--ptracer",
                "--landlock-access",
                "--landlock-rule",
                "--seccomp-filter",
            ],
            0,
        ),
    ),
    ("setsid", Options(&[], 0)),
    ("setuser", Options(&[], 1)),
    ("softlimit", Options(&["-a", "-c", "-d", "-f", "-l", "-m", "-o", "-p", "-r", "-s", "-t"], 0)),
    ("stdbuf", Options(&["-i", "-o", "-e", "--input", "--output", "--error"], 0)),
    (
        "strace",
        Options(&["-o", "-e", "-p", "-s", "-u", "-E", "-P", "-O", "-S", "-a", "-b", "-I", "-X"], 0),
    ),
    ("su-exec", Options(&[], 1)),
    (
        "sudo",
        Options(
            &[
                "-u", "-g", "-h", "-p", "-C", "-D", "-R", "-T", "-U", "-r", "-t", "--user",
                "--group", "--host", "--prompt", "--chdir", "--chroot",
            ],
            0,
        ),
    ),
    ("taskset", Options(&[], 1)),
    ("teller", Dashes("")),
    ("time", Options(&["-f", "-o", "--format", "--output"], 0)),
    ("timeout", Options(&["-k", "--kill-after", "-s", "--signal"], 1)),
    ("tini", Options(&["-p", "-e"], 0)),
    ("tini-static", Options(&["-p", "-e"], 0)),
    ("unbuffer", Options(&[], 0)),
    (
        "unshare",
        Options(
            &["-S", "-G", "-R", "-w", "--setuid", "--setgid", "--root", "--wd", "--propagation"],
            0,
        ),
    ),
    ("version-guard", Dashes("")),
    ("volta", Dashes("run")),
    ("wait-for", Dashes("")),
    ("wait-for-it", Dashes("")),
    ("wait-for-it.sh", Dashes("")),
    ("wait-for.sh", Dashes("")),
    ("with-contenv", Options(&[], 0)),
    (
        "xargs",
        Options(
            &[
                "-n",
                "-I",
                "-L",
                "-P",
                "-s",
                "-d",
                "-a",
                "-E",
                "--max-args",
                "--max-procs",
                "--delimiter",
                "--arg-file",
                "--replace",
            ],
            0,
        ),
    ),
    (
        "xvfb-run",
        Options(
            &[
                "-e",
                "-f",
                "-n",
                "-p",
                "-s",
                "-w",
                "--error-file",
                "--auth-file",
                "--server-num",
                "--xauth-protocol",
                "--server-args",
                "--wait",
            ],
            0,
        ),
    ),
];

/// What a wrapper of this name executes; `None` where it is none.
pub fn wrapped<'a>(
    name: &str,
    invocation: &Invocation<'a>,
    files: &mut Files,
) -> Option<Vec<Next<'a>>> {
    let arguments = invocation.arguments();
    let with = |words: &[String]| {
        vec![Next::Command(Invocation { words: words.to_vec(), place: invocation.place.clone() })]
    };
    match name {
        "env" => return Some(env(invocation)),
        "cross-env" | "cross-env-shell" => return Some(cross_env(name, invocation)),
        "env-cmd" | "dotenv" => return Some(with_file(name, invocation, files)),
        "su" | "runuser" | "script" | "watch" => return Some(by_string(name, invocation)),
        "taskset" if arguments.iter().any(|word| word == "-c" || word == "--cpu-list") => {}
        "flock" if arguments.iter().any(|word| word == "-c" || word == "--command") => {
            return Some(by_string(name, invocation));
        }
        _ => {}
    }
    let (_, before) = WRAPPERS.iter().find(|(known, _)| *known == name)?;
    Some(match before {
        Options(values, operands) => with(behind_options(arguments, values, *operands)),
        Dashes(word) => {
            if let Some(text) = string_option(arguments, &["--command"]) {
                return Some(vec![by_shell(invocation, text)]);
            }
            let dashes = arguments.iter().position(|argument| argument == "--");
            let at = dashes.or_else(|| arguments.iter().position(|argument| argument == word));
            match at {
                Some(at) => with(arguments.get(at + 1..).unwrap_or_default()),
                None => Vec::new(),
            }
        }
    })
}

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
        } else if values.contains(&word.as_str()) {
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

/// The value of one of these options, as a word behind it or behind `=`.
pub fn string_option<'w>(words: &'w [String], names: &[&str]) -> Option<&'w str> {
    let mut words = words.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if names.contains(&word.as_str()) {
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

fn by_shell<'a>(invocation: &Invocation<'a>, text: &str) -> Next<'a> {
    let place = invocation.place.step(invocation.shown());
    Next::Shell(Script { text: text.to_owned(), name: "sh".into(), arguments: Vec::new(), place })
}

fn by_string<'a>(name: &str, invocation: &Invocation<'a>) -> Vec<Next<'a>> {
    let arguments = invocation.arguments();
    if let Some(text) = string_option(arguments, &["-c", "--command"]) {
        return vec![by_shell(invocation, text)];
    }
    let values: &[&str] = if name == "watch" { &["-n", "--interval"] } else { &["-u", "-g", "-s"] };
    let rest = behind_options(arguments, values, usize::from(name == "su"));
    match name {
        "watch" => vec![by_shell(invocation, &rest.join(" "))],
        "runuser" => {
            vec![Next::Command(Invocation {
                words: rest.to_vec(),
                place: invocation.place.clone(),
            })]
        }
        _ => Vec::new(),
    }
}

/// env(1): assignments, `-i`, `-u`, `-C` and `-S`, whose string is split into words.
fn env<'a>(invocation: &Invocation<'a>) -> Vec<Next<'a>> {
    let mut place = invocation.place.clone();
    let mut words: Vec<String> = invocation.arguments().to_vec();
    words.reverse();
    while let Some(word) = words.pop() {
        let attached = |name: &str| word.strip_prefix(name).map(str::to_owned);
        let mut value = |attached: Option<String>| {
            attached.filter(|text| !text.is_empty()).or_else(|| words.pop()).unwrap_or_default()
        };
        if word == "-" || word == "-i" || word == "--ignore-environment" {
            place.variables = super::invocation::Variables::cleared();
        } else if word == "-u" || word == "--unset" {
            place.variables.unset(&value(None));
        } else if word == "-C" || word == "--chdir" {
            place.folder = join(&place.folder, value(None));
        } else if let Some(text) = attached("--split-string=")
            .or_else(|| attached("--split-string"))
            .or_else(|| attached("-S"))
            .or_else(|| attached("-vS"))
        {
            let text = value(Some(text));
            words.extend(split(&text).into_iter().rev());
        } else if word.starts_with('-') {
            continue;
        } else if let Some((name, value)) = word.split_once('=') {
            place.variables.set(name, value);
        } else {
            words.push(word);
            words.reverse();
            return vec![Next::Command(Invocation { words, place })];
        }
    }
    Vec::new()
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

fn cross_env<'a>(name: &str, invocation: &Invocation<'a>) -> Vec<Next<'a>> {
    let mut place = invocation.place.clone();
    let mut rest = invocation.arguments();
    while let Some((word, others)) = rest.split_first() {
        match word.split_once('=') {
            Some((name, value)) if !word.starts_with('-') => place.variables.set(name, value),
            _ if word.starts_with('-') => {}
            _ => break,
        }
        rest = others;
    }
    let invocation = Invocation { words: rest.to_vec(), place };
    if name == "cross-env-shell" {
        return vec![by_shell(&invocation, &rest.join(" "))];
    }
    vec![Next::Command(invocation)]
}

/// A file of variables before the command.
fn with_file<'a>(name: &str, invocation: &Invocation<'a>, files: &mut Files) -> Vec<Next<'a>> {
    let arguments = invocation.arguments();
    let mut place = invocation.place.clone();
    let (option, values): (&[&str], &[&str]) = if name == "dotenv" {
        (&["-e"], &["-e", "-v", "-c", "-p"])
    } else {
        (&["-f", "--file"], &["-f", "--file", "-e", "--environments", "-r", "--rc-file"])
    };
    let file = string_option(arguments, option).unwrap_or(".env");
    for (name, value) in dotenv::variables(&join(&place.folder, file), files) {
        if place.variables.get(&name).is_none() || name == "env-cmd" {
            place.variables.set(name, value);
        }
    }
    let words = behind_options(arguments, values, 0);
    // dotenv of Ruby and of Python.
    let words = words.strip_prefix(&["run".to_owned()]).unwrap_or(words);
    let words = words.strip_prefix(&["--".to_owned()]).unwrap_or(words);
    vec![Next::Command(Invocation { words: words.to_vec(), place })]
}
