//! The number types of weights, feature maps, keys and values. Sums are always taken in f32.

use candle_core::CpuStorage;
use half::{bf16, vec::HalfBitsVecExt};

use super::{
    memory::advise_large_pages,
    simd::{Kernel, Lanes, dispatch},
};

/// A type that numbers are kept in.
pub(crate) trait Stored: Copy + Default + PartialEq + Send + Sync + 'static {
    /// Terms of a sum that one instruction takes: two of bf16, one of f32.
    const STEP: usize;

    /// `STEP` numbers for each place of a vector of sums.
    type Factors<L: Lanes>: Copy;

    fn rounded(value: f32) -> Self;

    fn value(self) -> f32;

    /// `count` zeros, in memory that the system has already cleared, in large pages where they fill
    /// any.
    fn zeros(count: usize) -> Vec<Self>;

    /// The numbers of a tensor, if they are of this type.
    fn slice(storage: &CpuStorage) -> Option<&[Self]>;

    /// Rows of `width` values, [`row_stride`] apart and filled up with zeros; they may come to lie
    /// in `room`.
    fn rows<'a>(values: &'a [f32], width: usize, room: &'a mut Vec<Self>) -> &'a [Self];

    /// Lets `f` work on these numbers in f32, perhaps in `room`. Without `keep`, `f`
    /// finds arbitrary numbers there.
    fn in_f32(values: &mut [Self], keep: bool, room: &mut Vec<f32>, f: impl FnOnce(&mut [f32]));

    /// A vector, or the end of a row filled up with zeros.
    fn load<L: Lanes>(simd: L::Detected, from: &[Self]) -> L;

    /// Overwrites all of `to`, which is a vector or shorter.
    fn store<L: Lanes>(v: L, to: &mut [Self]);

    /// Numbers that lie one behind the other.
    ///
    /// # Safety
    /// `L::COUNT * STEP` numbers can be read at `from`.
    unsafe fn factors<L: Lanes>(simd: L::Detected, from: *const Self) -> Self::Factors<L>;

    /// The same `STEP` numbers in every place.
    ///
    /// # Safety
    /// `STEP` numbers can be read at `from`.
    unsafe fn repeated<L: Lanes>(simd: L::Detected, from: *const Self) -> Self::Factors<L>;

    /// Whether products of many rows are faster once rows and weights were converted to f32, which
    /// changes no result.
    fn widens<L: Lanes>() -> bool;

    /// Converts numbers to f32 that lie one behind the other.
    fn widen(from: &[Self], to: &mut Vec<f32>);

    /// Converts a panel, whose places of `width` columns hold `STEP` inputs each, to one whose
    /// places hold one.
    fn widen_panel(from: &[Self], width: usize, to: &mut Vec<f32>);

    /// `sum` and the products of `a` and `b`.
    fn sum_of_products<L: Lanes>(a: Self::Factors<L>, b: Self::Factors<L>, sum: L) -> L;
}

/// Numbers from one row of `width` to the next: a multiple of `STEP`, but not of [`PAGE`].
pub(crate) fn row_stride<T: Stored>(width: usize) -> usize {
    bytes_apart(width.next_multiple_of(T::STEP) * size_of::<T>()) / size_of::<T>()
}

/// Bytes from one row to the next, of rows that take `bytes` bytes each.
pub(crate) fn bytes_apart(bytes: usize) -> usize {
    if bytes > 0 && bytes.is_multiple_of(PAGE) {
        bytes + LINE
    } else {
        bytes
    }
}

/// A core's first-level cache holds the same part of only eight rows that lie this many bytes
/// apart, fewer than a tile has.
const PAGE: usize = 4096;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Copies rows of `width` to where they are [`row_stride`] apart.
fn spread<T: Stored>(
    values: &[f32],
    width: usize,
    rows: &mut Vec<T>,
    copy: impl Fn(&[f32], &mut [T]),
) {
    let stride = row_stride::<T>(width);
    rows.resize(values.len() / width.max(1) * stride, T::default());
    if stride == width {
        return copy(values, rows);
    }
    for (to, from) in rows
        .chunks_exact_mut(stride.max(1))
        .zip(values.chunks_exact(width.max(1)))
    {
        let (row, rest) = to.split_at_mut(width);
        copy(from, row);
        rest.fill(T::default());
    }
}

impl Stored for f32 {
    const STEP: usize = 1;

    type Factors<L: Lanes> = L;

