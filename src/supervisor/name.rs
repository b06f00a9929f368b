//! The shim's name while it has a worker: it says which process that is, to whoever may look.
//!
//! Nothing else in /proc does so for another user than the shim's. Children that the shim had before it
//! became the shim, and orphans that have become its own, stand among its children as the worker does,
//! and may lead groups and sessions as well.

use std::ffi::CStr;

use nix::sys::prctl::set_name;
use nix::unistd::Pid;

/// What the kernel calls the shim before, where its file has kept its name.
pub const NAME: &str = "version-guard";

/// Its name while it waits for what the worker has left behind.
const ENDED: &CStr = c"worker-ended";

/// What a name holds, in bytes; PR_SET_NAME(2const).
const MAX_BYTES: usize = 15;

/// What a process's name says of its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// It is this one.
    Worker(Pid),
    /// It has ended, and the shim outlasts what is left.
    Ended,
}

impl Named {
    /// What this name says; `None` where it is no name of a shim with a worker.
    pub fn by(name: &str) -> Option<Self> {
        if name.as_bytes() == ENDED.to_bytes() {
            return Some(Self::Ended);
        }
        let (shim, worker) = name.rsplit_once(':')?;
        let is_ours = !shim.is_empty() && NAME.starts_with(shim);
        let worker = worker.parse().ok().filter(|worker| is_ours && *worker > 0)?;
        Some(Self::Worker(Pid::from_raw(worker)))
    }

    /// Calls the shim by it. A kernel that refuses leaves the old name, and `health` without an answer.
    pub fn show(self) {
        let _ = match self {
            Self::Worker(worker) => {
                let name = name_with(worker);
                CStr::from_bytes_until_nul(&name).map(set_name)
            }
            Self::Ended => Ok(set_name(ENDED)),
        };
    }
}

/// As much of the shim's own name as leaves room for the worker's pid, `version-guard:7`, and a NUL. Without
/// a blank, by which many split the lines of /proc; with a formatter it would be a hundredth of a start.
fn name_with(worker: Pid) -> [u8; MAX_BYTES + 1] {
    let mut name = *b"version-guard:0\0";
    let mut rest = worker.as_raw().unsigned_abs();
    let mut places = name.iter_mut().rev().skip(1);
    for place in places.by_ref() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    places.next().into_iter().for_each(|place| *place = b':');
    name
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use nix::unistd::Pid;

    use super::{ENDED, MAX_BYTES, NAME, Named, name_with};

    #[test]
    fn a_name_says_which_process_the_worker_is_and_is_not_cut_by_the_kernel() {
        for pid in [1, 7, 42, 32_768, 4_194_304, i32::MAX] {
            let name = name_with(Pid::from_raw(pid));
            let name = CStr::from_bytes_with_nul(&name).unwrap().to_str().unwrap();
            assert!(name.len() == MAX_BYTES && name.starts_with("ver"), "{name}");
            assert_eq!(Named::by(name), Some(Named::Worker(Pid::from_raw(pid))));
        }
        assert_eq!(&name_with(Pid::from_raw(7)), b"version-guard:7\0");
        assert_eq!(&name_with(Pid::from_raw(4_194_304)), b"version:4194304\0");
        assert_eq!(Named::by(ENDED.to_str().unwrap()), Some(Named::Ended));
    }

    #[test]
    fn no_other_name_says_anything() {
        for name in [NAME, "", ":7", "sh:7", "version-guard:", "version-guard:0", "version:-7", "7"]
        {
            assert_eq!(Named::by(name), None, "{name}");
        }
    }
}
