//! The sizes of a checkpoint: read off a file, or given, to know what a file of such sizes holds.

use candle_core::DType;

use crate::{Result, nn::Weights};

/// The sizes of a checkpoint, all read off its tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Width C of the residual stream.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the text features.
    pub text_width: usize,
    /// Bits of a token.
    pub bits: usize,
    /// Width of the feed-forward layers.
    pub hidden: usize,
    /// Scales that have a level embedding.
    pub levels: usize,
    /// Text tokens of the learned unconditional prompt.
    pub text_tokens: usize,
}

impl Config {
    pub(super) fn read(w: &Weights) -> Result<Self> {
        let first = w.pp("block_chunks.0.module.0");
        let chunks = w.count("block_chunks");
        let [_, _, width] = w.dims("pos_start")?;
        let [text_tokens, text_width] = w.dims("cfg_uncond")?;
        let [double_bits, _] = w.dims("head.weight")?;
        let [hidden, _] = first.dims("ffn.fc1.weight")?;
        let [levels, _] = w.dims("lvl_embed.weight")?;
        let heads = first.elements("sa.scale_mul_1H11")?;
        let in_chunk = |chunk: usize| w.count(&format!("block_chunks.{chunk}.module"));
        // All but the last are alike
        let depth = chunks.saturating_sub(1) * in_chunk(0) + in_chunk(chunks.saturating_sub(1));
        if heads == 0 || !width.is_multiple_of(4 * heads) {
            let expected =
                format!("a number of heads that splits {width} into widths divisible by 4");
            return Err(first.mismatch("sa.scale_mul_1H11", expected, heads.to_string()));
        }
        Ok(Self {
            width,
            depth,
            heads,
            text_width,
            bits: double_bits / 2,
            hidden,
            levels,
            text_tokens,
        })
    }

    /// Bytes of the keys and values that one row of one branch leaves for `tokens` tokens, kept as
    /// `dtype`.
    pub fn kv_bytes(&self, tokens: usize, dtype: DType) -> u64 {
        (2 * dtype.size_in_bytes() * self.depth * self.width * tokens) as u64
    }

    /// Floating-point operations of preparing a text of this many tokens.
    pub fn text_flops(&self, tokens: usize) -> f64 {
        let c = self.width;
        let projections = tokens * (self.text_width * c + c * c);
        let pool = tokens * 2 * c * self.text_width + c * c;
        let kv = self.depth * tokens * 2 * c * c;
        let modulation = 6 * c * c + 2 * c * c;
        2.0 * (projections + pool + kv + modulation) as f64
    }

    /// Floating-point operations of preparing the text of a region of this many tokens.
    pub fn region_text_flops(&self, tokens: usize) -> f64 {
        let c = self.width;
        let projections = tokens * (self.text_width * c + c * c);
        let kv = self.depth * tokens * 2 * c * c;
        2.0 * (projections + kv) as f64
    }

    /// Floating-point operations with which `tokens` tokens of one row attend to the text of a
    /// region, of `text` tokens.
    pub fn region_flops(&self, tokens: usize, text: usize) -> f64 {
        4.0 * (self.width * tokens * text * self.depth) as f64
    }

    /// Floating-point operations of one row of one branch at a scale of `tokens` tokens that sees
    /// `seen` tokens, its own included, and `text` text tokens.
    pub fn scale_flops(&self, tokens: usize, seen: usize, text: usize) -> f64 {
        let c = self.width;
        let block = 6 * c * c + 2 * c * self.hidden;
        let ends = 3 * self.bits * c; // embedding of the bits, and two logits for each
        let linear = 2.0 * (tokens * (self.depth * block + ends)) as f64;
        let attention = 4.0 * (c * tokens * (seen + text) * self.depth) as f64;
        linear + attention
    }

    /// Bytes that a scale of `rows` rows of all branches takes for as long as it runs, when its
    /// rows see `seen` tokens: the widest moment of a block, in f32.
    pub fn activation_bytes(&self, rows: usize, tokens: usize, seen: usize) -> u64 {
        let c = self.width;
        // In cross-attention: the input and the stream, what was and what will be added, queries,
        // and the results head by head and side by side; packed keys and values, for which all
        // heads may have a thread. A feed-forward layer takes a few rows at a time.
        4 * (rows * tokens * 7 * c + 2 * seen * c) as u64
    }

    /// Name and shape of every tensor that [`super::Infinity::load`] reads, all blocks in one
    /// chunk.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let Self {
            width: c,
            text_width: ct,
            bits,
            hidden,
            ..
        } = *self;
        let mut all = Tensors::default();
        all.add("cfg_uncond", &[self.text_tokens, ct]);
        all.add("text_norm.weight", &[ct]);
        let heads = (ct / POOL_HEAD).max(1); // TextAttentivePool
        all.add("text_proj_for_sos.ca.mat_q", &[1, heads, c / heads]);
        all.kv("text_proj_for_sos.ca", ct, c);
        all.linear("text_proj_for_sos.ca.proj", c, c);
        all.linear("text_proj_for_ca.0", ct, c);
        all.linear("text_proj_for_ca.2", c, c);
        all.add("pos_start", &[1, 1, c]);
        all.add("lvl_embed.weight", &[self.levels, c]);
        all.linear("word_embed", bits, c);
        all.linear("shared_ada_lin.1", c, 6 * c);
        for i in 0..self.depth {
            all.block(&format!("block_chunks.0.module.{i}"), c, self.heads, hidden);
        }
        all.linear("head_nm.ada_lin.1", c, 2 * c);
        all.linear("head", c, 2 * bits);
        all.0
    }
}

/// Width of a head of the text pool in models up to 4096 wide.
const POOL_HEAD: usize = 128;

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

    /// Keys and values of a text: only values have a bias.
    fn kv(&mut self, name: &str, inputs: usize, c: usize) {
        self.add(&format!("{name}.mat_kv.weight"), &[2 * c, inputs]);
        self.add(&format!("{name}.v_bias"), &[c]);
    }

    fn block(&mut self, name: &str, c: usize, heads: usize, hidden: usize) {
        self.add(&format!("{name}.ada_gss"), &[1, 1, 6, c]);
        self.add(&format!("{name}.sa.scale_mul_1H11"), &[1, heads, 1, 1]);
        self.add(&format!("{name}.sa.mat_qkv.weight"), &[3 * c, c]);
        self.add(&format!("{name}.sa.q_bias"), &[c]);
        self.add(&format!("{name}.sa.v_bias"), &[c]);
        self.linear(&format!("{name}.sa.proj"), c, c);
        self.linear(&format!("{name}.ca.mat_q"), c, c);
        self.kv(&format!("{name}.ca"), c, c);
        self.linear(&format!("{name}.ca.proj"), c, c);
        self.add(&format!("{name}.ca_norm.weight"), &[c]);
        self.add(&format!("{name}.ca_norm.bias"), &[c]);
        self.linear(&format!("{name}.ffn.fc1"), c, hidden);
        self.linear(&format!("{name}.ffn.fc2"), hidden, c);
    }
}
