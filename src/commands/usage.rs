//! Help and version where they were asked for, and what is wrong with a command line.

use anyhow::Context;

use crate::cli::Usage;
use crate::escape::Escape;
use crate::exit::Exit;
use crate::output;

/// Prints help and version, when they were asked for, on standard output.
///
/// # Errors
/// A usage error, in the parser's own words.
pub fn explain(usage: Usage) -> anyhow::Result<Exit> {
    let Usage { error, termination_log, .. } = usage;
    if let Some(log) = termination_log {
        log.attach();
    }
    let text = error.render().to_string();
    if error.use_stderr() {
        let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        let lines: Vec<String> = lines.map(|line| Escape(line).to_string()).collect();
        anyhow::bail!("{}", lines.join("\n").trim_start_matches("error: "));
    }
    output::print(&format!("{}\n", text.trim_end()))
        .context("standard output can't be written to")?;
    Ok(Exit::Done)
}
