//! Command line, environment and seal, read once, each into a value. No floor below reads them again.

use std::path::{self, Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::clean::clean;
use crate::cli::{self, List};
use crate::escape::Escape;
use crate::guard::{Expectation, Production};
use crate::image::{ImageIdentity, Policy, Seal, Source};
use crate::input::read_small;
use crate::registry::{
    Access, CertificateFiles, Endpoint, OnDrift, Place, Registration, WorkerType,
};
use crate::runner::Runners;
use crate::supervisor::{Supervision, WorkerCommand};
use crate::system::environment::Environment;

/// Everything that `run` decides by.
#[derive(Debug)]
pub struct Config {
    pub identity: ImageIdentity,
    pub expectation: Expectation,
    pub worker: WorkerCommand,
    pub registration: Registration,
    pub supervision: Supervision,
    pub runner_watch: RunnerWatch,
}

/// The second look at what runs.
#[derive(Debug)]
pub struct RunnerWatch {
    pub forbidden: Runners,
    /// Arguments that let a process through.
    pub allowed: Vec<String>,
    /// From the worker's start on; zero where the guards are not enforced.
    pub duration: Duration,
}

/// Long enough for whatever a container's start does before the worker's own code.
const RUNNER_WATCH: Duration = Duration::from_secs(15);

/// What is read of a file that holds one value, in bytes.
const MAX_VALUE_BYTES: u64 = 64 * 1024;

impl Config {
    /// Reads the seal and the environment beside the options.
    ///
    /// # Errors
    /// A file with the expected SHA that can't be read: to start without it would be to start what is
    /// not expected.
    // What it takes of the stack is free again for the guards.
    #[inline(never)]
    pub fn new(options: cli::Run, environment: Environment) -> Result<Self, BadFile> {
        let identity = identity(&environment);
        let target = target(&environment, &options.keys);
        let registration = Registration {
            place: place(&environment, target.is_ok()),
            target,
            key_prefix: options.keys.prefix,
            timeout: options.register_timeout,
            heartbeat: options.heartbeat,
            on_drift: if identity.policy.stop_on_drift {
                OnDrift::Stop
            } else {
                options.policy.on_drift
            },
            drift_grace: options.drift_grace,
        };
        let expectation = expectation(&environment, options.policy)?;
        Ok(Self {
            runner_watch: runner_watch(options.runner_watch, &identity, &expectation),
            expectation,
            worker: WorkerCommand {
                arguments: options.command,
                environment: for_worker(environment, &identity),
            },
            identity,
            registration,
            supervision: supervision(options.supervision),
        })
    }
}

fn runner_watch(
    asked: Option<Duration>,
    identity: &ImageIdentity,
    expectation: &Expectation,
) -> RunnerWatch {
    let policy = identity.policy.and(expectation.policy);
    let duration = policy.longest_watch(asked).unwrap_or(RUNNER_WATCH);
    let is_enforced = expectation.is_enforced(identity.policy);
    RunnerWatch {
        forbidden: policy.runners(),
        allowed: identity.allowed_arguments.clone(),
        duration: if is_enforced { duration } else { Duration::ZERO },
    }
}

fn supervision(options: cli::Supervision) -> Supervision {
    Supervision {
        scope: options.signal_scope,
        rewrites: flat(options.rewrite_signal),
        parent_death_signal: options.parent_death_signal,
        remaps: flat(options.remap_exit),
        warn_on_reap: options.warn_on_reap,
        stop_timeout: options.stop_timeout,
        reap_grace: options.reap_grace,
    }
}

fn flat<T>(lists: Vec<List<T>>) -> Vec<T> {
    lists.into_iter().flat_map(|List(items)| items).collect()
}

/// The image's identity from its seal and the environment.
pub fn identity(environment: &Environment) -> ImageIdentity {
    ImageIdentity::new(Seal::read(), environment.get("GIT_SHA"), environment.get("BUILD_DATE"))
}

/// What the deployment asks for, by `NODE_ENV` and `EXPECTED_GIT_SHA`.
///
/// # Errors
/// That the file with the SHA can't be read.
pub fn expectation(environment: &Environment, policy: cli::Policy) -> Result<Expectation, BadFile> {
    let (git_sha, is_overridden) = expected_sha(environment)?;
    Ok(Expectation {
        production: Production::new(
            &environment.get("NODE_ENV").unwrap_or_default().to_string_lossy(),
        ),
        git_sha,
        is_overridden,
        policy: Policy {
            enforce: policy.enforce,
            require_expected: policy.require_expected,
            stop_on_drift: policy.on_drift == OnDrift::Stop,
            forbid_runners: policy.forbid_runners,
            runner_watch: None,
        },
    })
}

/// A warning where both are set.
pub const EXPECTED_TWICE: &str =
    "EXPECTED_GIT_SHA is set beside EXPECTED_GIT_SHA_FILE, which counts";

/// The file that should hold the expected SHA, and does not.
#[derive(Debug, Error)]
#[error(
    "EXPECTED_GIT_SHA_FILE is '{}': {reason}. Expected a file with the SHA that is expected",
    Escape(path)
)]
pub struct BadFile {
    path: String,
    reason: String,
}

