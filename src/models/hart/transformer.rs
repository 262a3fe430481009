//! The transformer. A text is scale 0; the candidates of one text run together, with guidance twice:
//! once with the text and once with zeros in its place.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{
    Config, DiffusionHead, HartConfig,
    embedding::{Like, NumberEmbedding},
};
use crate::{
    Result, interrupt,
    models::{
        branches::{ScaleKv, add_kv, kv_before, of_branch, per_branch, row_kv, with_own},
        qwen2::gated_mlp,
        rotation::{Pairs, Rotation},
    },
    nn::{Activation, Kv, Linear, Mlp, RmsNorm, Signature, Weights, attention_blocks, residual},
};

/// Base of all rotary frequencies.
const BASE: f32 = 10_000.0;

/// The scale of attention scores relative to the usual one, 1 / sqrt(D).
const SCORES: f32 = 0.25;

/// Features of a text.
#[derive(Clone, Debug)]
pub struct Context {
    /// One vector per token, padding included: (T, context width)
    pub features: Tensor,
    /// The position of each token: those of padding repeat the last one, or are -1 before the
    /// first.
    pub positions: Vec<i64>,
}

/// The parts of the network that depend on the text alone, computed once.
#[derive(Clone, Debug)]
pub struct Condition {
    /// What the first block reads: (1, T, C)
    first: Tensor,
    head_scale: Tensor, // (C)
    head_shift: Tensor, // (C)
    /// Of each scale.
    rotations: Vec<Rotation>,
}

impl Condition {
    /// The rotary embedding of a scale.
    pub fn rotation(&self, scale: usize) -> &Rotation {
        &self.rotations[scale]
    }
}

/// One scale of the candidates of one text, in one or two branches.
#[derive(Clone, Copy)]
pub struct ScaleRun<'a> {
    /// The number of the scale.
    pub scale: usize,
    /// The running sum as tokens, the same for all branches: (R, L, Z); `None` at scale 0, where all
    /// candidates are equal.
    pub tokens: Option<&'a Tensor>,
    /// The text of each branch: the conditional one, then the unconditional one.
    pub conditions: &'a [Condition],
    /// The keys and values of each row at the scales before.
    pub seen: &'a [Vec<Arc<ScaleKv>>],
    /// The weight t of guidance: `(1 + t) * conditional - t * unconditional`.
    pub guidance: f64,
    /// Returns the keys and values, which later scales need.
    pub keep: bool,
}

/// The results of a scale.
pub struct ScaleOutput {
    /// Mixed by the guidance: (R, L, V), at scale 0 (R, 1, V)
    pub logits: Tensor,
    /// The keys and values of each row, if they are kept.
    pub kv: Vec<ScaleKv>,
    /// The output of the last block: (branches * R, L, C)
    pub last: Tensor,
}

/// The network.
#[derive(Clone, Debug)]
pub struct Hart {
    config: Config,
    word_embed: Linear,
    context_norm: Option<RmsNorm>,
    context_embed: Linear,
    levels: Vec<Tensor>, // each (1, C)
    blocks: Vec<Block>,
    head_norm: RmsNorm,
    head_nm: Linear,
    head: Linear,
    decoder_norm: RmsNorm,
    diffusion: DiffusionHead,
    like: Like,
}

impl Hart {
    /// Tensors of every checkpoint.
    pub const SIGNATURE: Signature = Signature {
        layouts: &[&[
            "context_embed.weight",
            "word_embed.weight",
            "diffloss.net.input_proj.weight",
            "head.weight",
        ]],
    };

