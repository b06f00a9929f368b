//! Deaths: which of them a later start of the type has settled. Pure.

use std::collections::HashMap;
use std::time::Duration;

use crate::registry::{EscapedText, Instance, age};

/// The instances without the dead that are no longer to be reported: those that died longer ago, and
/// those that a later start of their type has replaced. One start settles one death.
pub fn settled(instances: Vec<Instance>, now: u64, dead_for: Duration) -> Vec<Instance> {
    let (living, mut dead): (Vec<_>, Vec<_>) =
        instances.into_iter().partition(|instance| instance.record.is_some());
    let mut starts: HashMap<EscapedText, Vec<u64>> = HashMap::new();
    for instance in &living {
        if let Some(at) = instance.registered_at() {
            starts.entry(instance.worker_type.clone()).or_default().push(at);
        }
    }
    for starts in starts.values_mut() {
        starts.sort_unstable();
    }
    // A score in the future is no life.
    let died = |instance: &Instance| instance.last_seen.unwrap_or_default().min(now);
    dead.sort_by_key(died);
    dead.retain(|instance| {
        let is_replaced = starts.get_mut(&instance.worker_type).is_some_and(|starts| {
            let later = starts.iter().position(|start| *start > died(instance));
            later.map(|place| starts.remove(place)).is_some()
        });
        !is_replaced && age(now, died(instance)) < dead_for
    });
    living.into_iter().chain(dead).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::settled;
    use crate::registry::{EscapedText, Instance, StoredRecord};

    const NOW: u64 = 1_767_873_600_000;

    fn instance(worker_type: &str, registered_at: Option<&str>, last_seen: u64) -> Instance {
        let text = |text: &str| EscapedText::new(text.as_bytes());
        Instance {
            worker_type: text(worker_type),
            id: Some(text("1")),
            record: registered_at.map(|at| StoredRecord {
                registered_at: Some(text(at)),
                ..StoredRecord::default()
            }),
            last: None,
            last_seen: Some(last_seen),
        }
    }

    /// How many dead are left of these deaths, in seconds ago, beside these starts.
    fn left(deaths: &[u64], starts: &[&str]) -> usize {
        let dead = deaths.iter().map(|ago| instance("w", None, NOW - ago * 1000));
        let living = starts.iter().map(|at| instance("w", Some(at), NOW));
        let other = instance("other", Some("2026-01-08T11:59:59.000Z"), NOW);
        let all = dead.chain(living).chain([other]).collect();
        let left = settled(all, NOW, Duration::from_hours(1));
        left.iter().filter(|instance| instance.record.is_none()).count()
    }

    #[test]
    fn one_later_start_settles_one_death() {
        let (early, late) = ("2026-01-08T11:00:00.000Z", "2026-01-08T11:59:55.000Z");
        assert_eq!(left(&[60], &[late]), 0);
        assert_eq!(left(&[60], &[early]), 1);
        assert_eq!(left(&[60], &[]), 1);
        assert_eq!(left(&[60, 70], &[late]), 1);
        assert_eq!(left(&[60, 70], &[late, late]), 0);
    }

    #[test]
    fn old_deaths_are_over_and_a_score_in_the_future_is_no_life() {
        assert_eq!(left(&[3599, 3601], &[]), 1);
        let ahead = instance("w", None, NOW + 1_000_000);
        assert_eq!(settled(vec![ahead], NOW, Duration::from_hours(1)).len(), 1);
    }
}
