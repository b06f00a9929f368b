//! How a value of an option is read, whether it comes from the command line or from the environment.

use std::convert::Infallible;
use std::env;
use std::ffi::OsStr;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{Resettable, StringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, Command, Error, ValueEnum};

use crate::clean::clean;
use crate::escape::Escape;

/// Reads a value, cleaned, with a function whose error says what would be right.
///
/// Where the value comes from an option's twin in the environment, clap's own message would name the
/// option, which was not typed: this one names the variable.
#[derive(Debug, Clone)]
pub struct Value<F>(pub F);

impl<F, T, E> TypedValueParser for Value<F>
where
    F: Fn(&str) -> Result<T, E> + Clone + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
    E: Display,
{
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        option: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, Error> {
        let read = self.0.clone();
        StringValueParser::new()
            .try_map(move |text| read(clean(&text)).map_err(|expected| expected.to_string()))
            .parse_ref(command, option, value)
    }

    fn parse_ref_(
        &self,
        command: &Command,
        option: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<T, Error> {
        let variable = option.and_then(Arg::get_env);
        let Some(variable) = variable.filter(|_| source == ValueSource::EnvVariable) else {
            return self.parse_ref(command, option, value);
        };
        let text = value.to_string_lossy();
        let read = match self.0(clean(&text)) {
            Ok(_) if value.to_str().is_none() => Err("expected text in UTF-8".to_owned()),
            read => read.map_err(|expected| expected.to_string()),
        };
        read.map_err(|expected| {
            let (variable, value) = (variable.display(), Escape(&text));
            Error::raw(ErrorKind::ValueValidation, format!("{variable} is '{value}': {expected}"))
        })
    }
}

/// An option without its twin where the variable is empty, which clap takes for a value: deployments
/// pass empty ones for what they don't set.
pub fn unless_empty(option: Arg) -> Arg {
    let is_empty = |variable: &OsStr| {
        env::var_os(variable)
            .is_some_and(|value| value.to_str().is_some_and(|text| clean(text).is_empty()))
    };
    if option.get_env().is_some_and(is_empty) { option.env(Resettable::Reset) } else { option }
}

/// Any text, but for what would not be seen where it is shown.
///
/// # Errors
/// What would be right.
pub fn text(text: &str) -> Result<String, &'static str> {
    let is_visible = !text.chars().any(char::is_control);
    is_visible.then(|| text.to_owned()).ok_or("expected text on one line")
}

/// One of the words of an enum, in any case.
///
/// # Errors
/// All of the words.
pub fn word<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, true).map_err(|_| {
        let values = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let words: Vec<String> = values.map(|value| value.get_name().to_owned()).collect();
        match words.split_last() {
            Some((last, [])) => format!("expected {last}"),
            Some((last, others)) => format!("expected {} or {last}", others.join(", ")),
            None => "expected nothing".into(),
        }
    })
}

/// On or off, in the words that people use for it.
///
/// # Errors
/// The words that are usual.
pub fn switch(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("expected true or false"),
    }
}

/// A number of times, from 1 to 10: so many are remembered.
///
/// # Errors
/// The limits.
pub fn count(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|count| (1..=10).contains(count)).ok_or("expected 1 to 10")
}

/// A duration as people write it, up to a day; a bare number is seconds.
///
/// # Errors
/// What a duration looks like.
pub fn duration(text: &str) -> Result<Duration, &'static str> {
    read_duration(text)
        .filter(|duration| *duration <= Duration::from_hours(24))
        .ok_or("expected a duration such as 500ms, 1s or 2m, at most 24h")
}

/// The time between two signs of life: long enough not to flood Redis, and short enough for a
/// dead instance to be reported while its death still matters.
///
/// # Errors
/// What a duration looks like, and the limits.
pub fn heartbeat(text: &str) -> Result<Duration, &'static str> {
    read_duration(text)
        .filter(|duration| {
            (Duration::from_millis(100)..=Duration::from_hours(1)).contains(duration)
        })
        .ok_or("expected a duration such as 10s, 30s or 5m, from 100ms to 1h")
}

fn read_duration(text: &str) -> Option<Duration> {
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text).ok(),
    }
}

/// What one option or its twin lists, separated by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

