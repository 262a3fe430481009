//! The encoder: residual blocks and down-sampling.

use candle_core::Tensor;

use super::{
    Layout,
    layers::{Level, Mid, Part, conv, norm},
};
use crate::nn::{Conv2d, FeatureMap, GroupNorm, Weights};

/// Images to latents.
#[derive(Clone, Debug)]
pub struct Encoder {
    conv_in: Conv2d,
    down: Vec<Level<Conv2d>>,
    mid: Mid,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    /// Reads the encoder below `w`.
    pub fn load(w: &Weights, layout: impl Into<Layout>) -> crate::Result<Self> {
        let layout = layout.into();
        let levels = w.count("down");
        let level = |i| {
            let layout = Layout {
                attention: layout.attention.at(i, levels),
                ..layout
            };
            let downsample = |w: &Weights| Conv2d::load(w, 2, 0);
            Level::load(&w.pp("down").pp(i), "downsample", layout, downsample)
        };
        Ok(Self {
            conv_in: conv(w, "conv_in")?,
            down: (0..levels).map(level).collect::<crate::Result<_>>()?,
            mid: Mid::load(&w.pp("mid"), layout)?,
            norm_out: norm(w, "norm_out", layout)?,
            conv_out: conv(w, "conv_out")?,
        })
    }

    /// Values per latent cell.
    pub fn latent_channels(&self) -> usize {
        self.conv_out.outputs()
    }

    /// Images (B, 3, H, W) with values in [-1, 1] -> latents (B, d, H / patch, W / patch)
    pub fn forward(&self, x: &Tensor) -> crate::Result<Tensor> {
        self.forward_watching(x, &mut |_, _| Ok(()))
    }

    /// [`Encoder::forward`]; `watch` receives the output of every part.
    pub fn forward_watching(
        &self,
        x: &Tensor,
        watch: &mut dyn FnMut(Part, &FeatureMap) -> crate::Result<()>,
    ) -> crate::Result<Tensor> {
        let mut h = self.conv_in.forward(&FeatureMap::new(x)?)?;
        for (i, level) in self.down.iter().enumerate() {
            h = level.forward_blocks(h)?;
            if let Some(conv) = &level.resample {
                // One row and one column of zeros at the bottom and the right, then stride 2.
                let padded = h
                    .to_tensor()?
                    .pad_with_zeros(2, 0, 1)?
                    .pad_with_zeros(3, 0, 1)?;
                h = conv.forward(&FeatureMap::new(&padded)?)?;
            }
            watch(Part::Level(i), &h)?;
        }
        let h = self.mid.forward(h)?;
        watch(Part::Mid, &h)?;
        let h = self.norm_out.forward(&h)?;
        Ok(self.conv_out.forward(&h)?.to_tensor()?)
    }
}
