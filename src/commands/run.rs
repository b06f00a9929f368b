//! `run`: the whole program, in the order in which the README tells it.

use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tracing::{error, info, warn};

use crate::cli;
use crate::config::Config;
use crate::escape::Escape;
use crate::exit::{Exit, code_of};
use crate::guard::{Expectation, Finding, Production, Verdict, Violation};
use crate::image::{ImageIdentity, Inspection, Inspector, SealedCode, inspect};
use crate::registry::{Registrar, Registration, WorkerEnd};
use crate::supervisor::{NoWorker, Signals, SpawnError, Supervisor, Worker, WorkerCommand};
use crate::system::environment::Environment;

/// The seven steps.
///
/// # Errors
/// The kernel's, when it grants no descriptor for signals.
pub fn run(options: cli::Run, environment: Environment) -> anyhow::Result<Exit> {
    let signals = Signals::since_entry()?;
    let config = Config::new(options, environment);
    let mut supervisor = Supervisor::new(config.supervision.clone(), signals);
    if let Err(exit) = pass_guards(&config, &mut supervisor) {
        return Ok(exit);
    }
    let mut registrar = register(config.registration, &config.identity, &mut supervisor);
    announce_start(&config.identity, &config.expectation, registrar.as_ref());
    let worker = start(&config.worker, &mut registrar, &mut supervisor);
    let exit = match worker {
        Ok(worker) => supervise(&worker, registrar, &mut supervisor),
        Err(exit) => roll_back(registrar, exit),
    };
    supervisor.outlast_descendants();
    Ok(exit)
}

/// Reads what the guards judge by, and judges, unless a signal ends the run meanwhile.
fn pass_guards(config: &Config, supervisor: &mut Supervisor) -> Result<(), Exit> {
    let Config { identity, expectation, worker, .. } = config;
    let code = match &identity.code {
        Some(code) => Some(inspect_code(code, supervisor)?),
        None => None,
    };
    let verdict = Verdict::new(identity, expectation, &worker.arguments, code.as_ref());
    announce_verdict(identity, expectation, &verdict);
    if verdict.lets_start() { Ok(()) } else { Err(Exit::Refused) }
}

/// What differs from the sealed code. However much there is to read, a signal ends the run at once.
fn inspect_code(code: &SealedCode, supervisor: &mut Supervisor) -> Result<Inspection, Exit> {
    let Some(inspector) = Inspector::start(code.clone()) else { return Ok(inspect(code)) };
    supervisor.wait_for(inspector.done(), None);
    match supervisor.interrupted_by() {
        Some(signal) => Err(Exit::Interrupted(signal.number())),
        None => Ok(inspector.finish()),
    }
}

/// Waits for the first attempt, whatever comes of it, unless a signal ends the run.
fn register(
    registration: Registration,
    identity: &ImageIdentity,
    supervisor: &mut Supervisor,
) -> Option<Registrar> {
    let mut registrar = Registrar::start(registration, identity)?;
    supervisor.wait_for(registrar.first_attempt(), Some(registrar.patience()));
    registrar.hear_of_first_attempt();
    Some(registrar)
}

/// Starts the worker. The registrar gives way to it where a limit of processes leaves room for one.
fn start(
    command: &WorkerCommand,
    registrar: &mut Option<Registrar>,
    supervisor: &mut Supervisor,
) -> Result<Worker, Exit> {
    let started = match supervisor.start(command) {
        Err(NoWorker::NotStarted(SpawnError::NoProcess(Errno::EAGAIN))) if registrar.is_some() => {
            if let Some(registrar) = registrar.take() {
                registrar.roll_back();
            }
            warn!(
                "No process is left for the worker beside the registrar's thread: it runs unregistered. Allow one more (--pids-limit, pids.max, RLIMIT_NPROC)"
            );
            start_when_there_is_room(command, supervisor)
        }
        started => started,
    };
    started.map_err(|no_worker| match no_worker {
        NoWorker::Interrupted(signal) => Exit::Interrupted(signal.number()),
        NoWorker::NotStarted(failure) => {
            error!("{failure}");
            failure.exit()
        }
    })
}

/// Starts the worker once the kernel has counted the end of a thread, which takes it a moment.
fn start_when_there_is_room(
    command: &WorkerCommand,
    supervisor: &mut Supervisor,
) -> Result<Worker, NoWorker> {
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        match supervisor.start(command) {
            Err(NoWorker::NotStarted(SpawnError::NoProcess(Errno::EAGAIN)))
                if Instant::now() < deadline =>
            {
                sleep(Duration::from_millis(1));
            }
            started => return started,
        }
    }
}

