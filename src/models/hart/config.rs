//! The sizes of a checkpoint: some from its `config.json`, the rest off its tensors.

use candle_core::DType;
use serde::Deserialize;

use crate::{Error, Result, nn::Weights};

/// Longest side of a token grid, and most scales.
const LARGEST_SIDE: usize = 1024;
const MOST_SCALES: usize = 64;

/// Most steps of the diffusion head, those that it was trained with.
pub(super) const TRAINED_STEPS: usize = 1000;

/// The `config.json` beside the transformer. No value has a default: those of the original belong
/// to another model.
#[derive(Clone, Debug, Deserialize)]
pub struct HartConfig {
    /// Sides of the token grids, coarse to fine. The first stands for the text.
    pub patch_nums: Vec<usize>,
    /// Attention heads.
    pub num_heads: usize,
    /// Tokens of a text.
    pub context_token: usize,
    /// Steps of the diffusion head, a number as text.
    pub num_sampling_steps: String,
    /// Added to the mean square in normalisations.
    pub norm_eps: f32,
    /// Kind of attention; only `llama` is supported.
    pub attn_type: String,
    /// Kind of feed-forward; only `llama` is supported.
    pub mlp_type: String,
    /// True for blocks without modulation by the text, the only ones that are supported.
    pub disable_aln: bool,
    /// True for normalised queries and keys, which are not supported.
    pub attn_l2_norm: bool,
    /// True for blocks with cross-attention, which are not supported.
    pub use_cross_attn: bool,
    /// True for step embeddings from sinusoids, the only ones that are supported.
    pub use_timestep_embed: bool,
    /// The pooling of the text for the head; only `max` is supported.
    pub sep_aln_pooling_mode: String,
}

impl HartConfig {
    /// Checks values and refuses other models.
    pub(super) fn check(&self) -> Result<()> {
        let kinds = [
            ("attn_type", &self.attn_type, "llama"),
            ("mlp_type", &self.mlp_type, "llama"),
            ("sep_aln_pooling_mode", &self.sep_aln_pooling_mode, "max"),
        ];
        for (name, found, expected) in kinds {
            if found != expected {
                return Err(unsupported(name, expected, found));
            }
        }
        let switches = [
            ("disable_aln", self.disable_aln, true),
            ("attn_l2_norm", self.attn_l2_norm, false),
            ("use_cross_attn", self.use_cross_attn, false),
            ("use_timestep_embed", self.use_timestep_embed, true),
        ];
        for (name, found, expected) in switches {
            if found != expected {
                return Err(unsupported(name, &expected.to_string(), &found.to_string()));
            }
        }
        let sides = &self.patch_nums;
        let in_range = sides.iter().all(|side| (1..=LARGEST_SIDE).contains(side));
        let growing = sides.windows(2).all(|pair| pair[0] < pair[1]);
        if sides.len() < 2 || sides.len() > MOST_SCALES || sides[0] != 1 || !in_range || !growing {
            let expected = format!("growing sides from 1 to at most {LARGEST_SIDE}");
            return Err(unsupported("patch_nums", &expected, &format!("{sides:?}")));
        }
        if !(1..=4096).contains(&self.context_token) {
            let found = self.context_token.to_string();
            return Err(unsupported("context_token", "1 to 4096", &found));
        }
        self.steps().map(|_| ())
    }

    /// The number of steps of the diffusion head.
    pub(super) fn steps(&self) -> Result<usize> {
        let found = &self.num_sampling_steps;
        let steps = found.parse().ok();
        steps
            .filter(|steps| (2..=TRAINED_STEPS).contains(steps))
            .ok_or_else(|| {
                let expected = format!("a number from 2 to {TRAINED_STEPS}");
                unsupported("num_sampling_steps", &expected, found)
            })
    }
}

