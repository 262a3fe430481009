//! The transformer decoder: each query finds one object and attends only to the pixels of its
//! current mask.
//!
//! Reference: huggingface/transformers at v4.49.0,
//! `src/transformers/models/mask2former/modeling_mask2former.py`, lines
//! 1416-2142 (`Mask2FormerTransformerModule` and its layers). A layer's
//! mask comes from the query's state before it, at the size of the level that the layer looks at; a
//! mask that is empty blocks nothing.

use candle_core::{Result, Tensor};

use super::{Config, EPS, pixel_decoder::LEVELS, pixel_decoder::PixelFeatures, positions::waves};
use crate::nn::{Activation, CrossAttention, LayerNorm, Linear, Mlp, Weights, bilinear, residual};

/// The network with the classifier of queries.
#[derive(Clone, Debug)]
pub struct Decoder {
    queries_embedder: Tensor, // (Q, C): positional embedding of a query
    queries_features: Tensor, // (Q, C): initial state
    level_embed: Tensor,      // (levels, C)
    layers: Vec<Layer>,
    layernorm: LayerNorm,
    mask_embedder: Vec<Linear>,
    class_predictor: Linear,
}

/// The objects that the queries found.
#[derive(Clone, Debug)]
pub struct QueryOutputs {
    /// (B, Q, K + 1): logits of the classes; the last is "nothing".
    pub class_logits: Tensor,
    /// (B, Q, h, w) at stride 4: above 0 inside.
    pub mask_logits: Tensor,
    /// (B, Q, C): states after the last layer, before the last normalisation.
    pub last_hidden: Tensor,
}

impl Decoder {
    /// The tensors below `w`, the root of the file; `mask_width` are the channels of what masks are
    /// read from.
    pub fn load(
        w: &Weights,
        width: usize,
        mask_width: usize,
        config: &Config,
    ) -> crate::Result<Self> {
        let module = w.pp("model.transformer_module");
        let [queries, _] = module.dims("queries_embedder.weight")?;
        let table = |name: &str, rows: usize| module.get((rows, width), name);
        let layers = module.pp("decoder.layers");
        let embedder = module.pp("decoder.mask_predictor.mask_embedder");
        let widths = [width, width, width, mask_width];
        let step = |i: usize| Linear::load(&embedder.pp(i).pp(0), widths[i], widths[i + 1]);
        let [classes, _] = w.dims("class_predictor.weight")?;
        let count = module.count("decoder.layers").max(1);
        Ok(Self {
            queries_embedder: table("queries_embedder.weight", queries)?,
            queries_features: table("queries_features.weight", queries)?,
            level_embed: table("level_embed.weight", LEVELS)?,
            layers: (0..count)
                .map(|i| Layer::load(&layers.pp(i), width, config))
                .collect::<crate::Result<_>>()?,
            layernorm: LayerNorm::load(&module.pp("decoder.layernorm"), width, EPS)?,
            mask_embedder: (0..3).map(step).collect::<crate::Result<_>>()?,
            class_predictor: Linear::load(&w.pp("class_predictor"), width, classes)?,
        })
    }

    /// Number of queries.
    pub fn queries(&self) -> usize {
        self.queries_features.dims()[0]
    }

    /// Number of classes, "nothing" not counted.
    pub fn classes(&self) -> usize {
        self.class_predictor.outputs().saturating_sub(1)
    }

    /// The objects in images of these features.
    pub fn forward(&self, features: &PixelFeatures) -> Result<QueryOutputs> {
        let b = features.mask_features.dims()[0];
        let levels = features
            .levels
            .iter()
            .enumerate()
            .map(|(i, x)| self.level(i, x, &features.mask_features));
        let levels = levels.collect::<Result<Vec<_>>>()?;
        let places = repeated(&self.queries_embedder, b)?;
        let mut x = repeated(&self.queries_features, b)?; // (B, Q, C)
        for (i, layer) in self.layers.iter().enumerate() {
            let level = &levels[i % LEVELS];
            let outside = self.outside(&self.layernorm.forward(&x)?, level)?;
            x = layer.forward(&x, &places, level, &outside)?;
        }
        let settled = self.layernorm.forward(&x)?;
        Ok(QueryOutputs {
            class_logits: self.class_predictor.forward(&settled)?,
            mask_logits: self.masks(&settled, &features.mask_features)?,
            last_hidden: x,
        })
    }

    /// One level as all of its layers see it.
    fn level(&self, i: usize, x: &Tensor, mask_features: &Tensor) -> Result<Level> {
        let (b, c, rows, columns) = x.dims4()?;
        let values = x.flatten_from(2)?.transpose(1, 2)?.contiguous()?; // (B, L, C)
        let values = values.broadcast_add(&self.level_embed.get(i)?)?;
        let waves = waves((rows, columns), c, x.device())?.to_dtype(x.dtype())?;
        let keys = residual(&values, &repeated(&waves, b)?, None)?;
        // Resizing commutes with the product that makes masks, so it is done once per level
        // instead of once per layer.
        Ok(Level {
            keys,
            values,
            mask_features: bilinear(mask_features, (rows, columns))?,
        })
    }

