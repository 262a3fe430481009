//! Lays weights out in panels of blocks.

use std::ops::Range;

use half::f16;
use rayon::prelude::*;

use super::{BLOCK, Q8Block, QUAD, QUADS, QuantizedPanels};
use crate::{
    Result,
    nn::cpu::{
        memory::advise_large_pages,
        panels::{WIDTH, fill_in_order, padded_bias, panel_columns, panel_count},
    },
};

impl QuantizedPanels {
    /// `weight` (outputs, inputs) and the bias of each output.
    pub fn new(sizes: [usize; 2], weight: &[f32], bias: Option<&[f32]>) -> Self {
        let mut panels = Self::zeros(sizes, bias);
        let inputs = panels.inputs;
        panels.each().par_bridge().for_each(|mut panel| {
            let rows = panel.outputs.start * inputs..panel.outputs.end * inputs;
            panel.fill_rounded(&weight[rows], inputs);
        });
        panels
    }

    /// The same for a matrix that is read row by row, a panel at a time: `read` fills memory with
    /// the values that begin at some element.
    ///
    /// # Errors
    /// The first error of `read`.
    pub fn read(
        sizes: [usize; 2],
        bias: Option<&[f32]>,
        read: impl Fn(usize, &mut [f32]) -> Result<()> + Sync,
    ) -> Result<Self> {
        let mut panels = Self::zeros(sizes, bias);
        let inputs = panels.inputs;
        let fill = |rows: &mut Vec<f32>, mut panel: Panel| {
            rows.resize(panel.outputs.len() * inputs, 0.0);
            read(panel.outputs.start * inputs, rows)?;
            panel.fill_rounded(rows, inputs);
            Ok(())
        };
        fill_in_order(panels.each(), fill)?;
        Ok(panels)
    }

    /// The same for a matrix that is stored in blocks of `q8_0`, of which each output has whole ones:
    /// `read` fills memory with the blocks that begin at some byte.
    ///
    /// # Errors
    /// The first error of `read`.
    pub fn read_blocks(
        sizes: [usize; 2],
        bias: Option<&[f32]>,
        read: impl Fn(usize, &mut [u8]) -> Result<()> + Sync,
    ) -> Result<Self> {
        let mut panels = Self::zeros(sizes, bias);
        let blocks = panels.blocks();
        let fill = |rows: &mut Vec<u8>, mut panel: Panel| {
            let of_row = blocks * Q8Block::BYTES;
            rows.resize(panel.outputs.len() * of_row, 0);
            read(panel.outputs.start * of_row, rows)?;
            panel.fill_blocks(rows, blocks);
            Ok(())
        };
        fill_in_order(panels.each(), fill)?;
        Ok(panels)
    }

    /// A matrix of zeros.
    fn zeros([outputs, inputs]: [usize; 2], bias: Option<&[f32]>) -> Self {
        let panels = panel_count(outputs);
        let blocks = inputs.div_ceil(BLOCK);
        let mut values = vec![0; panels * blocks * BLOCK * WIDTH];
        advise_large_pages(&mut values);
        Self {
            values,
            scales: vec![f16::ZERO; panels * blocks * WIDTH],
            bias: padded_bias(outputs, bias),
            inputs,
            outputs,
        }
    }

    /// Each panel.
    fn each(&mut self) -> impl Iterator<Item = Panel<'_>> {
        let outputs = self.outputs;
        let blocks = self.blocks().max(1);
        let (quads, _) = self.values.as_chunks_mut();
        let (places, _) = quads.as_chunks_mut();
        let (values, _) = places.as_chunks_mut();
        let (scales, _) = self.scales.as_chunks_mut();
        values
            .chunks_exact_mut(blocks)
            .zip(scales.chunks_exact_mut(blocks))
            .enumerate()
            .map(move |(i, (values, scales))| Panel {
                outputs: panel_columns(outputs, &(i..i + 1)),
                values,
                scales,
            })
    }
}

/// A panel that is filled, block by block.
struct Panel<'a> {
    outputs: Range<usize>,
    values: &'a mut [[[[i8; QUAD]; WIDTH]; QUADS]],
    scales: &'a mut [[f16; WIDTH]],
}

