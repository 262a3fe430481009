//! Chooses rows that differ by k-means: from each cluster the row nearest to its centre (paper,
//! section 3.2; `extract_k_ids` in `tts-var/utils_model.py`, which calls scikit-learn's `KMeans`).
//!
//! Starts come from greedy k-means++ (Arthur & Vassilvitskii 2007, with 2 + floor(ln k) candidates
//! per centre). Lloyd's iteration follows, as in scikit-learn: data centred first, at most 300
//! iterations, stop when no label changes or the centres move by less than 1e-4 of the mean column
//! variance. Everything is in f64. scikit-learn takes a single start from a fixed state of its
//! random generator; this implementation takes the best of many starts from the given stream, which
//! is cheap for a batch of rows and does not depend on the luck of one draw.

use crate::{
    features::Matrix,
    resample::CumulativeWeights,
    rng::Stream,
    ties::{first_largest, first_smallest},
};

/// Maximum number of Lloyd iterations, as in scikit-learn.
const ITERATIONS: usize = 300;

/// Movement of the centres at which Lloyd's iteration stops, in mean column variances, as in
/// scikit-learn.
const TOLERANCE: f64 = 1e-4;

/// Squared distances, and sums of them, whose relative difference is at most this are a tie. The two
/// rows of a cluster of two always tie, and so do the potentials of two rows that are each other's
/// nearest neighbour.
const TIE: f64 = 1e-9;

/// Maximum number of starts.
const MOST_STARTS: usize = 100;

/// Minimum number of starts.
const FEWEST_STARTS: usize = 8;

/// Multiply-adds that all starts together may take, beyond the minimum number of starts.
const WORK: usize = 1 << 28;

/// A partition of rows into clusters.
#[derive(Clone, Debug, PartialEq)]
pub struct Clustering {
    /// The cluster of each row.
    pub labels: Vec<usize>,
    /// The centre of each cluster.
    pub centers: Vec<Vec<f64>>,
    /// Sum of the squared distances of the rows to the centres of their clusters.
    pub inertia: f64,
    /// Lloyd iterations that it took.
    pub iterations: usize,
}

impl Clustering {
    /// The row nearest to the centre of each cluster, the lowest row among equals; none for an
    /// empty cluster.
    pub fn nearest(&self, x: &Matrix) -> Vec<Option<usize>> {
        let nearest = |(cluster, center): (usize, &Vec<f64>)| {
            let labels = self.labels.iter().enumerate();
            let rows = labels.filter(|(_, label)| **label == cluster);
            let rows: Vec<usize> = rows.map(|(row, _)| row).collect();
            let distances = rows
                .iter()
                .map(|row| distance(&to_f64(x.row(*row)), center));
            first_smallest(distances, TIE).map(|place| rows[place])
        };
        self.centers.iter().enumerate().map(nearest).collect()
    }
}

/// Divides the rows of `x` into `k` clusters; returns the best result of many starts. `x` is finite
/// and has at least `k` distinct rows.
pub fn kmeans(x: &Matrix, k: usize, stream: &mut Stream) -> Clustering {
    let points = Points::new(x);
    let distances = points.distances();
    let work = points.rows.len() * k * x.cols().max(1);
    let starts = (WORK / work.max(1)).clamp(FEWEST_STARTS, MOST_STARTS);
    let mut uniform = || stream.uniform_f64();
    let mut best = points.lloyd(&plus_plus(&distances, k, &mut uniform));
    for _ in 1..starts {
        let next = points.lloyd(&plus_plus(&distances, k, &mut uniform));
        if next.inertia < best.inertia * (1.0 - TIE) {
            best = next;
        }
    }
    best
}

/// Lloyd's iteration with the given rows as initial centres.
pub fn lloyd(x: &Matrix, start: &[usize]) -> Clustering {
    Points::new(x).lloyd(start)
}

/// Start rows for `k` clusters by greedy k-means++. `x` is finite and has at least `k` distinct
/// rows, `k` >= 1; `uniform` gives numbers in [0, 1).
pub fn starts(x: &Matrix, k: usize, uniform: &mut dyn FnMut() -> f64) -> Vec<usize> {
    plus_plus(&Points::new(x).distances(), k, uniform)
}

