//! Chooses rows that differ from each other. Handles the cases in which k-means cannot work:
//! repeated rows, and features that are NaN or infinite.

use crate::{features::Matrix, kmeans::kmeans, rng::Stream};

/// A choice of rows by their features.
#[derive(Clone, Debug, PartialEq)]
pub struct Diverse {
    /// The chosen rows, in the order of their clusters.
    pub rows: Vec<usize>,
    /// The cluster of each row; none for rows in `lost`.
    pub clusters: Vec<Option<usize>>,
    /// Rows whose features are NaN or infinite.
    pub lost: Vec<usize>,
    /// The number of distinct rows among the others, counted up to the number of clusters.
    pub distinct: usize,
}

/// Chooses `keep` different rows of `x`, or all rows if it has fewer. If fewer than `keep` rows are
/// distinct, each distinct row is chosen once, and the other rows fill the remaining places in
/// their order, rows whose features are not finite last.
pub fn diverse(x: &Matrix, keep: usize, stream: &mut Stream) -> Diverse {
    let finite = |row: &usize| x.row(*row).iter().all(|value| value.is_finite());
    let (sound, lost): (Vec<usize>, Vec<usize>) = (0..x.rows()).partition(finite);
    let firsts = distinct_rows(x, &sound, keep);
    let distinct = firsts.len();
    let (mut rows, clusters) = if distinct < keep {
        group_equal(x, &sound, firsts)
    } else {
        cluster(x, &sound, keep, stream)
    };
    fill(&mut rows, keep, sound.iter().chain(&lost));
    Diverse {
        rows,
        clusters,
        lost,
        distinct,
    }
}

/// The first of each set of equal rows, up to `limit` of them.
fn distinct_rows(x: &Matrix, sound: &[usize], limit: usize) -> Vec<usize> {
    let mut firsts: Vec<usize> = vec![];
    for &row in sound {
        if firsts.len() == limit {
            break;
        }
        if firsts.iter().all(|&first| x.row(first) != x.row(row)) {
            firsts.push(row);
        }
    }
    firsts
}

/// Makes every set of equal rows a cluster.
fn group_equal(
    x: &Matrix,
    sound: &[usize],
    firsts: Vec<usize>,
) -> (Vec<usize>, Vec<Option<usize>>) {
    let mut clusters = vec![None; x.rows()];
    for &row in sound {
        clusters[row] = firsts.iter().position(|&first| x.row(first) == x.row(row));
    }
    (firsts, clusters)
}

/// Chooses the row nearest to the centre of each k-means cluster.
fn cluster(
    x: &Matrix,
    sound: &[usize],
    keep: usize,
    stream: &mut Stream,
) -> (Vec<usize>, Vec<Option<usize>>) {
    let data = sound.iter().flat_map(|&row| x.row(row)).copied().collect();
    let sound_rows = Matrix::new(sound.len(), x.cols(), data);
    let clustering = kmeans(&sound_rows, keep, stream);
    let mut clusters = vec![None; x.rows()];
    for (&row, &label) in sound.iter().zip(&clustering.labels) {
        clusters[row] = Some(label);
    }
    let nearest = clustering.nearest(&sound_rows).into_iter().flatten();
    (nearest.map(|row| sound[row]).collect(), clusters)
}

/// Adds rows that are not chosen yet, in their order, until `keep` are chosen.
fn fill<'r>(rows: &mut Vec<usize>, keep: usize, all: impl Iterator<Item = &'r usize>) {
    for row in all {
        if rows.len() < keep && !rows.contains(row) {
            rows.push(*row);
        }
    }
}
