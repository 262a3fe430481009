//! The transformer. Candidates of one prompt run together; with guidance, each of them runs twice:
//! once with the prompt's text and once with the unconditional one. All rows of one of these
//! branches share their text and their modulation.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::{Config, RegionText, Routing};
use crate::{
    Result, interrupt,
    models::branches::{ScaleKv, add_kv, kv_before, of_branch, of_branches},
    nn::{
        Activation, CosineAttention, Kv, LayerNorm, Linear, Mlp, RmsNorm, Rope, Signature, Weights,
        attention, attention_blocks, modulate, residual,
    },
};

const EPS: f32 = 1e-6; // norm_eps of every released model

/// Classifier-free guidance: `cfg * conditional + (1 - cfg) * unconditional`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guidance {
    /// Strength; 1 mixes nothing.
    pub cfg: f32,
    /// `None` mixes logits; `Some(n)` mixes the output of the n-th block from the end, 1 being the
    /// last.
    pub layer: Option<usize>,
}

impl Guidance {
    /// Returns whether the unconditional branch changes the result.
    pub fn mixes(&self) -> bool {
        self.cfg != 1.0
    }
}

/// One scale of the candidates of one prompt, in one or two branches.
#[derive(Clone, Copy)]
pub struct ScaleRun<'a> {
    /// The input of each branch: (R, L, C)
    pub input: &'a [Tensor],
    /// The text of each branch: the conditional one, then the unconditional one.
    pub texts: &'a [Text],
    /// The keys and values of each row at the scales before.
    pub seen: &'a [Vec<Arc<ScaleKv>>],
    /// What the tokens of each row attend to instead of the conditional text; `None` routes nothing.
    pub routing: Option<Routing<'a>>,
    /// The positions of the tokens.
    pub rope: &'a Rope,
    /// Mixes the branches. If it mixes nothing, an unconditional branch only leaves keys and values
    /// for later scales.
    pub guidance: Guidance,
    /// Returns the keys and values, which later scales need.
    pub keep: bool,
}

/// The parts of the network that depend on the text alone, computed once.
#[derive(Clone, Debug)]
pub struct Text {
    /// Text after `text_norm`: (1, T, text width)
    pub normed: Tensor,
    /// Pooled text: (1, C)
    pub pooled: Tensor,
    /// Projected text: (1, T, C)
    pub projected: Tensor,
    /// The modulation that all blocks share: (6, C)
    pub shared: Tensor,
    blocks: Vec<BlockText>,
    head_scale: Tensor, // (C)
    head_shift: Tensor, // (C)
}

/// A text as one block sees it.
#[derive(Clone, Debug)]
struct BlockText {
    gamma1: Tensor, // each (C)
    gamma2: Tensor,
    scale1: Tensor,
    scale2: Tensor,
    shift1: Tensor,
    shift2: Tensor,
    kv: Kv, // (T, C)
}

/// The network.
#[derive(Clone, Debug)]
pub struct Infinity {
    config: Config,
    cfg_uncond: Tensor, // (text tokens, text width)
    text_norm: RmsNorm,
    text_proj_for_sos: TextPool,
    text_proj_for_ca: (Linear, Linear),
    pos_start: Tensor, // (1, C)
    lvl_embed: Tensor, // (levels, C)
    word_embed: Linear,
    shared_ada_lin: Linear,
    blocks: Vec<Block>,
    head_nm: Linear,
    head: Linear,
}

impl Infinity {
    /// Tensors of every checkpoint.
    pub const SIGNATURE: Signature = Signature {
        layouts: &[&[
            "pos_start",
            "cfg_uncond",
            "word_embed.weight",
            "head.weight",
        ]],
    };

