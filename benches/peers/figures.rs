//! The table's rows as values.

use std::collections::BTreeMap;

use crate::shims::OURS;
use crate::statistics::{interval, interval_of_difference, quantile};

/// All samples of a column, in the order of the rounds.
pub type Cells = BTreeMap<&'static str, Vec<f64>>;

/// One row: what was measured, and each column's samples of it.
#[derive(Debug)]
pub struct Figure {
    pub name: &'static str,
    /// As many digits after the point are worth reading.
    pub digits: usize,
    /// Which quantile of the samples is shown.
    pub part: f64,
    pub cells: Cells,
}

/// How a column compares with version-guard's.
#[derive(Debug, Clone, Copy)]
pub struct Comparison {
    pub difference: Difference,
    /// None where version-guard's may as well be nothing.
    pub ratio: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
pub enum Difference {
    More,
    Less,
    WithinSpread,
}

#[derive(Debug)]
pub struct Summary {
    pub value: f64,
    /// Half of the interval of 95 %, where there is more than one sample.
    pub spread: Option<f64>,
    pub comparison: Option<Comparison>,
}

pub const MEDIAN: f64 = 0.5;

impl Figure {
    pub fn median(name: &'static str, digits: usize, cells: Cells) -> Self {
        Self { name, digits, part: MEDIAN, cells }
    }

    pub fn summary(&self, column: &str) -> Option<Summary> {
        let samples = self.cells.get(column)?;
        let spread = (samples.len() > 1).then(|| {
            let (low, high) = interval(samples, self.part);
            (high - low) / 2.0
        });
        let ours = self.cells.get(OURS).filter(|_| column != OURS);
        let comparison = ours.map(|ours| self.comparison(samples, ours));
        Some(Summary { value: quantile(samples, self.part), spread, comparison })
    }

    fn comparison(&self, samples: &[f64], ours: &[f64]) -> Comparison {
        let (lowest, _) = interval(ours, self.part);
        let ratio = quantile(samples, self.part) / quantile(ours, self.part);
        let (low, high) = interval_of_difference(samples, ours, self.part);
        let difference = if low > 0.0 {
            Difference::More
        } else if high < 0.0 {
            Difference::Less
        } else {
            Difference::WithinSpread
        };
        Comparison { difference, ratio: Some(ratio).filter(|_| lowest > 0.0) }
    }
}

#[derive(Debug, Default)]
pub struct Report {
    pub figures: Vec<Figure>,
    /// What could not be measured, and why.
    pub gaps: Vec<String>,
}

impl Report {
    pub fn value(&self, figure: &str, column: &str) -> Option<f64> {
        let figure = self.figures.iter().find(|row| row.name == figure)?;
        Some(quantile(figure.cells.get(column)?, figure.part))
    }

    pub fn gap(&mut self, rows: &str, why: &str) {
        self.gaps.push(format!("{rows}: {why}"));
    }
}
