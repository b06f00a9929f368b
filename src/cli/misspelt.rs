//! Variables that look like an option's twin and are none.

use std::ffi::OsStr;

use clap::{Arg, Command};

use super::plain::TWIN;
use crate::clean::clean;
use crate::escape::Escape;
use crate::system::environment::Environment;

/// Variables that belong to no option.
const OTHERS: [&str; 2] = ["VERSION_GUARD_REDIS_URL", "VERSION_GUARD_REDIS_URL_FILE"];

/// What Kubernetes sets in every container beside a service that is called version-guard.
const OF_A_SERVICE: [&str; 2] = ["VERSION_GUARD_SERVICE_", "VERSION_GUARD_PORT"];

/// What is read without the twins' beginning.
const UNPREFIXED: [&str; 7] = [
    "GIT_SHA",
    "BUILD_DATE",
    "EXPECTED_GIT_SHA",
    "EXPECTED_GIT_SHA_FILE",
    "NODE_ENV",
    "WORKER_TYPE",
    "NODE_EXTRA_CA_CERTS",
];

/// How alike two names have to be for one to be taken for the other, from 0 to 1.
const ALIKE: f64 = 0.85;

/// A sentence for each variable that is set, begins as all twins do, and is read neither by the called
/// command nor by any other.
pub fn misspelt(
    environment: &Environment,
    called: Option<&Command>,
    all: impl FnOnce() -> Command,
) -> Vec<String> {
    let is_set = |value: &OsStr| !clean(&value.to_string_lossy()).is_empty();
    let is_of_a_service = |name: &OsStr| {
        OF_A_SERVICE.iter().any(|of| name.as_encoded_bytes().starts_with(of.as_bytes()))
    };
    let set = environment.of(TWIN).filter(|(_, value)| is_set(value)).map(|(name, _)| name);
    let mut names: Vec<&OsStr> = set.filter(|name| !is_of_a_service(name)).collect();
    // The options of the other commands are built only where these are not enough.
    let known: Vec<&Arg> = called.into_iter().flat_map(Command::get_arguments).collect();
    names.retain(|name| !is_known(name, &known));
    if names.is_empty() {
        return Vec::new();
    }
    let mut all = all();
    all.build();
    let subcommands = all.get_subcommands().flat_map(Command::get_arguments);
    let known: Vec<&Arg> = all.get_arguments().chain(subcommands).chain(known).collect();
    names.retain(|name| !is_known(name, &known));
    names.into_iter().map(|name| sentence(&name.to_string_lossy(), &known)).collect()
}

fn is_known(name: &OsStr, options: &[&Arg]) -> bool {
    OTHERS.iter().any(|other| name == *other)
        || options.iter().any(|option| option.get_env() == Some(name))
}

fn sentence(name: &str, options: &[&Arg]) -> String {
    let shown = Escape(name);
    match nearest(name, options) {
        Some(meant) => format!(
            "{shown} is set, and no option is called so: it has no effect. Is {meant} meant?"
        ),
        None => format!(
            "{shown} is set, and no option is called so: it has no effect. 'version-guard help run' names them"
        ),
    }
}

/// What is most alike: a twin, by its own name or by that of its option, or another variable.
fn nearest(name: &str, options: &[&Arg]) -> Option<String> {
    let wanted = name.strip_prefix(TWIN)?;
    let of_options = options.iter().filter_map(|option| {
        let twin = option.get_env()?.to_str()?;
        Some((option.get_long()?.replace('-', "_").to_uppercase(), twin))
    });
    let twins = options.iter().filter_map(|option| option.get_env()?.to_str());
    let others =
        twins.chain(OTHERS).filter_map(|twin| Some((twin.strip_prefix(TWIN)?.to_owned(), twin)));
    let unprefixed = UNPREFIXED.map(|name| (name.to_owned(), name));
    let known = of_options.chain(others).chain(unprefixed);
    let likely = known
        .map(|(known, meant)| (strsim::jaro(wanted, &known), meant))
        .filter(|(likeness, _)| *likeness > ALIKE);
    likely.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, meant)| meant.to_owned())
}
