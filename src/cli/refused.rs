//! What is wrong with a command line, where the parser's own words would not tell who writes a Dockerfile.

use std::ffi::OsString;

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The only argument that is required is the worker's.
const NO_COMMAND: &str = "\
There is no COMMAND to run as the worker after 'version-guard run --'. An ENTRYPOINT in a Dockerfile discards the CMD of the base image: repeat it after the ENTRYPOINT. One in shell form, without brackets, discards every CMD. Compose's entrypoint: and Kubernetes' command: replace the ENTRYPOINT and discard the CMD: use command: and args: there.
Usage: version-guard run [OPTIONS] -- COMMAND [ARG…]
For more information, try '--help'.";

/// How an image runs the shim.
pub const ENTRYPOINT: &str = "ENTRYPOINT [\"/usr/local/bin/version-guard\", \"run\", \"--\"]";

/// The same error, told as what it is in an image: a missing COMMAND, a missing `--`, a missing `run`.
pub fn in_the_users_words(error: Error, arguments: &[OsString]) -> Error {
    let is_said = |word: &str| arguments.iter().any(|argument| argument == word);
    let takes_a_worker = is_said("run") || is_said("check");
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(said)) => Some(said.as_str()),
        _ => None,
    };
    let text = match error.kind() {
        ErrorKind::MissingRequiredArgument => NO_COMMAND.to_owned(),
        ErrorKind::UnknownArgument if takes_a_worker => {
            let word = said(ContextKind::InvalidArg).filter(|word| !word.starts_with('-'));
            let Some(word) = word else { return error };
            format!(
                "'{word}' is no option. If it is the worker's, '--' has to stand before its command: {ENTRYPOINT}"
            )
        }
        ErrorKind::InvalidSubcommand
            if error.get(ContextKind::SuggestedSubcommand).is_none() && !is_said("help") =>
        {
            let word = said(ContextKind::InvalidSubcommand).unwrap_or_default();
            format!(
                "'{word}' is no command of version-guard. If it is the worker's, 'run' and '--' have to stand before it: {ENTRYPOINT}\nFor more information, try '--help'."
            )
        }
        _ => return error,
    };
    Error::raw(error.kind(), text)
}
