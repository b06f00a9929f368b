//! version-guard: the ENTRYPOINT of a worker image. It refuses to start stale or unknown code,
//! registers what runs in Redis, then runs the real worker and supervises it.
#![cfg_attr(test, allow(clippy::disallowed_macros))]

mod cli;
mod config;
mod guard;
mod image;
mod kernel;
mod registry;
mod supervisor;
mod telemetry;
mod verify;

use std::process::ExitCode;

use clap::Parser;
use tracing::error;

use cli::{Cli, Command};
use config::{Config, Environment};
use guard::Verdict;
use registry::Registrar;
use supervisor::{Exit, Supervisor};
use telemetry::LogFormat;
use verify::CannotAsk;

/// musl's own allocator asks the kernel for each size of memory apart, a fifth of a start.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let environment = Environment::received();
    let cli = Cli::try_parse();
    let flag = cli.as_ref().ok().and_then(|cli| cli.log_format);
    let format = config::log_format(flag, &environment);
    telemetry::init(*format.as_ref().unwrap_or(&LogFormat::Text));
    let exit = match (cli, format) {
        (Err(usage), _) => cli::explain(&usage),
        (_, Err(malformed)) => Err(malformed.into()),
        (Ok(cli), Ok(format)) => match cli.command {
            Command::Run(options) => {
                Config::new(options, environment).map_err(Into::into).and_then(run)
            }
            Command::Check(options) => guard::check(&options, &environment, format),
            Command::Seal(options) => image::seal(options, &environment),
            Command::Verify(options) => verify::run(options, &environment),
        },
    };
    exit.unwrap_or_else(|error| {
        error!("{}", telemetry::causes(error.as_ref()));
        if error.is::<CannotAsk>() { Exit::NotAsked } else { Exit::Failed }
    })
    .into()
}

/// Guards, registration, worker, supervision: the whole program, in this order.
fn run(config: Config) -> anyhow::Result<Exit> {
    let verdict = Verdict::new(&config.identity, &config.expectation, &config.worker.arguments);
    telemetry::announce(&config.identity, &config.expectation, &verdict);
    if !verdict.violations().is_empty() {
        return Ok(Exit::Refused);
    }
    let mut supervisor = Supervisor::new(config.supervision)?;
    let registrar = Registrar::start(config.registration, &config.identity);
    if let Some(registrar) = &registrar {
        supervisor.wait_for(registrar.first_attempt(), registrar.patience());
    }
    let exit = supervisor.supervise(&config.worker);
    if let Some(registrar) = registrar {
        registrar.leave(&exit);
    }
    Ok(exit)
}
