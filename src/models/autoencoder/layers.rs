//! The layers of encoder and decoder.

use candle_core::Result;

use super::{Attention, Layout};
use crate::{
    interrupt,
    nn::{Activation, Conv2d, FeatureMap, GroupNorm, Weights, attention},
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
pub(in crate::models) fn conv(w: &Weights, name: &str) -> crate::Result<Conv2d> {
    let w = wrapped(w, name, "conv");
    let [outputs, inputs, height, width] = w.dims("weight")?;
    if (height, width) != (3, 3) {
        let found = format!("{:?}", [outputs, inputs, height, width]);
        return Err(w.mismatch("weight", format!("[{outputs}, {inputs}, 3, 3]"), found));
    }
    Conv2d::load_for_large_maps(&w, 1, 1)
}

/// A normalisation followed by SiLU.
pub(super) fn norm(w: &Weights, name: &str, layout: Layout) -> crate::Result<GroupNorm> {
    group_norm(&wrapped(w, name, "norm"), layout, Some(Activation::Silu))
}

fn group_norm(w: &Weights, layout: Layout, act: Option<Activation>) -> crate::Result<GroupNorm> {
    let usual = [32, 24];
    let candidates = layout
        .groups
        .as_ref()
        .map_or(&usual[..], std::slice::from_ref);
    let divides = |channels: usize| {
        let mut candidates = candidates.iter().copied();
        candidates.find(|groups| *groups > 0 && channels.is_multiple_of(*groups))
    };
    GroupNorm::load(w, divides, EPS, act)
}

/// A part of encoder or decoder, whose output can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The two blocks at the coarsest resolution between the halves.
    Mid,
    /// A resolution with its change of size, numbered from the finest.
    Level(usize),
}

/// Two convolutions with a shortcut.
#[derive(Clone, Debug)]
pub(super) struct ResnetBlock {
    norm1: GroupNorm,
    pub(super) conv1: Conv2d,
    norm2: GroupNorm,
    pub(super) conv2: Conv2d,
    nin_shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    fn load(w: &Weights, layout: Layout) -> crate::Result<Self> {
        let conv1 = conv(w, "conv1")?;
        let grows = conv1.inputs() != conv1.outputs();
        Ok(Self {
            norm1: norm(w, "norm1", layout)?,
            conv1,
            norm2: norm(w, "norm2", layout)?,
            conv2: conv(w, "conv2")?,
            nin_shortcut: grows
                .then(|| Conv2d::load(&wrapped(w, "nin_shortcut", "conv"), 1, 0))
                .transpose()?,
        })
    }

    fn all(w: &Weights, name: &str, layout: Layout) -> crate::Result<Vec<Self>> {
        (0..w.count(name))
            .map(|i| Self::load(&w.pp(name).pp(i), layout))
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

    pub(super) fn flops(&self, positions: usize) -> f64 {
        let shortcut = self.nin_shortcut.iter();
        [&self.conv1, &self.conv2]
            .into_iter()
            .chain(shortcut)
            .map(|conv| conv.flops(positions))
            .sum()
    }
}

/// Self-attention with one head over all cells of a map (`AttnBlock`).
#[derive(Clone, Debug)]
pub(super) struct AttnBlock {
    norm: GroupNorm,
    qkv: Conv2d,
    proj_out: Conv2d,
}

impl AttnBlock {
    fn load(w: &Weights, layout: Layout) -> crate::Result<Self> {
        let [channels] = w.dims("norm.weight")?;
        let qkv = Conv2d::load(&w.pp("qkv"), 1, 0)?;
        if (qkv.inputs(), qkv.outputs()) != (channels, 3 * channels) {
            let found = format!("{:?}", [qkv.outputs(), qkv.inputs()]);
            let expected = format!("[{}, {channels}, 1, 1]", 3 * channels);
            return Err(w.mismatch("qkv.weight", expected, found));
        }
        Ok(Self {
            norm: group_norm(&w.pp("norm"), layout, None)?,
            qkv,
            proj_out: Conv2d::load(&w.pp("proj_out"), 1, 0)?,
        })
    }