    /// Reads a checkpoint with its `config.json`.
    ///
    /// # Errors
    /// A tensor is missing or of another shape than the rest implies, or the file describes a model
    /// of another kind.
    pub fn load(w: &Weights, file: &HartConfig) -> Result<Self> {
        let config = Config::read(w, file)?;
        let c = config.width;
        let eps = file.norm_eps;
        let norm = |name: &str, width| RmsNorm::load(&w.pp(name), width, eps);
        let context_norm = match config.context_norm {
            true => Some(norm("context_norm", config.context_width)?),
            false => None,
        };
        let block = |i| Block::load(&w.pp("blocks").pp(i), &config, eps);
        let like = Like::of(w);
        Ok(Self {
            word_embed: Linear::load(&w.pp("word_embed"), config.code_width, c)?,
            context_norm,
            context_embed: Linear::load(&w.pp("context_embed"), config.context_width, c)?,
            levels: levels(w, &config, &like)?,
            blocks: (0..config.depth).map(block).collect::<Result<_>>()?,
            head_norm: norm("head_nm.ln_wo_grad", c)?,
            head_nm: Linear::load(&w.pp("head_nm.ada_lin.1"), c, 2 * c)?,
            head: Linear::load(&w.pp("head"), c, config.vocabulary)?,
            decoder_norm: norm("decoder_norm", c)?,
            diffusion: DiffusionHead::load(&w.pp("diffloss.net"), &config)?,
            like,
            config,
        })
    }

    /// The sizes of the network.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The device of the weights.
    pub fn device(&self) -> &Device {
        &self.like.device
    }

    /// The type of activations.
    pub fn dtype(&self) -> DType {
        self.like.dtype
    }

    /// The diffusion head.
    pub fn diffusion(&self) -> &DiffusionHead {
        &self.diffusion
    }

    /// The step embedding of each scale: (1, C)
    pub fn levels(&self) -> &[Tensor] {
        &self.levels
    }

    /// Text features (T, context width), normalised if the model does that.
    pub fn normed_context(&self, features: &Tensor) -> Result<Tensor> {
        Ok(match &self.context_norm {
            Some(norm) => norm.forward(features)?,
            None => features.clone(),
        })
    }

    /// Text features (T, context width) -> (T, C)
    pub fn embedded_context(&self, features: &Tensor) -> Result<Tensor> {
        Ok(self
            .context_embed
            .forward(&self.normed_context(features)?)?)
    }

    /// Prepares a text; `None` is the unconditional branch, which reads zeros.
    pub fn condition(&self, context: Option<&Context>) -> Result<Condition> {
        let tokens = self.config.context_tokens;
        let (features, positions) = match context {
            Some(context) => {
                let features = context.features.to_dtype(self.like.dtype)?;
                let features = features.to_device(&self.like.device)?;
                (features, context.positions.clone())
            }
            None => {
                let shape = (tokens, self.config.context_width);
                let zeros = Tensor::zeros(shape, self.like.dtype, &self.like.device)?;
                (zeros, vec![0; tokens])
            }
        };
        let embedded = self.embedded_context(&features)?; // (T, C)
        let strongest = embedded.max_keepdim(0)?; // (1, C)
        let head = self
            .head_nm
            .forward(&Activation::Silu.forward(&strongest)?)?;
        let head = head.reshape((2, self.config.width))?;
        Ok(Condition {
            first: embedded.broadcast_add(&self.levels[0])?.unsqueeze(0)?,
            head_scale: head.get(0)?,
            head_shift: head.get(1)?,
            rotations: self.rotations(&positions)?,
        })
    }

    /// The rotary embeddings of the text and of all grids, which follow its last token.
    fn rotations(&self, positions: &[i64]) -> Result<Vec<Rotation>> {
        let width = self.config.width / self.config.heads;
        let device = &self.like.device;
        let offset = positions.last().copied().unwrap_or(0) as f32;
        let (whole, _) = self.config.grids[self.config.grids.len() - 1];
        let mut all = vec![Rotation::of_text(positions, width, BASE, device)?];
        for (side, _) in &self.config.grids[1..] {
            let angles = grid_angles(*side, whole, offset, width);
            all.push(Rotation::new(angles, width, Pairs::Halves, device)?);
        }
        Ok(all)
    }

    /// Tokens (R, L, Z) of a scale -> (R, L, C)
    fn input(&self, run: &ScaleRun, condition: &Condition, rows: usize) -> Result<Tensor> {
        Ok(match run.tokens {
            None => condition.first.repeat((rows, 1, 1))?,
            Some(tokens) => {
                let level = &self.levels[run.scale];
                self.word_embed.forward(tokens)?.broadcast_add(level)?
            }
        })
    }

