//! How this instance stands in the registry, and the name by which the registrar's thread says so: any
//! user may read it in /proc, with no file, socket or network between.

use std::ffi::CStr;

use nix::sys::prctl::{get_name, set_name};

/// What is known of this instance's place in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The first attempt is not over.
    Registering,
    Unregistered,
    Registered,
    /// Was registered; the last heartbeat did not get through.
    Lost,
}

/// What the registrar's thread is called in each; at most 15 bytes, PR_SET_NAME(2const).
const NAMES: [(Standing, &CStr); 4] = [
    (Standing::Registering, c"registrar"),
    (Standing::Unregistered, c"unregistered"),
    (Standing::Registered, c"registered"),
    (Standing::Lost, c"registry-lost"),
];

impl Standing {
    /// The thread's name before the first attempt is over.
    pub const FIRST_NAME: &'static str = "registrar";

    /// What this name of a thread says; `None` where the thread is no registrar's.
    pub fn named(name: &str) -> Option<Self> {
        let named = NAMES.iter().find(|(_, known)| known.to_bytes() == name.as_bytes());
        named.map(|(standing, _)| *standing)
    }

    /// Calls the thread that calls this by its name.
    pub fn show(self) {
        if let Some((_, name)) = NAMES.iter().find(|(standing, _)| *standing == self) {
            let _ = set_name(name);
        }
    }

    /// Calls the thread that calls this by what is left of its standing when it makes no more attempts.
    pub fn show_end() {
        let shown = get_name().ok().and_then(|name| Self::named(name.to_str().ok()?));
        match shown {
            Some(Self::Registered | Self::Lost) => Self::Lost.show(),
            Some(Self::Registering | Self::Unregistered) | None => Self::Unregistered.show(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::{NAMES, Standing, get_name};

    #[test]
    fn each_name_says_one_thing_and_is_not_cut_by_the_kernel() {
        for (standing, name) in NAMES {
            assert!(name.to_bytes().len() <= 15, "{name:?}");
            assert_eq!(Standing::named(name.to_str().unwrap()), Some(standing));
        }
        assert_eq!(Standing::named(Standing::FIRST_NAME), Some(Standing::Registering));
        assert_eq!(Standing::named("version-guard:7"), None);
    }

    #[test]
    fn what_is_registered_when_the_attempts_end_is_lost() {
        let ends = thread::spawn(|| {
            NAMES.map(|(standing, _)| {
                standing.show();
                Standing::show_end();
                Standing::named(get_name().unwrap().to_str().unwrap()).unwrap()
            })
        });
        let (lost, unregistered) = (Standing::Lost, Standing::Unregistered);
        assert_eq!(ends.join().unwrap(), [unregistered, unregistered, lost, lost]);
    }
}
