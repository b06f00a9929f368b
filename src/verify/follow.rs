//! Reads again and again: until the fleet is as expected, or for as long as a reader watches.

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tracing::info;

use super::error::CannotAsk;
use super::render::{Paint, progress, table};
use super::verdict::Report;
use crate::exit::Exit;
use crate::output::print;
use crate::system::terminal;

/// At least this long between two readings.
const PAUSE: Duration = Duration::from_secs(1);
/// At most one part in so many of Redis's time goes into the readings.
const SHARE: u32 = 10;

/// The first report that is as expected and settled, or the last one before time is out, or before a
/// worker that crashes can't be waited for any longer.
///
/// # Errors
/// Why there is no report: the last reason when time is out, or at once one that doesn't pass.
pub async fn wait<F>(
    read: impl Fn(Duration) -> F,
    limit: Duration,
    crashes: usize,
) -> Result<Report, CannotAsk>
where
    F: Future<Output = Result<Report, CannotAsk>>,
{
    let began = Instant::now();
    let deadline = began + limit;
    let mut since = None;
    let mut line = ProgressLine::default();
    loop {
        let started = Instant::now();
        let read = read(deadline.saturating_duration_since(started)).await;
        let is_over = match &read {
            Ok(report) => {
                let since = *since.get_or_insert(report.read_at);
                report.is_settled() || report.has_crashed(crashes, since)
            }
            Err(error) => !error.may_pass(),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if is_over || left.is_zero() {
            line.end(began.elapsed());
            return read;
        }
        line.say(&read.as_ref().map_or_else(ToString::to_string, progress), left);
        sleep(pause(started.elapsed()).min(left)).await;
    }
}

/// Draws the table again and again, until a signal ends it or no reader is left.
///
/// # Errors
/// Why there is no table; one that may pass is shown in its place.
pub async fn watch<F>(
    read: impl Fn() -> F,
    paint: Paint,
    instances: bool,
) -> Result<Exit, CannotAsk>
where
    F: Future<Output = Result<Report, CannotAsk>>,
{
    let is_terminal = io::stdout().is_terminal();
    let mut drawn = 0;
    let mut said = String::new();
    loop {
        let started = Instant::now();
        let read = match read().await {
            Err(error) if !error.may_pass() => return Err(error),
            read => read,
        };
        if is_terminal {
            let (columns, rows) = terminal::size(io::stdout()).unwrap_or((80, 24));
            let text = match &read {
                Ok(report) => table(report, paint, instances, (columns, rows)),
                Err(error) => error.to_string().chars().take(columns).collect(),
            };
            if !print(&redrawn(&text, drawn)).map_err(CannotAsk::Output)? {
                return Ok(Exit::Done);
            }
            drawn = text.lines().count();
        } else {
            // Ages change all the time; only a change of state is worth a table.
            let change = read.as_ref().map_or_else(ToString::to_string, progress);
            if change != said {
                let text = match &read {
                    Ok(report) => table(report, paint, instances, (usize::MAX, usize::MAX)),
                    Err(error) => error.to_string(),
                };
                if !print(&format!("{text}\n\n")).map_err(CannotAsk::Output)? {
                    return Ok(Exit::Done);
                }
                said = change;
            }
        }
        sleep(pause(started.elapsed())).await;
    }
}

fn pause(took: Duration) -> Duration {
    PAUSE.max(took * SHARE)
}

/// The text in the place of as many lines as were drawn before; ECMA-48's CUU, EL and ED.
fn redrawn(text: &str, drawn: usize) -> String {
    let up = if drawn == 0 { String::new() } else { format!("\x1b[{drawn}A\r") };
    let lines = text.lines().fold(String::new(), |lines, line| lines + line + "\x1b[K\n");
    format!("{up}{lines}\x1b[J")
}

/// Progress on standard error: one line that is written over on a terminal, elsewhere one a change.
#[derive(Debug, Default)]
struct ProgressLine {
    said: String,
}

impl ProgressLine {
    fn say(&mut self, text: &str, left: Duration) {
        let stderr = io::stderr();
        if stderr.is_terminal() {
            let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
            let (columns, _) = terminal::size(&stderr).unwrap_or((80, 24));
            // One column stays free: a terminal may break the line behind the last one.
            let line: String =
                format!("{text} ({left} left)").chars().take(columns.saturating_sub(1)).collect();
            let _ = write!(&stderr, "\r{line}\x1b[K");
        } else if text != self.said {
            info!("Waiting: {text}");
        }
        text.clone_into(&mut self.said);
    }

    /// Says how long it took, where anything was waited for.
    fn end(&mut self, took: Duration) {
        let stderr = io::stderr();
        if stderr.is_terminal() && !self.said.is_empty() {
            let _ = write!(&stderr, "\r\x1b[K");
        }
        if !self.said.is_empty() {
            info!("Waited for {}", humantime::format_duration(Duration::from_secs(took.as_secs())));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{PAUSE, pause, redrawn};

    #[test]
    fn a_table_is_drawn_over_the_one_before() {
        assert_eq!(redrawn("a\nb", 0), "a\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(redrawn("a", 2), "\x1b[2A\ra\x1b[K\n\x1b[J");
    }

    #[test]
    fn a_slow_reading_is_not_repeated_in_a_hurry() {
        assert_eq!(pause(Duration::from_millis(5)), PAUSE);
        assert_eq!(pause(Duration::from_secs(1)), Duration::from_secs(10));
    }
}
