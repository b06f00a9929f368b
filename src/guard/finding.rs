//! What the guards found, and which of them hold.

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

/// Which guards would have refused, which only warn outside production, and why one is off: such as
/// `on: tsx, unknown; mismatch off: EXPECTED_GIT_SHA is not set`.
///
/// By what each of them found, and by whether all of them are enforced. No formatter: it is part of each start.
pub fn standing<'a>(
    findings: impl Iterator<Item = (&'static str, &'a Finding)> + Clone,
    is_enforced: bool,
) -> String {
    // The mismatch guard holds wherever something is expected.
    let holds = |guard: &&str| is_enforced || *guard == "mismatch";
    let is_off = |finding: &Finding| matches!(finding, Finding::Off(_));
    let judging = findings.clone().filter(|(_, finding)| !is_off(finding)).map(|(guard, _)| guard);
    let mut text = String::with_capacity(160);
    for (index, guard) in judging.clone().filter(holds).enumerate() {
        text.push_str(if index == 0 { "on: " } else { ", " });
        text.push_str(guard);
    }
    let mut only_warn = judging.filter(|guard| !holds(guard)).peekable();
    let warns = only_warn.peek().is_some();
    for (index, guard) in only_warn.enumerate() {
        text.push_str(if index > 0 { ", " } else { separator(&text) });
        text.push_str(guard);
    }
    if warns {
        text.push_str(" only warn: NODE_ENV is not production");
    }
    for (guard, finding) in findings {
        if let Finding::Off(reason) = finding {
            text.push_str(separator(&text));
            text.push_str(guard);
            text.push_str(" off: ");
            text.push_str(reason);
        }
    }
    text
}

fn separator(text: &str) -> &'static str {
    if text.is_empty() { "" } else { "; " }
}
