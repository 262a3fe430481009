//! Choosing rows that differ: k-means, then of each cluster the row nearest to its centre (paper,
//! section 3.2; `extract_k_ids` in `tts-var/utils_model.py`, which calls scikit-learn's `KMeans`).
//!
//! Starts are greedy k-means++ (Arthur & Vassilvitskii 2007, with 2 + floor(ln k) candidates a
//! centre), then Lloyd's iteration as scikit-learn runs it: data centred first, at most 300
//! iterations, stop when no label changes or the centres move by less than 1e-4 of the mean column
//! variance. All in f64. scikit-learn takes its one start from a fixed state of its own generator;
//! this takes the best of many starts from the stream it is given, which is cheap for a batch of
//! rows and does not depend on one lucky draw.

use crate::{features::Matrix, resample::CumulativeWeights, rng::Stream};

/// Lloyd's iterations at most, as in scikit-learn.
const ITERATIONS: usize = 300;

/// Movement of the centres at which Lloyd stops, in mean column variances, as in scikit-learn.
const TOLERANCE: f64 = 1e-4;

/// Two squared distances closer than this, relatively, are a tie: a cluster of two always is one,
/// and rounding must not decide it.
const TIE: f64 = 1e-9;

/// Most and fewest starts, and the multiply-adds that all starts together may take where that
/// allows more than the fewest.
const STARTS: (usize, usize) = (100, 8);
const WORK: usize = 1 << 28;

/// Rows in clusters.
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
    /// Of each cluster the row nearest to its centre, the lowest row among equals; none for an
    /// empty cluster.
    pub fn nearest(&self, x: &Matrix) -> Vec<Option<usize>> {
        let mut picks: Vec<Option<(usize, f64)>> = vec![None; self.centers.len()];
        for (row, &label) in self.labels.iter().enumerate() {
            let distance = distance(&wide(x.row(row)), &self.centers[label]);
            if picks[label].is_none_or(|(_, best)| distance < best * (1.0 - TIE)) {
                picks[label] = Some((row, distance));
            }
        }
        picks
            .into_iter()
            .map(|pick| pick.map(|(row, _)| row))
            .collect()
    }
}

/// `k` clusters of the rows of `x`, the best of many starts. `x` is finite and has at least `k`
/// distinct rows.
pub fn kmeans(x: &Matrix, k: usize, stream: &mut Stream) -> Clustering {
    let points = Points::new(x);
    let distances = points.distances();
    let work = points.rows.len() * k * x.cols().max(1);
    let starts = (WORK / work.max(1)).clamp(STARTS.1, STARTS.0);
    let mut uniform = || stream.uniform_f64();
    let starts: Vec<_> = (0..starts)
        .map(|_| plus_plus(&distances, k, &mut uniform))
        .collect();
    let found = starts.iter().map(|start| points.lloyd(start));
    let better = |best: Clustering, next: Clustering| {
        if next.inertia < best.inertia * (1.0 - TIE) {
            next
        } else {
            best
        }
    };
    found.reduce(better).expect("there is at least one start")
}

/// Lloyd's iteration from the given rows as first centres.
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
        let wheel = CumulativeWeights::new(&closest);
        let points: Vec<f64> = (0..candidates).map(|_| uniform()).collect();
        let (row, next) = points
            .into_iter()
            .map(|point| wheel.at(point))
            .map(|row| (row, smaller(&closest, &distances[row])))
            .min_by(|(_, a), (_, b)| a.iter().sum::<f64>().total_cmp(&b.iter().sum()))
            .expect("there are at least two candidates");
        chosen.push(row);
        closest = next;
    }
    chosen
}

fn smaller(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a.min(*b)).collect()
}

/// Rows with their mean taken away: distances stay what they are and lose less to rounding.
struct Points {
    rows: Vec<Vec<f64>>,
    mean: Vec<f64>,
}

impl Points {
    fn new(x: &Matrix) -> Self {
        let mut rows: Vec<Vec<f64>> = (0..x.rows()).map(|row| wide(x.row(row))).collect();
        let mean = mean(x.cols(), rows.iter());
        for row in &mut rows {
            row.iter_mut()
                .zip(&mean)
                .for_each(|(value, mean)| *value -= mean);
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

    /// Movement of all centres together, squared, at which Lloyd stops.
    fn tolerance(&self) -> f64 {
        let values = self.rows.len() * self.mean.len();
        TOLERANCE
            * self
                .rows
                .iter()
                .flatten()
                .map(|value| value * value)
                .sum::<f64>()
            / values.max(1) as f64
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
            (labels, centers) = (next, moved);
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
            distances
                .enumerate()
                .min_by(|(_, a), (_, b)| a.total_cmp(b))
                .map_or(0, |(cluster, _)| cluster)
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

    fn without_gaps(&self, labels: &[usize], old: &[Vec<f64>]) -> Vec<usize> {
        let mut labels = labels.to_vec();
        let size =
            |labels: &[usize], cluster| labels.iter().filter(|&&label| label == cluster).count();
        for empty in 0..old.len() {
            if size(&labels, empty) > 0 {
                continue;
            }
            let far = (0..labels.len())
                .filter(|&row| size(&labels, labels[row]) > 1)
                .max_by(|&a, &b| {
                    let [a, b] = [a, b].map(|row| distance(&self.rows[row], &old[labels[row]]));
                    a.total_cmp(&b)
                });
            if let Some(row) = far {
                labels[row] = empty;
            }
        }
        labels
    }

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
            center
                .iter_mut()
                .zip(&self.mean)
                .for_each(|(value, mean)| *value += mean);
        }
        Clustering {
            labels,
            centers,
            inertia,
            iterations,
        }
    }
}

fn mean<'a>(dim: usize, rows: impl Iterator<Item = &'a Vec<f64>>) -> Vec<f64> {
    let (mut sum, mut count) = (vec![0.0; dim], 0usize);
    for row in rows {
        sum.iter_mut()
            .zip(row)
            .for_each(|(sum, value)| *sum += value);
        count += 1;
    }
    sum.iter_mut().for_each(|sum| *sum /= count.max(1) as f64);
    sum
}

fn wide(row: &[f32]) -> Vec<f64> {
    row.iter().map(|&value| f64::from(value)).collect()
}

/// The squared distance, summed in eight lanes so that it is quick; the order does not depend on
/// the machine.
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
