//! How large a shim's file is.

use std::fs;

use crate::Setting;
use crate::figures::{Cells, Figure, Report};

pub const NAME: &str = "size of the binary, KiB";

pub fn measure(setting: &Setting, report: &mut Report) {
    let cells: Cells = setting
        .shims
        .processes()
        .map(|shim| {
            let bytes = fs::metadata(&shim.line[0]).expect("a file").len();
            (shim.name, vec![bytes as f64 / 1024.0])
        })
        .collect();
    report.figures.push(Figure::median(NAME, 0, cells));
}
