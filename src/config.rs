//! argv, environment and seal, read once, each into a value. Below here nobody reads them again.

use std::borrow::Cow;
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::cli;
use crate::guard::Expectation;
use crate::image::{Enforce, ImageIdentity, Seal, Source, Switch, meaningful};
use crate::kernel;
use crate::registry::{Endpoint, WorkerType};
use crate::supervisor::Options;
use crate::telemetry::{LogFormat, Printable};
use crate::verify::{CannotAsk, Expected, Format};

/// A setting in the environment that can't be used as it is.
#[derive(Debug, Error)]
#[error("{variable} is '{}': {expected}", Printable(value))]
pub struct ConfigError {
    variable: &'static str,
    value: String,
    expected: String,
}

/// The environment as received: `NAME=value` entries, byte for byte.
#[derive(Debug, Clone)]
pub struct Environment(Vec<CString>);

impl Environment {
    pub fn received() -> Self {
        Self(kernel::environ())
    }

    /// The value of a variable, the first one as getenv(3) has it, or `None` when it is unset.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.iter().find_map(|entry| value_of(entry, name)).map(OsStr::from_bytes)
    }

    /// All entries, for execve(2).
    pub fn entries(&self) -> &[CString] {
        &self.0
    }

    /// The flag if it was given, else its twin unless that is empty.
    fn option<T>(&self, flag: Option<T>, variable: &'static str) -> Result<Option<T>, ConfigError>
    where
        T: FromStr,
        T::Err: ToString,
    {
        match (flag, self.twin(variable)) {
            (None, Some(twin)) => parse(variable, &twin).map(Some),
            (flag, _) => Ok(flag),
        }
    }

    /// The flags if any was given, else what its twin lists, separated by commas.
    fn options<T>(&self, flags: Vec<T>, variable: &'static str) -> Result<Vec<T>, ConfigError>
    where
        T: FromStr,
        T::Err: ToString,
    {
        match self.twin(variable) {
            Some(twin) if flags.is_empty() => {
                twin.split(',').map(|item| parse(variable, item.trim())).collect()
            }
            _ => Ok(flags),
        }
    }

    /// A duration: the flag if it was given, else its twin.
    fn duration(
        &self,
        flag: Option<Bounded>,
        variable: &'static str,
    ) -> Result<Option<Duration>, ConfigError> {
        Ok(self.option(flag, variable)?.map(|bounded| bounded.0))
    }

    /// A switch: on by its flag, or by its twin.
    fn switch(&self, flag: bool, variable: &'static str) -> Result<bool, ConfigError> {
        let flag = flag.then_some(Switch(true));
        Ok(self.option(flag, variable)?.is_some_and(|switch| switch.0))
    }

    fn twin(&self, variable: &str) -> Option<Cow<'_, str>> {
        self.get(variable).filter(|value| !value.is_empty()).map(OsStr::to_string_lossy)
    }

    fn set(&mut self, name: &str, value: &str) {
        // A NUL byte can't come out of a seal that is a JSON string in a C environment; drop it there.
        let entry = format!("{name}={}", value.replace('\0', ""));
        self.0.retain(|entry| value_of(entry, name).is_none());
        self.0.extend(CString::new(entry));
    }
}

fn parse<T>(variable: &'static str, value: &str) -> Result<T, ConfigError>
where
    T: FromStr,
    T::Err: ToString,
{
    value.parse().map_err(|expected: T::Err| ConfigError {
        variable,
        value: value.to_owned(),
        expected: expected.to_string(),
    })
}

fn value_of<'a>(entry: &'a CString, name: &str) -> Option<&'a [u8]> {
    entry.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// Everything that `run` and `check` decide by.
#[derive(Debug)]
pub struct Config {
    pub identity: ImageIdentity,
    pub expectation: Expectation,
    pub worker: WorkerCommand,
    pub registration: Registration,
    pub supervision: Options,
}

/// What is executed as the worker.
#[derive(Debug)]
pub struct WorkerCommand {
    pub arguments: Vec<OsString>,
    /// As received, with the sealed identity in it.
    pub environment: Environment,
}

