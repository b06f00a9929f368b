//! `expect`: publishes, shows or takes back what the fleet should run.

use std::fmt::Write;

use serde::Serialize;
use tracing::warn;

use crate::cli::{self, List};
use crate::config;
use crate::exit::Exit;
use crate::image::{is_whole, meaningful};
use crate::output::print;
use crate::registry::{
    ConnectionError, Published, Session, WorkerType, clear, now, publish, published, rfc3339,
};
use crate::system::environment::Environment;
use crate::verify::CannotAsk;

use super::access::access;
use super::interrupt::end_on_signals;

/// What a Redis user needs for it.
const COMMANDS: &str = "+multi +exec +hset +hdel +del +hgetall +time +cluster|slots";

/// Does the one that the options ask for.
///
/// # Errors
/// Why Redis could not be asked, or what is wrong with the SHA.
#[inline(never)]
pub fn expect(options: &cli::Expect, environment: &Environment) -> anyhow::Result<Exit> {
    end_on_signals()?;
    let git_sha = options.git_sha.as_deref().map(whole).transpose()?;
    let mut session = Session::new(access(environment, &options.keys)?);
    let of: Vec<WorkerType> = options.types.iter().flat_map(|List(types)| types.clone()).collect();
    let by = options.by.clone().unwrap_or_else(|| config::user_and_host(environment));
    let prefix = &options.keys.prefix;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let all = session.within(options.timeout, async |session: &mut Session| {
        let now = now(session).await?;
        match &git_sha {
            Some(git_sha) => drop(session.send_one(publish(prefix, &of, git_sha, &by, now)).await?),
            None if options.clear => drop(session.send_one(clear(prefix, &of)).await?),
            None => {}
        }
        published(session, prefix, now).await
    });
    let read: Result<_, ConnectionError> = runtime.map_err(CannotAsk::Runtime)?.block_on(all);
    let (all, odd) = read.map_err(|error| {
        let needs = format!("~{}:expected {COMMANDS}", prefix.as_str());
        CannotAsk::new(&error, session.access(), needs)
    })?;
    for odd in odd {
        warn!("{odd}");
    }
    let text = if options.json { json(&all)? } else { text(&all) };
    print(&text).map_err(CannotAsk::Output)?;
    Ok(if all.is_empty() && !options.clear { Exit::NotAsExpected } else { Exit::Done })
}

/// A SHA that can be expected: whole, and no placeholder.
fn whole(git_sha: &str) -> Result<String, CannotAsk> {
    let sha = meaningful(git_sha).map_err(|word| CannotAsk::NothingExpected { word })?;
    if is_whole(&sha) { Ok(sha) } else { Err(CannotAsk::Abbreviated { git_sha: sha }) }
}

fn text(all: &[Published]) -> String {
    if all.is_empty() {
        return "Nothing is published\n".into();
    }
    all.iter().fold(String::new(), |mut text, Published { of, git_sha, at, by }| {
        let (of, git_sha, by) = (of.as_str(), git_sha.as_str(), by.as_str());
        let _ = writeln!(text, "{of}: {git_sha}, since {} by {by}", rfc3339(*at));
        text
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Expectation<'a> {
    r#type: &'a str,
    git_sha: &'a str,
    at: String,
    by: &'a str,
}

fn json(all: &[Published]) -> Result<String, CannotAsk> {
    let lines: Vec<Expectation> = all
        .iter()
        .map(|Published { of, git_sha, at, by }| Expectation {
            r#type: of.as_str(),
            git_sha: git_sha.as_str(),
            at: rfc3339(*at),
            by: by.as_str(),
        })
        .collect();
    Ok(serde_json::to_string_pretty(&lines)? + "\n")
}