/// A list, in which what stands between two commas next to each other is nothing.
///
/// # Errors
/// What would be right in the place of the first item that is wrong.
pub fn list<T>(text: &str) -> Result<List<T>, String>
where
    T: FromStr,
    T::Err: Display,
{
    text.split(',')
        .map(clean)
        .filter(|item| !item.is_empty())
        .map(|item| item.parse().map_err(|expected| format!("'{}': {expected}", Escape(item))))
        .collect::<Result<_, _>>()
        .map(List)
}

/// At least one item, separated by commas: a variable that is not set in a script is no list.
///
/// # Errors
/// The item that is none, and what would be right.
pub fn some<T>(text: &str) -> Result<List<T>, String>
where
    T: FromStr,
    T::Err: Display,
{
    let List(items) = list(text)?;
    if items.is_empty() { Err("expected at least one".into()) } else { Ok(List(items)) }
}

/// The number of a process.
///
/// # Errors
/// What would be right.
pub fn pid(text: &str) -> Result<i32, &'static str> {
    text.parse().ok().filter(|pid| *pid > 0).ok_or("expected the number of a process, from 1 on")
}

/// A name that is shown to people.
///
/// # Errors
/// What would be right.
pub fn name(name: &str) -> Result<String, &'static str> {
    let fits = name.chars().count() <= 128;
    if fits { text(name) } else { Err("expected at most 128 characters") }
}

/// A path, of which what is wrong is found out where it is opened.
///
/// # Errors
/// None.
#[allow(clippy::unnecessary_wraps)]
pub fn path(path: &str) -> Result<PathBuf, Infallible> {
    Ok(PathBuf::from(path))
}

/// Paths, separated by colons as those of PATH are.
///
/// # Errors
/// None: what is no path is found out where it is looked for.
#[allow(clippy::unnecessary_wraps)]
pub fn paths(text: &str) -> Result<List<PathBuf>, Infallible> {
    let paths = text.split(':').map(clean).filter(|path| !path.is_empty());
    Ok(List(paths.map(PathBuf::from).collect()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{List, duration, heartbeat, list, switch, word};
    use crate::supervisor::{Remap, Scope};

    #[test]
    fn a_duration_has_a_unit_or_is_in_seconds_and_is_bounded() {
        for (text, expected) in [
            ("30", Duration::from_secs(30)),
            ("0", Duration::ZERO),
            ("30s", Duration::from_secs(30)),
            ("500ms", Duration::from_millis(500)),
            ("1h 30m", Duration::from_mins(90)),
            ("24h", Duration::from_hours(24)),
        ] {
            assert_eq!(duration(text), Ok(expected), "{text}");
        }
        for text in ["25h", "86401", "-1s", "", "soon", "1.5", "99999999999999y"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_heartbeat_is_neither_a_flood_nor_a_silence() {
        assert!(heartbeat("100ms").is_ok() && heartbeat("1h").is_ok());
        assert!(heartbeat("99ms").is_err() && heartbeat("61m").is_err());
    }

    #[test]
    fn a_switch_is_on_or_off_in_any_case() {
        for (text, expected) in
            [("1", true), ("TRUE", true), ("Yes", true), ("on", true), ("0", false)]
        {
            assert_eq!(switch(text), Ok(expected), "{text}");
        }
        for (text, expected) in [("False", false), ("no", false), ("OFF", false)] {
            assert_eq!(switch(text), Ok(expected), "{text}");
        }
        assert!(switch("perhaps").is_err() && switch("").is_err());
    }

    #[test]
    fn a_word_is_read_in_any_case_and_the_others_are_named() {
        assert_eq!(word("GROUP"), Ok(Scope::Group));
        assert_eq!(word::<Scope>("all"), Err("expected worker or group".into()));
    }

    #[test]
    fn a_list_is_separated_by_commas() {
        let remap = |text: &str| text.parse::<Remap>().unwrap();
        assert_eq!(list("1:2, 3,"), Ok(List(vec![remap("1:2"), remap("3:0")])));
        assert_eq!(list::<Remap>(""), Ok(List(vec![])));
        assert!(list::<Remap>("1:2,x").unwrap_err().starts_with("'x': expected CODE"));
    }
}
