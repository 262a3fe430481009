//! The pixel decoder: tokens of the three coarser stages attend to each other, and the finest
//! stage is added at the end.
//!
//! Reference: huggingface/transformers at v4.49.0,
//! `src/transformers/models/mask2former/modeling_mask2former.py`, lines
//! 984-1386 (`Mask2FormerPixelDecoder`).

use candle_core::{Result, Tensor};

use super::{EPS, deformable::DeformableAttention, positions::waves};
use crate::nn::{
    Activation, Conv2d, FeatureMap, GroupNorm, LayerNorm, Mlp, Weights, bilinear, residual,
};

/// Levels whose tokens look at each other: strides 32, 16 and 8.
pub(super) const LEVELS: usize = 3;

/// Groups of channels that are normalised together.
const GROUPS: usize = 32;

/// The network.
#[derive(Clone, Debug)]
pub struct PixelDecoder {
    input_projections: Vec<Projection>, // coarsest first
    level_embed: Tensor,                // (levels, C)
    encoder: Vec<Layer>,
    adapter_1: Projection,
    layer_1: Projection,
    mask_projection: Conv2d,
}

/// The output of the pixel decoder.
#[derive(Clone, Debug)]
pub struct PixelFeatures {
    /// (B, C, h, w) at strides 32, 16 and 8.
    pub levels: Vec<Tensor>,
    /// (B, C', h, w) at stride 4: what the masks of queries are read from.
    pub mask_features: Tensor,
}

impl PixelDecoder {
    /// The tensors below `w`; `stages` are the channels of the backbone's stages, finest first.
    pub fn load(w: &Weights, stages: &[usize], heads: usize) -> crate::Result<Self> {
        let [levels, width] = w.dims("level_embed")?;
        if levels != LEVELS {
            return Err(w.mismatch(
                "level_embed",
                format!("{LEVELS} levels"),
                levels.to_string(),
            ));
        }
        let projection = |i: usize| {
            let conv = Conv2d::load(&w.pp(format!("input_projections.{i}.0")), 1, 0)?;
            let inputs = stages[stages.len() - 1 - i];
            Projection::load(
                w,
                &format!("input_projections.{i}"),
                conv,
                [inputs, width],
                None,
            )
        };
        let layers = w.pp("encoder.layers");
        let layer = |i: usize| Layer::load(&layers.pp(i), width, heads);
        let adapter = Conv2d::load_no_bias(&w.pp("adapter_1.0"), 1, 0)?;
        let smooth = Conv2d::load_no_bias(&w.pp("layer_1.0"), 1, 1)?;
        let relu = Some(Activation::Relu);
        Ok(Self {
            input_projections: (0..LEVELS).map(projection).collect::<crate::Result<_>>()?,
            level_embed: w.get((LEVELS, width), "level_embed")?,
            encoder: (0..w.count("encoder.layers").max(1))
                .map(layer)
                .collect::<crate::Result<_>>()?,
            adapter_1: Projection::load(w, "adapter_1", adapter, [stages[0], width], None)?,
            layer_1: Projection::load(w, "layer_1", smooth, [width, width], relu)?,
            mask_projection: Conv2d::load(&w.pp("mask_projection"), 1, 0)?,
        })
    }

    /// Channels of the levels.
    pub fn width(&self) -> usize {
        self.level_embed.dims()[1]
    }

    /// Channels of what masks are read from.
    pub fn mask_width(&self) -> usize {
        self.mask_projection.outputs()
    }

    /// Features of each stage, (B, C, h, w), finest first.
    pub fn forward(&self, features: &[Tensor]) -> Result<PixelFeatures> {
        let grids = features
            .iter()
            .rev()
            .take(LEVELS)
            .map(|x| Ok((x.dim(2)?, x.dim(3)?)))
            .collect::<Result<Vec<_>>>()?;
        let mut tokens = vec![];
        let mut positions = vec![];
        for (i, (x, grid)) in features.iter().rev().zip(&grids).enumerate() {
            tokens.push(
                self.input_projections[i]
                    .forward(&FeatureMap::new(x)?)?
                    .to_tensor()?
                    .flatten_from(2)?,
            );
            let waves = waves(*grid, self.width(), x.device())?.to_dtype(x.dtype())?;
            positions.push(waves.broadcast_add(&self.level_embed.get(i)?)?);
        }
        let mut x = Tensor::cat(&tokens, 2)?.transpose(1, 2)?.contiguous()?; // (B, L, C)
        let positions = Tensor::cat(&positions, 0)?
            .broadcast_as(x.shape())?
            .contiguous()?;
        for layer in &self.encoder {
            x = layer.forward(&x, &positions, &grids)?;
        }
        let levels = split(&x, &grids)?;
        let mask_features = self.mask_features(&features[0], &levels[LEVELS - 1])?;
        Ok(PixelFeatures {
            levels,
            mask_features,
        })
    }

