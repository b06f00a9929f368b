//! The report as a table that is drawn again and again.

use unicode_width::UnicodeWidthStr;

use super::words::{Paint, counted, expectation, one, or_unknown, word};
use crate::registry::age;
use crate::verify::blocks::Block;
use crate::verify::verdict::Report;

/// One row a block, cut to the terminal's size, without a line end after the last row. Where it is too
/// narrow, the times give way first.
pub fn table(
    report: &Report,
    paint: Paint,
    instances: bool,
    (columns, rows): (usize, usize),
) -> String {
    const NARROWEST: &[usize] = &[0, 1, 2, 5];
    const CHOICES: [&[usize]; 3] = [&[0, 1, 2, 3, 4, 5], &[0, 1, 2, 4, 5], NARROWEST];
    let titles = ["TYPE", "INSTANCES", "SHA", "STARTED", "LAST SEEN", "STATUS"];
    let cells: Vec<[String; 6]> = std::iter::once(titles.map(str::to_owned))
        .chain(report.blocks.iter().map(|block| row(report, block)))
        .collect();
    let width = |column: usize| {
        let lengths = cells.iter().filter_map(|cells| cells.get(column));
        lengths.map(|cell| cell.width()).max().unwrap_or_default()
    };
    let fits =
        |shown: &&&[usize]| shown.iter().map(|column| width(*column) + 2).sum::<usize>() <= columns;
    let shown = CHOICES.iter().find(fits).unwrap_or(&NARROWEST);
    let statuses =
        std::iter::once(None).chain(report.blocks.iter().map(|block| Some(block.status)));
    let details = std::iter::once(Vec::new())
        .chain(report.blocks.iter().map(|block| details(report, block, instances, columns)));
    let mut lines: Vec<String> = cells
        .iter()
        .zip(statuses)
        .zip(details)
        .flat_map(|((cells, status), details)| {
            let line: Vec<String> = shown
                .iter()
                .filter_map(|column| Some(format!("{:1$}", cells.get(*column)?, width(*column))))
                .collect();
            let line = cut(line.join("  ").trim_end(), columns);
            let line =
                match status.and_then(|status| Some((line.strip_suffix(word(status))?, status))) {
                    Some((line, status)) => line.to_owned() + &paint.status(status),
                    None => line,
                };
            std::iter::once(line).chain(details)
        })
        .collect();
    let room = rows.saturating_sub(4).max(1);
    if lines.len() > room {
        let hidden = lines.len() - room + 1;
        lines.truncate(room - 1);
        lines.push(format!("… and {hidden} more"));
    }
    lines.insert(0, cut(&expectation(report), columns));
    let good = report.is_as_expected();
    let verdict = paint.word(if good { "OK" } else { "FAIL" }, good);
    let last = cut(&counted(report), columns.saturating_sub(7));
    lines.push(String::new());
    lines.push(format!("[{verdict}] {last}"));
    lines.join("\n")
}

fn cut(line: &str, columns: usize) -> String {
    line.chars().take(columns).collect()
}

/// A line for each of a block's instances, where they are wanted.
fn details(report: &Report, block: &Block, are_wanted: bool, columns: usize) -> Vec<String> {
    let all = block.instances.iter().filter(|_| are_wanted);
    all.map(|instance| cut(&format!("  - {}", one(report, instance)), columns)).collect()
}

fn row(report: &Report, block: &Block) -> [String; 6] {
    let short: String = or_unknown(block.git_sha.as_ref()).chars().take(12).collect();
    let started = block.started().map_or("-", |(_, last)| last.as_str());
    let seen = block.last_seen().map_or("-".into(), |seen| {
        format!("{} ago", humantime::format_duration(age(report.read_at, seen)))
    });
    [
        block.worker_type.as_str().to_owned(),
        block.instances.len().to_string(),
        if block.git_sha.is_some() { short } else { "-".into() },
        started.to_owned(),
        seen,
        word(block.status).to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::{Paint, table};
    use crate::verify::render::fixture::{instance, report};

    #[test]
    fn a_table_fits_its_terminal() {
        let fleet = (0..50).map(|n| instance(&format!("worker-{n}"), "0f0f0f0", "x")).collect();
        let table = table(&report(fleet, &[]), Paint(false), false, (40, 24));
        assert!(table.lines().count() < 24, "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= 40), "{table}");
        assert!(table.contains("more\n\n[FAIL] 50 of 50"), "{table}");
    }

    #[test]
    fn a_table_says_what_is_expected_and_names_the_instances_where_it_is_to() {
        let report = report(vec![instance("w", "0f0f0f0", "x")], &[]);
        let wide = (usize::MAX, usize::MAX);
        let with = table(&report, Paint(false), true, wide);
        assert!(with.starts_with("Expected GIT_SHA: a1b2c3d4e5f6\nTYPE"), "{with}");
        assert_eq!(with.matches("\n  - 1f on unknown").count(), 1, "{with}");
        assert!(!table(&report, Paint(false), false, wide).contains("  - "));
    }
}
