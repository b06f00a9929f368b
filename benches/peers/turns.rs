//! Rounds in which each has its turn.

/// Measures each of them once a round, a different one first each time; gives each one's samples.
pub fn in_turns<T>(
    entries: &mut [T],
    rounds: usize,
    mut measure: impl FnMut(&mut T) -> f64,
) -> Vec<Vec<f64>> {
    let count = entries.len();
    let mut samples = vec![Vec::with_capacity(rounds); count];
    for round in 0..rounds {
        for turn in 0..count {
            let index = (round + turn) % count;
            samples[index].push(measure(&mut entries[index]));
        }
    }
    samples
}
