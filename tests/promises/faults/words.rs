//! What a server says reaches neither a terminal nor a log as it is.

use std::time::Duration;

use nix::libc;

use super::cases::{assert_no_harm, side_by_side};
use crate::common::net::Server;
use crate::common::terminal::Terminal;
use crate::common::{SHA, Shim, kill};

/// What a terminal would obey, and what no log should hold: a title, a cleared screen, a bell, both
/// widths of a control sequence, letters that run backwards, a step back and what is no text at all.
const SMUGGLED: &str = "smuggled \x1b]0;title\x07 \x1b[2J\x1b[31m \u{9b}31m \u{202e}txet \x08\x08 \x7f \u{200b} smuggled";

/// Ways to say it, each as often as anybody may ask for an answer.
fn ways() -> Vec<(String, Vec<u8>)> {
    let error = |code: &str| (code.to_owned(), format!("-{code} {SMUGGLED}\r\n").repeat(50).into());
    let mut ways: Vec<(String, Vec<u8>)> =
        ["ERR", "WRONGPASS", "NOAUTH", "NOPERM", "DENIED", "LOADING", "\x1b]0;code\x07"]
            .map(error)
            .into();
    let text = format!("+{SMUGGLED}\r\n");
    let bulk = format!("${}\r\n{SMUGGLED}\r\n", SMUGGLED.len());
    let pairs = format!("*2\r\n{bulk}{bulk}");
    for (name, reply) in [("a text", text), ("a string", bulk), ("an array", pairs)] {
        ways.push((name.to_owned(), reply.repeat(50).into()));
    }
    let no_text = [b"-ERR smuggled \xff\xfe\x1b[31m\x80\r\n".as_slice()].concat();
    ways.push(("bytes".into(), no_text.repeat(50)));
    let redirect = format!("-MOVED 1 {}:1\r\n", SMUGGLED.replace(' ', ""));
    ways.push(("a redirect".into(), redirect.repeat(50).into()));
    let login_then_error = format!("+OK\r\n-ERR {SMUGGLED}\r\n");
    ways.push(("a login and an error".into(), login_then_error.repeat(25).into()));
    ways
}

/// The URL of a server. With a login all that it says first is about that, so that only those come with
/// one that are about logins.
fn url(way: &str, port: u16) -> String {
    let is_about_logins = ["a login and an error", "WRONGPASS", "NOAUTH", "a text"].contains(&way);
    let login = if is_about_logins { "worker:hunter2@" } else { "" };
    format!("redis://{login}127.0.0.1:{port}")
}

/// Each command that hears what a Redis says.
fn commands(url: &str) -> Vec<Shim> {
    let of =
        |command: &str| Shim::command(command).env("REDIS_URL", url).env("EXPECTED_GIT_SHA", SHA);
    let run = |format: &str| {
        Shim::run(["exit", "7"]).env("GIT_SHA", SHA).registers("extractor", url).options([
            "--register-timeout",
            "500ms",
            "--log-format",
            format,
        ])
    };
    let verify = |options: &[&str]| of("verify").options(["--timeout", "500ms"]).options(options);
    vec![
        run("text"),
        run("json"),
        verify(&[]),
        verify(&["--log-format", "json"]),
        verify(&["--format", "json"]),
        verify(&["--format", "prometheus"]),
        verify(&["--wait", "300ms"]),
        verify(&["--wait", "300ms", "--log-format", "json"]),
        of("expect").options([SHA]),
        of("expect"),
        of("expect").options(["--clear"]),
    ]
}

/// What stands in the text and could do harm where it is read.
fn harmful(text: &str) -> Option<char> {
    let is_harmful =
        |c: &char| (c.is_control() && *c != '\n') || matches!(c, '\u{202e}' | '\u{200b}');
    text.chars().find(is_harmful)
}

#[test]
fn whatever_a_server_says_a_log_and_a_pipe_get_nothing_raw() {
    let heard = side_by_side(&ways(), |(name, words)| {
        let words = words.clone();
        let server = Server::answering(move |_| words.clone());
        let commands = commands(&url(name, server.port));
        commands
            .iter()
            .map(|shim| {
                let ended = shim.output();
                (name.clone(), ended.stdout + &ended.stderr)
            })
            .collect::<Vec<_>>()
    });
    let heard = heard.concat();
    let harms = heard.iter().map(|(name, text)| {
        harmful(text).map(|harmful| format!("{name}: {harmful:?} in {text:?}"))
    });
    assert_no_harm(harms);
    // The control: it is repeated, only not as it is.
    let repeated = heard.iter().filter(|(_, text)| text.contains("smuggled")).count();
    assert!(repeated > heard.len() / 3, "{repeated} of {}", heard.len());
}

/// What stands on a terminal after it has run there for a moment, from when it says something on.
fn on_a_terminal(shim: &Shim) -> String {
    let mut terminal = Terminal::run(shim.to_command());
    terminal.shows("smuggled", Duration::from_millis(700));
    // The rest of it.
    terminal.shows("nothing else", Duration::from_millis(200));
    kill(terminal.pid(), libc::SIGTERM);
    terminal.end();
    terminal.rest().to_owned()
}

/// Colours and the way back to a table's beginning are the command's own.
#[test]
fn whatever_a_server_says_a_terminal_obeys_none_of_it() {
    let obeyed = |text: &str| {
        let smuggled =
            ["\x1b]", "\x07", "\x1b[2J", "\u{9b}", "\u{202e}", "\x08", "\x7f", "\u{200b}"];
        smuggled.into_iter().find(|what| text.contains(what))
    };
    let heard = side_by_side(&ways(), |(name, words)| {
        let words = words.clone();
        let server = Server::answering(move |_| words.clone());
        let url = url(name, server.port);
        let verify = Shim::command("verify").env("REDIS_URL", &url).env("EXPECTED_GIT_SHA", SHA);
        let shims = [
            verify.clone(),
            verify.clone().options(["--wait", "1s"]),
            verify.options(["--watch"]),
            Shim::run(["sleep"]).registers("extractor", &url),
        ];
        shims.iter().map(|shim| (name.clone(), on_a_terminal(shim))).collect::<Vec<_>>()
    });
    let heard = heard.concat();
    let harms = heard
        .iter()
        .map(|(name, text)| obeyed(text).map(|what| format!("{name}: {what:?} in {text:?}")));
    assert_no_harm(harms);
    let repeated = heard.iter().filter(|(_, text)| text.contains("smuggled")).count();
    assert!(repeated > heard.len() / 3, "{repeated} of {}", heard.len());
}

#[test]
fn who_repeats_a_server_as_it_is_is_found_out() {
    let careless = Shim::of("/bin/echo".into(), [SMUGGLED]);
    assert!(harmful(&careless.output().stdout).is_some());
    assert!(on_a_terminal(&careless).contains("\x1b[2J"));
}
