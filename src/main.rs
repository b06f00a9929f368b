//! version-guard: the ENTRYPOINT of a worker image. It refuses to start stale or unknown code,
//! registers what runs in Redis, then runs the real worker and supervises it.
#![cfg_attr(test, allow(clippy::disallowed_macros))]

// The floors, from top to bottom: each uses only those below it.
mod commands;

mod cli;
mod config;

mod guard;
mod health;
mod image;
mod registry;
mod supervisor;
mod verify;

mod clean;
mod escape;
mod exit;
mod fault;
mod input;
mod log;
mod output;
mod runner;
mod system;

#[cfg(test)]
mod pieces;

use std::process::ExitCode;

use tracing::{error, warn};

use cli::{Cli, Command};
use commands::CannotAsk;
use exit::Exit;
use log::LogLevel;
use system::environment::Environment;

/// musl's own allocator asks the kernel for each size of memory apart, a fifth of a start.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: system::allocator::Allocator = system::allocator::Allocator::new();

fn main() -> ExitCode {
    fault::init();
    let environment = Environment::received();
    let cli = Cli::read(&environment);
    match &cli {
        Err(usage) => log::init(usage.log_format, LogLevel::Info),
        Ok(cli) => log::init(cli.log_format, cli.log_level),
    }
    cli.iter().flat_map(|cli| &cli.misspelt).for_each(|sentence| warn!("{sentence}"));
    let exit = match cli {
        Err(usage) => commands::explain(usage),
        Ok(Cli { command, log_format, .. }) => match command {
            Command::Run(options) => commands::run(options, environment),
            Command::Check(options) => commands::check(&options, &environment, log_format),
            Command::Seal(options) => commands::seal(options),
            Command::Verify(options) => commands::verify(&options, &environment),
            Command::Expect(options) => commands::expect(&options, &environment),
            Command::Health(options) => Ok(commands::health(&options)),
        },
    };
    exit.unwrap_or_else(|error| {
        error!("{}", log::causes(error.as_ref()));
        if error.is::<CannotAsk>() { Exit::NotAsked } else { Exit::Failed }
    })
    .into()
}