    fn rounded(value: f32) -> Self {
        value
    }

    fn value(self) -> f32 {
        self
    }

    fn zeros(count: usize) -> Vec<Self> {
        let mut zeros = vec![0.0; count];
        advise_large_pages(&mut zeros);
        zeros
    }

    fn slice(storage: &CpuStorage) -> Option<&[Self]> {
        if let CpuStorage::F32(values) = storage {
            Some(values)
        } else {
            None
        }
    }

    fn rows<'a>(values: &'a [f32], width: usize, room: &'a mut Vec<Self>) -> &'a [Self] {
        if row_stride::<Self>(width) == width {
            return values;
        }
        spread(values, width, room, |from, to| to.copy_from_slice(from));
        room
    }

    fn in_f32(values: &mut [Self], _: bool, _: &mut Vec<f32>, f: impl FnOnce(&mut [f32])) {
        f(values);
    }

    #[inline(always)]
    fn load<L: Lanes>(simd: L::Detected, from: &[Self]) -> L {
        L::load_rest(simd, from, 0.0)
    }

    #[inline(always)]
    fn store<L: Lanes>(v: L, to: &mut [Self]) {
        v.store_rest(to);
    }

    #[inline(always)]
    unsafe fn factors<L: Lanes>(simd: L::Detected, from: *const Self) -> L {
        // SAFETY: the caller vouches for it.
        unsafe { L::load_at(simd, from) }
    }

    #[inline(always)]
    unsafe fn repeated<L: Lanes>(simd: L::Detected, from: *const Self) -> L {
        // SAFETY: the caller vouches for it.
        L::splat(simd, unsafe { *from })
    }

    fn widens<L: Lanes>() -> bool {
        false
    }

    fn widen(from: &[Self], to: &mut Vec<f32>) {
        to.clear();
        to.extend_from_slice(from);
    }

    fn widen_panel(from: &[Self], _: usize, to: &mut Vec<f32>) {
        Self::widen(from, to);
    }

    #[inline(always)]
    fn sum_of_products<L: Lanes>(a: L, b: L, sum: L) -> L {
        a.mul_add(b, sum)
    }
}

impl Stored for bf16 {
    const STEP: usize = 2;

    type Factors<L: Lanes> = L::Pairs;

    fn rounded(value: f32) -> Self {
        Self::from_f32(value)
    }

    fn value(self) -> f32 {
        self.to_f32()
    }

    fn zeros(count: usize) -> Vec<Self> {
        let mut zeros = vec![0u16; count];
        advise_large_pages(&mut zeros);
        zeros.reinterpret_into()
    }

    fn slice(storage: &CpuStorage) -> Option<&[Self]> {
        if let CpuStorage::BF16(values) = storage {
            Some(values)
        } else {
            None
        }
    }

    fn rows<'a>(values: &'a [f32], width: usize, room: &'a mut Vec<Self>) -> &'a [Self] {
        spread(values, width, room, |from, to| dispatch(Round { from, to }));
        room
    }

    fn in_f32(values: &mut [Self], keep: bool, room: &mut Vec<f32>, f: impl FnOnce(&mut [f32])) {
        room.resize(values.len(), 0.0);
        if keep {
            room.iter_mut()
                .zip(&*values)
                .for_each(|(wide, v)| *wide = v.value());
        }
        f(room);
        dispatch(Round {
            from: room,
            to: values,
        });
    }

    #[inline(always)]
    fn load<L: Lanes>(simd: L::Detected, from: &[Self]) -> L {
        if from.len() == L::COUNT {
            // SAFETY: the slice is long enough, as was just seen.
            return unsafe { L::load_bf16_at(simd, from.as_ptr()) };
        }
        let mut all = [Self::ZERO; 16];
        all[..from.len()].copy_from_slice(from);
        // SAFETY: no vector has more than sixteen values.
        unsafe { L::load_bf16_at(simd, all.as_ptr()) }
    }

    #[inline(always)]
    fn store<L: Lanes>(v: L, to: &mut [Self]) {
        if to.len() == L::COUNT {
            // SAFETY: the slice is long enough, as was just seen.
            return unsafe { v.store_bf16_at(to.as_mut_ptr()) };
        }
        let mut all = [Self::ZERO; 16];
        // SAFETY: no vector has more than sixteen values.
        unsafe { v.store_bf16_at(all.as_mut_ptr()) };
        to.copy_from_slice(&all[..to.len()]);
    }

