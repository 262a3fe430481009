//! The decoder's tensors in a checkpoint of given sizes, for decoders without a file.

use candle_core::DType;

use super::Attention;
use crate::nn::{Conv2d, UpsampleConv};

/// The sizes of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderSizes<'a> {
    /// Values per latent cell.
    pub latent_channels: usize,
    /// Channels at full size.
    pub base: usize,
    /// The multiple of `base` at each resolution, fine to coarse.
    pub multipliers: &'a [usize],
    /// Residual blocks of a resolution.
    pub blocks: usize,
    /// The blocks that have attention.
    pub attention: Attention,
}

impl DecoderSizes<'_> {
    /// Pixels of the image along one side of a latent cell.
    pub fn patch(&self) -> usize {
        1 << self.multipliers.len().saturating_sub(1)
    }

    /// Floating-point operations of convolutions and attention for one latent of this many cells.
    pub fn flops(&self, cells: usize) -> f64 {
        let mut total = 0.0;
        for (name, shape) in self.tensors() {
            if shape.len() == 4 {
                let positions = cells << (2 * self.doublings_before(&name));
                total += 2.0 * positions as f64 * shape.iter().product::<usize>() as f64;
            }
            if name.ends_with("proj_out.weight") {
                total += 4.0 * (cells * cells * shape[0]) as f64;
            }
        }
        total
    }

    /// Values of the feature maps at the widest moment of one latent of this many cells, as
    /// [`super::Decoder::activation_bytes`] counts them.
    pub fn activation_values(&self, cells: usize) -> usize {
        let mut widest = 0;
        for (name, shape) in self.tensors() {
            let positions = cells << (2 * self.doublings_before(&name));
            let [outputs, inputs, _, _] = shape[..] else {
                continue;
            };
            let values = if name.starts_with("up.") && name.ends_with("conv1.weight") {
                (2 * inputs + outputs).max(inputs + 3 * outputs)
            } else if name.contains("upsample") {
                6 * outputs / 4 // counted at the size before it
            } else {
                0
            };
            widest = widest.max(positions * values);
        }
        widest
    }

    /// Doublings of the size before the output of a layer.
    fn doublings_before(&self, name: &str) -> usize {
        let coarsest = self.multipliers.len().saturating_sub(1);
        let level = name
            .strip_prefix("up.")
            .and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        match level {
            Some(level) if name.contains("upsample") => coarsest - level + 1,
            Some(level) => coarsest - level,
            None if name.starts_with("conv_out") => coarsest,
            None => 0,
        }
    }

    /// Bytes that [`super::Decoder::load`] keeps in main memory: convolutions are kept in the form
    /// in which they are computed, which takes more than the file.
    pub fn bytes_kept(&self, dtype: DType) -> u64 {
        let kept = |(name, shape): (String, Vec<usize>)| match *shape {
            [outputs, inputs, 3, 3] if name.contains("upsample") => {
                UpsampleConv::bytes_for(inputs, outputs, dtype)
            }
            [outputs, inputs, height, width] => {
                Conv2d::bytes_for_large_maps([outputs, inputs, height, width], dtype)
            }
            _ => (shape.iter().product::<usize>() * size_of::<f32>()) as u64,
        };
        self.tensors().into_iter().map(kept).sum()
    }

    /// Name and shape of every tensor that [`super::Decoder::load`] reads.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let channels: Vec<usize> = self
            .multipliers
            .iter()
            .map(|times| times * self.base)
            .collect();
        let mut all = Tensors::default();
        let mut c = channels.last().copied().unwrap_or(self.base);
        all.conv("conv_in", self.latent_channels, c, 3);
        all.residual("mid.block_1", c, c);
        if self.attention != Attention::None {
            all.attention("mid.attn_1", c);
        }
        all.residual("mid.block_2", c, c);
        for (i, &to) in channels.iter().enumerate().rev() {
            for block in 0..self.blocks {
                all.residual(&format!("up.{i}.block.{block}"), c, to);
                c = to;
                if self.attention.at(i, channels.len()) == Attention::Coarsest {
                    all.attention(&format!("up.{i}.attn.{block}"), c);
                }
            }
            if i > 0 {
                all.conv(&format!("up.{i}.upsample.conv"), c, c, 3);
            }
        }
        all.norm("norm_out", c);
        all.conv("conv_out", c, 3, 3);
        all.0
    }
}

#[derive(Default)]
struct Tensors(Vec<(String, Vec<usize>)>);

impl Tensors {
    fn conv(&mut self, name: &str, inputs: usize, outputs: usize, size: usize) {
        self.0
            .push((format!("{name}.weight"), vec![outputs, inputs, size, size]));
        self.0.push((format!("{name}.bias"), vec![outputs]));
    }

    fn norm(&mut self, name: &str, channels: usize) {
        self.0.push((format!("{name}.weight"), vec![channels]));
        self.0.push((format!("{name}.bias"), vec![channels]));
    }

    fn attention(&mut self, name: &str, channels: usize) {
        self.norm(&format!("{name}.norm"), channels);
        self.conv(&format!("{name}.qkv"), channels, 3 * channels, 1);
        self.conv(&format!("{name}.proj_out"), channels, channels, 1);
    }

    fn residual(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.norm(&format!("{name}.norm1"), inputs);
        self.conv(&format!("{name}.conv1"), inputs, outputs, 3);
        self.norm(&format!("{name}.norm2"), outputs);
        self.conv(&format!("{name}.conv2"), outputs, outputs, 3);
        if inputs != outputs {
            self.conv(&format!("{name}.nin_shortcut"), inputs, outputs, 1);
        }
    }
}
