//! Many faults: the table of what comes of them.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;

use super::trial::{Outcome, Row, Trial};

/// So often a worker may start late before it is not the busy machine's doing.
pub const TRIES: usize = 5;
/// So many are tried at a time, by all tests together.
const AT_A_TIME: usize = 16;

impl Row {
    /// The row's cells, none of them empty.
    pub fn cells(&self, outcome: Outcome) -> [String; 5] {
        let recovery = match (self.recovery, outcome) {
            (Some(_), Outcome::NoFault) => "before the start".into(),
            (Some(after), _) => format!("after {} ms", after.as_millis()),
            (None, Outcome::Unregistered | Outcome::AsRoomAllows) => "runs unregistered".into(),
            (None, _) => "NEVER".into(),
        };
        let warnings = match outcome {
            Outcome::Unheard => "not to be read".into(),
            _ => self.warnings.len().to_string(),
        };
        let why = self.warnings.first().map_or("nothing to warn of", |warning| {
            let why = warning.split_once(" in Redis at ").map_or(warning.as_str(), |(_, why)| why);
            why.split_once(": ").map_or(why, |(_, why)| why)
        });
        let why = why.split(". It runs").next().unwrap_or(why).to_owned();
        [format!("{} ms", self.start.as_millis()), self.code.to_string(), warnings, recovery, why]
    }
}

/// A fault by its name, and how to bring it about.
pub struct Case {
    pub name: String,
    pub make: Box<dyn Fn() -> Trial + Send + Sync>,
}

/// Cases of one kind, all about the same.
pub struct Cases<T> {
    kind: &'static str,
    about: Arc<T>,
    all: Vec<Case>,
}

impl<T: Send + Sync + 'static> Cases<T> {
    pub fn of(kind: &'static str, about: &Arc<T>) -> Self {
        Self { kind, about: about.clone(), all: Vec::new() }
    }

    pub fn add(
        &mut self,
        name: impl AsRef<str>,
        make: impl Fn(&Arc<T>) -> Trial + Send + Sync + 'static,
    ) {
        let about = self.about.clone();
        let name = format!("{}: {}", self.kind, name.as_ref());
        self.all.push(Case::new(name, move || make(&about)));
    }

    pub fn all(self) -> Vec<Case> {
        self.all
    }
}

impl Case {
    pub fn new(name: impl Into<String>, make: impl Fn() -> Trial + Send + Sync + 'static) -> Self {
        Self { name: name.into(), make: Box::new(make) }
    }

    /// The try whose worker starts soonest, so that a busy machine is not taken for a slow shim; all
    /// else has to be right each time.
    fn try_out(&self) -> (Outcome, Row) {
        let mut tries = Vec::new();
        while tries.len() < TRIES {
            let (outcome, row) = catch_unwind(AssertUnwindSafe(|| {
                let trial = (self.make)();
                (trial.outcome, trial.run())
            }))
            .unwrap_or_else(|_| (Outcome::Heals, Row::of_fault("it can't be brought about")));
            if !row.faults.is_empty() || !row.is_late() {
                return (outcome, row);
            }
            tries.push((outcome, row));
        }
        tries.into_iter().min_by_key(|(_, row)| row.start).expect("a try")
    }
}

/// Tries all cases, some at a time, and returns the table and what is wrong.
pub fn table(cases: &[Case]) -> (String, Vec<String>) {
    let rows = side_by_side(cases, Case::try_out);
    let heading = ["start", "exit", "warnings", "registered", "why"];
    let mut table = format!("\n{:60}", "fault");
    write_cells(&mut table, &heading.map(str::to_owned));
    let mut wrong = Vec::new();
    for (case, (outcome, row)) in cases.iter().zip(&rows) {
        write!(table, "\n{:60}", case.name).expect("a string");
        let cells = row.cells(*outcome);
        write_cells(&mut table, &cells);
        let is_empty = cells.iter().any(|cell| cell.trim().is_empty());
        let late = row.is_late().then(|| format!("the worker starts after {:?}", row.start));
        let empty = is_empty.then(|| "an empty cell".to_owned());
        for fault in row.faults.iter().cloned().chain(late).chain(empty) {
            wrong.push(format!("{}: {fault}", case.name));
        }
    }
    (table, wrong)
}

fn write_cells(table: &mut String, cells: &[String; 5]) {
    let [start, exit, warnings, recovery, why] = cells;
    let why = cut(why, 90);
    write!(table, "{start:>9}  {exit:>4}  {warnings:>14}  {recovery:18}  {why}").expect("a string");
}

/// Fails where anything has come of these faults; a few words of each are enough to see what.
pub fn assert_no_harm(harms: impl IntoIterator<Item = Option<String>>) {
    const SHOWN: usize = 10;
    let all: Vec<Option<String>> = harms.into_iter().collect();
    let harms: Vec<&String> = all.iter().flatten().collect();
    let shown: Vec<&str> = harms.iter().take(SHOWN).map(|harm| cut(harm, 1000)).collect();
    assert!(harms.is_empty(), "{} of {}:\n{}", harms.len(), all.len(), shown.join("\n"));
}

/// The beginning of a text.
fn cut(text: &str, length: usize) -> &str {
    text.char_indices().nth(length).map_or(text, |(end, _)| &text[..end])
}

/// Does the same with all of these, a few at a time: they mostly wait, and all tests together use no
/// more of the machine than a few do.
pub fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME.min(items.len()) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(number) else { return };
                    let _place = Place::wait();
                    sender.send((number, work(item))).expect("who waits for it");
                }
            });
        }
    });
    drop(sender);
    let mut results: Vec<(usize, R)> = results.into_iter().collect();
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// One of the few places at which something is tried.
struct Place;

static TAKEN: Mutex<usize> = Mutex::new(0);
static LEFT: Condvar = Condvar::new();

impl Place {
    fn wait() -> Self {
        let taken = TAKEN.lock().expect("a lock");
        *LEFT.wait_while(taken, |taken| *taken == AT_A_TIME).expect("a lock") += 1;
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *TAKEN.lock().expect("a lock") -= 1;
        LEFT.notify_one();
    }
}
