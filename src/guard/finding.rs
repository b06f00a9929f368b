//! What the guards found, and which of them hold.

use std::fmt;

use super::violation::Violation;

/// What one guard found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    Passed(&'static str),
    /// The worker must not start.
    Refused(Violation),
    /// What would be refused in production; here the worker starts.
    Tolerated(Violation),
    /// There was nothing to judge by.
    Off(&'static str),
}

/// What each guard stands for in a run that none of them refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// They would have refused.
    pub on: Vec<&'static str>,
    /// They refuse in production alone.
    pub only_warn: Vec<&'static str>,
    /// Each with the reason.
    pub off: Vec<(&'static str, &'static str)>,
}

impl Standing {
    /// By what each guard found, and by whether all of them are enforced.
    pub fn new<'a>(
        findings: impl Iterator<Item = (&'static str, &'a Finding)>,
        is_enforced: bool,
    ) -> Self {
        let (mut on, mut only_warn, mut off) = (Vec::new(), Vec::new(), Vec::new());
        for (guard, finding) in findings {
            match finding {
                Finding::Off(reason) => off.push((guard, *reason)),
                // The mismatch guard holds wherever something is expected.
                _ if is_enforced || guard == "mismatch" => on.push(guard),
                _ => only_warn.push(guard),
            }
        }
        Self { on, only_warn, off }
    }
}

impl fmt::Display for Standing {
    /// Such as `on: tsx, unknown; mismatch off: EXPECTED_GIT_SHA is not set`.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut separator = "";
        if !self.on.is_empty() {
            write!(f, "on: {}", self.on.join(", "))?;
            separator = "; ";
        }
        if !self.only_warn.is_empty() {
            let names = self.only_warn.join(", ");
            write!(f, "{separator}{names} only warn: NODE_ENV is not production")?;
            separator = "; ";
        }
        for (guard, reason) in &self.off {
            write!(f, "{separator}{guard} off: {reason}")?;
            separator = "; ";
        }
        Ok(())
    }
}
