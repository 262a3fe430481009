//! Lays weights out in panels.

use std::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

use rayon::prelude::*;

use super::{Panels, WIDTH, padded_bias, panel_columns, panel_count};
use crate::nn::cpu::stored::Stored;

/// Fills panels in parallel. Each thread takes the next panel, so that a file is read from the front to
/// the end, and has a buffer of its own.
///
/// # Errors
/// That of the first panel that fails. Later panels are then left out.
pub(crate) fn fill_in_order<P: Send, B: Send>(
    panels: impl Iterator<Item = P> + Send,
    fill: impl Fn(&mut Vec<B>, P) -> crate::Result<()> + Sync,
) -> crate::Result<()> {
    let lowest = AtomicUsize::new(usize::MAX);
    let fill = |buffer: &mut Vec<B>, (i, panel)| {
        if i > lowest.load(Ordering::Relaxed) {
            return None;
        }
        let error = fill(buffer, panel).err()?;
        lowest.fetch_min(i, Ordering::Relaxed);
        Some((i, error))
    };
    let failed = panels.enumerate().par_bridge().map_init(Vec::new, fill);
    match failed.flatten_iter().min_by_key(|(i, _)| *i) {
        None => Ok(()),
        Some((_, error)) => Err(error),
    }
}

/// Writes the weights of one tap to a panel for some outputs. Of each output the inputs of a cache
/// line are read together.
fn fill_tap<T: Stored>(
    values: &mut [T],
    outputs: Range<usize>,
    inputs: usize,
    weight: impl Fn(usize, usize) -> f32,
) {
    const LINE: usize = 64 / size_of::<f32>();
    for first in (0..inputs).step_by(LINE) {
        let beyond = inputs.min(first + LINE);
        for (column, output) in outputs.clone().enumerate() {
            for input in first..beyond {
                let place = (input / T::STEP * WIDTH + column) * T::STEP + input % T::STEP;
                values[place] = T::rounded(weight(output, input));
            }
        }
    }
}

/// Writes a tap whose weights are given by the rows of its outputs. A cache line of each row is
/// rounded before it is spread.
fn fill_rows<T: Stored, S: Copy>(
    values: &mut [T],
    rows: &[&[S]],
    inputs: usize,
    rounded: impl Fn(S) -> T,
) {
    const LINE: usize = 64 / size_of::<f32>();
    let mut lines = [[T::default(); LINE]; WIDTH];
    for first in (0..inputs).step_by(LINE) {
        for (line, row) in lines.iter_mut().zip(rows) {
            match row[first..inputs].first_chunk::<LINE>() {
                Some(whole) => {
                    for (to, from) in line.iter_mut().zip(whole) {
                        *to = rounded(*from);
                    }
                }
                None => {
                    *line = [T::default(); LINE];
                    for (to, from) in line.iter_mut().zip(&row[first..inputs]) {
                        *to = rounded(*from);
                    }
                }
            }
        }
        let steps = values[first * WIDTH..].chunks_exact_mut(WIDTH * T::STEP);
        for (step, places) in steps.take(LINE / T::STEP).enumerate() {
            let places = places.chunks_exact_mut(T::STEP);
            for (place, line) in places.zip(&lines[..rows.len()]) {
                place.copy_from_slice(&line[step * T::STEP..][..T::STEP]);
            }
        }
    }
}

