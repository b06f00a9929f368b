//! The guards and the registration as they are written by hand, in the worker or in a shell script.
//!
//! What is measured is the time from the start to the first line of a Node worker's own code, with the
//! guards passed and the version registered, less that of a Node worker without either.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::Setting;
use crate::figures::{Cells, Figure, MEDIAN, Report};
use crate::shims::{NO_SHIM, OURS, in_container, registered};
use crate::statistics::quantile;
use crate::turns::in_turns;
use crate::worker::monotonic;

const IN_NODE: &str =
    "adds to a Node worker's start, registered, ms; no shim: guards in Node, ioredis";
const IN_NODE_WITH_CLIENT: &str = "the same, where the worker loads ioredis anyway";
const IN_SHELL: &str = "the same; no shim: guards in sh, redis-cli";

/// The worker's own code: it tells when its first line runs, in nanoseconds.
const WORKER: &str = "require('fs').writeSync(1, String(process.hrtime.bigint()));\n";

const GUARDS_IN_NODE: &str = r#"
const info = {
  gitSha: process.env.GIT_SHA || "unknown",
  buildDate: process.env.BUILD_DATE || "unknown",
  expectedSha: process.env.EXPECTED_GIT_SHA,
};
const isProduction = process.env.NODE_ENV === "production";
function refuse(...lines) {
  for (const line of lines) console.error(`[version] ${line}`);
  process.exit(1);
}
if (isProduction && process.argv.some((arg) => arg.includes("tsx"))) {
  refuse("FATAL: Running via tsx in production!", "Workers must be compiled to JS and run with node.");
}
if (isProduction && info.gitSha === "unknown") {
  refuse("FATAL: GIT_SHA is 'unknown' in production!", "Image was built without --build-arg GIT_SHA");
}
if (info.expectedSha && info.gitSha !== info.expectedSha) {
  refuse("FATAL: Version mismatch!", `  Image SHA:    ${info.gitSha}`, `  Expected SHA: ${info.expectedSha}`);
}
async function main() {
  const redis = new Redis(process.env.REDIS_URL);
  const key = `fiskai:worker:${process.env.WORKER_TYPE}:version`;
  await redis.hset(key, {
    gitSha: info.gitSha,
    buildDate: info.buildDate,
    startedAt: new Date().toISOString(),
    pid: String(process.pid),
  });
  await redis.expire(key, 86400);
  work();
  redis.disconnect();
}
main();
"#;

const GUARDS_IN_SHELL: &str = r#"set -e
refuse() { echo "[version] FATAL: $1" >&2; exit 1; }
if [ "$NODE_ENV" = production ]; then
    case "$*" in *tsx*) refuse "Running via tsx in production!" ;; esac
    [ "${GIT_SHA:-unknown}" != unknown ] || refuse "GIT_SHA is 'unknown' in production!"
fi
if [ -n "$EXPECTED_GIT_SHA" ] && [ "$GIT_SHA" != "$EXPECTED_GIT_SHA" ]; then
    refuse "Version mismatch!"
fi
key=fiskai:worker:$WORKER_TYPE:version
redis-cli -u "$REDIS_URL" HSET "$key" gitSha "$GIT_SHA" buildDate "$BUILD_DATE" \
    startedAt "$(date -u +%Y-%m-%dT%H:%M:%SZ)" pid $$ >/dev/null
redis-cli -u "$REDIS_URL" EXPIRE "$key" 86400 >/dev/null
exec "$@"
"#;

pub fn measure(setting: &Setting, report: &mut Report) {
    let rows = "guards by hand";
    let Some(redis) = &setting.redis else {
        return report.gap(rows, "redis-server is not installed");
    };
    if !Path::new("/usr/bin/node").exists() {
        return report.gap(rows, "there is no /usr/bin/node");
    }
    let scripts = Scripts::write();
    if scripts.client.is_none() {
        report.gap(IN_NODE, "ioredis is not installed: tests/run.sh does that");
    }
    let ours = setting.shims.ours().line.iter().map(String::as_str);
    let bare = ["/usr/bin/node", &scripts.path("worker.js")];
    let shell =
        ["/bin/sh", &scripts.path("entrypoint.sh"), "/usr/bin/node", &scripts.path("worker.js")];
    let mut lines: Vec<(Way, Vec<&str>)> = vec![
        (Way::Bare, bare.to_vec()),
        (Way::Ours, ours.chain(bare).collect()),
        (Way::InShell, shell.to_vec()),
    ];
    let with_client = [scripts.path("client.js"), scripts.path("guarded.js")];
    if scripts.client.is_some() {
        lines.push((Way::BareWithClient, vec![bare[0], &with_client[0]]));
        lines.push((Way::InNode, vec![bare[0], &with_client[1]]));
    }
    let url = redis.url();
    let samples =
        in_turns(&mut lines, setting.lengths.node_starts, |(_, line)| milliseconds(line, &url));
    let times = Times(lines.iter().map(|(way, _)| *way).zip(samples).collect());
    let rows = [
        (IN_NODE, Way::InNode, Way::Bare),
        (IN_NODE_WITH_CLIENT, Way::InNode, Way::BareWithClient),
        (IN_SHELL, Way::InShell, Way::Bare),
    ];
    report.figures.extend(rows.into_iter().filter_map(|(name, way, bare)| {
        let cells =
            [(NO_SHIM, times.added(way, bare)?), (OURS, times.added(Way::Ours, Way::Bare)?)];
        Some(Figure::median(name, 1, Cells::from(cells)))
    }));
}

/// What stands between the start and the worker's first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Bare,
    /// A worker whose own code needs ioredis.
    BareWithClient,
    Ours,
    InNode,
    InShell,
}

struct Times(Vec<(Way, Vec<f64>)>);

impl Times {
    /// What one way adds to another; None where it was not measured.
    fn added(&self, way: Way, bare: Way) -> Option<Vec<f64>> {
        let of = |way| self.0.iter().find(|(other, _)| *other == way).map(|(_, times)| times);
        let bare = quantile(of(bare)?, MEDIAN);
        Some(of(way)?.iter().map(|time| time - bare).collect())
    }
}

struct Scripts {
    folder: TempDir,
    /// None where ioredis is not installed.
    client: Option<PathBuf>,
}

impl Scripts {
    fn write() -> Self {
        let client =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/ioredis/node_modules/ioredis");
        let scripts = Self {
            folder: TempDir::new().expect("a folder"),
            client: Some(client).filter(|folder| folder.exists()),
        };
        let load = scripts.client.as_ref().map_or(String::new(), |client| {
            format!("const Redis = require('{}');\n", client.display())
        });
        let write = |name, text: &str| fs::write(scripts.path(name), text).expect("a script");
        write("worker.js", WORKER);
        write("client.js", &format!("{load}{WORKER}"));
        write("guarded.js", &format!("{load}function work() {{ {WORKER} }}\n{GUARDS_IN_NODE}"));
        write("entrypoint.sh", GUARDS_IN_SHELL);
        scripts
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

/// From the start to the worker's first line.
fn milliseconds(line: &[&str], redis: &str) -> f64 {
    let mut command = Command::new(line[0]);
    command.args(&line[1..]);
    in_container(&mut command);
    registered(&mut command, redis);
    let start = monotonic();
    let output = command.stdout(Stdio::piped()).output().expect("the worker starts");
    let first_line: i64 = String::from_utf8_lossy(&output.stdout).parse().expect("a time");
    (first_line - start) as f64 / 1e6
}
