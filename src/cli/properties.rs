//! Properties of the values of options.

use std::ffi::{CString, OsString};
use std::time::Duration;

use clap::Parser;

use super::Cli;
use super::plain::plain;
use super::value::{
    List, count, duration, heartbeat, list, name, path, paths, some, switch, text, word,
};
use crate::escape::is_harmless;
use crate::log::LogLevel;
use crate::pieces;
use crate::registry::{KeyPrefix, WorkerType};
use crate::supervisor::{Remap, Rewrite, Signal};
use crate::system::environment::Environment;

const PIECES: &[&str] = &[
    "0",
    "1",
    "10",
    "86400",
    "86401",
    "3601s",
    "99ms",
    "24h",
    "25h",
    "99999999999999999999",
    "ms",
    "s",
    "m",
    "h",
    "year",
    "us",
    " ",
    ",",
    ":",
    "-",
    "+",
    ".",
    "e",
    "true",
    "OFF",
    "warn",
    "TERM",
    "143",
    "extractor",
    "ocr-2",
    "fiskai",
    "/app",
    "é",
    "\u{1b}[31m",
    "\u{202e}",
    "\"",
    "'",
    "\n",
];

#[test]
fn any_text_is_a_duration_within_its_limits_or_refused() {
    bolero::check!().with_generator(pieces::text(PIECES)).for_each(|text: &String| {
        assert!(
            duration(text).is_err()
                || duration(text).is_ok_and(|read| read <= Duration::from_hours(24))
        );
        if let Ok(read) = heartbeat(text) {
            assert!((Duration::from_millis(100)..=Duration::from_hours(1)).contains(&read));
            assert_eq!(duration(text), Ok(read));
        }
    });
}

#[test]
fn any_text_is_a_word_a_switch_a_number_or_refused() {
    bolero::check!().with_generator(pieces::text(PIECES)).for_each(|value: &String| {
        if switch(value).is_ok() || word::<LogLevel>(value).is_ok() {
            assert!(value.is_ascii());
        }
        assert!(count(value).is_err() || count(value).is_ok_and(|count| (1..=10).contains(&count)));
        assert!(text(value).is_err() || !value.contains(char::is_control));
        assert!(name(value).is_err() || value.chars().count() <= 128);
        let _ = path(value);
    });
}

/// A list of as many items as stand between commas, or what is wrong with one of them, in one line.
fn is_list_or_refused<T>(value: &str)
where
    T: std::str::FromStr + std::fmt::Debug + PartialEq,
    T::Err: std::fmt::Display,
{
    match list::<T>(value) {
        Ok(List(items)) => {
            assert!(items.len() <= value.matches(',').count() + 1);
            assert_eq!(some::<T>(value).is_err(), items.is_empty());
        }
        Err(reason) => {
            assert!(reason.chars().all(is_harmless), "{reason:?}");
            assert_eq!(some::<T>(value), Err(reason));
        }
    }
}

#[test]
fn any_text_is_a_list_or_refused() {
    bolero::check!().with_generator(pieces::text(PIECES)).for_each(|value: &String| {
        is_list_or_refused::<Remap>(value);
        is_list_or_refused::<Rewrite>(value);
        is_list_or_refused::<Signal>(value);
        is_list_or_refused::<WorkerType>(value);
        is_list_or_refused::<KeyPrefix>(value);
        let Ok(List(all)) = paths(value);
        assert!(all.len() <= value.matches(':').count() + 1);
        assert!(all.iter().all(|path| value.contains(path.to_str().unwrap())));
    });
}

fn environment(entries: &[&str]) -> Environment {
    entries.iter().map(|entry| CString::new(*entry).unwrap()).collect()
}

fn words(line: &[&str]) -> Vec<OsString> {
    line.iter().map(OsString::from).collect()
}

#[test]
fn a_plain_command_line_is_what_the_parser_makes_of_it() {
    for command in
        [&["node", "w.js"][..], &["--log-level", "warn"], &["--", "a"], &["", "run", "--"]]
    {
        let line = words(&[&["version-guard", "run", "--"], command].concat());
        let parsed = Cli::try_parse_from(&line).unwrap();
        let run = plain(&line, &environment(&["PATH=/bin", "X_VERSION_GUARD_LOG=warn"])).unwrap();
        assert_eq!(format!("{:?}", Cli::without_options(run)), format!("{parsed:?}"));
    }
}

#[test]
fn whatever_needs_a_parser_gets_one() {
    for line in [
        &["version-guard"][..],
        &["version-guard", "run"],
        &["version-guard", "run", "--"],
        &["version-guard", "run", "node"],
        &["version-guard", "run", "--heartbeat", "1s", "--", "node"],
        &["version-guard", "--log-level", "warn", "run", "--", "node"],
        &["version-guard", "check", "--", "node"],
    ] {
        assert!(plain(&words(line), &environment(&[])).is_none(), "{line:?}");
    }
    let line = words(&["version-guard", "run", "--", "node"]);
    for entry in ["VERSION_GUARD_LOG=warn", "VERSION_GUARD_HEARTBEAT=", "VERSION_GUARD_X"] {
        assert!(plain(&line, &environment(&["A=1", entry])).is_none(), "{entry}");
    }
    assert!(plain(&line, &environment(&["A=VERSION_GUARD_"])).is_some());
}
