//! `check`: the verdict in full.

use std::fmt;

use serde::Serialize;

use super::{Expectation, Finding, Verdict};
use crate::config::{self, Environment};
use crate::image::{Enforce, ImageIdentity, Policy};
use crate::supervisor::Exit;
use crate::telemetry::{LogFormat, Printable};
use crate::{cli, kernel};

/// Prints every guard's verdict on standard output; nothing is started and no network is touched.
///
/// # Errors
/// Standard output can't be written to.
pub fn check(
    options: &cli::Check,
    environment: &Environment,
    format: LogFormat,
) -> anyhow::Result<Exit> {
    kernel::unblock_signals();
    let identity = config::identity(environment);
    let expectation = config::expectation(environment);
    let verdict = Verdict::new(&identity, &expectation, &options.command);
    let report = Report::new(&identity, &expectation, &verdict);
    let text = match format {
        LogFormat::Text => report.to_string(),
        LogFormat::Json => serde_json::to_string(&report)?,
    };
    cli::print(&text)?;
    Ok(if verdict.violations().is_empty() { Exit::Done } else { Exit::Refused })
}

/// Every guard's verdict and what it was judged by: `Display` gives text, `Serialize` the same facts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    git_sha: String,
    source: String,
    /// A `GIT_SHA` in the environment that loses to the seal.
    overridden: Option<String>,
    build_date: String,
    enforce: Option<Enforce>,
    require_expected: bool,
    production: bool,
    expected_git_sha: Option<String>,
    guards: Vec<Line>,
    starts: bool,
}

#[derive(Debug, Serialize)]
struct Line {
    guard: &'static str,
    verdict: &'static str,
    why: String,
}

impl Report {
    fn new(identity: &ImageIdentity, expectation: &Expectation, verdict: &Verdict) -> Self {
        let guards = verdict.findings().into_iter().map(|(guard, finding)| {
            let (verdict, why) = match finding {
                Finding::Passed(why) => ("passed", (*why).to_owned()),
                Finding::Refused(violation) => ("refused", violation.to_string()),
                Finding::Tolerated(violation) => {
                    ("off", format!("NODE_ENV is not production. {violation}"))
                }
                Finding::Off(why) => ("off", (*why).to_owned()),
            };
            Line { guard, verdict, why }
        });
        Self {
            git_sha: identity.git_sha.to_string(),
            source: identity.source.to_string(),
            overridden: identity.overridden.clone(),
            build_date: identity.build_date.clone(),
            enforce: identity.policy.enforce,
            require_expected: identity.policy.require_expected,
            production: expectation.production,
            expected_git_sha: expectation.git_sha.clone(),
            guards: guards.collect(),
            starts: verdict.violations().is_empty(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let or_none = |text: &str| {
            if text.is_empty() { "none".to_owned() } else { Printable(text).to_string() }
        };
        writeln!(f, "Image SHA:    {} ({})", Printable(&self.git_sha), self.source)?;
        if let Some(overridden) = &self.overridden {
            writeln!(f, "Overridden:   {} (from the environment)", Printable(overridden))?;
        }
        writeln!(f, "Build date:   {}", or_none(&self.build_date))?;
        let policy = Policy { enforce: self.enforce, require_expected: self.require_expected };
        writeln!(f, "Policy:       {policy}")?;
        writeln!(
            f,
            "Expected SHA: {}",
            or_none(self.expected_git_sha.as_deref().unwrap_or_default())
        )?;
        writeln!(f, "Production:   {}", if self.production { "yes" } else { "no" })?;
        writeln!(f)?;
        for Line { guard, verdict, why } in &self.guards {
            writeln!(f, "  [{}] {guard}: {why}", verdict.to_uppercase())?;
        }
        writeln!(f)?;
        f.write_str(if self.starts {
            "[OK] The worker would start"
        } else {
            "[FAIL] The worker would not start"
        })
    }
}
