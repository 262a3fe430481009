//! The decoder: residual blocks and up-sampling.

use candle_core::{DType, Tensor};

use super::{
    Layout,
    layers::{Level, Mid, Part, conv, norm},
};
use crate::nn::{Conv2d, FeatureMap, GroupNorm, UpsampleConv, Weights};

/// Resolutions of a decoder at most; released ones have up to 5.
const MOST_LEVELS: usize = 8;

/// Channels of an image.
const COLOURS: usize = 3;

/// Latents to images.
#[derive(Clone, Debug)]
pub struct Decoder {
    conv_in: Conv2d,
    mid: Mid,
    up: Vec<Level<UpsampleConv>>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
    kept_as: DType, // of feature maps
}

impl Decoder {
    /// Reads the decoder below `w`.
    pub fn load(w: &Weights, layout: impl Into<Layout>) -> crate::Result<Self> {
        let layout = layout.into();
        let levels = w.count("up");
        let level = |i| {
            let layout = Layout {
                attention: layout.attention.at(i, levels),
                ..layout
            };
            Level::load(&w.pp("up").pp(i), "upsample", layout, UpsampleConv::load)
        };
        let conv_out = conv(w, "conv_out")?;
        if levels > MOST_LEVELS {
            return Err(w.mismatch(
                "up",
                format!("at most {MOST_LEVELS} resolutions"),
                levels.to_string(),
            ));
        }
        if conv_out.outputs() != COLOURS {
            return Err(w.mismatch(
                "conv_out",
                format!("{COLOURS} colours"),
                conv_out.outputs().to_string(),
            ));
        }
        Ok(Self {
            conv_in: conv(w, "conv_in")?,
            mid: Mid::load(&w.pp("mid"), layout)?,
            up: (0..levels).map(level).collect::<crate::Result<_>>()?,
            norm_out: norm(w, "norm_out", layout)?,
            conv_out,
            kept_as: w.dtype().of_activations(),
        })
    }

    /// Values per latent cell.
    pub fn latent_channels(&self) -> usize {
        self.conv_in.inputs()
    }

    /// Pixels of the image along one side of a latent cell.
    pub fn patch(&self) -> usize {
        1 << self
            .up
            .iter()
            .filter(|level| level.resample.is_some())
            .count()
    }

    /// Latents (B, d, h, w) -> images (B, 3, h * patch, w * patch), roughly in [-1, 1], not
    /// clamped
    pub fn forward(&self, z: &Tensor) -> crate::Result<Tensor> {
        self.forward_watching(z, &mut |_, _| Ok(()))
    }

    /// [`Decoder::forward`]; `watch` receives the output of every part.
    pub fn forward_watching(
        &self,
        z: &Tensor,
        watch: &mut dyn FnMut(Part, &FeatureMap) -> crate::Result<()>,
    ) -> crate::Result<Tensor> {
        let mut h = self
            .mid
            .forward(self.conv_in.forward(&FeatureMap::new(z)?)?)?;
        watch(Part::Mid, &h)?;
        for (i, level) in self.up.iter().enumerate().rev() {
            h = level.forward_blocks(h)?;
            if let Some(conv) = &level.resample {
                h = conv.forward(&h)?;
            }
            watch(Part::Level(i), &h)?;
        }
        let out = self.conv_out.forward(&self.norm_out.forward(&h)?)?;
        Ok(out.to_tensor()?)
    }

    /// Floating-point operations of convolutions and attention for one latent of this many cells.
    pub fn flops(&self, cells: usize) -> f64 {
        let mut positions = cells;
        let mut total = self.conv_in.flops(cells) + self.mid.flops(cells);
        for level in self.up.iter().rev() {
            total += level.flops(positions);
            if let Some(conv) = &level.resample {
                positions *= 4;
                total += conv.flops(positions);
            }
        }
        total + self.conv_out.flops(positions)
    }

    /// Bytes of the feature maps at the widest moment of one latent of (rows, columns) cells:
    /// inside a residual block its input, two normalised or convolved maps and what they are added
    /// to; around a doubling both sizes.
    pub fn activation_bytes(&self, (rows, columns): (usize, usize)) -> u64 {
        let mut pixels = rows * columns;
        let mut widest = 0;
        for level in self.up.iter().rev() {
            for block in &level.block {
                let inputs = block.conv1.inputs();
                let outputs = block.conv1.outputs();
                widest = widest.max(pixels * (2 * inputs + outputs).max(inputs + 3 * outputs));
            }
            if level.resample.is_some() {
                let channels = level.block.last().map_or(0, |block| block.conv2.outputs());
                widest = widest.max(pixels * 6 * channels);
                pixels *= 4;
            }
        }
        (self.kept_as.size_in_bytes() * widest) as u64
    }
}
