//! Swin: a transformer whose tokens look at each other inside small windows, which shift from block
//! to block, on a grid that becomes coarser from stage to stage (arXiv 2103.14030).
//!
//! Reference: huggingface/transformers at v4.49.0, `src/transformers/models/swin/modeling_swin.py`,
//! lines 212-423 and 459-922 (layers, stages), 1321 onwards (`SwinBackbone`). As there, grids are
//! always cut into whole windows, padded with zeros where they do not fit, also where a grid is
//! smaller than a window.

use candle_core::{Result, Tensor};

use super::SwinConfig;
use crate::nn::{LayerNorm, Linear, Mlp, PatchEmbed, Weights, attention, residual};

/// The LayerNorms between the stages; the blocks take theirs from the configuration.
const EPS: f32 = 1e-5;

/// Added to the scores of tokens that lie side by side only because the grid was rolled.
const SEPARATED: f32 = -100.0;

/// The network. All sizes but the numbers of heads are read off the weights.
#[derive(Clone, Debug)]
pub struct Swin {
    patch_embeddings: PatchEmbed,
    norm: LayerNorm,
    layers: Vec<Stage>,
    hidden_states_norms: Vec<LayerNorm>,
}

impl Swin {
    /// The tensors below `w`.
    pub fn load(w: &Weights, config: &SwinConfig) -> crate::Result<Self> {
        let heads = &config.num_heads;
        let patch_embeddings = PatchEmbed::load(&w.pp("embeddings.patch_embeddings.projection"))?;
        let width = patch_embeddings.width();
        let layers = w.pp("encoder.layers");
        let widths: Vec<usize> = (0..heads.len()).map(|i| width << i).collect();
        let stage = |i: usize| Stage::load(&layers.pp(i), widths[i], i, config);
        let norm = |i: usize| {
            LayerNorm::load(
                &w.pp(format!("hidden_states_norms.stage{}", i + 1)),
                widths[i],
                EPS,
            )
        };
        Ok(Self {
            norm: LayerNorm::load(&w.pp("embeddings.norm"), width, EPS)?,
            layers: (0..heads.len()).map(stage).collect::<crate::Result<_>>()?,
            hidden_states_norms: (0..heads.len()).map(norm).collect::<crate::Result<_>>()?,
            patch_embeddings,
        })
    }

    /// Channels of each stage.
    pub fn widths(&self) -> Vec<usize> {
        (0..self.layers.len())
            .map(|i| self.patch_embeddings.width() << i)
            .collect()
    }

    /// Pixels (B, 3, H, W) -> the normalised features of each stage, (B, C, h, w), finest first.
    pub fn forward(&self, pixels: &Tensor) -> Result<Vec<Tensor>> {
        let (_, _, height, width) = pixels.dims4()?;
        let patch = self.patch_embeddings.patch();
        let mut grid = (height / patch, width / patch);
        let mut x = self.norm.forward(&self.patch_embeddings.forward(pixels)?)?; // (B, L, C)
        let mut features = vec![];
        for (stage, norm) in self.layers.iter().zip(&self.hidden_states_norms) {
            x = stage.forward(&x, grid)?;
            let (b, _, c) = x.dims3()?;
            features.push(
                norm.forward(&x)?
                    .transpose(1, 2)?
                    .reshape((b, c, grid.0, grid.1))?,
            );
            if let Some(downsample) = &stage.downsample {
                x = downsample.forward(&x, grid)?;
                grid = (grid.0.div_ceil(2), grid.1.div_ceil(2));
            }
        }
        Ok(features)
    }
}

#[derive(Clone, Debug)]
struct Stage {
    blocks: Vec<Block>,
    downsample: Option<PatchMerging>,
}

impl Stage {
    fn load(w: &Weights, width: usize, place: usize, config: &SwinConfig) -> crate::Result<Self> {
        let heads = config.num_heads[place];
        let merges = place + 1 < config.num_heads.len();
        let block = |i: usize| Block::load(&w.pp("blocks").pp(i), width, heads, i % 2 == 1, config);
        let blocks = (0..w.count("blocks").max(1))
            .map(block)
            .collect::<crate::Result<_>>()?;
        let downsample = merges
            .then(|| PatchMerging::load(&w.pp("downsample"), width))
            .transpose()?;
        Ok(Self { blocks, downsample })
    }

    /// (B, L, C) -> (B, L, C)
    fn forward(&self, x: &Tensor, grid: (usize, usize)) -> Result<Tensor> {
        self.blocks
            .iter()
            .try_fold(x.clone(), |x, block| block.forward(&x, grid))
    }
}

/// Pre-norm attention inside windows, then feed-forward layers, each with a residual.
#[derive(Clone, Debug)]
struct Block {
    layernorm_before: LayerNorm,
    attention: WindowAttention,
    layernorm_after: LayerNorm,
    mlp: Mlp,
    shifted: bool,
}