/// Where and as what the worker registers.
#[derive(Debug)]
pub struct Registration {
    /// What is needed to register, or why the worker runs unregistered.
    pub target: Result<(WorkerType, Endpoint), String>,
    pub key_prefix: KeyPrefix,
    pub timeout: Duration,
    /// The time between two signs of life.
    pub heartbeat: Duration,
}

impl Config {
    /// Reads the seal and the rest of the environment.
    ///
    /// # Errors
    /// A malformed value of one of the shim's own options. What is about monitoring only is no error.
    pub fn new(options: cli::Run, environment: Environment) -> Result<Self, ConfigError> {
        let timeout =
            environment.option(options.register_timeout, "VERSION_GUARD_REGISTER_TIMEOUT")?;
        let key_prefix = environment.option(options.key_prefix, "VERSION_GUARD_KEY_PREFIX")?;
        let heartbeat = environment.option(options.heartbeat, "VERSION_GUARD_HEARTBEAT")?;
        let registration = Registration {
            target: target(&environment),
            key_prefix: key_prefix.unwrap_or_default(),
            timeout: timeout.map_or(cli::REGISTER_TIMEOUT, |timeout: Bounded| timeout.0),
            heartbeat: heartbeat.map_or(cli::HEARTBEAT, |heartbeat: Heartbeat| heartbeat.0),
        };
        let supervision = supervision(options.supervision, &environment)?;
        let identity = identity(&environment);
        Ok(Self {
            expectation: expectation(&environment),
            worker: WorkerCommand {
                arguments: options.command,
                environment: for_worker(environment, &identity),
            },
            identity,
            registration,
            supervision,
        })
    }
}

fn supervision(flags: cli::Supervision, environment: &Environment) -> Result<Options, ConfigError> {
    let scope = environment.option(flags.signal_scope, "VERSION_GUARD_SIGNAL_SCOPE")?;
    Ok(Options {
        scope: scope.unwrap_or_default(),
        rewrites: environment.options(flags.rewrite_signal, "VERSION_GUARD_REWRITE_SIGNAL")?,
        parent_death_signal: environment
            .option(flags.parent_death_signal, "VERSION_GUARD_PARENT_DEATH_SIGNAL")?,
        remaps: environment.options(flags.remap_exit, "VERSION_GUARD_REMAP_EXIT")?,
        warn_on_reap: environment.switch(flags.warn_on_reap, "VERSION_GUARD_WARN_ON_REAP")?,
        stop_timeout: environment.duration(flags.stop_timeout, "VERSION_GUARD_STOP_TIMEOUT")?,
        reap_grace: environment.duration(flags.reap_grace, "VERSION_GUARD_REAP_GRACE")?,
    })
}

/// Everything that `verify` asks, and how it answers.
#[derive(Debug)]
pub struct Verification {
    expected: Option<String>,
    redis: Result<Endpoint, String>,
    required: Vec<WorkerType>,
    required_file: Option<String>,
    dead_for: Duration,
    pub key_prefix: KeyPrefix,
    pub wait: Option<Duration>,
    pub watch: bool,
    pub instances: bool,
    pub format: Format,
    pub timeout: Duration,
    /// Whether nobody has asked for none.
    pub colour: bool,
}