fn unsupported(name: &str, expected: &str, found: &str) -> Error {
    let found = found.escape_debug();
    Error::input(format!(
        "config.json of HART: expected {name} to be {expected}, found {found}"
    ))
    .with_hint("only models built like the published mit-han-lab/hart-0.7b-1024px are supported")
}

/// The sizes of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Width C of the residual stream.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward layers.
    pub hidden: usize,
    /// Number of codes V.
    pub vocabulary: usize,
    /// Values of a code, Z.
    pub code_width: usize,
    /// Tokens T of a text.
    pub context_tokens: usize,
    /// Width of the text features.
    pub context_width: usize,
    /// True if text features are normalised.
    pub context_norm: bool,
    /// Token grids (rows, columns) of all scales, coarse to fine. At the first, the transformer
    /// reads the text and draws one token.
    pub grids: Vec<(usize, usize)>,
    /// Width of the diffusion head.
    pub head_width: usize,
    /// Blocks of the diffusion head.
    pub head_depth: usize,
    /// Steps of the diffusion head.
    pub steps: usize,
}

impl Config {
    /// Reads the sizes off the tensors and the file.
    pub(super) fn read(w: &Weights, file: &HartConfig) -> Result<Self> {
        file.check()?;
        let [width, code_width] = w.dims("word_embed.weight")?;
        let [_, context_width] = w.dims("context_embed.weight")?;
        let [hidden, _] = w.dims("blocks.0.ffn.gate_proj.weight")?;
        let [vocabulary, _] = w.dims("head.weight")?;
        let [head_width, _] = w.dims("diffloss.net.input_proj.weight")?;
        let heads = file.num_heads;
        if heads == 0 || !width.is_multiple_of(4 * heads) {
            let expected = format!("heads that divide {width} into multiples of 4");
            return Err(unsupported("num_heads", &expected, &heads.to_string()));
        }
        Ok(Self {
            width,
            depth: w.count("blocks"),
            heads,
            hidden,
            vocabulary,
            code_width,
            context_tokens: file.context_token,
            context_width,
            context_norm: w.has("context_norm.weight"),
            grids: file.patch_nums.iter().map(|side| (*side, *side)).collect(),
            head_width,
            head_depth: w.count("diffloss.net.res_blocks"),
            steps: file.steps()?,
        })
    }

    /// Tokens that the transformer reads at a scale: the text, then those of each grid.
    pub fn tokens(&self, scale: usize) -> usize {
        match scale {
            0 => self.context_tokens,
            _ => self.grids[scale].0 * self.grids[scale].1,
        }
    }

    /// Bytes of the keys and values that one row of one branch leaves for `tokens` tokens, kept as
    /// `dtype`.
    pub fn kv_bytes(&self, tokens: usize, dtype: DType) -> u64 {
        (2 * dtype.size_in_bytes() * self.depth * self.width * tokens) as u64
    }

    /// Floating-point operations of preparing the text of one branch.
    pub fn text_flops(&self) -> f64 {
        let c = self.width;
        2.0 * (self.context_tokens * self.context_width * c + 2 * c * c) as f64
    }

    /// Floating-point operations of one row of one branch at a scale of `tokens` tokens that sees
    /// `seen` tokens, its own included.
    pub fn scale_flops(&self, tokens: usize, seen: usize) -> f64 {
        let c = self.width;
        let block = 4 * c * c + 3 * c * self.hidden;
        let ends = (self.code_width + self.vocabulary) * c;
        let linear = 2.0 * (tokens * (self.depth * block + ends)) as f64;
        let attention = 4.0 * (c * tokens * seen * self.depth) as f64;
        linear + attention
    }

    /// Floating-point operations of the diffusion head for one candidate, with `branches` branches
    /// of guidance.
    pub fn diffusion_flops(&self, branches: usize) -> f64 {
        let tokens = branches * self.tokens(self.grids.len() - 1);
        let width = self.head_width;
        let step = 2 * self.code_width * width // input, and the start of the output
            + self.head_depth * 5 * width * width
            + 2 * width * width
            + self.code_width * width;
        let condition = (width + self.code_width) * self.width;
        2.0 * (tokens * (self.steps * step + condition)) as f64
    }

