//! Signals by name and by number.

use std::fmt;
use std::str::FromStr;

use nix::libc::{self, c_int};
use nix::sys::signal::Signal as Standard;

/// SIGRTMIN and SIGRTMAX as the engine and glibc count: musl keeps one more for itself, but an image
/// should not mean another signal by RTMIN+3 than `docker kill -s RTMIN+3` does.
const RTMIN: c_int = 34;
const RTMAX: c_int = 64;

/// A signal, real-time ones and libc's own included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(c_int);

impl Signal {
    pub const KILL: Self = Self(libc::SIGKILL);
    pub const STOP: Self = Self(libc::SIGSTOP);
    pub const TERM: Self = Self(libc::SIGTERM);
    pub const CONT: Self = Self(libc::SIGCONT);
    pub const CHLD: Self = Self(libc::SIGCHLD);
    pub const TSTP: Self = Self(libc::SIGTSTP);

    /// The signal with this number, or `None` outside 1 to 64; signal(7).
    pub fn new(number: c_int) -> Option<Self> {
        (1..=RTMAX).contains(&number).then_some(Self(number))
    }

    pub fn number(self) -> c_int {
        self.0
    }

    /// Whether it is queued, each time that it is sent, and not merged; signal(7).
    pub fn is_real_time(self) -> bool {
        self.0 >= RTMIN
    }

    /// Whether it asks the run to end: what engines, shells and terminals send for that.
    pub fn asks_to_end(self) -> bool {
        /// What systemd as a container's init is stopped by; systemd(1).
        const SYSTEMD_HALT: c_int = RTMIN + 3;
        matches!(self.0, libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTERM | SYSTEMD_HALT)
    }

    /// Whether it suspends a job, as a key or a shell does; signal(7).
    pub fn suspends(self) -> bool {
        matches!(self.0, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU)
    }

    /// Whether the kernel sends it to a background process group that reaches for the terminal;
    /// tty_ioctl(4).
    pub fn is_about_the_foreground(self) -> bool {
        matches!(self.0, libc::SIGTTIN | libc::SIGTTOU)
    }

    /// Whether a key sends it that ends the whole foreground; termios(3).
    pub fn is_an_interrupting_key(self) -> bool {
        matches!(self.0, libc::SIGINT | libc::SIGQUIT)
    }

    /// Whether its default action is to terminate a process; signal(7).
    pub fn terminates(self) -> bool {
        !matches!(
            self.0,
            libc::SIGCHLD
                | libc::SIGURG
                | libc::SIGWINCH
                | libc::SIGCONT
                | libc::SIGSTOP
                | libc::SIGTSTP
                | libc::SIGTTIN
                | libc::SIGTTOU
        )
    }
}

impl fmt::Display for Signal {
    /// `SIGTERM`, `SIGRTMIN+3`, or `signal 32` for one that has no name.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (signal_hook::low_level::signal_name(self.0), self.0) {
            (Some(name), _) => f.write_str(name),
            (None, RTMIN) => f.write_str("SIGRTMIN"),
            (None, RTMIN..=RTMAX) => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            (None, number) => write!(f, "signal {number}"),
        }
    }
}

impl FromStr for Signal {
    type Err = &'static str;

    /// A name with or without SIG, in any case; a number; `RTMIN+n` or `RTMAX-n`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let offset = |sign| {
            // A number of Rust's own may have a sign.
            let (_, offset) = name.split_once(sign).filter(|(_, rest)| !rest.starts_with('+'))?;
            offset.parse::<u8>().ok().map(c_int::from)
        };
        let number = match name {
            // Synonyms that signal(7) has beside the names.
            "CLD" => Some(libc::SIGCHLD),
            "IOT" => Some(libc::SIGABRT),
            "POLL" => Some(libc::SIGIO),
            "RTMIN" => Some(RTMIN),
            "RTMAX" => Some(RTMAX),
            _ if name.starts_with("RTMIN+") => offset('+').map(|offset| RTMIN + offset),
            _ if name.starts_with("RTMAX-") => offset('-').map(|offset| RTMAX - offset),
            _ if name.starts_with(|first: char| first.is_ascii_digit()) => name.parse().ok(),
            _ => Standard::from_str(&format!("SIG{name}")).ok().map(|signal| signal as c_int),
        };
        let in_range = |number: &c_int| !name.starts_with("RT") || (RTMIN..=RTMAX).contains(number);
        number
            .filter(in_range)
            .and_then(Self::new)
            .ok_or("expected a signal such as TERM, SIGTERM, 15 or RTMIN+3")
    }
}

#[cfg(test)]
mod tests {
    use super::Signal;
    use crate::pieces;

    #[test]
    fn a_signal_is_read_by_name_and_by_number() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("15", 15),
            ("WINCH", 28),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("RTMAX", 64),
            ("32", 32),
            ("IOT", 6),
            ("CLD", 17),
            ("SIGPOLL", 29),
        ] {
            assert_eq!(text.parse(), Ok(Signal(number)), "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in [
            "",
            "SIG",
            "0",
            "65",
            "-1",
            "TERMINATE",
            "RTMIN+31",
            "RTMAX-31",
            "RTMIN+",
            "RTMIN++3",
            "1.5",
        ] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_signal_is_shown_by_its_name() {
        for (number, name) in
            [(15, "SIGTERM"), (34, "SIGRTMIN"), (37, "SIGRTMIN+3"), (32, "signal 32")]
        {
            assert_eq!(Signal(number).to_string(), name);
        }
    }

    /// signal(7), "Standard signals": every action but Ign, Cont and Stop ends a process.
    #[test]
    fn the_default_actions_are_those_of_the_manual_page() {
        let not_ending = [17, 18, 19, 20, 21, 22, 23, 28];
        for number in 1..=64 {
            assert_eq!(Signal(number).terminates(), !not_ending.contains(&number), "{number}");
        }
    }

    #[test]
    fn any_text_is_a_signal_that_is_read_back_from_its_name_or_refused() {
        let pieces = &[
            "SIG",
            "sig",
            "TERM",
            "RTMIN",
            "RTMAX",
            "+",
            "-",
            "1",
            "3",
            "64",
            "99999999999",
            " ",
            "CLD",
            "é",
        ];
        bolero::check!().with_generator(pieces::text(pieces)).for_each(|text: &String| {
            let Ok(signal) = text.parse::<Signal>() else { return };
            assert!((1..=64).contains(&signal.number()), "{text}");
            let shown = signal.to_string();
            assert_eq!(shown.strip_prefix("signal ").unwrap_or(&shown).parse(), Ok(signal));
        });
    }

    #[test]
    fn a_signal_is_read_back_from_the_name_that_is_shown() {
        for number in 1..=64 {
            let shown = Signal(number).to_string();
            let name = shown.strip_prefix("signal ").unwrap_or(&shown);
            assert_eq!(name.parse(), Ok(Signal(number)));
        }
    }
}