    /// The mask of the pixels outside each query's object, added to scores: (B, 1, Q, L).
    fn outside(&self, settled: &Tensor, level: &Level) -> Result<Tensor> {
        let masks = self.masks(settled, &level.mask_features)?.flatten_from(2)?; // (B, Q, L)
        let (b, q, l) = masks.dims3()?;
        let mut values: Vec<f32> = masks.flatten_all()?.to_vec1()?;
        for row in values.chunks_mut(l.max(1)) {
            let empty = row.iter().all(|&logit| is_outside(logit));
            row.iter_mut().for_each(|v| {
                *v = if is_outside(*v) && !empty {
                    f32::NEG_INFINITY
                } else {
                    0.0
                }
            });
        }
        Tensor::from_vec(values, (b, 1, q, l), masks.device())
    }

    /// The mask of each query: (B, Q, C) on (B, C', h, w) -> (B, Q, h, w)
    fn masks(&self, settled: &Tensor, features: &Tensor) -> Result<Tensor> {
        let (b, _, h, w) = features.dims4()?;
        let mut x = settled.clone();
        for (i, layer) in self.mask_embedder.iter().enumerate() {
            x = layer.forward(&x)?;
            if i + 1 < self.mask_embedder.len() {
                x = Activation::Relu.forward(&x)?;
            }
        }
        // The queries of an image are a linear layer over its pixels.
        let pixels = features.flatten_from(2)?.transpose(1, 2)?.contiguous()?; // (B, L, C')
        let masks_of_image = |i: usize| {
            Linear::new(x.get(i)?.contiguous()?, None)?
                .forward(&pixels.get(i)?)?
                .t()?
                .contiguous()
        };
        let masks = Tensor::stack(&(0..b).map(masks_of_image).collect::<Result<Vec<_>>>()?, 0)?;
        masks.reshape((b, self.queries(), h, w))
    }
}

/// `sigmoid(logit) < 0.5` in f32.
fn is_outside(logit: f32) -> bool {
    1.0 / (1.0 + (-logit).exp()) < 0.5
}

/// The tokens of one level.
struct Level {
    keys: Tensor,          // (B, L, C), with positions
    values: Tensor,        // (B, L, C)
    mask_features: Tensor, // (B, C', h, w)
}

/// (L, C) -> (B, L, C)
fn repeated(x: &Tensor, b: usize) -> Result<Tensor> {
    let (l, c) = x.dims2()?;
    x.broadcast_as((b, l, c))?.contiguous()
}

/// Masked attention to the image, attention among the queries, feed-forward layers, each followed
/// by a normalisation.
#[derive(Clone, Debug)]
struct Layer {
    cross_attn: CrossAttention,
    cross_attn_layer_norm: LayerNorm,
    self_attn: CrossAttention,
    self_attn_layer_norm: LayerNorm,
    mlp: Mlp,
    final_layer_norm: LayerNorm,
}

impl Layer {
    fn load(w: &Weights, width: usize, config: &Config) -> crate::Result<Self> {
        let heads = config.num_attention_heads;
        let norm = |name: &str| LayerNorm::load(&w.pp(name), width, EPS);
        Ok(Self {
            cross_attn: CrossAttention::load_joined(&w.pp("cross_attn"), width, heads)?,
            cross_attn_layer_norm: norm("cross_attn_layer_norm")?,
            self_attn: CrossAttention::load_apart(&w.pp("self_attn"), width, heads)?,
            self_attn_layer_norm: norm("self_attn_layer_norm")?,
            mlp: Mlp::load(w, width, config.activation_function)?,
            final_layer_norm: norm("final_layer_norm")?,
        })
    }

    /// (B, Q, C) -> (B, Q, C)
    fn forward(
        &self,
        x: &Tensor,
        places: &Tensor,
        level: &Level,
        outside: &Tensor,
    ) -> Result<Tensor> {
        let asking = residual(x, places, None)?;
        let seen = self
            .cross_attn
            .forward(&asking, &level.keys, &level.values, Some(outside))?;
        let x = self
            .cross_attn_layer_norm
            .forward(&residual(x, &seen, None)?)?;
        let asking = residual(&x, places, None)?;
        let seen = self.self_attn.forward(&asking, &asking, &x, None)?;
        let x = self
            .self_attn_layer_norm
            .forward(&residual(&x, &seen, None)?)?;
        self.final_layer_norm
            .forward(&residual(&x, &self.mlp.forward(&x)?, None)?)
    }
}
