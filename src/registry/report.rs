//! What the registrar's thread reports to the supervisor by their channel.

use std::io::Write;
use std::os::unix::net::UnixStream;

use super::expectation::Published;
use super::timestamp::rfc3339;

/// What comes of the first attempt, or of a later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    Registered,
    /// Why not.
    Failed(String),
    /// The worker is to be stopped, since it is not what is published.
    Overtaken(Overtaken),
}

/// What is published, and not what the worker runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overtaken {
    pub git_sha: String,
    /// As RFC 3339, by Redis's clock.
    pub at: String,
    pub by: String,
}

/// Stands behind each report; none holds it.
const END: u8 = b'\0';

/// In bytes: what the supervisor reads at once has room for three of them.
const MAX_TEXT: usize = 1300;

impl Report {
    /// Sends it: the channel has room for all there are.
    pub fn send(&self, mut channel: &UnixStream) {
        let text = match self {
            Self::Registered => "r".to_owned(),
            Self::Failed(why) => format!("f{why}"),
            Self::Overtaken(Overtaken { git_sha, at, by }) => format!("o{git_sha}\n{at}\n{by}"),
        };
        let mut bytes: Vec<u8> = text.bytes().filter(|byte| *byte != END).take(MAX_TEXT).collect();
        bytes.push(END);
        let _ = channel.write_all(&bytes);
    }

    /// Those that were read, in their order.
    pub fn all_in(bytes: &[u8]) -> impl Iterator<Item = Self> {
        bytes.split(|byte| *byte == END).filter_map(Self::read)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, text) = bytes.split_first()?;
        let text = String::from_utf8_lossy(text);
        match kind {
            b'r' => Some(Self::Registered),
            b'f' => Some(Self::Failed(text.into_owned())),
            b'o' => {
                let mut lines = text.lines().map(str::to_owned);
                let mut next = || lines.next().unwrap_or_default();
                Some(Self::Overtaken(Overtaken { git_sha: next(), at: next(), by: next() }))
            }
            _ => None,
        }
    }
}

impl From<&Published> for Overtaken {
    fn from(published: &Published) -> Self {
        let (git_sha, by) = (published.git_sha.as_str().into(), published.by.as_str().into());
        Self { git_sha, at: rfc3339(published.at), by }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::{Overtaken, Report};

    #[test]
    fn reports_that_are_read_together_are_each_heard() {
        let (mut supervisors, registrars) = UnixStream::pair().unwrap();
        let overtaken =
            Overtaken { git_sha: "a1".into(), at: "2026-01-08T12:00:00Z".into(), by: "ci".into() };
        let sent = [
            Report::Failed("refused".into()),
            Report::Registered,
            Report::Overtaken(overtaken),
            Report::Failed("ä".repeat(9999)),
        ];
        for report in &sent {
            report.send(&registrars);
        }
        let mut bytes = [0; 4096];
        let read = supervisors.read(&mut bytes).unwrap();
        let heard: Vec<Report> = Report::all_in(&bytes[..read]).collect();
        assert_eq!(heard[..3], sent[..3]);
        assert!(matches!(&heard[3], Report::Failed(why) if why.starts_with("ää")));
    }
}
