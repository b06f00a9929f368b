//! `check`: the verdict in full.

use std::fmt;

use anyhow::Context;
use serde::Serialize;

use super::reading::read_command;
use crate::escape::Escape;
use crate::exit::Exit;
use crate::guard::{Expectation, Finding, Production, Reading, Verdict, Violation, shown};
use crate::image::{Difference, Enforce, ImageIdentity, Policy, inspect};
use crate::log::LogFormat;
use crate::output;
use crate::runner::Runners;
use crate::system::environment::Environment;
use crate::system::signals;
use crate::{cli, config};

/// How many programs that a command executes are named.
const MAX_EXECUTED: usize = 20;

/// Prints every guard's verdict on standard output; nothing is started and no network is touched.
///
/// # Errors
/// Standard output can't be written to.
#[inline(never)]
pub fn check(
    options: &cli::Check,
    environment: &Environment,
    format: LogFormat,
) -> anyhow::Result<Exit> {
    signals::let_signals_end_it();
    let identity = config::identity(environment);
    let expectation = config::expectation(environment, options.policy)?;
    let code = identity.code.as_ref().map(inspect);
    let reading =
        (!options.command.is_empty()).then(|| read_command(&options.command, environment));
    let verdict = Verdict::new(&identity, &expectation, reading.as_ref(), code.as_ref());
    let output = Output::new(&identity, &expectation, &verdict, reading.as_ref());
    let text = match format {
        LogFormat::Text => output.to_string(),
        LogFormat::Json => serde_json::to_string(&output)?,
    };
    output::print(&(text + "\n")).context("standard output can't be written to")?;
    Ok(if verdict.lets_start() { Exit::Done } else { Exit::Refused })
}

/// Every guard's verdict and what it was judged by: `Display` gives text, `Serialize` the same facts.
// Each is a fact of its own.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    git_sha: String,
    source: String,
    /// A `GIT_SHA` in the environment that loses to the seal.
    overridden: Option<String>,
    build_date: String,
    enforce: Option<Enforce>,
    require_expected: bool,
    stop_on_drift: bool,
    /// What must not run the worker's code, be it by default.
    forbid_runners: Runners,
    allowed_arguments: Vec<String>,
    /// The sealed watch, in milliseconds.
    runner_watch_ms: Option<u128>,
    #[serde(skip)]
    policy: Policy,
    production: bool,
    /// A NODE_ENV that is production in an odd spelling, or that only looks like it.
    odd_node_env: Option<String>,
    expected_git_sha: Option<String>,
    /// The sealed code's digest, where code is sealed.
    code_sha256: Option<String>,
    guards: Vec<GuardLine>,
    /// The first paths that differ from the sealed code, and how.
    differences: Vec<String>,
    /// What the worker command executes at last, each with how it leads there.
    executes: Vec<String>,
    remarks: Vec<String>,
    starts: bool,
}

#[derive(Debug, Serialize)]
struct GuardLine {
    guard: &'static str,
    verdict: &'static str,
    why: String,
}

impl Output {
    fn new(
        identity: &ImageIdentity,
        expectation: &Expectation,
        verdict: &Verdict,
        reading: Option<&Reading>,
    ) -> Self {
        let ends = reading.into_iter().flat_map(|reading| &reading.ends);
        let guards = verdict.findings().map(|(guard, finding)| {
            let (verdict, why) = match finding {
                Finding::Passed(why) => ("passed", (*why).to_owned()),
                Finding::Refused(violation) => ("refused", violation.to_string()),
                Finding::Tolerated(violation) => {
                    ("off", format!("NODE_ENV is not production. {violation}"))
                }
                Finding::Off(why) => ("off", (*why).to_owned()),
            };
            GuardLine { guard, verdict, why }
        });
        let named = verdict.findings().filter_map(|(_, finding)| match finding {
            Finding::Refused(Violation::Code { found })
            | Finding::Tolerated(Violation::Code { found }) => Some(&found.named),
            _ => None,
        });
        let differences = named
            .flatten()
            .map(|Difference { path, what }| format!("{}: {what}", String::from_utf8_lossy(path)));
        let policy = identity.policy.and(expectation.policy);
        Self {
            git_sha: identity.git_sha.to_string(),
            source: identity.source.to_string(),
            overridden: identity.overridden.clone(),
            build_date: identity.build_date.clone(),
            enforce: policy.enforce,
            require_expected: policy.require_expected,
            stop_on_drift: policy.stop_on_drift,
            forbid_runners: policy.runners(),
            allowed_arguments: identity.allowed_arguments.clone(),
            runner_watch_ms: policy.runner_watch.map(|watch| watch.as_millis()),
            policy,
            production: expectation.production.is_production(),
            odd_node_env: match &expectation.production {
                Production::OddlySpelled(odd) | Production::LooksLike(odd) => Some(odd.clone()),
                Production::Yes | Production::No => None,
            },
            expected_git_sha: expectation.git_sha.clone(),
            code_sha256: identity.code.as_ref().map(|code| code.sha256.clone()),
            guards: guards.collect(),
            differences: differences.collect(),
            executes: ends.take(MAX_EXECUTED).map(|chain| shown(chain)).collect(),
            remarks: verdict.remarks().to_vec(),
            starts: verdict.lets_start(),
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let or_none = |text: &str| {
            if text.is_empty() { "none".to_owned() } else { Escape(text).to_string() }
        };
        writeln!(f, "Image SHA:    {} ({})", Escape(&self.git_sha), self.source)?;
        if let Some(overridden) = &self.overridden {
            writeln!(f, "Overridden:   {} (from the environment)", Escape(overridden))?;
        }
        writeln!(f, "Build date:   {}", or_none(&self.build_date))?;
        writeln!(f, "Policy:       {}", self.policy)?;
        for argument in &self.allowed_arguments {
            writeln!(f, "Allowed:      {} (argument)", Escape(argument))?;
        }
        writeln!(
            f,
            "Expected SHA: {}",
            or_none(self.expected_git_sha.as_deref().unwrap_or_default())
        )?;
        if let Some(code) = &self.code_sha256 {
            writeln!(f, "Sealed code:  {}", Escape(code))?;
        }
        let production = if self.production { "yes" } else { "no" };
        match &self.odd_node_env {
            None => writeln!(f, "Production:   {production}")?,
            Some(odd) => writeln!(f, "Production:   {production} (NODE_ENV is '{}')", Escape(odd))?,
        }
        writeln!(f)?;
        for GuardLine { guard, verdict, why } in &self.guards {
            writeln!(f, "  [{}] {guard}: {why}", verdict.to_uppercase())?;
        }
        for difference in &self.differences {
            writeln!(f, "      {}", Escape(difference))?;
        }
        for executed in &self.executes {
            writeln!(f, "  Executes: {executed}")?;
        }
        for remark in &self.remarks {
            writeln!(f, "  [WARN] {remark}")?;
        }
        writeln!(f)?;
        f.write_str(if self.starts {
            "[OK] The worker would start"
        } else {
            "[FAIL] The worker would not start"
        })
    }
}
