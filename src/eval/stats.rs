//! Confidence intervals, correlations and interpolation.

use ttsvar_search::rng::Stream;

use super::Case;

/// Bootstrap rounds per interval.
const ROUNDS: usize = 2000;

/// The two ends of a 95 % interval.
pub type Interval = (f64, f64);

/// The scores of one contender: `scores[case][sample]`, without missing samples.
pub(super) type Scores = Vec<Vec<f64>>;

/// Overall results (means over the tasks) of several contenders for many resamplings of the same
/// samples.
#[derive(Clone)]
pub(super) struct Bootstrap {
    /// For each round, one overall result per contender.
    rounds: Vec<Vec<f64>>,
}

impl Bootstrap {
    /// Draws prompts with replacement within their task, then samples within each prompt. All
    /// contenders use the same draws, so differences between them are paired.
    ///
    /// A task with a single prompt shows no spread, so such tasks are drawn from together.
    pub(super) fn new(cases: &[Case], tasks: &[&str], contenders: &[Scores]) -> Self {
        let of_task = |task: &&str| -> Vec<usize> {
            (0..cases.len())
                .filter(|&case| cases[case].task == *task)
                .collect()
        };
        let (mut groups, single): (Vec<Vec<usize>>, Vec<_>) = tasks
            .iter()
            .map(of_task)
            .partition(|group| group.len() != 1);
        let mut weights = vec![1.0; groups.len()];
        if !single.is_empty() {
            weights.push(single.len() as f64);
            groups.push(single.concat());
        }
        let round = |round| {
            let mut stream = Stream::bootstrap(round);
            let drawn: Vec<Drawn> = groups
                .iter()
                .zip(&weights)
                .map(|(group, weight)| Drawn {
                    weight: *weight,
                    cases: resampled(group, &mut stream),
                })
                .collect();
            contenders
                .iter()
                .map(|scores| overall(&drawn, scores))
                .collect()
        };
        Self {
            rounds: (0..ROUNDS).map(round).collect(),
        }
    }

    /// The 95 % interval of a number that is computed from the overall results of a round; rounds
    /// without one are ignored.
    pub(super) fn interval(&self, number: impl Fn(&[f64]) -> Option<f64>) -> Option<Interval> {
        let mut values: Vec<f64> = self
            .rounds
            .iter()
            .filter_map(|round| number(round))
            .collect();
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        let at = |share: f64| quantile(&values, share);
        at(0.025).zip(at(0.975))
    }
}

/// The prompts that were drawn from one or several tasks.
struct Drawn {
    /// The number of tasks.
    weight: f64,
    /// The place of each prompt, with the key for drawing its samples.
    cases: Vec<(usize, u64)>,
}

/// Draws as many members of a group as it has, with replacement, each with a key for drawing its
/// samples.
fn resampled(group: &[usize], stream: &mut Stream) -> Vec<(usize, u64)> {
    group
        .iter()
        .map(|_| (group[stream.below(group.len())], stream.seed()))
        .collect()
}

/// The mean over tasks of the mean over drawn prompts; tasks without results are left out.
fn overall(drawn: &[Drawn], scores: &Scores) -> f64 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for Drawn { weight, cases } in drawn {
        let results = cases
            .iter()
            .filter_map(|&(case, key)| drawn_mean(&scores[case], key));
        if let Some(result) = mean(results) {
            sum += weight * result;
            weights += weight;
        }
    }
    sum / weights // NaN without results
}

/// The mean of as many samples as there are, drawn with replacement.
fn drawn_mean(samples: &[f64], mut key: u64) -> Option<f64> {
    let count = samples.len() as u64;
    mean(samples.iter().map(|_| {
        key = key
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f); // Knuth's 64-bit LCG
        samples[((key >> 33) % count) as usize]
    }))
}

