//! The sizes of a checkpoint: some from its `config.json`, the rest off its tensors.

use candle_core::DType;
use serde::Deserialize;

use crate::{Error, Result, models::grids::count_tokens, nn::Weights};

/// The `config.json` beside the transformer. It has the arguments of the original's constructor; a
/// missing one has the constructor's default. Sizes that the weights show are not read.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct SwittiConfig {
    /// True if positions rotate queries and keys, false if they have a table.
    pub rope: bool,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// The span of the positions of every token grid, from edge to edge.
    pub rope_size: f32,
    /// True if self-attention sees earlier scales (the variants `AR`).
    pub use_ar: bool,
    /// True for gated feed-forward layers.
    pub use_swiglu_ffn: bool,
    /// True if blocks read the crop condition.
    pub use_crop_cond: bool,
}

impl Default for SwittiConfig {
    fn default() -> Self {
        Self {
            rope: true,
            rope_theta: 10_000.0,
            rope_size: 128.0,
            use_ar: false,
            use_swiglu_ffn: true,
            use_crop_cond: true,
        }
    }
}

impl SwittiConfig {
    fn check(&self) -> Result<()> {
        let numbers = [
            ("rope_theta", self.rope_theta),
            ("rope_size", self.rope_size),
        ];
        for (name, number) in numbers {
            if !(number.is_finite() && number > 0.0) {
                return Err(Error::input(format!(
                    "config.json of Switti: expected {name} to be greater than 0, found {number}"
                ))
                .with_hint("download the file again"));
            }
        }
        Ok(())
    }
}

/// The sizes of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Width C of the residual stream.
    pub width: usize,
    /// Number of blocks; each has as many attention heads.
    pub depth: usize,
    /// Width of the feed-forward layers.
    pub hidden: usize,
    /// True if the feed-forward layers are gated.
    pub gated: bool,
    /// Number of codes V.
    pub vocabulary: usize,
    /// Values of a code, Z.
    pub code_width: usize,
    /// Width of the text features.
    pub context_width: usize,
    /// Width of the pooled text vector.
    pub pooled_width: usize,
    /// Token grids (rows, columns) of all scales, coarse to fine.
    pub grids: Vec<(usize, usize)>,
    /// True if positions rotate queries and keys.
    pub rotary: bool,
    /// True if self-attention sees earlier scales, whose keys and values are kept.
    pub sees_earlier_scales: bool,
    /// True if blocks read the crop condition.
    pub crop: bool,
}

impl Config {
    /// Reads the sizes off the tensors and the file; the grids are given.
    pub(super) fn read(
        w: &Weights,
        file: &SwittiConfig,
        grids: Vec<(usize, usize)>,
    ) -> Result<Self> {
        file.check()?;
        let first = w.pp("blocks.0");
        let [width, code_width] = w.dims("word_embed.weight")?;
        let [_, pooled_width] = w.dims("text_pooler.weight")?;
        let [context_width] = first.dims("attention_y_norm.weight")?;
        let [vocabulary, _] = w.dims("head.weight")?;
        let [hidden, _] = first.dims(match file.use_swiglu_ffn {
            true => "ffn.gate_proj.weight",
            false => "ffn.fc1.weight",
        })?;
        let depth = w.count("blocks");
        if depth == 0 || !width.is_multiple_of(4 * depth) {
            let expected = format!("a width that {depth} heads share in multiples of 4");
            return Err(w.mismatch("word_embed.weight", expected, width.to_string()));
        }
        Ok(Self {
            width,
            depth,
            hidden,
            gated: file.use_swiglu_ffn,
            vocabulary,
            code_width,
            context_width,
            pooled_width,
            grids,
            rotary: file.rope,
            sees_earlier_scales: file.use_ar,
            crop: file.use_crop_cond,
        })
    }

    /// Attention heads of a block.
    pub fn heads(&self) -> usize {
        self.depth
    }

    /// Tokens of all scales together.
    pub fn positions(&self) -> usize {
        count_tokens(&self.grids)
    }

    /// Tokens of a scale.
    pub fn tokens(&self, scale: usize) -> usize {
        self.grids[scale].0 * self.grids[scale].1
    }

    /// Bytes of the keys and values that one row of one branch leaves for `tokens` tokens, kept as
    /// `dtype`: none if no later scale sees them.
    pub fn kv_bytes(&self, tokens: usize, dtype: DType) -> u64 {
        match self.sees_earlier_scales {
            true => (2 * dtype.size_in_bytes() * self.depth * self.width * tokens) as u64,
            false => 0,
        }
    }

    /// Bytes of the running sum of one candidate, which is all that it has if no scale sees earlier
    /// ones.
    pub fn latent_bytes(&self) -> u64 {
        let (rows, columns) = self.grids.last().copied().unwrap_or((1, 1));
        (rows * columns * self.code_width * DType::F32.size_in_bytes()) as u64
    }