/// Stays with the worker until it ends; then its instance leaves the registry.
fn supervise(
    worker: &Worker,
    mut registrar: Option<Registrar>,
    supervisor: &mut Supervisor,
) -> Exit {
    let mut drain = || registrar.iter_mut().for_each(Registrar::drain);
    let (exit, status) = supervisor.supervise(worker, &mut drain);
    if let Some(registrar) = registrar {
        registrar.deregister(match status.signal() {
            Some(signal) => WorkerEnd::Killed(signal.try_into().unwrap_or_default()),
            None => WorkerEnd::Exited(code_of(status)),
        });
    }
    exit
}

/// Of a worker that never was, everything is taken back.
fn roll_back(registrar: Option<Registrar>, exit: Exit) -> Exit {
    match (registrar, exit) {
        (Some(registrar), Exit::Interrupted(_)) => registrar.roll_back_at_once(),
        (Some(registrar), _) => registrar.roll_back(),
        (None, _) => {}
    }
    exit
}

/// Logs every violation, or what is tolerated and what looks odd.
fn announce_verdict(identity: &ImageIdentity, expectation: &Expectation, verdict: &Verdict) {
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
    announce_production(identity, expectation, verdict);
    if verdict.lets_start() && identity.is_no_commit() {
        let git_sha = identity.git_sha.to_string();
        warn!(
            git_sha,
            "GIT_SHA is {}, which is no commit's SHA: accepted, but who deploys has to give EXPECTED_GIT_SHA in the same words",
            Escape(&git_sha),
        );
    }
}

/// Tells why the guards hold, or don't, where NODE_ENV does not simply say so.
fn announce_production(identity: &ImageIdentity, expectation: &Expectation, verdict: &Verdict) {
    let refused = !verdict.lets_start();
    let policy = identity.policy.and(expectation.policy);
    match &expectation.production {
        // Of a mismatch it is no cause.
        Production::OddlySpelled(_) if refused && verdict.is_about_the_expectation() => {}
        Production::OddlySpelled(node_env) => warn!(
            node_env,
            "NODE_ENV is '{}': taken for production, which is how to write it",
            Escape(node_env),
        ),
        Production::LooksLike(node_env) if policy.enforce.is_none() && !refused => warn!(
            node_env,
            "NODE_ENV is '{}', which is not production: two guards are off, and only warn of uncompiled code and of an unknown SHA. Set it to production, or VERSION_GUARD_ENFORCE=always",
            Escape(node_env),
        ),
        Production::LooksLike(_) | Production::No if policy.enforce.is_some() && refused => {
            let by = match identity.policy.enforce {
                Some(_) => "the image's seal",
                None => "VERSION_GUARD_ENFORCE or --enforce",
            };
            error!(
                enforce = "always",
                "NODE_ENV is not production; {by} holds the guards to it all the same"
            );
        }
        _ => {}
    }
}

fn announce_refusal(violation: &Violation) {
    error!(
        guard = violation.guard(),
        image_sha = violation.image_sha(),
        expected_sha = violation.expected_sha(),
        argument = violation.argument(),
        reason = violation.reason(),
        differences = violation.differences(),
        "{}",
        violation.refusal()
    );
}

/// The one line of a normal start, and a warning where the first attempt to register has failed.
fn announce_start(
    identity: &ImageIdentity,
    expectation: &Expectation,
    registrar: Option<&Registrar>,
) {
    let policy = identity.policy.and(expectation.policy);
    let git_sha = identity.git_sha.to_string();
    let built = match identity.build_date.as_str() {
        "" => "build date unknown".to_owned(),
        date => format!("built {}", Escape(date)),
    };
    let held = if policy.is_none() { String::new() } else { format!(", {policy}") };
    let registered = registrar.filter(|registrar| registrar.is_registered());
    let at = registered.map_or_else(String::new, |registrar| {
        format!("; {} is registered in Redis at {}", registrar.worker_type, registrar.redis)
    });
    let text = format!(
        "GIT_SHA {} ({}{held}), {built}: the guards let it start{at}",
        Escape(&git_sha),
        identity.source,
    );
    macro_rules! say {
        ($level:ident, $text:expr) => {
            $level!(
                git_sha,
                source = %identity.source,
                build_date = identity.build_date,
                %policy,
                worker_type = registered.map(|registrar| registrar.worker_type.as_str()),
                redis = registered.map(|registrar| registrar.redis.as_str()),
                key = registered.map(|registrar| registrar.key.as_str()),
                "{}", $text
            )
        };
    }
    let is_enforced = expectation.production.is_production() || policy.enforce.is_some();
    if is_enforced && expectation.git_sha.is_none() {
        say!(warn, format!("{text}. EXPECTED_GIT_SHA is not set: the mismatch guard is off"));
    } else {
        say!(info, text);
    }
    if let Some(registrar) = registrar {
        registrar.warn_of_failed_attempt();
    }
}