    /// Runs one scale. `watch` receives the branch, number and output (R, L, C) of every block.
    pub fn forward(
        &self,
        run: ScaleRun,
        watch: &mut dyn FnMut(usize, usize, &Tensor),
    ) -> Result<ScaleOutput> {
        let ScaleRun {
            conditions, seen, ..
        } = run;
        let rows = seen.len();
        let branches = conditions.len();
        let inputs = conditions
            .iter()
            .map(|condition| self.input(&run, condition, rows));
        let mut x = Tensor::cat(&inputs.collect::<Result<Vec<_>>>()?, 0)?; // (branches * R, L, C)
        let rotations: Vec<&Rotation> = conditions
            .iter()
            .map(|condition| condition.rotation(run.scale))
            .collect();
        let mut kept: Vec<ScaleKv> = vec![vec![Vec::new(); branches]; rows];
        for (i, block) in self.blocks.iter().enumerate() {
            interrupt::check()?;
            let before = kv_before(seen, branches, i);
            let (out, own) = block.forward(&x, &rotations, &before)?;
            x = out;
            for branch in 0..branches {
                watch(branch, i, &of_branch(&x, branch, rows)?);
            }
            if run.keep {
                add_kv(&mut kept, own);
            }
        }
        let mut logits = self.logits(&run, &x, 0)?;
        if branches == 2 && run.guidance != 0.0 {
            let other = self.logits(&run, &x, 1)?;
            logits = ((logits * (1.0 + run.guidance))? - (other * run.guidance)?)?;
        }
        Ok(ScaleOutput {
            logits,
            kv: if run.keep { kept } else { Vec::new() },
            last: x,
        })
    }

    /// The logits of one branch. The first code follows the last token of the text.
    fn logits(&self, run: &ScaleRun, x: &Tensor, branch: usize) -> Result<Tensor> {
        let x = of_branch(x, branch, run.seen.len())?;
        let tokens = x.dims()[1];
        let x = match run.scale {
            0 => x.narrow(1, tokens - 1, 1)?.contiguous()?,
            _ => x,
        };
        let h = self.head_input(&x, &run.conditions[branch])?;
        Ok(self.head.forward(&h)?)
    }

    /// The input of the head: (R, L, C) -> (R, L, C)
    pub fn head_input(&self, x: &Tensor, condition: &Condition) -> Result<Tensor> {
        let h = self.head_norm.forward(x)?;
        let scale = (&condition.head_scale + 1.0)?;
        Ok(h.broadcast_mul(&scale)?
            .broadcast_add(&condition.head_shift)?)
    }

    /// The condition of the diffusion head, (L, C), for the output x (L, C) of the last block and
    /// the drawn codes (L, Z).
    pub fn diffusion_condition(&self, x: &Tensor, codes: &Tensor) -> Result<Tensor> {
        let codes = codes
            .to_dtype(self.like.dtype)?
            .to_device(&self.like.device)?;
        let x = (x + self.word_embed.forward(&codes)?)?;
        Ok(self.decoder_norm.forward(&x)?)
    }

    /// Bytes of the keys and values that one row of one branch leaves for `tokens` tokens.
    pub fn kv_bytes(&self, tokens: usize) -> u64 {
        let first = self.blocks.first();
        let dtype = first.map_or(DType::F32, |block| block.attn.kept_as);
        self.config.kv_bytes(tokens, dtype)
    }
}

/// Returns whether a weight of guidance guides the diffusion head.
pub fn is_guided(guidance: f64) -> bool {
    guidance != 0.0 && guidance != 1.0
}

/// The step embedding of each scale: (1, C)
fn levels(w: &Weights, config: &Config, like: &Like) -> Result<Vec<Tensor>> {
    let embedding = NumberEmbedding::load(&w.pp("lvl_embed"), config.width)?;
    let level = |scale| embedding.forward(&[scale], like);
    (0..config.grids.len()).map(level).collect()
}

