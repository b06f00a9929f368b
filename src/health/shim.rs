//! Which process is the shim of this container.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use nix::unistd::Pid;

use super::verdict::Unhealthy;
use crate::supervisor::{NAME, Named};
use crate::system::process::{Process, name, shows_own_namespace};

const INIT: Pid = Pid::from_raw(1);

/// The shim with this pid. Without one it is PID 1 where that is a shim; else, as under `docker run --init`
/// or in a pod whose containers share their processes, the only one in this process's control group,
/// which is the container's.
///
/// # Errors
/// That there is none, more than one, or nothing to be seen.
pub fn find(pid: Option<Pid>) -> Result<(Pid, Process), Unhealthy> {
    if !shows_own_namespace() {
        return Err(Unhealthy::NoProc);
    }
    if let Some(pid) = pid {
        let process = Process::read(pid).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Unhealthy::NoProcess { pid },
            _ => Unhealthy::Hidden { pid, error: error.to_string() },
        })?;
        return if is_shim(&process) {
            Ok((pid, process))
        } else {
            Err(Unhealthy::NoShim { pid, name: process.name })
        };
    }
    // There always is one.
    let init = Process::read(INIT)
        .map_err(|error| Unhealthy::Hidden { pid: INIT, error: error.to_string() })?;
    let of_init = is_shim(&init);
    if of_init && is_of_this_container(INIT) {
        return Ok((INIT, init));
    }
    let mut others = others();
    match (others.pop(), others.is_empty()) {
        (Some(only), true) => Ok(only),
        // Of a control group of its own all the same.
        (None, _) if of_init => Ok((INIT, init)),
        (None, _) => Err(Unhealthy::NoShim { pid: INIT, name: init.name }),
        (Some((last, _)), false) => {
            let pids = others.into_iter().map(|(pid, _)| pid).chain([last]);
            Err(Unhealthy::Several { pids: pids.collect() })
        }
    }
}

/// Whether a process says that it is a shim, or looks like one that has no worker yet: its name is that
/// of this program's file then.
fn is_shim(process: &Process) -> bool {
    let own = || name(Path::new("/proc/self"));
    Named::by(&process.name).is_some()
        || process.name == NAME
        || own().as_ref() == Some(&process.name)
}

/// All shims of this container that have a worker, by pid.
fn others() -> Vec<(Pid, Process)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let pids = pids.map(Pid::from_raw).filter(|pid| *pid != INIT);
    let shims = pids.filter_map(|pid| {
        let process = Process::read(pid).ok()?;
        let Some(Named::Worker(worker)) = Named::by(&process.name) else { return None };
        // Any process can call itself so; no other one is the worker's parent.
        let has_it = Process::read(worker).is_ok_and(|worker| worker.parent == pid);
        (has_it && is_of_this_container(pid)).then_some((pid, process))
    });
    let mut shims: Vec<(Pid, Process)> = shims.collect();
    shims.sort_by_key(|(pid, _)| *pid);
    shims
}

/// Whether a process is in this one's control groups; what an engine executes in a container is in the
/// container's.
fn is_of_this_container(pid: Pid) -> bool {
    let groups = |of: &str| fs::read(format!("/proc/{of}/cgroup")).ok();
    groups(&pid.to_string()) == groups("self")
}