impl Verification {
    /// # Errors
    /// A malformed value of one of the options' twins.
    pub fn new(options: cli::Verify, environment: &Environment) -> Result<Self, ConfigError> {
        let text = |name| set(environment, name).map(|value| value.to_string_lossy().into_owned());
        let required: Option<Required> =
            environment.option(options.require, "VERSION_GUARD_REQUIRE")?;
        let key_prefix = environment.option(options.key_prefix, "VERSION_GUARD_KEY_PREFIX")?;
        // What a command line asks for is not to be drowned by a twin of the watch's.
        let asks_for_another = options.wait.is_some() || options.json || options.format.is_some();
        let format = if options.json { Some(Format::Json) } else { options.format };
        let format = environment.option(format, "VERSION_GUARD_FORMAT")?;
        Ok(Self {
            expected: options.expected.or_else(|| text("EXPECTED_GIT_SHA")),
            redis: redis(environment),
            required: required.unwrap_or_default().0,
            required_file: options.require_file.or_else(|| text("VERSION_GUARD_REQUIRE_FILE")),
            dead_for: environment
                .duration(options.dead_for, "VERSION_GUARD_DEAD_FOR")?
                .unwrap_or(cli::DEAD_FOR),
            key_prefix: key_prefix.unwrap_or_default(),
            wait: environment.duration(options.wait, "VERSION_GUARD_WAIT")?,
            watch: environment.switch(options.watch, "VERSION_GUARD_WATCH")? && !asks_for_another,
            instances: environment.switch(options.instances, "VERSION_GUARD_INSTANCES")?,
            format: format.unwrap_or_default(),
            timeout: environment
                .duration(options.timeout, "VERSION_GUARD_VERIFY_TIMEOUT")?
                .unwrap_or(cli::VERIFY_TIMEOUT),
            colour: set(environment, "NO_COLOR").is_none()
                && set(environment, "TERM").is_none_or(|term| term != "dumb"),
        })
    }

    /// What the fleet should be.
    ///
    /// # Errors
    /// That nobody has said, or a file of required types that can't be used.
    pub fn expected(&self) -> Result<Expected, CannotAsk> {
        let git_sha = self.expected.as_deref().map(str::trim).unwrap_or_default();
        if git_sha.is_empty() {
            return Err(CannotAsk::NoExpectedSha);
        }
        let git_sha = meaningful(git_sha).map_err(|word| CannotAsk::NothingExpected { word })?;
        let mut required = self.required.clone();
        if let Some(path) = &self.required_file {
            let unusable = |reason| CannotAsk::Required { path: path.clone(), reason };
            let file = fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
            let lines = file.lines().map(|line| line.split('#').next().unwrap_or_default());
            let more: Required = lines
                .collect::<Vec<_>>()
                .join(",")
                .parse()
                .map_err(|reason: String| unusable(reason))?;
            required.extend(more.0);
        }
        Ok(Expected { git_sha, required, dead_for: self.dead_for })
    }

    /// Whom to ask.
    ///
    /// # Errors
    /// That nobody has said.
    pub fn redis(&self) -> Result<&Endpoint, CannotAsk> {
        self.redis.as_ref().map_err(|reason| CannotAsk::NoRedis { reason: reason.clone() })
    }
}

/// The log format, before anything else is read.
///
/// # Errors
/// A malformed `VERSION_GUARD_LOG_FORMAT`.
pub fn log_format(
    flag: Option<LogFormat>,
    environment: &Environment,
) -> Result<LogFormat, ConfigError> {
    Ok(environment.option(flag, "VERSION_GUARD_LOG_FORMAT")?.unwrap_or_default())
}

/// The image's identity from its seal and the environment.
pub fn identity(environment: &Environment) -> ImageIdentity {
    ImageIdentity::new(Seal::read(), environment.get("GIT_SHA"), environment.get("BUILD_DATE"))
}

/// What the deployment asks for, by `NODE_ENV` and `EXPECTED_GIT_SHA`.
pub fn expectation(environment: &Environment) -> Expectation {
    let git_sha = environment.get("EXPECTED_GIT_SHA").unwrap_or_default().to_string_lossy();
    let git_sha = git_sha.trim();
    Expectation {
        production: environment.get("NODE_ENV").is_some_and(|value| value == "production"),
        git_sha: (!git_sha.is_empty()).then(|| git_sha.to_owned()),
    }
}

/// The seal to write, from the flags or their twins.
///
/// # Errors
/// A malformed policy, or a twin that is no text: sealed as anything else, it would be a SHA that no
/// commit has.
pub fn seal(options: cli::Seal, environment: &Environment) -> Result<Seal, ConfigError> {
    let value = |flag: Option<String>, variable| {
        let twin = environment.get(variable).unwrap_or_default();
        let value = flag.as_deref().or(twin.to_str()).ok_or_else(|| ConfigError {
            variable,
            value: twin.to_string_lossy().into_owned(),
            expected: "expected text in UTF-8".into(),
        })?;
        Ok(value.trim().to_owned())
    };
    Ok(Seal {
        git_sha: value(options.git_sha, "GIT_SHA")?,
        build_date: value(options.build_date, "BUILD_DATE")?,
        enforce: environment.option::<Enforce>(options.enforce, "VERSION_GUARD_ENFORCE")?,
        require_expected: environment
            .switch(options.require_expected, "VERSION_GUARD_REQUIRE_EXPECTED")?,
    })
}

