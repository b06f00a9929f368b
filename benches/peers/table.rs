//! The report as a Markdown table, and what stands below it.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use crate::Setting;
use crate::figures::{Difference, Figure, Report};

pub fn rendered(setting: &Setting, report: &Report) -> String {
    let columns: Vec<&str> = setting.shims.all.iter().map(|shim| shim.name).collect();
    let mut rows = vec![[&[""], &columns[..]].concat().iter().map(ToString::to_string).collect()];
    for figure in &report.figures {
        let cells = columns.iter().map(|column| cell(figure, column));
        rows.push(std::iter::once(figure.name.to_owned()).chain(cells).collect());
    }
    aligned(&rows) + &foot(setting, report)
}

fn cell(figure: &Figure, column: &str) -> String {
    let digits = figure.digits;
    let Some(summary) = figure.summary(column) else { return String::new() };
    let mut cell = format!("{:.digits$}", summary.value);
    // What the digits don't show is no spread.
    if let Some(spread) = summary.spread
        && spread > 0.5 / 10_f64.powi(digits.try_into().unwrap_or(0))
    {
        write!(cell, " ±{spread:.digits$}").expect("a string");
    }
    let Some(comparison) = summary.comparison else { return cell };
    let times = comparison.ratio.map_or(String::new(), times);
    let words = match comparison.difference {
        Difference::More => [&times, "more"],
        Difference::Less => [&times, "less"],
        Difference::WithinSpread => ["≈", &times],
    };
    format!("{cell}, {}", words.join(" ").trim())
}

/// Two digits that count, and no more than are worth reading.
fn times(ratio: f64) -> String {
    let digits = match ratio {
        ..0.1 => 3,
        0.1..10.0 => 2,
        _ => 0,
    };
    format!("{ratio:.digits$}")
}

fn aligned(rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].width()).max().unwrap_or(0))
        .collect();
    let mut table = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            write!(table, "| {cell}{} ", " ".repeat(width - cell.width())).expect("a string");
        }
        table += "|\n";
        if index == 0 {
            for width in &widths {
                write!(table, "|{}", "-".repeat(width + 2)).expect("a string");
            }
            table += "|\n";
        }
    }
    table
}

fn foot(setting: &Setting, report: &Report) -> String {
    let lengths = setting.lengths;
    let mut foot = format!(
        "\n± is half of the interval of 95 %, by bootstrap over the rounds. The second number is the column's\n\
         figure over version-guard's; it is called more or less where the same interval of their difference\n\
         does not hold 0, and has a ≈ where it does: the difference is then smaller than the spread. There is no\n\
         such number where version-guard's own interval holds 0.\n\
         {} starts, {} of Node, {} signals and {} orphans of each shape, in turns; {} s idle.\n",
        lengths.starts,
        lengths.node_starts,
        lengths.signal_blocks * crate::signals::BLOCK,
        lengths.reaping_rounds * crate::reaping::ORPHANS,
        lengths.idle.as_secs(),
    );
    if !setting.shims.absent.is_empty() {
        writeln!(foot, "Not installed: {}", setting.shims.absent.join(", ")).expect("a string");
    }
    for gap in &report.gaps {
        writeln!(foot, "Not measured: {gap}").expect("a string");
    }
    foot
}