impl Block {
    fn load(
        w: &Weights,
        width: usize,
        heads: usize,
        shifted: bool,
        config: &SwinConfig,
    ) -> crate::Result<Self> {
        let eps = config.layer_norm_eps;
        let [hidden, _] = w.dims("intermediate.dense.weight")?;
        let mlp = Mlp::Plain {
            fc1: Linear::load(&w.pp("intermediate.dense"), width, hidden)?,
            act: config.hidden_act,
            fc2: Linear::load(&w.pp("output.dense"), hidden, width)?,
        };
        Ok(Self {
            layernorm_before: LayerNorm::load(&w.pp("layernorm_before"), width, eps)?,
            attention: WindowAttention::load(&w.pp("attention"), width, heads)?,
            layernorm_after: LayerNorm::load(&w.pp("layernorm_after"), width, eps)?,
            mlp,
            shifted,
        })
    }

    fn forward(&self, x: &Tensor, (rows, columns): (usize, usize)) -> Result<Tensor> {
        let (b, l, c) = x.dims3()?;
        let side = self.attention.side;
        let windows = Windows::new(
            (rows, columns),
            side,
            if self.shifted { side / 2 } else { 0 },
        );
        let grid = self
            .layernorm_before
            .forward(x)?
            .reshape((b, rows, columns, c))?;
        let inside = self.attention.forward(&windows.cut(&grid)?, &windows)?;
        let x = residual(x, &windows.join(&inside, b)?.reshape((b, l, c))?, None)?;
        residual(
            &x,
            &self.mlp.forward(&self.layernorm_after.forward(&x)?)?,
            None,
        )
    }
}

/// Tokens along a side of a window at most; released models have 7 and 12. The bias of a window
/// grows with its fourth power.
const LARGEST_WINDOW: usize = 32;

/// Attention among the tokens of a window, with a learned bias for each distance.
#[derive(Clone, Debug)]
struct WindowAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    dense: Linear,
    bias: Tensor, // (1, heads, side^2, side^2)
    heads: usize,
    side: usize,
}

impl WindowAttention {
    fn load(w: &Weights, width: usize, heads: usize) -> crate::Result<Self> {
        const TABLE: &str = "self.relative_position_bias_table";
        let [distances, found] = w.dims(TABLE)?;
        let side = distances.isqrt().div_ceil(2);
        if side > LARGEST_WINDOW {
            return Err(w.mismatch(
                TABLE,
                format!("windows of at most {LARGEST_WINDOW} tokens per side"),
                side.to_string(),
            ));
        }
        if (2 * side).saturating_sub(1).pow(2) != distances
            || found != heads
            || !width.is_multiple_of(heads.max(1))
        {
            let expected = format!(
                "a bias for every distance inside a square window and each of {heads} heads"
            );
            return Err(w.mismatch(TABLE, expected, format!("[{distances}, {found}]")));
        }
        let table = w.get((distances, heads), TABLE)?;
        let linear = |name: &str| Linear::load(&w.pp(name), width, width);
        Ok(Self {
            query: linear("self.query")?,
            key: linear("self.key")?,
            value: linear("self.value")?,
            dense: linear("output.dense")?,
            bias: distance_bias(&table, side)?,
            heads,
            side,
        })
    }

    /// (B * windows, side^2, C) -> the same
    fn forward(&self, x: &Tensor, windows: &Windows) -> Result<Tensor> {
        let (all, _, c) = x.dims3()?;
        let scale = ((c / self.heads) as f32).sqrt().recip();
        let bias = match windows.separation_mask(x)? {
            Some(apart) => {
                let bias = self.bias.broadcast_add(&apart)?; // (windows, heads, side^2, side^2)
                Tensor::cat(&vec![&bias; all / bias.dims()[0]], 0)?
            }
            None => self.bias.clone(),
        };
        let [q, k, v] = [&self.query, &self.key, &self.value].map(|layer| layer.forward(x));
        self.dense
            .forward(&attention(&q?, &k?, &v?, self.heads, scale, Some(&bias))?)
    }
}

/// The table of distances ((2 side - 1)^2, heads) as a bias of each pair of tokens, (1, heads,
/// side^2, side^2).
fn distance_bias(table: &Tensor, side: usize) -> Result<Tensor> {
    let tokens = side * side;
    let heads = table.dims()[1];
    let distance = |i: usize| {
        let from = i / tokens;
        let to = i % tokens;
        let along = |from: usize, to: usize| from + side - 1 - to;
        (along(from / side, to / side) * (2 * side - 1) + along(from % side, to % side)) as u32
    };
    let index = Tensor::from_iter((0..tokens * tokens).map(distance), table.device())?;
    table
        .index_select(&index, 0)?
        .t()?
        .reshape((1, heads, tokens, tokens))
}