impl Panel<'_> {
    /// Rounds `rows` of `inputs` values, one per output.
    fn fill_rounded(&mut self, rows: &[f32], inputs: usize) {
        for block in 0..inputs.div_ceil(BLOCK) {
            let within = block * BLOCK..inputs.min((block + 1) * BLOCK);
            for (place, row) in rows.chunks_exact(inputs).enumerate() {
                self.put(block, place, &Q8Block::new(&row[within.clone()]));
            }
        }
    }

    /// Takes `rows` of `blocks` stored blocks, one per output.
    fn fill_blocks(&mut self, rows: &[u8], blocks: usize) {
        let (stored, _) = rows.as_chunks::<{ Q8Block::BYTES }>();
        for block in 0..blocks {
            for (place, row) in stored.chunks_exact(blocks).enumerate() {
                self.put(block, place, &Q8Block::from_bytes(&row[block]));
            }
        }
    }

    fn put(&mut self, block: usize, place: usize, quantised: &Q8Block) {
        self.scales[block][place] = quantised.scale;
        let (quads, _) = quantised.values.as_chunks::<QUAD>();
        for (places, quad) in self.values[block].iter_mut().zip(quads) {
            places[place] = *quad;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::numbers, *};

    #[test]
    fn quantising_again_changes_nothing() {
        let weight = numbers(64 * 96, 0.37);
        let once = QuantizedPanels::new([64, 96], &weight, None);
        let mut values = vec![0.0; 64 * 96];
        for (i, value) in values.iter_mut().enumerate() {
            let (output, input) = (i / 96, i % 96);
            let (panel, place) = (output / WIDTH, output % WIDTH);
            let block = panel * 3 + input / BLOCK;
            let quad = block * QUADS + input % BLOCK / QUAD;
            let whole = once.values[(quad * WIDTH + place) * QUAD + input % QUAD];
            *value = f32::from(whole) * once.scales[block * WIDTH + place].to_f32();
        }
        let again = QuantizedPanels::new([64, 96], &values, None);
        assert!(again.values == once.values && again.scales == once.scales);
    }

    #[test]
    fn blocks_of_files_are_kept_but_for_numbers_that_no_kernel_knows() {
        let weight = numbers(64 * 96, 0.37);
        let mut bytes = vec![];
        for values in weight.chunks(BLOCK) {
            let block = Q8Block::new(values);
            bytes.extend(block.scale.to_le_bytes());
            bytes.extend(block.values.map(i8::cast_unsigned));
        }
        let expected = QuantizedPanels::new([64, 96], &weight, None);
        let read = |first: usize, part: &mut [u8]| {
            part.copy_from_slice(&bytes[first..][..part.len()]);
            Ok(())
        };
        let found = QuantizedPanels::read_blocks([64, 96], None, read).unwrap();
        assert!(found.values == expected.values && found.scales == expected.scales);

        let (blocks, _) = bytes.as_chunks_mut::<{ Q8Block::BYTES }>();
        blocks[4][9] = i8::MIN.cast_unsigned();
        let scale = f16::from_le_bytes([blocks[4][0], blocks[4][1]]).to_f32();
        let block = Q8Block::from_bytes(&blocks[4]);
        assert_eq!(block.values[7], -127);
        assert!((block.scale.to_f32() * -127.0 - scale * -128.0).abs() < 1e-3 * scale * 128.0);
    }

    /// Kernels for ARM convert scales by moving their bits, which is only right without a sign.
    #[test]
    fn the_sign_of_a_scale_goes_to_the_integers() {
        for scale in [
            f16::from_f32(-0.5),
            f16::NEG_ZERO,
            -f16::MIN_POSITIVE_SUBNORMAL,
        ] {
            for first in [3, 127, -127, i8::MIN] {
                let mut bytes = [0; Q8Block::BYTES];
                bytes[..2].copy_from_slice(&scale.to_le_bytes());
                bytes[2] = first.cast_unsigned();
                bytes[3] = (-5i8).cast_unsigned();
                let block = Q8Block::from_bytes(&bytes);
                assert!(block.scale.is_sign_positive(), "{scale}, {first}");
                let mut stored = [0.0; BLOCK];
                Q8Block::write_values(&bytes, &mut stored);
                for (value, stored) in block.values.iter().zip(stored) {
                    let value = f32::from(*value) * block.scale.to_f32();
                    let step = scale.to_f32().abs();
                    assert!((value - stored).abs() <= step, "{value} for {stored}");
                    assert!(first == i8::MIN || value == stored, "{value} for {stored}");
                }
            }
        }
    }
}