impl<T: Stored> Panels<T> {
    /// One tap of a matrix (outputs, inputs), row by row, and the bias of each output.
    pub fn from_matrix(
        [outputs, inputs]: [usize; 2],
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Self {
        let mut panels = Self::zeros([outputs, 1, inputs], bias);
        panels.each().par_bridge().for_each(|(outputs, values)| {
            let row = |output: usize| &weight[output * inputs..][..inputs];
            let rows: Vec<&[f32]> = outputs.map(row).collect();
            fill_rows(values, &rows, inputs, T::rounded);
        });
        panels
    }

    /// The same for a matrix that is read row by row, a panel at a time: `read` fills memory with
    /// the values that begin at some element.
    ///
    /// # Errors
    /// The first error of `read`.
    pub fn read(
        [outputs, inputs]: [usize; 2],
        bias: Option<&[f32]>,
        read: impl Fn(usize, &mut [f32]) -> crate::Result<()> + Sync,
    ) -> crate::Result<Self> {
        let mut panels = Self::zeros([outputs, 1, inputs], bias);
        let fill = |rows: &mut Vec<f32>, (outputs, values): (Range<usize>, &mut [T])| {
            rows.resize(outputs.len() * inputs, 0.0);
            read(outputs.start * inputs, rows)?;
            let rows: Vec<&[f32]> = rows.chunks_exact(inputs.max(1)).collect();
            fill_rows(values, &rows, inputs, T::rounded);
            Ok(())
        };
        fill_in_order(panels.each(), fill)?;
        Ok(panels)
    }

    /// `weight(output, tap, input)` and the bias of each output.
    pub fn new(
        [outputs, taps, inputs]: [usize; 3],
        weight: impl Fn(usize, usize, usize) -> f32 + Sync,
        bias: Option<&[f32]>,
    ) -> Self {
        let of_tap = (inputs.next_multiple_of(T::STEP) * WIDTH).max(1);
        let mut panels = Self::zeros([outputs, taps, inputs], bias);
        panels.each().par_bridge().for_each(|(outputs, values)| {
            for (tap, values) in values.chunks_exact_mut(of_tap).enumerate() {
                fill_tap(values, outputs.clone(), inputs, |output, input| {
                    weight(output, tap, input)
                });
            }
        });
        panels
    }

    /// A matrix of zeros.
    fn zeros([outputs, taps, inputs]: [usize; 3], bias: Option<&[f32]>) -> Self {
        let of_panel = taps * inputs.next_multiple_of(T::STEP) * WIDTH;
        Self {
            values: T::zeros(panel_count(outputs) * of_panel),
            bias: padded_bias(outputs, bias),
            taps,
            inputs,
            outputs,
        }
    }

    /// The outputs and the values of each panel.
    fn each(&mut self) -> impl Iterator<Item = (Range<usize>, &mut [T])> {
        let outputs = self.outputs;
        let of_panel = self.panel_len().max(1);
        let panels = self.values.chunks_exact_mut(of_panel).enumerate();
        panels.map(move |(i, values)| (panel_columns(outputs, &(i..i + 1)), values))
    }

    /// One tap whose matrix is given by its rows, without a bias.
    pub fn from_rows(rows: &[&[T]]) -> Self {
        let outputs = rows.first().map_or(0, |row| row.len());
        Self::filled(rows.len(), outputs, |columns, panel| {
            let steps = panel.chunks_exact_mut(WIDTH * T::STEP);
            for (rows, to) in rows.chunks(T::STEP).zip(steps) {
                match rows {
                    [row] if T::STEP == 1 => {
                        to[..columns.len()].copy_from_slice(&row[columns.clone()]);
                    }
                    [first, second] if T::STEP == 2 => {
                        let pairs = to.as_chunks_mut().0.iter_mut();
                        let first = &first[columns.clone()];
                        let second = &second[columns.clone()];
                        for ((pair, first), second) in pairs.zip(first).zip(second) {
                            *pair = [*first, *second];
                        }
                    }
                    _ => {
                        for (step, row) in rows.iter().enumerate() {
                            let places = to[step..].iter_mut().step_by(T::STEP);
                            let row = &row[columns.clone()];
                            places.zip(row).for_each(|(to, value)| *to = *value);
                        }
                    }
                }
            }
        })
    }

    /// One tap whose matrix is given by its columns, without a bias.
    pub fn from_columns(columns: &[&[T]]) -> Self {
        let inputs = columns.first().map_or(0, |column| column.len());
        Self::filled(inputs, columns.len(), |part, panel| {
            fill_rows(panel, &columns[part], inputs, |value| value);
        })
    }

    /// `fill` writes a panel of zeros, which is for some outputs.
    fn filled(inputs: usize, outputs: usize, fill: impl Fn(Range<usize>, &mut [T])) -> Self {
        let mut panels = Self::zeros([outputs, 1, inputs], None);
        for (outputs, values) in panels.each() {
            fill(outputs, values);
        }
        panels
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn packing_by_rows_or_by_columns_gives_the_same_panels() {
        check_packing::<f32>();
        check_packing::<bf16>();
    }

    fn check_packing<T: Stored>() {
        let values: Vec<f32> = (0..45 * 7).map(|i| (i as f32).sin()).collect();
        let values: Vec<T> = values.into_iter().map(T::rounded).collect();
        let pack = |width: usize| values.chunks_exact(width).collect::<Vec<_>>();
        let expected = Panels::<T>::new([7, 1, 45], |o, _, i| values[i * 7 + o].value(), None);
        assert!(Panels::from_rows(&pack(7)).values == expected.values);
        let expected = Panels::<T>::new([45, 1, 7], |o, _, i| values[o * 7 + i].value(), None);
        assert!(Panels::from_columns(&pack(7)).values == expected.values);
        let matrix: Vec<f32> = values.iter().map(|value| value.value()).collect();
        for [outputs, inputs] in [[45, 7], [7, 45], [3, 32]] {
            let weight = |o: usize, _: usize, i: usize| matrix[o * inputs + i];
            let expected = Panels::<T>::new([outputs, 1, inputs], weight, None);
            let found = Panels::<T>::from_matrix([outputs, inputs], &matrix, None);
            assert!(found.values == expected.values, "{outputs} x {inputs}");
        }
    }
}
