//! `run`: the whole program, in the order in which the README tells it.

use tracing::{error, info, warn};

use crate::cli;
use crate::config::Config;
use crate::escape::Escape;
use crate::exit::Exit;
use crate::guard::{Expectation, Finding, Verdict, Violation};
use crate::image::ImageIdentity;
use crate::registry::{Registrar, Registration};
use crate::supervisor::{Signals, Supervisor};
use crate::system::environment::Environment;

/// The seven steps.
///
/// # Errors
/// The kernel's, when it grants no descriptor for signals.
pub fn run(options: cli::Run, environment: Environment) -> anyhow::Result<Exit> {
    let signals = Signals::since_entry()?;
    let config = Config::new(options, environment);
    if !guards_let_start(&config) {
        return Ok(Exit::Refused);
    }
    let mut supervisor = Supervisor::new(config.supervision, signals);
    let registrar = register(config.registration, &config.identity, &mut supervisor);
    let worker = supervisor.start(&config.worker);
    let exit = worker.map_or_else(|exit| exit, |worker| supervisor.supervise(&worker));
    leave_registry(registrar, exit);
    Ok(exit)
}

fn guards_let_start(config: &Config) -> bool {
    let Config { identity, expectation, worker, .. } = config;
    let verdict = Verdict::new(identity, expectation, &worker.arguments);
    announce(identity, expectation, &verdict);
    verdict.lets_start()
}

/// Waits for the first attempt, whatever comes of it, unless a signal ends the run.
fn register(
    registration: Registration,
    identity: &ImageIdentity,
    supervisor: &mut Supervisor,
) -> Option<Registrar> {
    let registrar = Registrar::start(registration, identity)?;
    supervisor.wait_for(registrar.first_attempt(), registrar.patience());
    Some(registrar)
}

/// The instance of a worker that has ended leaves the registry; of one that never was, everything is
/// taken back.
fn leave_registry(registrar: Option<Registrar>, exit: Exit) {
    let Some(registrar) = registrar else { return };
    match exit {
        Exit::Worker(_) => registrar.deregister(),
        Exit::Interrupted(_) => registrar.roll_back_at_once(),
        _ => registrar.roll_back(),
    }
}

/// Logs every violation, or that there is none and what the image is; and what was tolerated.
fn announce(identity: &ImageIdentity, expectation: &Expectation, verdict: &Verdict) {
    if let Some(overridden) = &identity.overridden {
        warn!(
            git_sha = %identity.git_sha,
            overridden,
            "GIT_SHA is {} in the environment and {} in the image's seal: the seal counts, also for the worker",
            Escape(overridden), Escape(&identity.git_sha.to_string()),
        );
    }
    for (_, finding) in verdict.findings() {
        match finding {
            Finding::Refused(violation) => announce_refusal(violation),
            Finding::Tolerated(violation) => {
                warn!(
                    guard = violation.guard(),
                    "{violation}. Production would refuse to start it"
                );
            }
            Finding::Passed(_) | Finding::Off(_) => {}
        }
    }
    let policy = identity.policy;
    if !verdict.lets_start() {
        if !expectation.production && policy.enforce.is_some() {
            error!(
                enforce = "always",
                "NODE_ENV is not production; the image's seal holds the guards to it all the same"
            );
        }
        return;
    }
    if expectation.production && expectation.git_sha.is_none() {
        warn!(guard = "mismatch", "EXPECTED_GIT_SHA is not set: the mismatch guard is off");
    }
    let built = match identity.build_date.as_str() {
        "" => "build date unknown".to_owned(),
        date => format!("built {}", Escape(date)),
    };
    let sealed = if policy.is_none() { String::new() } else { format!(", {policy}") };
    info!(
        git_sha = %identity.git_sha,
        source = %identity.source,
        build_date = identity.build_date,
        %policy,
        "GIT_SHA {} ({}{sealed}), {built}: the guards let it start",
        Escape(&identity.git_sha.to_string()), identity.source,
    );
}

fn announce_refusal(violation: &Violation) {
    error!(
        guard = violation.guard(),
        image_sha = violation.image_sha(),
        expected_sha = violation.expected_sha(),
        argument = violation.argument(),
        reason = violation.reason(),
        "{}",
        violation.refusal()
    );
}