    /// Reads a checkpoint; every size is the file's.
    pub fn load(w: &Weights) -> Result<Self> {
        let config = Config::read(w)?;
        let c = config.width;
        let ct = config.text_width;
        let per_chunk = w.count("block_chunks.0.module");
        let block = |i| {
            Block::load(
                &w.pp(format!(
                    "block_chunks.{}.module.{}",
                    i / per_chunk,
                    i % per_chunk
                )),
                &config,
            )
        };
        let projection = w.pp("text_proj_for_ca");
        Ok(Self {
            cfg_uncond: w.get((config.text_tokens, ct), "cfg_uncond")?,
            text_norm: RmsNorm::load(&w.pp("text_norm"), ct, EPS)?,
            text_proj_for_sos: TextPool::load(&w.pp("text_proj_for_sos.ca"), c, ct)?,
            text_proj_for_ca: (
                Linear::load(&projection.pp(0), ct, c)?,
                Linear::load(&projection.pp(2), c, c)?,
            ),
            pos_start: w.get_reshaped((1, c), "pos_start")?,
            lvl_embed: w.get((config.levels, c), "lvl_embed.weight")?,
            word_embed: Linear::load(&w.pp("word_embed"), config.bits, c)?,
            shared_ada_lin: Linear::load(&w.pp("shared_ada_lin.1"), c, 6 * c)?,
            blocks: (0..config.depth).map(block).collect::<Result<_>>()?,
            head_nm: Linear::load(&w.pp("head_nm.ada_lin.1"), c, 2 * c)?,
            head: Linear::load(&w.pp("head"), c, 2 * config.bits)?,
            config,
        })
    }

    /// The sizes of the network.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The type of activations.
    pub fn dtype(&self) -> DType {
        self.pos_start.dtype()
    }

    /// Features of the learned unconditional text, cut to the length of the prompt it stands
    /// beside: (T, text width)
    pub fn unconditional(&self, tokens: usize) -> Result<Tensor> {
        Ok(self
            .cfg_uncond
            .narrow(0, 0, tokens.min(self.config.text_tokens))?)
    }

    /// Prepares the features (T, text width) of the text of a region.
    pub fn region_text(&self, features: &Tensor) -> Result<RegionText> {
        let normed = self.text_norm.forward(&features.unsqueeze(0)?)?; // (1, T, Ct)
        let projected = self.project(&normed)?;
        let kv = |block: &Block| block.text_kv(&projected);
        let blocks = self.blocks.iter().map(kv).collect::<Result<_>>()?;
        Ok(RegionText::new(blocks, features.dims()[0]))
    }

    /// (1, T, text width) -> (1, T, C)
    fn project(&self, normed: &Tensor) -> Result<Tensor> {
        let hidden = Activation::GeluTanh.forward(&self.text_proj_for_ca.0.forward(normed)?)?;
        Ok(self.text_proj_for_ca.1.forward(&hidden)?)
    }

    /// Prepares the features (T, text width) of a text.
    pub fn text(&self, features: &Tensor) -> Result<Text> {
        let c = self.config.width;
        let normed = self.text_norm.forward(&features.unsqueeze(0)?)?; // (1, T, Ct)
        let pooled = self.text_proj_for_sos.forward(&normed)?; // (1, C)
        let projected = self.project(&normed)?; // (1, T, C)
        let active = Activation::Silu.forward(&pooled)?;
        let shared = self.shared_ada_lin.forward(&active)?.reshape((6, c))?;
        let head = self.head_nm.forward(&active)?.reshape((2, c))?;
        let block = |block: &Block| block.text(&shared, &projected);
        let blocks = self.blocks.iter().map(block).collect::<Result<_>>()?;
        let head_scale = head.get(0)?;
        let head_shift = head.get(1)?;
        Ok(Text {
            normed,
            pooled,
            projected,
            shared,
            blocks,
            head_scale,
            head_shift,
        })
    }

    /// The input of scale 0: (1, 1, C), the same for every candidate.
    pub fn first_input(&self, text: &Text) -> Result<Tensor> {
        Ok(((&text.pooled + &self.pos_start)? + self.lvl_embed.narrow(0, 0, 1)?)?.unsqueeze(0)?)
    }

    /// The input of a later scale: the running sum of codes as tokens (R, L, bits) -> (R, L, C)
    pub fn next_input(&self, tokens: &Tensor, scale: usize) -> Result<Tensor> {
        Ok(self
            .word_embed
            .forward(tokens)?
            .broadcast_add(&self.lvl_embed.get(scale)?)?)
    }

