//! Health: whether the worker of this container runs, told by what /proc shows any user.

mod shim;
mod verdict;

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use shim::find;
use verdict::{Sight, judge};

use crate::registry::Standing;
use crate::supervisor::Named;
use crate::system::process::{Process, name};

pub use verdict::{Asked, Healthy, Unhealthy};

/// Looks at the shim with this pid, or at that of this container, and judges.
///
/// # Errors
/// Why the worker is not healthy, as a sentence.
pub fn health(pid: Option<Pid>, asked: &Asked) -> Result<Healthy, Unhealthy> {
    let (pid, shim) = find(pid)?;
    let worker = match Named::by(&shim.name) {
        Some(Named::Worker(worker)) => Process::read(worker).ok(),
        _ => None,
    };
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    judge(&Sight { pid, shim, worker, standing: standing(pid), now }, asked)
}

/// What the registrar's thread says; `None` where there is none.
fn standing(shim: Pid) -> Option<Standing> {
    let mut threads = fs::read_dir(format!("/proc/{shim}/task")).ok()?.flatten();
    threads.find_map(|thread| Standing::named(&name(&thread.path())?))
}