    fn forward(&self, x: FeatureMap) -> Result<FeatureMap> {
        let qkv = self.qkv.forward(&self.norm.forward(&x)?)?.to_tensor()?;
        let (b, c3, h, w) = qkv.dims4()?;
        let c = c3 / 3;
        let tokens = qkv.flatten_from(2)?.transpose(1, 2)?.contiguous()?; // (B, L, 3C)
        let part = |i: usize| tokens.narrow(2, i * c, c)?.contiguous();
        let scale = (c as f32).sqrt().recip();
        let out = attention(&part(0)?, &part(1)?, &part(2)?, 1, scale, None)?; // (B, L, C)
        let out = out.transpose(1, 2)?.contiguous()?.reshape((b, c, h, w))?;
        self.proj_out.forward_onto(&FeatureMap::new(&out)?, x)
    }

    fn flops(&self, cells: usize) -> f64 {
        let products = 4.0 * (cells * cells * self.qkv.inputs()) as f64;
        self.qkv.flops(cells) + self.proj_out.flops(cells) + products
    }
}

/// One resolution: residual blocks, each with attention at the coarsest one if the network has any,
/// then a change of resolution unless it is the last.
#[derive(Clone, Debug)]
pub(super) struct Level<R> {
    pub(super) block: Vec<ResnetBlock>,
    attn: Vec<AttnBlock>,
    pub(super) resample: Option<R>,
}

impl<R> Level<R> {
    /// `resample` reads the change of resolution, whose layer is called `name`.
    pub(super) fn load(
        w: &Weights,
        name: &str,
        layout: Layout,
        resample: impl Fn(&Weights) -> crate::Result<R>,
    ) -> crate::Result<Self> {
        let layer = wrapped(&w.pp(name), "conv", "conv");
        let resample = layer.has("weight").then(|| resample(&layer)).transpose()?;
        let block = ResnetBlock::all(w, "block", layout)?;
        let attn = |i| AttnBlock::load(&w.pp("attn").pp(i), layout);
        let blocks_with_attention = match layout.attention {
            Attention::None | Attention::Middle => 0,
            Attention::Coarsest => block.len(),
        };
        Ok(Self {
            attn: (0..blocks_with_attention)
                .map(attn)
                .collect::<crate::Result<_>>()?,
            block,
            resample,
        })
    }

    /// The residual blocks with their attention.
    pub(super) fn forward_blocks(&self, mut h: FeatureMap) -> crate::Result<FeatureMap> {
        for (i, block) in self.block.iter().enumerate() {
            interrupt::check()?;
            h = block.forward(h)?;
            if let Some(attn) = self.attn.get(i) {
                h = attn.forward(h)?;
            }
        }
        Ok(h)
    }

    /// Floating-point operations of the blocks.
    pub(super) fn flops(&self, positions: usize) -> f64 {
        let blocks = self.block.iter().map(|block| block.flops(positions));
        let attention = self.attn.iter().map(|attn| attn.flops(positions));
        blocks.chain(attention).sum()
    }
}

/// The coarsest resolution between the two halves: two residual blocks, with attention between them
/// if the network has any.
#[derive(Clone, Debug)]
pub(super) struct Mid {
    block_1: ResnetBlock,
    attn_1: Option<AttnBlock>,
    block_2: ResnetBlock,
}

impl Mid {
    pub(super) fn load(w: &Weights, layout: Layout) -> crate::Result<Self> {
        let attn_1 = match layout.attention {
            Attention::None => None,
            _ => Some(AttnBlock::load(&w.pp("attn_1"), layout)?),
        };
        Ok(Self {
            block_1: ResnetBlock::load(&w.pp("block_1"), layout)?,
            attn_1,
            block_2: ResnetBlock::load(&w.pp("block_2"), layout)?,
        })
    }

    pub(super) fn forward(&self, x: FeatureMap) -> Result<FeatureMap> {
        let mut h = self.block_1.forward(x)?;
        if let Some(attn) = &self.attn_1 {
            h = attn.forward(h)?;
        }
        self.block_2.forward(h)
    }

    pub(super) fn flops(&self, cells: usize) -> f64 {
        let attention = self.attn_1.as_ref().map_or(0.0, |attn| attn.flops(cells));
        self.block_1.flops(cells) + attention + self.block_2.flops(cells)
    }
}
