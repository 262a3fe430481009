//! Rows that differ from each other, also where k-means has nothing to work with: repeated or
//! broken features.

use crate::{features::Matrix, kmeans::kmeans, rng::Stream};

/// A choice of rows by their features.
#[derive(Clone, Debug, PartialEq)]
pub struct Diverse {
    /// The rows that go on, in the order of their clusters.
    pub rows: Vec<usize>,
    /// The cluster of each row; none for rows whose features are broken.
    pub clusters: Vec<Option<usize>>,
    /// Rows whose features are NaN or infinite.
    pub lost: Vec<usize>,
    /// Distinct rows among the others, counted up to the number of clusters.
    pub distinct: usize,
}

/// `keep` different rows of `x`, at most as many as it has. Where fewer rows are distinct, those go
/// on and the remaining rows fill up in their order, those with broken features last.
pub fn diverse(x: &Matrix, keep: usize, stream: &mut Stream) -> Diverse {
    let finite = |row: &usize| x.row(*row).iter().all(|value| value.is_finite());
    let (sound, lost): (Vec<usize>, Vec<usize>) = (0..x.rows()).partition(finite);
    let firsts = firsts(x, &sound, keep);
    let distinct = firsts.len();
    let (mut rows, clusters) = if distinct < keep {
        alike(x, &sound, firsts)
    } else {
        clustered(x, &sound, keep, stream)
    };
    fill(&mut rows, keep, sound.iter().chain(&lost));
    Diverse {
        rows,
        clusters,
        lost,
        distinct,
    }
}

/// The first row of each kind, at most `enough` of them.
fn firsts(x: &Matrix, sound: &[usize], enough: usize) -> Vec<usize> {
    let mut firsts: Vec<usize> = vec![];
    for &row in sound {
        if firsts.len() == enough {
            break;
        }
        if firsts.iter().all(|&first| x.row(first) != x.row(row)) {
            firsts.push(row);
        }
    }
    firsts
}

/// Every kind is a cluster.
fn alike(x: &Matrix, sound: &[usize], firsts: Vec<usize>) -> (Vec<usize>, Vec<Option<usize>>) {
    let mut clusters = vec![None; x.rows()];
    for &row in sound {
        clusters[row] = firsts.iter().position(|&first| x.row(first) == x.row(row));
    }
    (firsts, clusters)
}

fn clustered(
    x: &Matrix,
    sound: &[usize],
    keep: usize,
    stream: &mut Stream,
) -> (Vec<usize>, Vec<Option<usize>>) {
    let data = sound.iter().flat_map(|&row| x.row(row)).copied().collect();
    let part = Matrix::new(sound.len(), x.cols(), data);
    let clustering = kmeans(&part, keep, stream);
    let mut clusters = vec![None; x.rows()];
    for (&row, &label) in sound.iter().zip(&clustering.labels) {
        clusters[row] = Some(label);
    }
    (
        clustering
            .nearest(&part)
            .into_iter()
            .flatten()
            .map(|row| sound[row])
            .collect(),
        clusters,
    )
}

/// Adds rows that are not there yet, in their order, until there are `keep`.
fn fill<'r>(rows: &mut Vec<usize>, keep: usize, all: impl Iterator<Item = &'r usize>) {
    for row in all {
        if rows.len() < keep && !rows.contains(row) {
            rows.push(*row);
        }
    }
}
