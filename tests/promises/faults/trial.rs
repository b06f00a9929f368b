//! One fault, from the shim's start in the middle of it to the registration after its end.

use std::any::Any;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;

use crate::common::{Ended, Redis, SHA, Shim, within};

/// What the registration may take, and what the machine may take beside it.
pub const TIMEOUT: Duration = Duration::from_millis(500);
pub const ROOM: Duration = Duration::from_millis(200);

/// The password of every case, no five letters of which stand anywhere else, and its form in a URL.
pub const PASSWORD: &str = "Zx7Qv/9Kp@Wm3Tj";
pub const ESCAPED: &str = "Zx7Qv%2F9Kp%40Wm3Tj";

/// What is to come of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// One warning, and a registration once it is over.
    Heals,
    /// It is none: the registration gets through at once, without a word.
    NoFault,
    /// One warning that says so, and no registration ever: there is no room for whoever would register.
    Unregistered,
    /// Any of these: how much room is enough is nobody's promise.
    AsRoomAllows,
    /// It is about the log alone, which says nothing.
    Unheard,
    /// One warning, or none where it comes too late, or is too little; it is over when the worker is
    /// ready.
    MayPass,
}

/// A fault that is there, a shim that is to be started in it, and how it ends.
pub struct Trial {
    pub shim: Shim,
    /// Where the registration is to appear.
    pub redis: Arc<Redis>,
    /// What the shim's keys begin with.
    pub prefix: String,
    pub outcome: Outcome,
    code: i32,
    lift: Box<dyn FnOnce(i32) + Send>,
    /// What arrived where the password has no business to.
    overheard: Box<dyn Fn() -> Vec<u8> + Send>,
    /// Servers that are there until the end.
    kept: Vec<Box<dyn Any + Send>>,
    secrets: Vec<Vec<u8>>,
}

impl Trial {
    /// A worker of type extractor that says ready and ends with 7 on a SIGTERM.
    pub fn at(url: &str, redis: &Arc<Redis>) -> Self {
        Self::of(Shim::run(["orphans", "0"]), url, redis)
    }