/// Greedy k-means++ on the matrix of squared distances.
fn plus_plus(distances: &[Vec<f64>], k: usize, uniform: &mut dyn FnMut() -> f64) -> Vec<usize> {
    let candidates = 2 + (k as f64).ln() as usize;
    let first = (uniform() * distances.len() as f64) as usize;
    let mut chosen = vec![first];
    let mut closest = distances[first].clone();
    while chosen.len() < k {
        let weights = CumulativeWeights::new(&closest);
        let rows: Vec<usize> = (0..candidates).map(|_| weights.at(uniform())).collect();
        let potentials = rows.iter().map(|row| potential(&closest, &distances[*row]));
        let best = first_smallest(potentials, TIE).expect("there are at least two candidates");
        let row = rows[best];
        chosen.push(row);
        closest = smaller(&closest, &distances[row]).collect();
    }
    chosen
}

/// The sum of the distances to the closest centre, if a row with these distances becomes one too.
fn potential(closest: &[f64], distances: &[f64]) -> f64 {
    smaller(closest, distances).sum()
}

fn smaller<'a>(a: &'a [f64], b: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    a.iter().zip(b).map(|(a, b)| a.min(*b))
}

/// Rows with their mean subtracted, which leaves distances unchanged and reduces rounding errors.
struct Points {
    rows: Vec<Vec<f64>>,
    mean: Vec<f64>,
}

impl Points {
    fn new(x: &Matrix) -> Self {
        let mut rows: Vec<Vec<f64>> = (0..x.rows()).map(|row| to_f64(x.row(row))).collect();
        let mean = mean(x.cols(), rows.iter());
        for row in &mut rows {
            for (value, mean) in row.iter_mut().zip(&mean) {
                *value -= mean;
            }
        }
        Self { rows, mean }
    }

    /// Squared distances of all pairs.
    fn distances(&self) -> Vec<Vec<f64>> {
        self.rows
            .iter()
            .map(|a| self.rows.iter().map(|b| distance(a, b)).collect())
            .collect()
    }

    /// Squared movement of all centres together at which Lloyd's iteration stops.
    fn tolerance(&self) -> f64 {
        let values = self.rows.len() * self.mean.len();
        let squares = self.rows.iter().flatten().map(|value| value * value);
        TOLERANCE * squares.sum::<f64>() / values.max(1) as f64
    }

    fn lloyd(&self, start: &[usize]) -> Clustering {
        let tolerance = self.tolerance();
        let mut centers: Vec<Vec<f64>> = start.iter().map(|&row| self.rows[row].clone()).collect();
        let mut labels: Vec<usize> = vec![];
        let mut iterations = 0;
        while iterations < ITERATIONS {
            iterations += 1;
            let next = self.assign(&centers);
            let moved = self.centers(&next, &centers);
            let shift: f64 = moved
                .iter()
                .zip(&centers)
                .map(|(a, b)| distance(a, b))
                .sum();
            let settled = next == labels;
            labels = next;
            centers = moved;
            if settled {
                break;
            }
            if shift <= tolerance {
                labels = self.assign(&centers);
                break;
            }
        }
        self.clustering(labels, centers, iterations)
    }

    /// The nearest centre of each row, the first among equals.
    fn assign(&self, centers: &[Vec<f64>]) -> Vec<usize> {
        let nearest = |row: &Vec<f64>| {
            let distances = centers.iter().map(|center| distance(row, center));
            first_smallest(distances, TIE).unwrap_or(0)
        };
        self.rows.iter().map(nearest).collect()
    }

    /// The means of the clusters. An empty cluster takes the row farthest from its old centre, as
    /// in scikit-learn.
    fn centers(&self, labels: &[usize], old: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let labels = self.without_gaps(labels, old);
        let members = |cluster| {
            self.rows
                .iter()
                .zip(&labels)
                .filter(move |(_, label)| **label == cluster)
        };
        (0..old.len())
            .map(|cluster| mean(self.mean.len(), members(cluster).map(|(row, _)| row)))
            .collect()
    }

