//! What an image can tune about supervision, parsed. Pure.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

use super::signal::Signal;

/// How the worker is supervised; the default is what needs no tuning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Supervision {
    pub scope: Scope,
    pub rewrites: Vec<Rewrite>,
    /// Sent to the shim when its parent dies; PR_SET_PDEATHSIG(2const).
    pub parent_death_signal: Option<Signal>,
    pub remaps: Vec<Remap>,
    pub warn_on_reap: bool,
    /// How long the worker may take to end after a signal that asks it to end before it is killed.
    pub stop_timeout: Option<Duration>,
    /// How long what the worker leaves behind may take to end after a TERM; `None`: after a stop as long
    /// as that goes on, and else not at all.
    pub reap_grace: Option<Duration>,
}

impl Supervision {
    /// What is forwarded for a signal that came in: itself, another one, or `None` for nothing. Of two
    /// rewrites of the same signal the last one counts.
    pub fn rewritten(&self, signal: Signal) -> Option<Signal> {
        let rewrite = self.rewrites.iter().rfind(|rewrite| rewrite.from == signal);
        rewrite.map_or(Some(signal), |rewrite| rewrite.to)
    }

    /// What the shim exits with when the worker's end stands for this exit code. Of two remaps of the
    /// same code the last one counts.
    pub fn remapped(&self, code: u8) -> u8 {
        let remap = self.remaps.iter().rfind(|remap| remap.code == code);
        remap.map_or(code, |remap| remap.to)
    }
}

/// Which processes get a forwarded signal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Scope {
    #[default]
    Worker,
    /// The worker and everything it has started in its process group.
    Group,
}

/// `FROM:TO`: another signal in a signal's place, or none for a `TO` of 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewrite {
    from: Signal,
    to: Option<Signal>,
}

impl FromStr for Rewrite {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected FROM:TO such as TERM:QUIT, or TERM:0 to drop";
        const NEVER: &str = "expected another FROM: KILL, STOP and CHLD are never forwarded";
        let (from, to) = text.split_once(':').ok_or(EXPECTED)?;
        let to = match to.trim() {
            "0" => None,
            to => Some(to.parse().map_err(|_| EXPECTED)?),
        };
        let from: Signal = from.parse().map_err(|_| EXPECTED)?;
        if [Signal::KILL, Signal::STOP, Signal::CHLD].contains(&from) {
            Err(NEVER)
        } else {
            Ok(Self { from, to })
        }
    }
}

/// `CODE` or `CODE:TO`: another exit code in the place of the worker's, 0 if none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remap {
    code: u8,
    to: u8,
}

impl FromStr for Remap {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (code, to) = text.split_once(':').unwrap_or((text, "0"));
        match (code.trim().parse(), to.trim().parse()) {
            (Ok(code), Ok(to)) => Ok(Self { code, to }),
            _ => Err("expected CODE or CODE:TO, each 0 to 255, such as 143 or 143:0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Remap, Rewrite, Signal, Supervision};
    use crate::pieces;

    #[test]
    fn a_rewrite_replaces_or_drops_and_leaves_the_others() {
        let rewrites =
            ["TERM:QUIT", "SIGHUP:0", "TSTP: 10"].map(|text| text.parse().unwrap()).into();
        let options = Supervision { rewrites, ..Supervision::default() };
        for (from, to) in
            [("TERM", Some("QUIT")), ("HUP", None), ("TSTP", Some("USR1")), ("INT", Some("INT"))]
        {
            let to = to.map(|to| to.parse().unwrap());
            assert_eq!(options.rewritten(from.parse().unwrap()), to, "{from}");
        }
    }

    #[test]
    fn a_remap_without_a_target_means_0() {
        let remaps = ["143", "3:4"].map(|text| text.parse().unwrap()).into();
        let options = Supervision { remaps, ..Supervision::default() };
        assert_eq!([143, 3, 4, 0].map(|code| options.remapped(code)), [0, 4, 4, 0]);
    }

    #[test]
    fn the_last_word_on_a_signal_or_a_code_counts() {
        let remaps = ["3:4", "3:5"].map(|text| text.parse().unwrap()).into();
        let rewrites = ["TERM:QUIT", "TERM:INT"].map(|text| text.parse().unwrap()).into();
        let options = Supervision { rewrites, remaps, ..Supervision::default() };
        assert_eq!(options.remapped(3), 5);
        assert_eq!(options.rewritten(Signal::TERM), Signal::new(2));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for text in
            ["TERM", "TERM:", ":TERM", "0:TERM", "TERM:X", "TERM:QUIT:INT", "KILL:TERM", "CHLD:0"]
        {
            assert!(text.parse::<Rewrite>().is_err(), "{text}");
        }
        for text in ["", "256", "-1", "1:256", "1:", "a"] {
            assert!(text.parse::<Remap>().is_err(), "{text}");
        }
    }

    #[test]
    fn any_text_is_one_replacement_or_none() {
        let pieces = &[
            ":", "TERM", "KILL", "CHLD", "QUIT", "0", "143", "255", "256", "-1", "+", " ",
            "RTMIN+3",
        ];
        bolero::check!().with_generator(pieces::text(pieces)).for_each(|text: &String| {
            if let Ok(rewrite) = text.parse::<Rewrite>() {
                assert!(![Signal::KILL, Signal::STOP, Signal::CHLD].contains(&rewrite.from));
                let options = Supervision { rewrites: vec![rewrite], ..Supervision::default() };
                assert_eq!(options.rewritten(rewrite.from), rewrite.to);
            }
            if let Ok(remap) = text.parse::<Remap>() {
                let options = Supervision { remaps: vec![remap], ..Supervision::default() };
                assert_eq!(options.remapped(remap.code), remap.to);
            }
        });
    }
}
