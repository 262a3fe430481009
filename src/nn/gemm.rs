//! Products of f32 matrices that lie anywhere in memory, through the `gemm` crate.
//!
//! The result of a product depends on its own sizes and values only, never on the number of threads; but the crate picks
//! another order of summation for another number of rows. Whoever must not depend on how many candidates there are
//! therefore multiplies one candidate at a time.

use gemm::Parallelism;

/// A matrix in a slice: the element at (row, column) is `data[row * row_stride + column * column_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct MatRef<'a> {
    data: &'a [f32],
    shape: (usize, usize),
    strides: (usize, usize),
}

impl<'a> MatRef<'a> {
    /// A matrix of `shape` (rows, columns) whose neighbours are `strides` (down, right) apart.
    pub fn strided(data: &'a [f32], shape: (usize, usize), strides: (usize, usize)) -> Self {
        assert!(data.len() >= extent(shape, strides), "a matrix of {shape:?} with strides {strides:?}");
        Self { data, shape, strides }
    }

    /// Rows become columns; nothing moves.
    pub fn transposed(self) -> Self {
        Self { shape: (self.shape.1, self.shape.0), strides: (self.strides.1, self.strides.0), ..self }
    }
}

/// How many elements a strided matrix spans.
fn extent((rows, columns): (usize, usize), (down, right): (usize, usize)) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * down + (columns - 1) * right + 1 }
}

/// Whether a product may use the threads of the current pool.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    One,
    All,
}

/// `out = a * b`, or `out += a * b` if `add`. `out` is a matrix whose rows are `stride` apart.
///
/// # Panics
/// When the shapes do not fit.
pub(crate) fn gemm(a: MatRef, b: MatRef, out: &mut [f32], stride: usize, add: bool, threads: Threads) {
    let ((m, k), (inner, n)) = (a.shape, b.shape);
    assert_eq!(k, inner, "inner sizes of a product");
    assert!(out.len() >= extent((m, n), (stride, 1)) && stride >= n, "the result of a product");
    let parallelism = if threads == Threads::All { Parallelism::Rayon(0) } else { Parallelism::None };
    // SAFETY: `MatRef` guarantees that its strides stay inside its slice, the assertion above does so for `out`, and
    // `out` is borrowed exclusively, so nothing overlaps.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride as isize,
            add,
            a.data.as_ptr(),
            a.strides.1 as isize,
            a.strides.0 as isize,
            b.data.as_ptr(),
            b.strides.1 as isize,
            b.strides.0 as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(a: &[f32], b: &[f32], (m, k, n): (usize, usize, usize)) -> Vec<f32> {
        let at = |i: usize| (0..k).map(|p| a[i / n * k + p] * b[p * n + i % n]).sum();
        (0..m * n).map(at).collect()
    }

    #[test]
    fn products_match_the_definition_for_odd_shapes() {
        for (m, k, n) in [(1, 1, 1), (1, 7, 5), (3, 2, 1), (17, 33, 9), (70, 5, 80)] {
            let a: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.37).sin()).collect();
            let b: Vec<f32> = (0..k * n).map(|i| (i as f32 * 0.73).cos()).collect();
            let mut out = vec![1.0; m * (n + 2)];
            let (a_ref, b_ref) = (MatRef::strided(&a, (m, k), (k, 1)), MatRef::strided(&b, (k, n), (n, 1)));
            gemm(a_ref, b_ref, &mut out, n + 2, true, Threads::One);
            for (i, expected) in naive(&a, &b, (m, k, n)).into_iter().enumerate() {
                assert!((out[i / n * (n + 2) + i % n] - 1.0 - expected).abs() < 1e-4);
            }
        }
    }
}
