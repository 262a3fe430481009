//! The time until the queue has space, estimated from measured times.

/// Seconds until `ends` searches should have ended, if they take `mean` seconds on average and have
/// been running for the given times. A search that has taken longer than the mean, or than any
/// search before it, is expected to take as long again.
pub(super) fn seconds_until(ends: usize, running: &[f64], mean: f64) -> f64 {
    let remaining = |elapsed: &f64| {
        if *elapsed < mean {
            mean - elapsed
        } else {
            *elapsed
        }
    };
    let typical = if mean > 0.0 {
        mean
    } else {
        running.iter().sum::<f64>() / running.len().max(1) as f64
    };
    // Each worker takes the next search when its own ends
    let mut next: Vec<f64> = running.iter().map(remaining).collect();
    let mut now = 0.0;
    for _ in 0..ends {
        let Some(first) = next.iter_mut().min_by(|a, b| a.total_cmp(b)) else {
            break;
        };
        now = *first;
        *first += typical;
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_follows_from_the_queue_and_measured_times() {
        // One worker: the running search has 6 s left, later ones take 10 s each
        assert_eq!(seconds_until(1, &[4.0], 10.0), 6.0);
        assert_eq!(seconds_until(3, &[4.0], 10.0), 26.0);
        // Two workers: ends after 2, 6 and 12 s
        assert_eq!(seconds_until(2, &[4.0, 8.0], 10.0), 6.0);
        assert_eq!(seconds_until(3, &[4.0, 8.0], 10.0), 12.0);
        // Longer than any search before it
        assert_eq!(seconds_until(1, &[30.0], 10.0), 30.0);
        // No search has ended yet
        assert_eq!(seconds_until(2, &[5.0], 0.0), 10.0);
        assert_eq!(seconds_until(2, &[], 0.0), 0.0);
    }
}