    /// Runs one scale. Returns logits (R, L, 2 bits), mixed by the guidance but not yet divided by
    /// the temperature, and each row's keys and values, if `keep` is set. `watch` receives the
    /// branch, number and output (R, L, C) of every block.
    pub fn forward(
        &self,
        ScaleRun {
            input,
            texts,
            seen,
            routing,
            rope,
            guidance,
            keep,
        }: ScaleRun,
        watch: &mut dyn FnMut(usize, usize, &Tensor),
    ) -> Result<(Tensor, Vec<ScaleKv>)> {
        let rows = input[0].dims()[0];
        let branches = texts.len();
        let mixes = branches == 2 && guidance.mixes();
        let mut x = Tensor::cat(input, 0)?; // (branches * R, L, C)
        let branch_rows = |x: &Tensor, branch: usize| of_branch(x, branch, rows);
        let mut kept: Vec<ScaleKv> = vec![vec![Vec::new(); branches]; rows];
        let mix_after = guidance
            .layer
            .and_then(|n| self.config.depth.checked_sub(n));
        for (i, block) in self.blocks.iter().enumerate() {
            interrupt::check()?;
            let before = kv_before(seen, branches, i);
            let block_texts: Vec<&BlockText> = texts.iter().map(|text| &text.blocks[i]).collect();
            let routed = routing.as_ref().map(|routing| (routing, i));
            let (out, own) = block.forward(&x, &block_texts, routed, &before, rope)?;
            x = out;
            for branch in 0..branches {
                watch(branch, i, &branch_rows(&x, branch)?);
            }
            if keep {
                add_kv(&mut kept, own);
            }
            if mix_after == Some(i) && mixes {
                let mixed = mix(&branch_rows(&x, 0)?, &branch_rows(&x, 1)?, guidance.cfg)?;
                x = Tensor::cat(&[&mixed, &mixed], 0)?;
            }
        }
        let mut logits = self.logits(&branch_rows(&x, 0)?, &texts[0])?;
        if guidance.layer.is_none() && mixes {
            logits = mix(
                &logits,
                &self.logits(&branch_rows(&x, 1)?, &texts[1])?,
                guidance.cfg,
            )?;
        }
        Ok((logits, if keep { kept } else { Vec::new() }))
    }

    /// (R, L, C) -> (R, L, 2 bits)
    fn logits(&self, x: &Tensor, text: &Text) -> Result<Tensor> {
        Ok(self
            .head
            .forward(&modulate(x, &text.head_scale, &text.head_shift, EPS)?)?)
    }

    /// Bytes of the keys and values that one row of one branch leaves for `tokens` tokens.
    pub fn kv_bytes(&self, tokens: usize) -> u64 {
        self.config.kv_bytes(
            tokens,
            self.blocks
                .first()
                .map_or(DType::F32, |block| block.sa.kept_as()),
        )
    }
}

/// `cfg * a + (1 - cfg) * b`
fn mix(a: &Tensor, b: &Tensor, cfg: f32) -> Result<Tensor> {
    let conditional = f64::from(cfg);
    let unconditional = f64::from(1.0 - cfg);
    Ok(((a * conditional)? + (b * unconditional)?)?)
}

/// Pools a text into one vector by attention with learned queries (`TextAttentivePool`).
#[derive(Clone, Debug)]
struct TextPool {
    mat_q: Tensor, // (1, 1, C)
    heads: usize,
    mat_kv: Linear,
    proj: Linear,
}

impl TextPool {
    fn load(w: &Weights, c: usize, ct: usize) -> Result<Self> {
        let [_, heads, _] = w.dims("mat_q")?;
        let mat_q = w.get_reshaped((1, 1, c), "mat_q")?;
        Ok(Self {
            mat_q,
            heads,
            mat_kv: kv_projection(w, c, ct)?,
            proj: Linear::load(&w.pp("proj"), c, c)?,
        })
    }

    /// (1, T, Ct) -> (1, C)
    fn forward(&self, text: &Tensor) -> Result<Tensor> {
        let kv = self.mat_kv.forward(text)?; // (1, T, 2C)
        let c = self.proj.inputs();
        let k = kv.narrow(2, 0, c)?;
        let v = kv.narrow(2, c, c)?;
        let scale = ((c / self.heads) as f32).sqrt().recip();
        Ok(self
            .proj
            .forward(&attention(&self.mat_q, &k, &v, self.heads, scale, None)?)?
            .squeeze(1)?)
    }
}

/// `mat_kv` with its bias, which is zero for keys: it would cancel in the softmax.
fn kv_projection(w: &Weights, c: usize, inputs: usize) -> Result<Linear> {
    let v_bias = w.get(c, "v_bias")?;
    let bias = Tensor::cat(&[&v_bias.zeros_like()?, &v_bias], 0)?;
    Linear::load_with_bias(&w.pp("mat_kv"), inputs, 2 * c, Some(bias))
}

/// One block: self-attention over all scales so far, cross-attention to the text, feed-forward.
#[derive(Clone, Debug)]
struct Block {
    ada_gss: Tensor, // (6, C)
    sa: CosineAttention,
    ca: CrossAttention,
    ca_norm: LayerNorm,
    ffn: Mlp,
}