/// The mean; `None` without values.
pub fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values
        .into_iter()
        .fold((0.0, 0u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// The value below which a share of the sorted values lies, interpolated linearly.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = share * last as f64;
    let low = place.floor() as usize;
    let part = place.fract();
    Some(sorted[low] + (sorted[(low + 1).min(last)] - sorted[low]) * part)
}

/// Pearson's correlation of pairs; `None` if one side does not vary.
pub fn correlation(pairs: &[(f64, f64)]) -> Option<f64> {
    let centre_x = mean(pairs.iter().map(|pair| pair.0))?;
    let centre_y = mean(pairs.iter().map(|pair| pair.1))?;
    let mut xx = 0.0;
    let mut yy = 0.0;
    let mut xy = 0.0;
    for (x, y) in pairs {
        let dx = x - centre_x;
        let dy = y - centre_y;
        xx += dx * dx;
        yy += dy * dy;
        xy += dx * dy;
    }
    let spread = (xx * yy).sqrt();
    (spread > 0.0).then(|| xy / spread)
}

/// The height at `x` of the polyline through `points`, which are sorted by x. The x axis is
/// logarithmic. `None` outside of the points.
pub fn on_line(points: &[(f64, f64)], x: f64) -> Option<f64> {
    let after = points.iter().position(|point| point.0 >= x)?;
    let right = points[after];
    let left = points[after.checked_sub(1).unwrap_or(after)];
    if right.0 == x {
        return Some(right.1);
    }
    if left.0 >= x {
        return None;
    }
    let share = (x / left.0).ln() / (right.0 / left.0).ln();
    Some(left.1 + (right.1 - left.1) * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(count: usize) -> Vec<Case> {
        let task = |i| if i % 2 == 0 { "even" } else { "odd" };
        (0..count)
            .map(|i| Case {
                task: task(i),
                prompt: String::new(),
            })
            .collect()
    }

    #[test]
    fn an_interval_holds_the_mean_and_shrinks_with_more_prompts() {
        let width = |count: usize| {
            let scores: Scores = (0..count)
                .map(|i| vec![f64::from(u8::from(i % 3 == 0)); 2])
                .collect();
            let (low, high) = Bootstrap::new(&cases(count), &["even", "odd"], &[scores])
                .interval(|overall| Some(overall[0]))
                .unwrap();
            assert!(low < 1.0 / 3.0 && high > 1.0 / 3.0, "{low} {high}");
            high - low
        };
        assert!(width(240) < 0.7 * width(60));
    }

    #[test]
    fn tasks_with_one_prompt_are_drawn_from_together() {
        let scores: Scores = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]
            .map(|score| vec![score])
            .into();
        let tasks = ["a", "b", "c", "d", "e", "f"];
        let cases = tasks.map(|task| Case {
            task,
            prompt: String::new(),
        });
        let (low, high) = Bootstrap::new(&cases, &tasks, &[scores])
            .interval(|overall| Some(overall[0]))
            .unwrap();
        assert!(low < 0.5 && high > 0.9, "{low} {high}");
    }

    #[test]
    fn differences_are_paired() {
        let low: Scores = (0..40).map(|i| vec![f64::from(i % 5) / 10.0]).collect();
        let high: Scores = low.iter().map(|tries| vec![tries[0] + 0.25]).collect();
        let gain = Bootstrap::new(&cases(40), &["even", "odd"], &[low, high])
            .interval(|all| Some(all[1] - all[0]));
        let (a, b) = gain.unwrap();
        assert!((a - 0.25).abs() < 1e-9 && (b - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_line_is_read_between_its_points_only() {
        let points = [(1.0, 0.2), (4.0, 0.6)];
        assert!((on_line(&points, 2.0).unwrap() - 0.4).abs() < 1e-12);
        assert_eq!(
            (on_line(&points, 1.0), on_line(&points, 4.0)),
            (Some(0.2), Some(0.6))
        );
        assert_eq!(
            (
                on_line(&points, 0.5),
                on_line(&points, 5.0),
                on_line(&[], 1.0)
            ),
            (None, None, None)
        );
    }

    #[test]
    fn correlation_knows_its_extremes() {
        let along: Vec<(f64, f64)> = (0..5).map(|i| (f64::from(i), 2.0 * f64::from(i))).collect();
        let against: Vec<(f64, f64)> = along.iter().map(|&(x, y)| (x, -y)).collect();
        assert!((correlation(&along).unwrap() - 1.0).abs() < 1e-12);
        assert!((correlation(&against).unwrap() + 1.0).abs() < 1e-12);
        assert_eq!(correlation(&[(1.0, 2.0), (1.0, 3.0)]), None);
    }
}