fn target(environment: &Environment) -> Result<(WorkerType, Endpoint), String> {
    let worker_type = set(environment, "WORKER_TYPE");
    if worker_type.is_none() && set(environment, "REDIS_URL").is_none() {
        return Err("WORKER_TYPE and REDIS_URL are not set".into());
    }
    let worker_type = text("WORKER_TYPE", worker_type)?;
    let worker_type = worker_type
        .parse()
        .map_err(|expected| format!("WORKER_TYPE is '{}': {expected}", Printable(worker_type)))?;
    Ok((worker_type, redis(environment)?))
}

fn redis(environment: &Environment) -> Result<Endpoint, String> {
    let url = text("REDIS_URL", set(environment, "REDIS_URL"))?;
    // Never with the value in the message: it may hold a password.
    url.parse().map_err(|reason| format!("REDIS_URL can't be used: {reason}"))
}

fn set<'a>(environment: &'a Environment, name: &str) -> Option<&'a OsStr> {
    environment.get(name).filter(|value| !value.is_empty())
}

fn text<'a>(name: &str, value: Option<&'a OsStr>) -> Result<&'a str, String> {
    value
        .ok_or_else(|| format!("{name} is not set"))?
        .to_str()
        .ok_or_else(|| format!("{name} is not UTF-8"))
}

/// The environment that the worker would have had, and the image's own word where it is sealed.
fn for_worker(mut environment: Environment, identity: &ImageIdentity) -> Environment {
    if identity.source == Source::Sealed {
        environment.set("GIT_SHA", &identity.git_sha.to_string());
        environment.set("BUILD_DATE", &identity.build_date);
    }
    environment
}

/// A duration as people write it, up to a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounded(pub Duration);

impl FromStr for Bounded {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text)
            .ok()
            .filter(|duration| *duration <= Duration::from_hours(24))
            .map(Self)
            .ok_or("expected a duration such as 500ms, 1s or 2m, at most 24h")
    }
}

/// Worker types, separated by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Required(pub Vec<WorkerType>);

impl FromStr for Required {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(|name| {
                name.parse().map_err(|expected| format!("'{}': {expected}", Printable(name)))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// The time between two signs of life: long enough not to flood Redis, and short enough for an
/// instance that has died to be told from one that nobody remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat(pub Duration);

impl FromStr for Heartbeat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text)
            .ok()
            .filter(|duration| {
                (Duration::from_millis(100)..=Duration::from_hours(1)).contains(duration)
            })
            .map(Self)
            .ok_or("expected a duration such as 10s, 30s or 5m, from 100ms to 1h")
    }
}

/// What the keys in Redis begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for KeyPrefix {
    fn default() -> Self {
        Self("fiskai:worker".into())
    }
}

