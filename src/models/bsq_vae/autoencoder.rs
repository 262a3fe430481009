//! Encoder and decoder: residual blocks around down- and up-sampling, without attention.

use candle_core::{DType, Result, Tensor};

use crate::{
    interrupt,
    nn::{Activation, Conv2d, FeatureMap, GroupNorm, UpsampleConv, Weights},
};

const EPS: f32 = 1e-6; // conv.py, Normalize

/// Released checkpoints wrap each layer once more (`conv1.conv.weight`); both spellings are read.
fn wrapped(w: &Weights, name: &str, inner: &str) -> Weights {
    let outer = w.pp(name);
    if outer.pp(inner).has("weight") {
        outer.pp(inner)
    } else {
        outer
    }
}

/// A convolution of size 3 that keeps the size of maps.
fn conv(w: &Weights, name: &str) -> crate::Result<Conv2d> {
    let w = wrapped(w, name, "conv");
    let [outputs, inputs, height, width] = w.dims("weight")?;
    if (height, width) != (3, 3) {
        let found = format!("{:?}", [outputs, inputs, height, width]);
        return Err(w.mismatch("weight", format!("[{outputs}, {inputs}, 3, 3]"), found));
    }
    Conv2d::load_for_large_maps(&w, 1, 1)
}

fn norm(w: &Weights, name: &str) -> crate::Result<GroupNorm> {
    let groups = |channels: usize| {
        [32, 24]
            .into_iter()
            .find(|groups| channels.is_multiple_of(*groups))
    };
    GroupNorm::load(
        &wrapped(w, name, "norm"),
        groups,
        EPS,
        Some(Activation::Silu),
    )
}

/// Two convolutions with a shortcut.
#[derive(Clone, Debug)]
struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    nin_shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    fn load(w: &Weights) -> crate::Result<Self> {
        let conv1 = conv(w, "conv1")?;
        let grows = conv1.inputs() != conv1.outputs();
        Ok(Self {
            norm1: norm(w, "norm1")?,
            conv1,
            norm2: norm(w, "norm2")?,
            conv2: conv(w, "conv2")?,
            nin_shortcut: grows
                .then(|| Conv2d::load(&wrapped(w, "nin_shortcut", "conv"), 1, 0))
                .transpose()?,
        })
    }

    fn all(w: &Weights, name: &str) -> crate::Result<Vec<Self>> {
        (0..w.count(name))
            .map(|i| Self::load(&w.pp(name).pp(i)))
            .collect()
    }

    fn forward(&self, x: FeatureMap) -> Result<FeatureMap> {
        let h = self.conv1.forward(&self.norm1.forward(&x)?)?;
        let h = self.norm2.forward(&h)?;
        let onto = match &self.nin_shortcut {
            Some(shortcut) => shortcut.forward(&x)?,
            None => x,
        };
        self.conv2.forward_onto(&h, onto)
    }

    fn flops(&self, positions: usize) -> f64 {
        let shortcut = self.nin_shortcut.iter();
        [&self.conv1, &self.conv2]
            .into_iter()
            .chain(shortcut)
            .map(|conv| conv.flops(positions))
            .sum()
    }
}

/// One resolution: residual blocks, then a change of resolution unless it is the last.
#[derive(Clone, Debug)]
struct Level<R> {
    block: Vec<ResnetBlock>,
    resample: Option<R>,
}

impl<R> Level<R> {
    /// `resample` reads the change of resolution, whose layer is called `name`.
    fn load(
        w: &Weights,
        name: &str,
        resample: impl Fn(&Weights) -> crate::Result<R>,
    ) -> crate::Result<Self> {
        let layer = wrapped(&w.pp(name), "conv", "conv");
        let resample = layer.has("weight").then(|| resample(&layer)).transpose()?;
        Ok(Self {
            block: ResnetBlock::all(w, "block")?,
            resample,
        })
    }
}

#[derive(Clone, Debug)]
struct Mid {
    block_1: ResnetBlock,
    block_2: ResnetBlock,
}

impl Mid {
    fn load(w: &Weights) -> crate::Result<Self> {
        Ok(Self {
            block_1: ResnetBlock::load(&w.pp("block_1"))?,
            block_2: ResnetBlock::load(&w.pp("block_2"))?,
        })
    }

    fn forward(&self, x: FeatureMap) -> Result<FeatureMap> {
        self.block_2.forward(self.block_1.forward(x)?)
    }
}

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
    pub fn load(w: &Weights) -> crate::Result<Self> {
        let level = |i| Level::load(&w.pp("down").pp(i), "downsample", |w| Conv2d::load(w, 2, 0));
        Ok(Self {
            conv_in: conv(w, "conv_in")?,
            down: (0..w.count("down"))
                .map(level)
                .collect::<crate::Result<_>>()?,
            mid: Mid::load(&w.pp("mid"))?,
            norm_out: norm(w, "norm_out")?,
            conv_out: conv(w, "conv_out")?,
        })
    }

    /// Values per latent cell.
    pub fn latent_channels(&self) -> usize {
        self.conv_out.outputs()
    }

    /// Images (B, 3, H, W) with values in [-1, 1] -> latents (B, d, H / patch, W / patch)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut h = self.conv_in.forward(&FeatureMap::new(x)?)?;
        for level in &self.down {
            for block in &level.block {
                h = block.forward(h)?;
            }
            if let Some(conv) = &level.resample {
                // One row and one column of zeros at the bottom and the right, then stride 2.
                let padded = h
                    .to_tensor()?
                    .pad_with_zeros(2, 0, 1)?
                    .pad_with_zeros(3, 0, 1)?;
                h = conv.forward(&FeatureMap::new(&padded)?)?;
            }
        }
        self.conv_out
            .forward(&self.norm_out.forward(&self.mid.forward(h)?)?)?
            .to_tensor()
    }
}

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
    pub fn load(w: &Weights) -> crate::Result<Self> {
        let level = |i| Level::load(&w.pp("up").pp(i), "upsample", UpsampleConv::load);
        let levels = w.count("up");
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
            mid: Mid::load(&w.pp("mid"))?,
            up: (0..levels).map(level).collect::<crate::Result<_>>()?,
            norm_out: norm(w, "norm_out")?,
            conv_out,
            kept_as: w.dtype(),
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
        let mut h = self
            .mid
            .forward(self.conv_in.forward(&FeatureMap::new(z)?)?)?;
        for level in self.up.iter().rev() {
            for block in &level.block {
                interrupt::check()?;
                h = block.forward(h)?;
            }
            if let Some(conv) = &level.resample {
                h = conv.forward(&h)?;
            }
        }
        let out = self.conv_out.forward(&self.norm_out.forward(&h)?)?;
        Ok(out.to_tensor()?)
    }

    /// Floating-point operations of the convolutions for one latent of this many cells.
    pub fn flops(&self, cells: usize) -> f64 {
        let mut positions = cells;
        let mid = &self.mid;
        let mut total =
            self.conv_in.flops(cells) + mid.block_1.flops(cells) + mid.block_2.flops(cells);
        for level in self.up.iter().rev() {
            total += level
                .block
                .iter()
                .map(|block| block.flops(positions))
                .sum::<f64>();
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
