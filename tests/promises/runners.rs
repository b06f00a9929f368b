//! Code that was never compiled does not run in production, however it is started, and everything else
//! does: commands as they stand in people's images, each run with the real tools, without the shim and
//! behind it.

mod row;
mod trial;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use row::{Kind, Row, rows};
use trial::{Done, TYPESCRIPT, missing, proof, run};

use crate::common::skip;

const TABLE: &str = include_str!("runners/table.txt");

/// How many rows are run at a time: package managers wait, too.
const AT_ONCE: usize = 3;

/// What a row takes that is worth a line.
const SLOW: Duration = Duration::from_secs(10);

const FATAL: &str = "[version] FATAL: Running via tsx in production!";

/// How many of a hundred guilty commands are refused, at least.
const SEEN: usize = 97;

fn of_kind(kinds: &[Kind]) -> Vec<Row> {
    // For those who look into a few: RUNNERS_ONLY=npm
    let only = std::env::var("RUNNERS_ONLY").unwrap_or_default();
    let rows = rows(TABLE).into_iter();
    rows.filter(|row| kinds.contains(&row.kind) && row.name.contains(&only)).collect()
}

#[test]
fn the_table_has_as_many_innocent_commands_as_guilty_ones() {
    let [guilty, innocent] = [Kind::Guilty, Kind::Innocent].map(|kind| of_kind(&[kind]).len());
    println!("{guilty} guilty, {innocent} innocent");
    assert!(guilty >= 80 && innocent >= 80, "{guilty} guilty, {innocent} innocent");
    assert!(guilty.abs_diff(innocent) * 5 <= guilty, "{guilty} guilty, {innocent} innocent");
    let rows = rows(TABLE);
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "one row of a name");
}

/// Without the shim.
#[test]
fn each_row_is_what_it_says() {
    if let Some(why) = missing() {
        return skip(&why);
    }
    let started = Instant::now();
    let rows = of_kind(&[Kind::Guilty, Kind::Innocent, Kind::Warned]);
    let wrong = wrong(&rows, proof, is_as_said);
    println!("{} rows in {:.1} s", rows.len(), started.elapsed().as_secs_f32());
    assert!(wrong.is_empty(), "not as the table has it:\n{}", wrong.join("\n"));
}

/// The table's word is worth something only if it can be found wrong.
#[test]
fn a_row_that_says_what_is_not_so_is_found_out() {
    if let Some(why) = missing() {
        return skip(&why);
    }
    let base = "project: any\n  file src/worker.ts\n    const mark: string = 'ran-typescript';\n    \
                process.getBuiltinModule('fs').writeFileSync('{marks}/' + mark, '');\n  \
                file dist/worker.js\n    process.getBuiltinModule('fs').writeFileSync('{marks}/ran-compiled', '');\n";
    for row in [
        "guilty: compiled\n  CMD node dist/worker.js",
        "innocent: not compiled\n  CMD node src/worker.ts",
        "warned: compiled\n  CMD node dist/worker.js",
        "innocent: both\n  CMD node dist/worker.js && node src/worker.ts",
        "innocent: neither\n  CMD true",
        "innocent: a bad end\n  CMD node dist/worker.js; exit 3",
        "guilty: not there\n  CMD node src/missing.ts",
    ] {
        let rows = rows(&format!("{base}{row}\n"));
        assert_eq!(wrong(&rows, proof, is_as_said).len(), 1, "{row}");
    }
}

#[test]
fn code_that_was_never_compiled_is_refused_before_it_starts() {
    if let Some(why) = missing() {
        return skip(&why);
    }
    let rows = of_kind(&[Kind::Guilty]);
    let missed = wrong(
        &rows,
        |row| run(row, |shim| shim),
        |row, done| {
            let refused = done.code == Some(1) && done.said.contains(FATAL);
            (refused && done.marks.is_empty()).then_some(()).ok_or_else(|| tell(row, done))
        },
    );
    println!(
        "{} of {} are refused; not:\n{}",
        rows.len() - missed.len(),
        rows.len(),
        missed.join("\n")
    );
    assert!(missed.len() * 100 <= rows.len() * (100 - SEEN), "{} missed", missed.len());
}

#[test]
fn what_is_compiled_or_of_another_language_is_let_through() {
    if let Some(why) = missing() {
        return skip(&why);
    }
    let rows = of_kind(&[Kind::Innocent]);
    let wrong = wrong(
        &rows,
        |row| run(row, |shim| shim),
        |row, done| {
            let starts = done.ran_compiled() && !done.said.contains("FATAL");
            starts.then_some(()).ok_or_else(|| tell(row, done))
        },
    );
    assert!(wrong.is_empty(), "{} false alarms:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_runner_that_is_not_forbidden_starts() {
    if let Some(why) = missing() {
        return skip(&why);
    }
    let rows = of_kind(&[Kind::Warned]);
    let wrong = wrong(
        &rows,
        |row| run(row, |shim| shim),
        |row, done| {
            let starts =
                done.ran_typescript() && done.code == Some(0) && !done.said.contains("FATAL");
            starts.then_some(()).ok_or_else(|| tell(row, done))
        },
    );
    assert!(wrong.is_empty(), "{} false alarms:\n{}", wrong.len(), wrong.join("\n"));
}

/// What keeps guilty rows from leaving their marks is the guard, and nothing else of the shim's.
#[test]
fn outside_production_each_runs() {
    if let Some(why) = missing() {
        return skip(&why);
    }
    let rows: Vec<Row> = of_kind(&[Kind::Guilty]).into_iter().step_by(9).collect();
    let wrong = wrong(
        &rows,
        |row| run(row, |shim| shim.env("NODE_ENV", "staging")),
        |row, done| done.ran_typescript().then_some(()).ok_or_else(|| tell(row, done)),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_as_said(row: &Row, done: &Done) -> Result<(), String> {
    let so = match row.kind {
        Kind::Guilty => done.ran_typescript(),
        Kind::Warned => done.ran_typescript() && done.code == Some(0),
        Kind::Innocent => done.ran_compiled() && done.code.is_none() == row.stays,
    };
    so.then_some(()).ok_or_else(|| tell(row, done))
}

fn tell(row: &Row, done: &Done) -> String {
    let marks: Vec<&str> = done.marks.iter().copied().collect();
    let said: Vec<&str> =
        done.said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let (marks, code, said) = (marks.join(" "), done.code, said.join("; "));
    format!("{}: {:?}\n    {marks}, {code:?}: {said}", row.name, row.arguments)
}

/// What is told of the rows that are not as they should be.
fn wrong(
    rows: &[Row],
    each: impl Fn(&Row) -> Done + Sync,
    judge: impl Fn(&Row, &Done) -> Result<(), String> + Sync,
) -> Vec<String> {
    let work = Mutex::new(rows.iter().enumerate());
    let next = || work.lock().expect("work").next();
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((number, row)) = next() {
                    let done = each(row);
                    if done.took > SLOW {
                        println!("{:>6} ms  {:?}: {}", done.took.as_millis(), row.kind, row.name);
                    }
                    if let Err(text) = judge(row, &done) {
                        results.lock().expect("results").push((number, text));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().expect("results");
    results.sort();
    results.into_iter().map(|(_, text)| text).collect()
}
