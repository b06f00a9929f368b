//! Quantiles, and how far they can be trusted.

use fastrand::Rng;

const RESAMPLES: usize = 500;

/// The value below which this part of the samples lies.
pub fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut samples = samples.to_vec();
    samples.sort_by(f64::total_cmp);
    samples[position(part * (samples.len() - 1) as f64)]
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn position(index: f64) -> usize {
    index.round() as usize
}

/// The interval of 95 % of what the quantile could as well have been, by bootstrap.
pub fn interval(samples: &[f64], part: f64) -> (f64, f64) {
    bootstrap(samples.len(), |rounds| quantile(&picked(samples, rounds), part))
}

/// The same of the difference of two quantiles, whose samples were taken in the same rounds.
pub fn interval_of_difference(samples: &[f64], others: &[f64], part: f64) -> (f64, f64) {
    bootstrap(samples.len().min(others.len()), |rounds| {
        quantile(&picked(samples, rounds), part) - quantile(&picked(others, rounds), part)
    })
}

fn bootstrap(rounds: usize, statistic: impl Fn(&[usize]) -> f64) -> (f64, f64) {
    // The same samples give the same interval.
    let mut random = Rng::with_seed(1);
    let values: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let picks: Vec<usize> = (0..rounds).map(|_| random.usize(0..rounds)).collect();
            statistic(&picks)
        })
        .collect();
    (quantile(&values, 0.025), quantile(&values, 0.975))
}

fn picked(samples: &[f64], rounds: &[usize]) -> Vec<f64> {
    rounds.iter().map(|round| samples[*round]).collect()
}