/// The windows of a grid that was rolled up and to the left by `shift`.
struct Windows {
    grid: (usize, usize),
    padded: (usize, usize),
    side: usize,
    shift: usize,
}

impl Windows {
    fn new(grid: (usize, usize), side: usize, shift: usize) -> Self {
        let padded = (grid.0.next_multiple_of(side), grid.1.next_multiple_of(side));
        Self {
            grid,
            padded,
            side,
            shift,
        }
    }

    fn counts(&self) -> (usize, usize) {
        (self.padded.0 / self.side, self.padded.1 / self.side)
    }

    /// (B, rows, columns, C) -> (B * windows, side^2, C)
    fn cut(&self, x: &Tensor) -> Result<Tensor> {
        let (b, _, _, c) = x.dims4()?;
        let (down, across) = self.counts();
        let s = self.side;
        let mut x = x.pad_with_zeros(1, 0, self.padded.0 - self.grid.0)?;
        x = x.pad_with_zeros(2, 0, self.padded.1 - self.grid.1)?;
        if self.shift > 0 {
            x = x
                .roll(-(self.shift as i32), 1)?
                .roll(-(self.shift as i32), 2)?;
        }
        let x = x
            .reshape(vec![b, down, s, across, s, c])?
            .permute(vec![0, 1, 3, 2, 4, 5])?;
        x.reshape((b * down * across, s * s, c))
    }

    /// The way back: (B * windows, side^2, C) -> (B, rows, columns, C)
    fn join(&self, x: &Tensor, b: usize) -> Result<Tensor> {
        let (down, across) = self.counts();
        let s = self.side;
        let c = x.dims()[2];
        let x = x
            .reshape(vec![b, down, across, s, s, c])?
            .permute(vec![0, 1, 3, 2, 4, 5])?;
        let mut x = x.reshape((b, self.padded.0, self.padded.1, c))?;
        if self.shift > 0 {
            x = x.roll(self.shift as i32, 1)?.roll(self.shift as i32, 2)?;
        }
        x.narrow(1, 0, self.grid.0)?.narrow(2, 0, self.grid.1)
    }

    /// The mask between tokens that are neighbours only through rolling: (windows, 1, side^2,
    /// side^2), on the device of `x`.
    fn separation_mask(&self, x: &Tensor) -> Result<Option<Tensor>> {
        if self.shift == 0 {
            return Ok(None);
        }
        let (down, across) = self.counts();
        let s = self.side;
        // Before the last window, in its own part, in the part that came from the other end.
        let part = |at: usize, length: usize| {
            usize::from(at + s >= length) + usize::from(at + self.shift >= length)
        };
        let mut values = Vec::with_capacity(down * across * s.pow(4));
        for window in 0..down * across {
            let top = window / across * s;
            let left = window % across * s;
            let place = |i: usize| {
                (
                    part(top + i / s, self.padded.0),
                    part(left + i % s, self.padded.1),
                )
            };
            let places: Vec<_> = (0..s * s).map(place).collect();
            for from in &places {
                values.extend(
                    places
                        .iter()
                        .map(|to| if from == to { 0.0 } else { SEPARATED }),
                );
            }
        }
        Ok(Some(Tensor::from_vec(
            values,
            (down * across, 1, s * s, s * s),
            x.device(),
        )?))
    }
}

/// Joins each square of four tokens into one of twice the channels.
#[derive(Clone, Debug)]
struct PatchMerging {
    norm: LayerNorm,
    reduction: Linear,
}

impl PatchMerging {
    fn load(w: &Weights, width: usize) -> crate::Result<Self> {
        let reduction = Linear::load_no_bias(&w.pp("reduction"), 4 * width, 2 * width)?;
        Ok(Self {
            norm: LayerNorm::load(&w.pp("norm"), 4 * width, EPS)?,
            reduction,
        })
    }

    /// (B, rows * columns, C) -> (B, ceil(rows / 2) * ceil(columns / 2), 2 C)
    fn forward(&self, x: &Tensor, (rows, columns): (usize, usize)) -> Result<Tensor> {
        let (b, _, c) = x.dims3()?;
        let down = rows.div_ceil(2);
        let across = columns.div_ceil(2);
        let x = x.reshape((b, rows, columns, c))?;
        let x = x
            .pad_with_zeros(1, 0, rows % 2)?
            .pad_with_zeros(2, 0, columns % 2)?;
        let x = x
            .reshape(vec![b, down, 2, across, 2, c])?
            .permute(vec![0, 1, 3, 4, 2, 5])?; // columns before rows
        self.reduction
            .forward(&self.norm.forward(&x.reshape((b, down * across, 4 * c))?)?)
    }
}