    /// The labels after each empty cluster took over a row.
    fn without_gaps(&self, labels: &[usize], old: &[Vec<f64>]) -> Vec<usize> {
        let mut labels = labels.to_vec();
        for empty in 0..old.len() {
            if size(&labels, empty) > 0 {
                continue;
            }
            let from_center = |row: usize| distance(&self.rows[row], &old[labels[row]]);
            let rows: Vec<usize> = (0..labels.len())
                .filter(|&row| size(&labels, labels[row]) > 1)
                .collect();
            let distances = rows.iter().map(|row| from_center(*row));
            if let Some(farthest) = first_largest(distances, TIE) {
                labels[rows[farthest]] = empty;
            }
        }
        labels
    }

    /// The result for the original rows, with the mean added to the centres again.
    fn clustering(
        &self,
        labels: Vec<usize>,
        mut centers: Vec<Vec<f64>>,
        iterations: usize,
    ) -> Clustering {
        let inertia = self
            .rows
            .iter()
            .zip(&labels)
            .map(|(row, &label)| distance(row, &centers[label]))
            .sum();
        for center in &mut centers {
            for (value, mean) in center.iter_mut().zip(&self.mean) {
                *value += mean;
            }
        }
        Clustering {
            labels,
            centers,
            inertia,
            iterations,
        }
    }
}

/// The number of rows in a cluster.
fn size(labels: &[usize], cluster: usize) -> usize {
    labels.iter().filter(|&&label| label == cluster).count()
}

fn mean<'a>(dim: usize, rows: impl Iterator<Item = &'a Vec<f64>>) -> Vec<f64> {
    let mut mean = vec![0.0; dim];
    let mut count = 0usize;
    for row in rows {
        for (sum, value) in mean.iter_mut().zip(row) {
            *sum += value;
        }
        count += 1;
    }
    for value in &mut mean {
        *value /= count.max(1) as f64;
    }
    mean
}

fn to_f64(row: &[f32]) -> Vec<f64> {
    row.iter().map(|&value| f64::from(value)).collect()
}

/// The squared distance, summed in eight lanes for speed, in an order that does not depend on the
/// machine.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (a, b) in a8.iter().zip(b8) {
        for lane in 0..8 {
            lanes[lane] += (a[lane] - b[lane]) * (a[lane] - b[lane]);
        }
    }
    let rest: f64 = a_rest
        .iter()
        .zip(b_rest)
        .map(|(a, b)| (a - b) * (a - b))
        .sum();
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Lineage, Stream};

    /// Two rows that are each other's nearest neighbour give the same potential, which rounding
    /// makes different: whichever was drawn first is taken.
    #[test]
    fn the_first_of_two_nearest_neighbours_becomes_a_centre() {
        let mut rounded = 0;
        for case in 0..200 {
            let mut stream = Stream::sample(case, Lineage::root(0), 0);
            let mut rows: Vec<f32> = (0..9)
                .map(|_| stream.uniform_f64().powi(6) as f32)
                .collect();
            // Rows 2 and 6 are close to each other and far from all others.
            rows[2] += 40.0;
            rows[6] = rows[2] * 1.01;
            let x = Matrix::new(9, 1, rows);
            let distances = Points::new(&x).distances();
            let closest = &distances[0];
            let total: f64 = closest.iter().sum();
            let point = |row: usize| {
                let before: f64 = closest[..row].iter().sum();
                (before + closest[row] / 2.0) / total
            };
            for [first, second] in [[2, 6], [6, 2]] {
                let mut draws = [0.0, point(first), point(second)].into_iter();
                let found = starts(&x, 2, &mut || draws.next().unwrap_or(0.0));
                assert_eq!(found, [0, first], "case {case}");
            }
            let potentials = [2, 6].map(|row: usize| potential(closest, &distances[row]));
            rounded += usize::from(potentials[0] != potentials[1]);
        }
        assert!(rounded > 20, "rounding matters in {rounded} cases");
    }

    /// A row halfway between two centres belongs to the first, whichever way its distances round.
    #[test]
    fn a_row_between_two_centres_belongs_to_the_first() {
        // The mean, which is subtracted first, is no binary fraction.
        let x = Matrix::new(6, 1, vec![0.0, 1.0, 2.0, 7.0, 9.0, 9.0]);
        let points = Points::new(&x);
        for order in [[0, 2], [2, 0]] {
            let centers = order.map(|row: usize| points.rows[row].clone());
            assert_eq!(points.assign(&centers)[1], 0, "{order:?}");
        }
    }
}