    /// The same with another shim or worker.
    pub fn of(shim: Shim, url: &str, redis: &Arc<Redis>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("fault-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let shim = shim
            .env("GIT_SHA", SHA)
            .registers("extractor", url)
            .env("VERSION_GUARD_HEARTBEAT", "100ms")
            .env("VERSION_GUARD_REGISTER_TIMEOUT", "500ms")
            .options(["--log-format", "json", "--key-prefix", &prefix]);
        Self {
            shim,
            redis: redis.clone(),
            prefix,
            outcome: Outcome::Heals,
            code: 7,
            lift: Box::new(|_| ()),
            overheard: Box::new(Vec::new),
            kept: Vec::new(),
            secrets: vec![PASSWORD.into(), ESCAPED.into()],
        }
    }

    pub fn with(self, change: impl FnOnce(Shim) -> Shim) -> Self {
        Self { shim: change(self.shim), ..self }
    }

    pub fn env(self, name: &str, value: impl Into<OsString>) -> Self {
        self.with(|shim| shim.env(name, value))
    }

    /// Where nothing is to go wrong there is time for a busy machine, too.
    pub fn outcome(self, outcome: Outcome) -> Self {
        let patient = if outcome == Outcome::NoFault { "5s" } else { "500ms" };
        let trial = self.env("VERSION_GUARD_REGISTER_TIMEOUT", patient);
        Self { outcome, ..trial }
    }

    /// The worker's exit code, where it is not 7.
    pub fn ends_with(self, code: i32) -> Self {
        Self { code, ..self }
    }

    /// What ends the fault.
    pub fn lifted_by(self, lift: impl FnOnce() + Send + 'static) -> Self {
        self.lifted_for_pid_by(|_| lift())
    }

    /// The same, of a fault of the shim's own process.
    pub fn lifted_for_pid_by(self, lift: impl FnOnce(i32) + Send + 'static) -> Self {
        Self { lift: Box::new(lift), ..self }
    }

    /// What no part of the password may be found in.
    pub fn overheard(self, overheard: impl Fn() -> Vec<u8> + Send + 'static) -> Self {
        Self { overheard: Box::new(overheard), ..self }
    }

    /// Another secret, of which no part may be shown either.
    pub fn secret(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.secrets.push(secret.into());
        self
    }

    pub fn keeping(mut self, what: impl Any + Send) -> Self {
        self.kept.push(Box::new(what));
        self
    }

    /// Whether the registry has an instance of this trial's.
    fn is_registered(&self) -> bool {
        ask(&self.redis, &format!("ZCARD {}s", self.prefix))
            .is_some_and(|count| count.starts_with(':') && count != ":0")
    }

    /// The registration's keys that would stay for ever. The next heartbeat sets an expiry that was
    /// lost on the way.
    fn keys_for_ever(&self) -> String {
        let script = "local keys = {KEYS[1] .. 's', KEYS[1] .. ':extractor:version'}
            for _, member in ipairs(redis.call('ZRANGE', keys[1], 0, -1)) do
                keys[#keys + 1] = KEYS[1] .. ':extractor:instance:' .. member:sub(11)
            end
            local found = {}
            for _, key in ipairs(keys) do
                if redis.call('TTL', key) == -1 then found[#found + 1] = key end
            end
            return found";
        admin(&self.redis, ["EVAL", script, "1", &self.prefix])
    }

    /// Starts the shim, ends the fault once the worker is ready, waits for the registration and stops
    /// the worker.
    pub fn run(mut self) -> Row {
        let started = Instant::now();
        let mut running = self.shim.spawn();
        let ready = running.try_line();
        let start = started.elapsed();
        let mut faults = Vec::new();
        if ready.as_deref() != Ok("ready") {
            faults.push(format!("the worker does not start: {ready:?}"));
        }
        if self.outcome == Outcome::NoFault && !self.is_registered() {
            faults.push("no registration before the worker starts".into());
        }
        if self.outcome == Outcome::Heals {
            // Room for more failed attempts, none of which is worth a word.
            thread::sleep(ROOM);
        }
        let lifted = Instant::now();
        std::mem::replace(&mut self.lift, Box::new(|_| ()))(running.pid());
        let mut recovery = None;
        if self.outcome == Outcome::AsRoomAllows {
            recovery = within(TIMEOUT, "the registration", || {
                self.is_registered().then(|| lifted.elapsed())
            })
            .ok();
        } else if self.outcome != Outcome::Unregistered {
            recovery = within(self.shim.patience(), "the registration", || {
                let is_there = self.is_registered();
                thread::sleep(Duration::from_millis(u64::from(!is_there) * 20));
                is_there.then(|| lifted.elapsed())
            })
            .map_err(|reason| faults.push(reason))
            .ok();
        }
        if self.outcome == Outcome::MayPass {
            let expire = within(self.shim.patience(), "an expiry for each key", || {
                self.keys_for_ever().is_empty().then_some(())
            });
            faults.extend(expire.err().map(|reason| format!("{reason}: {}", self.keys_for_ever())));
        }
        let _ = running.try_signal(libc::SIGTERM);
        match running.try_end() {
            Ok(ended) => self.judge(Row { start, recovery, faults, ..Row::of(&ended) }, &ended),
            Err(reason) => Row { faults: [faults, vec![reason]].concat(), ..Row::default() },
        }
    }

    fn judge(&self, mut row: Row, ended: &Ended) -> Row {
        let is_warned = match self.outcome {
            Outcome::Heals | Outcome::Unregistered => true,
            Outcome::NoFault | Outcome::Unheard => false,
            Outcome::MayPass => !row.warnings.is_empty(),
            // Whoever says nothing has to be registered.
            Outcome::AsRoomAllows => row.recovery.is_none() || !row.warnings.is_empty(),
        };
        let faults = &mut row.faults;
        if ended.code != self.code {
            faults.push(format!("exit code {} instead of {}", ended.code, self.code));
        }
        if row.warnings.len() != usize::from(is_warned) {
            faults.push(format!("{} warnings", row.warnings.len()));
        }
        let beginning = match self.outcome {
            Outcome::Unregistered | Outcome::AsRoomAllows | Outcome::MayPass => "",
            _ => "extractor is not registered in Redis at ",
        };
        faults.extend(
            row.warnings
                .iter()
                .filter(|warning| !warning.starts_with(beginning))
                .map(|warning| format!("another warning than expected: {warning}")),
        );
        for (what, bytes) in [
            ("standard output", ended.stdout.as_bytes()),
            ("standard error", ended.stderr.as_bytes()),
            ("what others heard", &(self.overheard)()),
        ] {
            let piece = self.secrets.iter().find_map(|secret| piece_of(secret, bytes));
            faults.extend(piece.map(|piece| format!("{piece:?} of a secret in {what}")));
        }
        if ended.stderr.chars().any(|character| character.is_control() && character != '\n') {
            faults.push("control characters in the log".into());
        }
        if ended.stderr.contains("panicked") {
            faults.push("a panic".into());
        }
        if !faults.is_empty() {
            faults.push(format!("{ended:?}"));
        }
        row
    }
}

/// The first five bytes in a row of the secret that stand in these.
pub fn piece_of(secret: &[u8], bytes: &[u8]) -> Option<String> {
    let stands = |piece: &&[u8]| bytes.windows(piece.len()).any(|part| part == *piece);
    secret.windows(5).find(stands).map(|piece| String::from_utf8_lossy(piece).into_owned())
}

/// Who may do everything, by this password.
pub const ADMIN: &str = "admin";

/// What redis-cli prints when the one who may do everything says this.
pub fn admin<S: Into<OsString>>(redis: &Redis, line: impl IntoIterator<Item = S>) -> String {
    let login = ["--user", ADMIN, "--pass", ADMIN, "--no-auth-warning"].map(OsString::from);
    redis.cli(login.into_iter().chain(line.into_iter().map(Into::into)))
}

/// What a Redis answers to him over its socket, to one line, where it has an answer.
pub fn ask(redis: &Redis, line: &str) -> Option<String> {
    let mut connection = UnixStream::connect(redis.socket()).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    connection.write_all(format!("AUTH {ADMIN} {ADMIN}\r\n{line}\r\n").as_bytes()).ok()?;
    let mut replies = BufReader::new(connection).lines();
    let login = replies.next()?.ok()?;
    // Who hangs up at once has said why.
    Some(replies.next().and_then(Result::ok).unwrap_or(login))
}

/// What came of one fault.
#[derive(Debug, Default)]
pub struct Row {
    /// From the shim's start to the worker's first line.
    pub start: Duration,
    pub code: i32,
    pub warnings: Vec<String>,
    /// From the fault's end to the registration.
    pub recovery: Option<Duration>,
    /// What is not as it must be.
    pub faults: Vec<String>,
}

impl Row {
    pub fn of_fault(fault: impl Into<String>) -> Self {
        Self { faults: vec![fault.into()], ..Self::default() }
    }

    pub fn of(ended: &Ended) -> Self {
        let mut row = Self { code: ended.code, ..Self::default() };
        for line in ended.lines() {
            let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else {
                row.faults.push(format!("no JSON: {line}"));
                continue;
            };
            if line["level"] != "INFO" {
                row.warnings.push(line["message"].as_str().unwrap_or_default().to_owned());
            }
        }
        row
    }

    pub fn is_late(&self) -> bool {
        self.start > TIMEOUT + ROOM
    }
}