/// The angles (L, D) of a square grid that is stretched onto one of side `whole`, and moved by
/// `offset`. As in the original, the first value of each pair has angles of the row, the second of
/// the column, so that this is not a rotation.
fn grid_angles(side: usize, whole: usize, offset: f32, width: usize) -> Vec<f32> {
    let quarter = width / 4;
    let frequency = |m: usize| BASE.powf(-((4 * m) as f32) / width as f32);
    let frequencies: Vec<f32> = (0..quarter).map(frequency).collect();
    let place = |index: usize| index as f32 / side as f32 * whole as f32 + offset;
    let mut angles = Vec::with_capacity(side * side * width);
    for row in 0..side {
        for column in 0..side {
            for place in [place(row), place(row), place(column), place(column)] {
                angles.extend(frequencies.iter().map(|frequency| place * frequency));
            }
        }
    }
    angles
}

/// One block: self-attention over all scales so far, feed-forward.
#[derive(Clone, Debug)]
struct Block {
    norm: RmsNorm,
    attn: Attention,
    ffn: Mlp,
}

impl Block {
    fn load(w: &Weights, config: &Config, eps: f32) -> Result<Self> {
        Ok(Self {
            norm: RmsNorm::load(&w.pp("ln_wo_grad"), config.width, eps)?,
            attn: Attention::load(&w.pp("attn"), config)?,
            ffn: gated_mlp(&w.pp("ffn"), config.width, config.hidden)?,
        })
    }

    /// x (branches * R, L, C), one branch after the other; `before[r]` are the keys and values of
    /// the earlier scales of row r. Both parts share one norm.
    fn forward(
        &self,
        x: &Tensor,
        rotations: &[&Rotation],
        before: &[Vec<&Kv>],
    ) -> Result<(Tensor, Vec<Kv>)> {
        let h = self.norm.forward(x)?;
        let (h, own) = self.attn.forward(&h, rotations, before)?;
        let x = residual(x, &h, None)?;
        let h = self.ffn.forward(&self.norm.forward(&x)?)?;
        Ok((residual(&x, &h, None)?, own))
    }
}

/// Self-attention with keys and values of earlier scales.
#[derive(Clone, Debug)]
struct Attention {
    qkv_proj: Linear,
    proj: Linear,
    heads: usize,
    scale: f32,
    kept_as: DType, // of keys and values
}

impl Attention {
    fn load(w: &Weights, config: &Config) -> Result<Self> {
        let c = config.width;
        let q_bias = w.get(c, "q_bias")?;
        let v_bias = w.get(c, "v_bias")?;
        let bias = Tensor::cat(&[&q_bias, &q_bias.zeros_like()?, &v_bias], 0)?;
        let head_width = (c / config.heads) as f32;
        Ok(Self {
            qkv_proj: Linear::load_with_bias(&w.pp("qkv_proj"), c, 3 * c, Some(bias))?,
            proj: Linear::load(&w.pp("proj"), c, c)?,
            heads: config.heads,
            scale: SCORES / head_width.sqrt(),
            kept_as: w.dtype().of_activations(),
        })
    }

    /// x (branches * R, L, C) -> the same, and the keys and values of each row.
    fn forward(
        &self,
        x: &Tensor,
        rotations: &[&Rotation],
        before: &[Vec<&Kv>],
    ) -> Result<(Tensor, Vec<Kv>)> {
        let qkv = self.qkv_proj.forward(x)?.chunk(3, 2)?;
        let turn = |x: &Tensor| per_branch(rotations, x, |rotation, x| rotation.forward(x));
        let q = turn(&qkv[0])?;
        let k = turn(&qkv[1])?;
        let new = row_kv(&k, &qkv[2], self.kept_as)?;
        let seen = with_own(before, &new);
        let out = attention_blocks(&q, &seen, self.heads, self.scale, None)?; // (R, L, C)
        Ok((self.proj.forward(&out)?, new))
    }
}