impl FromStr for KeyPrefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits =
            (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.into()))
            .ok_or("expected 1 to 128 visible ASCII characters, such as fiskai:worker")
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::{CString, OsStr};
    use std::time::Duration;

    use super::{Bounded, Environment, KeyPrefix, expectation, for_worker, target};
    use crate::image::{ImageIdentity, Seal};

    fn environment(entries: &[&str]) -> Environment {
        Environment(entries.iter().map(|entry| CString::new(*entry).unwrap()).collect())
    }

    #[test]
    fn the_flag_wins_over_its_twin_and_an_empty_twin_is_none() {
        let twin = environment(&["T=2s"]);
        let seconds = |seconds| Some(Bounded(Duration::from_secs(seconds)));
        assert_eq!(twin.option(seconds(3), "T").unwrap(), seconds(3));
        assert_eq!(twin.option(None, "T").unwrap(), seconds(2));
        assert_eq!(environment(&["T="]).option::<Bounded>(None, "T").unwrap(), None);
        assert_eq!(environment(&[]).option::<Bounded>(None, "T").unwrap(), None);
    }

    #[test]
    fn a_twin_lists_what_is_repeatable_separated_by_commas() {
        let twin = environment(&["T=2s, 3s"]);
        let seconds = |seconds| Bounded(Duration::from_secs(seconds));
        assert_eq!(twin.options::<Bounded>(vec![], "T").unwrap(), [seconds(2), seconds(3)]);
        assert_eq!(twin.options(vec![seconds(1)], "T").unwrap(), [seconds(1)]);
        assert!(environment(&["T=2s,x"]).options::<Bounded>(vec![], "T").is_err());
    }

    #[test]
    fn a_malformed_twin_is_named_with_its_value_and_what_would_be_right() {
        let error = environment(&["T=soon"]).option::<Bounded>(None, "T").unwrap_err();
        assert_eq!(
            error.to_string(),
            "T is 'soon': expected a duration such as 500ms, 1s or 2m, at most 24h"
        );
    }

    #[test]
    fn durations_are_bounded() {
        assert!("24h".parse::<Bounded>().is_ok());
        for text in ["25h", "1", "-1s", "", "99999999999999y"] {
            assert!(text.parse::<Bounded>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_prefix_is_visible_and_not_endless() {
        assert!("{fiskai}:worker".parse::<KeyPrefix>().is_ok());
        for text in ["", "a b", "a\n", &"x".repeat(129)] {
            assert!(text.parse::<KeyPrefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_exactly_production_is_production() {
        for (entry, production) in [
            ("NODE_ENV=production", true),
            ("NODE_ENV=Production", false),
            ("NODE_ENV=production ", false),
            ("NODE_ENV=", false),
            ("X_NODE_ENV=production", false),
        ] {
            assert_eq!(expectation(&environment(&[entry])).production, production, "{entry}");
        }
    }

    #[test]
    fn a_blank_expected_sha_is_none() {
        assert_eq!(expectation(&environment(&["EXPECTED_GIT_SHA= \n"])).git_sha, None);
        let set = expectation(&environment(&["EXPECTED_GIT_SHA= a1b2c3d\r\n"]));
        assert_eq!(set.git_sha.as_deref(), Some("a1b2c3d"));
    }

    #[test]
    fn a_sealed_identity_replaces_the_environments_for_the_worker() {
        let before = environment(&["GIT_SHA=x", "A=1", "GIT_SHA=y", "noise"]);
        let seal = Seal {
            git_sha: "a1b2c3d".into(),
            build_date: "today".into(),
            enforce: None,
            require_expected: false,
        };
        let identity = ImageIdentity::new(Ok(Some(seal)), before.get("GIT_SHA"), None);
        let after = for_worker(before, &identity);
        assert_eq!(after.get("GIT_SHA"), Some(OsStr::new("a1b2c3d")));
        assert_eq!(after.get("BUILD_DATE"), Some(OsStr::new("today")));
        assert_eq!(after.entries().len(), 4);
    }

    #[test]
    fn a_bad_redis_url_is_reported_without_its_password() {
        for url in [
            "redis://:hunter2@",
            "http://:hunter2@h",
            "redis://:hunter2@h/x",
            "rediss://:hunter2@h/#hunter2",
        ] {
            let entry = format!("REDIS_URL={url}");
            let reason = target(&environment(&["WORKER_TYPE=w", &entry])).unwrap_err();
            assert!(reason.starts_with("REDIS_URL"), "{reason}");
            assert!(!reason.contains("hunter2"), "{reason}");
        }
    }

    #[test]
    fn what_is_missing_for_the_registration_is_named() {
        for (entries, named) in [
            (&[][..], "WORKER_TYPE and REDIS_URL"),
            (&["WORKER_TYPE=w"], "REDIS_URL"),
            (&["REDIS_URL=redis://h", "WORKER_TYPE="], "WORKER_TYPE"),
            (&["REDIS_URL=redis://h", "WORKER_TYPE=a b"], "WORKER_TYPE is 'a b'"),
        ] {
            let reason = target(&environment(entries)).unwrap_err();
            assert!(reason.starts_with(named), "{reason}");
        }
    }
}