    /// Bytes that a scale of `rows` rows of all branches takes for as long as it runs, when its
    /// rows see `seen` tokens: the widest moment of a block, or the logits, in f32.
    pub fn activation_bytes(&self, rows: usize, tokens: usize, seen: usize) -> u64 {
        let c = self.width;
        let feed_forward = rows * tokens * 4 * self.hidden;
        let attention = rows * tokens * 7 * c + 2 * seen * c;
        // Of both branches, mixed, as numbers for the draw, and as mixtures of codes.
        let logits = rows * tokens * 4 * self.vocabulary;
        let block = rows * tokens * 2 * c + feed_forward.max(attention);
        4 * block.max(logits) as u64
    }

    /// Name and shape of every tensor that [`super::Hart::load`] reads.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let c = self.width;
        let mut all = Tensors::default();
        all.linear("word_embed", self.code_width, c);
        all.linear("context_embed", self.context_width, c);
        if self.context_norm {
            all.add("context_norm.weight", &[self.context_width]);
        }
        all.number_embedding("lvl_embed", c);
        for i in 0..self.depth {
            all.block(&format!("blocks.{i}"), c, self.hidden);
        }
        all.add("head_nm.ln_wo_grad.weight", &[c]);
        all.linear("head_nm.ada_lin.1", c, 2 * c);
        all.linear("head", c, self.vocabulary);
        all.add("decoder_norm.weight", &[c]);
        all.diffusion_head("diffloss.net", self);
        all.0
    }
}

#[derive(Default)]
struct Tensors(Vec<(String, Vec<usize>)>);

impl Tensors {
    fn add(&mut self, name: &str, shape: &[usize]) {
        self.0.push((name.to_owned(), shape.to_vec()));
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.add(&format!("{name}.weight"), &[outputs, inputs]);
        self.add(&format!("{name}.bias"), &[outputs]);
    }

    fn number_embedding(&mut self, name: &str, width: usize) {
        self.linear(&format!("{name}.mlp.0"), 256, width);
        self.linear(&format!("{name}.mlp.2"), width, width);
    }

    fn block(&mut self, name: &str, c: usize, hidden: usize) {
        self.add(&format!("{name}.ln_wo_grad.weight"), &[c]);
        self.add(&format!("{name}.attn.q_bias"), &[c]);
        self.add(&format!("{name}.attn.v_bias"), &[c]);
        self.add(&format!("{name}.attn.qkv_proj.weight"), &[3 * c, c]);
        self.linear(&format!("{name}.attn.proj"), c, c);
        self.add(&format!("{name}.ffn.gate_proj.weight"), &[hidden, c]);
        self.add(&format!("{name}.ffn.up_proj.weight"), &[hidden, c]);
        self.add(&format!("{name}.ffn.down_proj.weight"), &[c, hidden]);
    }

    fn diffusion_head(&mut self, name: &str, config: &Config) {
        let width = config.head_width;
        self.number_embedding(&format!("{name}.time_embed"), width);
        self.linear(&format!("{name}.cond_embed"), config.width, width);
        self.linear(&format!("{name}.input_proj"), config.code_width, width);
        for i in 0..config.head_depth {
            let block = format!("{name}.res_blocks.{i}");
            self.add(&format!("{block}.in_ln.weight"), &[width]);
            self.add(&format!("{block}.in_ln.bias"), &[width]);
            self.linear(&format!("{block}.mlp.0"), width, width);
            self.linear(&format!("{block}.mlp.2"), width, width);
            self.linear(&format!("{block}.adaLN_modulation.1"), width, 3 * width);
        }
        let end = format!("{name}.final_layer");
        self.linear(&format!("{end}.adaLN_modulation.1"), width, 2 * width);
        self.linear(&format!("{end}.linear"), width, 2 * config.code_width);
    }
}