    /// Floating-point operations of preparing a text of `tokens` tokens.
    pub fn text_flops(&self, tokens: usize) -> f64 {
        let c = self.width;
        let keys_and_values = 2 * c * self.context_width * tokens;
        let vectors = self.depth * 6 * c * c + 2 * c * c + self.pooled_width * c;
        2.0 * (self.depth * keys_and_values + vectors) as f64
    }

    /// Floating-point operations of one row of one branch at a scale of `tokens` tokens, at the end
    /// of which `so_far` tokens have been drawn, with a text of `text` tokens.
    pub fn scale_flops(&self, tokens: usize, so_far: usize, text: usize) -> f64 {
        let c = self.width;
        let feed_forward = match self.gated {
            true => 3 * c * self.hidden,
            false => 2 * c * self.hidden,
        };
        let block = 6 * c * c + feed_forward;
        let ends = (self.code_width + self.vocabulary) * c;
        let linear = 2.0 * (tokens * (self.depth * block + ends)) as f64;
        let seen = self.seen(tokens, so_far) + text;
        linear + 4.0 * (c * tokens * seen * self.depth) as f64
    }

    /// Tokens that self-attention sees at a scale.
    fn seen(&self, tokens: usize, so_far: usize) -> usize {
        match self.sees_earlier_scales {
            true => so_far,
            false => tokens,
        }
    }

    /// Bytes that a scale of `rows` rows of all branches takes for as long as it runs, at the end of
    /// which `so_far` tokens have been drawn: the widest moment of a block, or the logits, in f32.
    pub fn activation_bytes(&self, rows: usize, tokens: usize, so_far: usize) -> u64 {
        let c = self.width;
        // The stream, its normalised copy, and what the layers hold beside them.
        let feed_forward = match self.gated {
            true => rows * tokens * 4 * self.hidden,
            false => rows * tokens * 2 * self.hidden,
        };
        let seen = self.seen(tokens, so_far);
        let attention = rows * tokens * 9 * c + 2 * seen * c;
        // Of both branches, mixed, as numbers for the draw, and as mixtures of codes.
        let logits = rows * tokens * 4 * self.vocabulary;
        let block = rows * tokens * 2 * c + feed_forward.max(attention);
        4 * block.max(logits) as u64
    }

    /// Name and shape of every tensor that [`super::Switti::load_with_grids`] reads.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let c = self.width;
        let mut all = Tensors::default();
        all.linear("word_embed", self.code_width, c);
        all.linear("text_pooler", self.pooled_width, c);
        all.add("pos_start", &[1, 1, c]);
        all.add("lvl_embed.weight", &[self.grids.len(), c]);
        if !self.rotary {
            all.add("pos_1LC", &[1, self.positions(), c]);
        }
        if self.crop {
            all.add("crop_embed.weight", &[c / 8]);
            all.linear("crop_proj", c, c);
        }
        for i in 0..self.depth {
            all.block(&format!("blocks.{i}"), self);
        }
        all.linear("head_nm.ada_lin.1", c, 2 * c);
        all.linear("head", c, self.vocabulary);
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

    fn block(&mut self, name: &str, config: &Config) {
        let c = config.width;
        let norms = ["self_attention", "cross_attention", "ffn"];
        for norm in norms {
            self.add(&format!("{name}.{norm}_norm1.weight"), &[c]);
            self.add(&format!("{name}.{norm}_norm2.weight"), &[c]);
        }
        let context = config.context_width;
        self.add(&format!("{name}.attention_y_norm.weight"), &[context]);
        self.linear(&format!("{name}.ada_lin.1"), c, 6 * c);
        if config.crop {
            self.add(&format!("{name}.crop_cond_scales"), &[1, c]);
        }
        self.linear(&format!("{name}.attn.to_qkv"), c, 3 * c);
        self.linear(&format!("{name}.attn.proj"), c, c);
        self.linear(&format!("{name}.cross_attn.to_q"), c, c);
        self.linear(&format!("{name}.cross_attn.to_kv"), context, 2 * c);
        self.linear(&format!("{name}.cross_attn.proj"), c, c);
        self.feed_forward(&format!("{name}.ffn"), config);
    }

    fn feed_forward(&mut self, name: &str, config: &Config) {
        let c = config.width;
        let hidden = config.hidden;
        if config.gated {
            self.add(&format!("{name}.gate_proj.weight"), &[hidden, c]);
            self.add(&format!("{name}.up_proj.weight"), &[hidden, c]);
            self.add(&format!("{name}.down_proj.weight"), &[c, hidden]);
        } else {
            self.linear(&format!("{name}.fc1"), c, hidden);
            self.linear(&format!("{name}.fc2"), hidden, c);
        }
    }
}
