//! `run`: the whole program, in the order in which the README tells it.

use std::mem;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tracing::{error, warn};

use super::announce::{
    announce_overtaken, announce_runner, announce_shell_above, announce_start, announce_verdict,
};
use super::reading::read_command;
use super::second_look::SecondLook;
use crate::cli;
use crate::config::Config;
use crate::exit::{Exit, code_of};
use crate::guard::Verdict;
use crate::image::{ImageIdentity, Inspection, Inspector, SealedCode, inspect};
use crate::registry::{OnDrift, Overtaken, Registrar, Registration, WorkerEnd};
use crate::supervisor::{
    Companion, NoWorker, Signals, SpawnError, Supervisor, Worker, WorkerCommand,
};
use crate::system::environment::Environment;
use crate::system::signals::block_all;

/// The seven steps.
///
/// # Errors
/// The kernel's, when it grants no descriptor for signals.
pub fn run(options: cli::Run, environment: Environment) -> anyhow::Result<Exit> {
    options.termination_log.clone().attach();
    let signals = Signals::since_entry()?;
    announce_shell_above();
    let config = Config::new(options, environment)?;
    let mut supervisor = Supervisor::new(config.supervision.clone(), signals);
    let verdict = match pass_guards(&config, &mut supervisor) {
        Ok(verdict) => verdict,
        Err(exit) => return Ok(exit),
    };
    let on_drift = config.registration.on_drift;
    let mut registrar = register(config.registration, &config.identity, &mut supervisor);
    if let Some(overtaken) = registrar.as_ref().and_then(Registrar::overtaken) {
        announce_overtaken(&config.identity, overtaken);
        return Ok(roll_back(registrar, Exit::Refused));
    }
    announce_start(&config.identity, &config.expectation, &verdict, registrar.as_ref());
    let worker = start(&config.worker, &mut registrar, &mut supervisor);
    let exit = match worker {
        Ok(worker) => {
            registrar.iter_mut().for_each(Registrar::executed);
            let registered = Registered::new(registrar, on_drift);
            let look = SecondLook::new(config.runner_watch);
            supervise(&worker, registered, look, &mut supervisor, &config.identity)
        }
        Err(exit) => roll_back(registrar, exit),
    };
    supervisor.outlast_descendants();
    // The kernel closes what is open, sooner than one by one.
    mem::forget(supervisor);
    Ok(exit)
}

/// Reads what the guards judge by, and judges, unless a signal ends the run meanwhile.
fn pass_guards(config: &Config, supervisor: &mut Supervisor) -> Result<Verdict, Exit> {
    let Config { identity, expectation, worker, .. } = config;
    let code = match &identity.code {
        Some(code) => Some(inspect_code(code, supervisor)?),
        None => None,
    };
    let reading = read_command(&worker.arguments, &worker.environment);
    let verdict = Verdict::new(identity, expectation, Some(&reading), code.as_ref());
    announce_verdict(identity, expectation, &verdict);
    if verdict.lets_start() { Ok(verdict) } else { Err(Exit::Refused) }
}

/// What differs from the sealed code. However much there is to read, a signal ends the run at once.
fn inspect_code(code: &SealedCode, supervisor: &mut Supervisor) -> Result<Inspection, Exit> {
    let Some(inspector) = Inspector::start(code.clone()) else {
        let inspection = inspect(code);
        // Making its threads has unblocked some.
        block_all();
        return Ok(inspection);
    };
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
    mut registrar: Registered,
    mut look: SecondLook,
    supervisor: &mut Supervisor,
    identity: &ImageIdentity,
) -> Exit {
    let (exit, status) = supervisor.supervise(worker, &mut registrar, &mut look);
    let exit = look.found().map_or(exit, |found| {
        announce_runner(found);
        Exit::Refused
    });
    let exit = registrar.stopped_by().map_or(exit, |overtaken| {
        announce_overtaken(identity, overtaken);
        Exit::Refused
    });
    // Until then the instance is draining: its code still runs.
    supervisor.outlast_the_stop();
    if let Some(registrar) = registrar.registrar {
        registrar.deregister(match status.signal() {
            Some(signal) => WorkerEnd::Killed(signal.try_into().unwrap_or_default()),
            None => WorkerEnd::Exited(code_of(status)),
        });
    }
    exit
}

/// The registrar, and what it may do to the worker.
struct Registered {
    registrar: Option<Registrar>,
    on_drift: OnDrift,
    is_draining: bool,
    has_stopped_it: bool,
}

impl Registered {
    fn new(registrar: Option<Registrar>, on_drift: OnDrift) -> Self {
        Self { registrar, on_drift, is_draining: false, has_stopped_it: false }
    }

    /// What has overtaken the worker, where it was stopped for that.
    fn stopped_by(&self) -> Option<&Overtaken> {
        self.registrar.as_ref().filter(|_| self.has_stopped_it)?.overtaken()
    }
}

impl Companion for Registered {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        let listens = |registrar: &&Registrar| {
            self.on_drift == OnDrift::Stop && registrar.overtaken().is_none()
        };
        self.registrar.as_ref().filter(listens)?.descriptor()
    }

    /// A worker that was asked before finishes what it has in hand, and is not asked twice.
    fn asks_to_stop(&mut self) -> bool {
        let is_overtaken = self.registrar.as_mut().is_some_and(Registrar::asks_to_stop);
        self.has_stopped_it |= is_overtaken && !self.is_draining;
        is_overtaken && !self.is_draining
    }

    fn drain(&mut self) {
        self.is_draining = true;
        self.registrar.iter_mut().for_each(Registrar::drain);
    }
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