#[derive(Clone, Debug)]
struct CrossAttention {
    mat_q: Linear,
    mat_kv: Linear,
    proj: Linear,
    heads: usize,
}

impl Block {
    fn load(w: &Weights, config: &Config) -> Result<Self> {
        let c = config.width;
        Ok(Self {
            ada_gss: w.get_reshaped((6, c), "ada_gss")?,
            sa: CosineAttention::load(&w.pp("sa"), c, config.heads)?,
            ca: CrossAttention::load(&w.pp("ca"), c, config.heads)?,
            ca_norm: LayerNorm::load(&w.pp("ca_norm"), c, EPS)?,
            ffn: Mlp::load(&w.pp("ffn"), c, Activation::GeluTanh)?,
        })
    }

    fn text(&self, shared: &Tensor, projected: &Tensor) -> Result<BlockText> {
        let modulation = (&self.ada_gss + shared)?; // (6, C)
        Ok(BlockText {
            gamma1: modulation.get(0)?,
            gamma2: modulation.get(1)?,
            scale1: modulation.get(2)?,
            scale2: modulation.get(3)?,
            shift1: modulation.get(4)?,
            shift2: modulation.get(5)?,
            kv: self.text_kv(projected)?,
        })
    }

    /// Keys and values of a projected text (1, T, C): (T, C) each
    fn text_kv(&self, projected: &Tensor) -> Result<Kv> {
        let c = self.ca.mat_q.inputs();
        let kv = self.ca.mat_kv.forward(projected)?.squeeze(0)?; // (T, 2C)
        Ok(Kv {
            k: kv.narrow(1, 0, c)?.contiguous()?,
            v: kv.narrow(1, c, c)?.contiguous()?,
        })
    }

    /// x (branches * R, L, C), one branch after the other; `routing` has the number of the block;
    /// `before[r]` are the keys and values of the earlier scales of row r.
    fn forward(
        &self,
        x: &Tensor,
        texts: &[&BlockText],
        routing: Option<(&Routing, usize)>,
        before: &[Vec<&Kv>],
        rope: &Rope,
    ) -> Result<(Tensor, Vec<Kv>)> {
        let all = |vector: fn(&BlockText) -> &Tensor| of_branches(texts, vector);
        // What is no longer needed is dropped at once: tensors of all rows are the widest of a scale.
        let h = modulate(x, &all(|t| &t.scale1)?, &all(|t| &t.shift1)?, EPS)?;
        let (mut h, own) = self.sa.forward(h, before, rope)?;
        let mut x = residual(x, &h, Some(&all(|t| &t.gamma1)?))?;
        h = self.ca_norm.forward(&x)?;
        h = self.ca.forward(&h, texts, routing)?;
        x = residual(&x, &h, None)?;
        h = modulate(&x, &all(|t| &t.scale2)?, &all(|t| &t.shift2)?, EPS)?;
        h = self.ffn.forward(&h)?;
        Ok((residual(&x, &h, Some(&all(|t| &t.gamma2)?))?, own))
    }
}

impl CrossAttention {
    fn load(w: &Weights, c: usize, heads: usize) -> Result<Self> {
        Ok(Self {
            mat_q: Linear::load(&w.pp("mat_q"), c, c)?,
            mat_kv: kv_projection(w, c, c)?,
            proj: Linear::load(&w.pp("proj"), c, c)?,
            heads,
        })
    }

    /// x (branches * R, L, C)
    fn forward(
        &self,
        x: &Tensor,
        texts: &[&BlockText],
        routing: Option<(&Routing, usize)>,
    ) -> Result<Tensor> {
        let (rows, _, c) = x.dims3()?;
        let scale = ((c / self.heads) as f32).sqrt().recip();
        let seen: Vec<Vec<&Kv>> = (0..rows)
            .map(|row| vec![&texts[row * texts.len() / rows].kv])
            .collect();
        let q = self.mat_q.forward(x)?;
        let mut out = attention_blocks(&q, &seen, self.heads, scale, None)?;
        if let Some((routing, block)) = routing {
            let attend =
                |q: &Tensor, kv: &Kv| attention_blocks(q, &[vec![kv]], self.heads, scale, None);
            out = routing.mix(block, &q, &out, attend)?;
        }
        Ok(self.proj.forward(&out)?)
    }
}