/// The SHA that the deployment expects, by `EXPECTED_GIT_SHA_FILE` or `EXPECTED_GIT_SHA`; and whether both
/// were set.
///
/// # Errors
/// That the file can't be read.
pub fn expected_sha(environment: &Environment) -> Result<(Option<String>, bool), BadFile> {
    let some = |text: &str| Some(clean(text).to_owned()).filter(|text| !text.is_empty());
    let of = |name| some(&environment.get(name).unwrap_or_default().to_string_lossy());
    let git_sha = of("EXPECTED_GIT_SHA");
    let Some(path) = of("EXPECTED_GIT_SHA_FILE") else { return Ok((git_sha, false)) };
    let unusable = |reason| BadFile { path: path.clone(), reason };
    let bytes = read_small(Path::new(&path), MAX_VALUE_BYTES)
        .map_err(|error| unusable(error.to_string()))?;
    let text = String::from_utf8_lossy(&bytes);
    let found = some(&text).filter(|sha| sha.len() <= 256 && !sha.contains(char::is_whitespace));
    match found {
        Some(found) => Ok((Some(found), git_sha.is_some())),
        None => Err(unusable("it holds no SHA".into())),
    }
}

/// The way to the registry, by the first of `URL_VARIABLES` that is set, and the options for certificates.
///
/// # Errors
/// A sentence that says why there is none, never with the password in it.
pub fn redis(environment: &Environment, keys: &cli::Keys) -> Result<Access, String> {
    let absolute = |path: &PathBuf| path::absolute(path).unwrap_or_else(|_| path.clone());
    let files = CertificateFiles {
        ca: keys.redis_ca.as_ref().map(absolute),
        system: value(environment, "SSL_CERT_FILE")?.map(PathBuf::from),
        extra_ca: value(environment, "NODE_EXTRA_CA_CERTS")?
            .map(PathBuf::from)
            .as_ref()
            .map(absolute),
        cert: keys.redis_cert.as_ref().map(absolute),
        key: keys.redis_key.as_ref().map(absolute),
        server_name: keys.redis_server_name.clone(),
    };
    for (variable, file) in URL_VARIABLES {
        let url = value(environment, variable)?;
        if let Some(path) = value(environment, file)? {
            if path.contains("://") {
                return Err(format!("{file} is a URL: expected the path of a file that holds it"));
            }
            let path = absolute(&path.into());
            return Ok(Access::by_file(variable, path, url.is_some(), files));
        }
        if let Some(url) = url {
            // Never with the value in the message: it may hold a password.
            let endpoint: Endpoint =
                url.parse().map_err(|reason| format!("{variable} can't be used: {reason}"))?;
            return Ok(Access::to(variable, endpoint, files));
        }
    }
    Err("REDIS_URL is not set: expected redis://[[user][:password]@]host[:port]".into())
}

/// What holds a REDIS_URL, and what names a file that does: what is for the shim alone, with a user of its
/// own, wins over what the worker has.
const URL_VARIABLES: [(&str, &str); 2] =
    [("VERSION_GUARD_REDIS_URL", "VERSION_GUARD_REDIS_URL_FILE"), ("REDIS_URL", "REDIS_URL_FILE")];

/// What to register as and where; `None` in an error's place where neither is said, which is a choice.
fn target(
    environment: &Environment,
    keys: &cli::Keys,
) -> Result<(WorkerType, Access), Option<String>> {
    let Some(worker_type) = value(environment, "WORKER_TYPE")? else {
        let is_set = |name| !matches!(value(environment, name), Ok(None));
        let is_meant = URL_VARIABLES.into_iter().any(|(url, file)| is_set(url) || is_set(file));
        return Err(is_meant.then(|| "WORKER_TYPE is not set".into()));
    };
    let worker_type = worker_type
        .parse()
        .map_err(|expected| format!("WORKER_TYPE is '{}': {expected}", Escape(worker_type)))?;
    Ok((worker_type, redis(environment, keys)?))
}

/// Where the worker runs, by what Kubernetes' downward API puts into these variables; where nobody registers,
/// nobody asks.
fn place(environment: &Environment, is_asked: bool) -> Place {
    if !is_asked {
        return Place::default();
    }
    let host = nix::unistd::gethostname().unwrap_or_default();
    let of = |name| value(environment, name).ok().flatten();
    Place::new(host.to_string_lossy().into(), of("POD_NAME"), of("POD_NAMESPACE"))
}