    #[inline(always)]
    unsafe fn factors<L: Lanes>(simd: L::Detected, from: *const Self) -> L::Pairs {
        // SAFETY: the caller vouches for it.
        unsafe { L::load_pairs_at(simd, from) }
    }

    #[inline(always)]
    unsafe fn repeated<L: Lanes>(simd: L::Detected, from: *const Self) -> L::Pairs {
        // SAFETY: the caller vouches for two numbers.
        L::splat_pair(simd, unsafe { from.cast::<u32>().read_unaligned() })
    }

    fn widens<L: Lanes>() -> bool {
        !L::MULTIPLIES_PAIRS
    }

    #[inline(always)]
    fn widen(from: &[Self], to: &mut Vec<f32>) {
        to.clear();
        to.extend(from.iter().map(|value| value.value()));
    }

    #[inline(always)]
    fn widen_panel(from: &[Self], width: usize, to: &mut Vec<f32>) {
        to.resize(from.len(), 0.0);
        for (pairs, to) in from
            .chunks_exact(2 * width)
            .zip(to.chunks_exact_mut(2 * width))
        {
            let (first, second) = to.split_at_mut(width);
            for ((pair, first), second) in pairs.chunks_exact(2).zip(first).zip(second) {
                *first = pair[0].value();
                *second = pair[1].value();
            }
        }
    }

    #[inline(always)]
    fn sum_of_products<L: Lanes>(a: L::Pairs, b: L::Pairs, sum: L) -> L {
        sum.add_products(a, b)
    }
}

/// Rounds numbers to bf16.
struct Round<'a> {
    from: &'a [f32],
    to: &'a mut [bf16],
}

impl Kernel for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, simd: L::Detected) {
        for (from, to) in self.from.chunks(L::COUNT).zip(self.to.chunks_mut(L::COUNT)) {
            bf16::store(L::load_rest(simd, from, 0.0), to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::cpu::simd::in_all_versions;

    struct Rounded(Vec<f32>);

    impl Kernel for Rounded {
        type Output = Vec<bf16>;

        #[inline(always)]
        fn run<L: Lanes>(self, simd: L::Detected) -> Vec<bf16> {
            let mut to = vec![bf16::ZERO; self.0.len()];
            Round {
                from: &self.0,
                to: &mut to,
            }
            .run::<L>(simd);
            to
        }
    }

    #[test]
    fn numbers_are_rounded_to_the_nearest_in_every_version() {
        let ties = [
            1.0 + 1.0 / 256.0,
            1.0 + 3.0 / 256.0,
            -1.0 - 1.0 / 256.0,
            f32::MAX,
            f32::INFINITY,
            -0.0,
            1e-30,
        ];
        let others = (0..50_000u32)
            .map(|i| f32::from_bits(i.wrapping_mul(85_899) | 0x2000_0000))
            .filter(|v| !v.is_nan());
        let values: Vec<f32> = ties.into_iter().chain(others).collect();
        let expected: Vec<u16> = values
            .iter()
            .map(|v| bf16::from_f32(*v).to_bits())
            .collect();
        for found in in_all_versions(|| Rounded(values.clone())) {
            assert_eq!(
                found.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
                expected
            );
        }
        for found in in_all_versions(|| Rounded(vec![f32::NAN; 17])) {
            assert!(found.iter().all(|v| v.is_nan()));
        }
    }

    #[test]
    fn rows_of_odd_width_end_in_a_zero() {
        let mut room = vec![bf16::NAN; 9]; // must not matter
        let rows = bf16::rows(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, &mut room);
        assert_eq!(
            rows.iter().map(|v| v.to_f32()).collect::<Vec<_>>(),
            [1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.0, 0.0]
        );
    }

    #[test]
    fn rows_of_whole_pages_get_a_longer_stride() {
        check_stride::<f32>();
        check_stride::<bf16>();
    }

    fn check_stride<T: Stored>() {
        let width = PAGE / size_of::<T>();
        let values: Vec<f32> = (0..3 * width).map(|i| (i % 251) as f32).collect();
        let mut room = Vec::new();
        let rows = T::rows(&values, width, &mut room);
        let stride = row_stride::<T>(width);
        assert!(stride > width && rows.len() == 3 * stride);
        for (row, values) in rows.chunks(stride).zip(values.chunks(width)) {
            assert!(
                row.iter()
                    .map(|v| v.value())
                    .eq(values.iter().copied().chain(vec![0.0; stride - width]))
            );
        }
    }
}