    /// The finest stage, joined with the finest level.
    fn mask_features(&self, finest: &Tensor, level: &Tensor) -> Result<Tensor> {
        let adapted = self
            .adapter_1
            .forward(&FeatureMap::new(finest)?)?
            .to_tensor()?;
        let (_, _, h, w) = adapted.dims4()?;
        let joined = residual(&adapted, &bilinear(level, (h, w))?, None)?;
        self.mask_projection
            .forward(&self.layer_1.forward(&FeatureMap::new(&joined)?)?)?
            .to_tensor()
    }
}

/// (B, L, C) -> (B, C, h, w) for each grid.
fn split(x: &Tensor, grids: &[(usize, usize)]) -> Result<Vec<Tensor>> {
    let (b, _, c) = x.dims3()?;
    let mut first = 0;
    let level = |&(rows, columns): &(usize, usize)| {
        let level = x
            .narrow(1, first, rows * columns)?
            .transpose(1, 2)?
            .reshape((b, c, rows, columns));
        first += rows * columns;
        level
    };
    grids.iter().map(level).collect()
}

/// A convolution that keeps the size, and a normalisation.
#[derive(Clone, Debug)]
struct Projection {
    conv: Conv2d,
    norm: GroupNorm,
}

impl Projection {
    /// `conv` is what lies at `name.0` and has to have these channels; the normalisation lies at
    /// `name.1`.
    fn load(
        w: &Weights,
        name: &str,
        conv: Conv2d,
        channels: [usize; 2],
        act: Option<Activation>,
    ) -> crate::Result<Self> {
        if [conv.inputs(), conv.outputs()] != channels {
            let found = format!("from {} to {}", conv.inputs(), conv.outputs());
            let expected = format!("from {} to {} channels", channels[0], channels[1]);
            return Err(w.mismatch(&format!("{name}.0.weight"), expected, found));
        }
        let groups = |channels: usize| {
            (channels == conv.outputs() && channels.is_multiple_of(GROUPS)).then_some(GROUPS)
        };
        Ok(Self {
            norm: GroupNorm::load(&w.pp(name).pp(1), groups, EPS, act)?,
            conv,
        })
    }

    fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        self.norm.forward(&self.conv.forward(x)?)
    }
}

/// Post-norm deformable attention and feed-forward layers.
#[derive(Clone, Debug)]
struct Layer {
    self_attn: DeformableAttention,
    self_attn_layer_norm: LayerNorm,
    mlp: Mlp,
    final_layer_norm: LayerNorm,
}

impl Layer {
    fn load(w: &Weights, width: usize, heads: usize) -> crate::Result<Self> {
        Ok(Self {
            self_attn: DeformableAttention::load(&w.pp("self_attn"), width, heads, LEVELS)?,
            self_attn_layer_norm: LayerNorm::load(&w.pp("self_attn_layer_norm"), width, EPS)?,
            mlp: Mlp::load(w, width, Activation::Relu)?,
            final_layer_norm: LayerNorm::load(&w.pp("final_layer_norm"), width, EPS)?,
        })
    }

    /// (B, L, C) -> (B, L, C)
    fn forward(&self, x: &Tensor, positions: &Tensor, grids: &[(usize, usize)]) -> Result<Tensor> {
        let seen = self
            .self_attn
            .forward(&residual(x, positions, None)?, x, grids)?;
        let x = self
            .self_attn_layer_norm
            .forward(&residual(x, &seen, None)?)?;
        self.final_layer_norm
            .forward(&residual(&x, &self.mlp.forward(&x)?, None)?)
    }
}