/// Whether output on a terminal may be coloured: unless people have asked for none (no-color.org).
pub fn colour(environment: &Environment) -> bool {
    let is_set = |name| environment.get(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && environment.get("TERM").is_none_or(|term| term != "dumb")
}

/// Who runs this, as people sign a deployment.
pub fn user_and_host(environment: &Environment) -> String {
    let user = ["USER", "LOGNAME"].into_iter().find_map(|name| value(environment, name).ok()?);
    let host = nix::unistd::gethostname().unwrap_or_default();
    format!("{}@{}", user.unwrap_or("unknown"), host.to_string_lossy())
}

/// A variable's value, cleaned; `None` when nothing is left of it or it is unset.
///
/// # Errors
/// That it is no text, in words that name the variable and not the value.
fn value<'a>(environment: &'a Environment, name: &str) -> Result<Option<&'a str>, String> {
    let Some(value) = environment.get(name) else { return Ok(None) };
    let value = value.to_str().ok_or_else(|| format!("{name} is not UTF-8"))?;
    Ok(Some(clean(value)).filter(|value| !value.is_empty()))
}

/// The environment that the worker would have had, and the image's own word where it is sealed.
fn for_worker(mut environment: Environment, identity: &ImageIdentity) -> Environment {
    if identity.source == Source::Sealed {
        environment.set("GIT_SHA", &identity.git_sha.to_string());
        environment.set("BUILD_DATE", &identity.build_date);
    }
    environment
}

#[cfg(test)]
mod tests {
    use std::ffi::{CString, OsStr};

    use super::{Environment, Expectation, OnDrift, expectation, for_worker, target};
    use crate::cli;
    use crate::image::{ImageIdentity, Seal};

    fn environment(entries: &[&str]) -> Environment {
        entries.iter().map(|entry| CString::new(*entry).unwrap()).collect()
    }

    fn keys() -> cli::Keys {
        cli::Keys {
            prefix: "p".parse().unwrap(),
            redis_ca: None,
            redis_cert: None,
            redis_key: None,
            redis_server_name: None,
        }
    }

    fn expected(entry: &str) -> Expectation {
        let policy = cli::Policy {
            enforce: None,
            require_expected: false,
            on_drift: OnDrift::Warn,
            forbid_runners: None,
        };
        expectation(&environment(&[entry]), policy).unwrap()
    }

    #[test]
    fn production_is_what_node_env_says() {
        for (entry, production) in [
            ("NODE_ENV=production", true),
            ("NODE_ENV=\"Production\"", true),
            ("NODE_ENV=", false),
            ("X_NODE_ENV=production", false),
        ] {
            assert_eq!(expected(entry).production.is_production(), production, "{entry}");
        }
    }

    #[test]
    fn a_blank_expected_sha_is_none() {
        assert_eq!(expected("EXPECTED_GIT_SHA= \n").git_sha, None);
        let set = expected("EXPECTED_GIT_SHA=\" a1b2c3d\"\r\n");
        assert_eq!(set.git_sha.as_deref(), Some("a1b2c3d"));
    }

    #[test]
    fn a_sealed_identity_replaces_the_environments_for_the_worker() {
        let before = environment(&["GIT_SHA=x", "A=1", "GIT_SHA=y", "noise"]);
        let seal =
            Seal { git_sha: "a1b2c3d".into(), build_date: "today".into(), ..Seal::default() };
        let identity = ImageIdentity::new(Ok(Some(seal)), before.get("GIT_SHA"), None);
        let after = for_worker(before, &identity);
        assert_eq!(after.get("GIT_SHA"), Some(OsStr::new("a1b2c3d")));
        assert_eq!(after.get("BUILD_DATE"), Some(OsStr::new("today")));
        assert_eq!(after.entries().len(), 4);
    }

    #[test]
    fn a_bad_redis_url_is_reported_without_its_password() {
        for url in ["http://:hunter2@h", "redis://:hunter2@h/x", "rediss://:hunter2#h@h"] {
            let entry = format!("REDIS_URL={url}");
            let all = environment(&["WORKER_TYPE=w", &entry]);
            let reason = target(&all, &keys()).unwrap_err().unwrap();
            assert!(reason.starts_with("REDIS_URL"), "{reason}");
            assert!(!reason.contains("hunter2"), "{reason}");
        }
    }

    #[test]
    fn what_is_missing_for_the_registration_is_named() {
        for (entries, named) in [
            (&["WORKER_TYPE=w"][..], "REDIS_URL"),
            (&["REDIS_URL=redis://h", "WORKER_TYPE="], "WORKER_TYPE"),
            (&["REDIS_URL=redis://h", "WORKER_TYPE=a b"], "WORKER_TYPE is 'a b'"),
        ] {
            let reason = target(&environment(entries), &keys()).unwrap_err().unwrap();
            assert!(reason.starts_with(named), "{reason}");
        }
    }

    #[test]
    fn to_run_unregistered_is_a_choice() {
        for entries in [&[][..], &["WORKER_TYPE=", "REDIS_URL=\"\""]] {
            assert_eq!(target(&environment(entries), &keys()).unwrap_err(), None);
        }
    }
}
