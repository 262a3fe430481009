//! The sizes of a checkpoint: read off a file, or given, to know what a file of such sizes holds.

use candle_core::DType;

use crate::{Result, models::grids::count_tokens, nn::Weights};

/// The sizes of a checkpoint, all read off its tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Width C of the residual stream.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Number of classes.
    pub classes: usize,
    /// Number of codes V.
    pub vocabulary: usize,
    /// Values of a code.
    pub code_width: usize,
    /// Width of the feed-forward layers.
    pub hidden: usize,
    /// Token grids (rows, columns) of all scales, coarse to fine.
    pub grids: Vec<(usize, usize)>,
    /// True if all blocks share the layer that makes modulations from a class (d36).
    pub shared_modulation: bool,
}

impl Config {
    /// Reads the sizes; the grids, which no other tensor tells, are given.
    pub(super) fn read(w: &Weights, grids: Vec<(usize, usize)>) -> Result<Self> {
        let first = w.pp("blocks.0");
        let [width, code_width] = w.dims("word_embed.weight")?;
        let [vocabulary, _] = w.dims("head.weight")?;
        let [hidden, _] = first.dims("ffn.fc1.weight")?;
        let heads = first.elements("attn.scale_mul_1H11")?;
        if heads == 0 || !width.is_multiple_of(2 * heads) {
            let expected = format!("a number of heads that splits {width} into even widths");
            return Err(first.mismatch("attn.scale_mul_1H11", expected, heads.to_string()));
        }
        check_grids(w, &grids)?;
        Ok(Self {
            width,
            depth: w.count("blocks"),
            heads,
            classes: count_classes(w)?,
            vocabulary,
            code_width,
            hidden,
            grids,
            shared_modulation: w.has("shared_ada_lin.1.weight"),
        })
    }

    /// Tokens of all scales together.
    pub fn positions(&self) -> usize {
        count_tokens(&self.grids)
    }

    /// Bytes of the keys and values that one row of one branch leaves for `tokens` tokens, kept as
    /// `dtype`.
    pub fn kv_bytes(&self, tokens: usize, dtype: DType) -> u64 {
        (2 * dtype.size_in_bytes() * self.depth * self.width * tokens) as u64
    }

    /// Floating-point operations of preparing a class.
    pub fn class_flops(&self) -> f64 {
        let c = self.width;
        let layers = match self.shared_modulation {
            true => 1,
            false => self.depth,
        };
        2.0 * (layers * 6 * c * c + 2 * c * c) as f64
    }

    /// Floating-point operations of one row of one branch at a scale of `tokens` tokens that sees
    /// `seen` tokens, its own included.
    pub fn scale_flops(&self, tokens: usize, seen: usize) -> f64 {
        let c = self.width;
        let block = 4 * c * c + 2 * c * self.hidden;
        let ends = (self.code_width + self.vocabulary) * c;
        let linear = 2.0 * (tokens * (self.depth * block + ends)) as f64;
        let attention = 4.0 * (c * tokens * seen * self.depth) as f64;
        linear + attention
    }

    /// Bytes that a scale of `rows` rows of all branches takes for as long as it runs, when its
    /// rows see `seen` tokens: the widest moment of a block, or the logits, in f32.
    pub fn activation_bytes(&self, rows: usize, tokens: usize, seen: usize) -> u64 {
        let c = self.width;
        // The stream, a normalised copy, queries, keys, values and packed heads. A feed-forward
        // layer takes a few rows at a time.
        let block = rows * tokens * 7 * c + 2 * seen * c;
        // Of both branches, mixed, and as numbers for the draw.
        let logits = rows * tokens * 3 * self.vocabulary;
        4 * block.max(logits) as u64
    }

    /// Name and shape of every tensor that [`super::Var::load`] reads.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let c = self.width;
        let mut all = Tensors::default();
        all.linear("word_embed", self.code_width, c);
        all.add("class_emb.weight", &[self.classes + 1, c]);
        all.add("pos_start", &[1, 1, c]);
        all.add("pos_1LC", &[1, self.positions(), c]);
        all.add("lvl_embed.weight", &[self.grids.len(), c]);
        if self.shared_modulation {
            all.linear("shared_ada_lin.1", c, 6 * c);
        }
        for i in 0..self.depth {
            all.block(&format!("blocks.{i}"), self);
        }
        all.linear("head_nm.ada_lin.1", c, 2 * c);
        all.linear("head", c, self.vocabulary);
        all.0
    }
}

/// The number of classes. The last row of their embeddings is that of the unconditional class.
pub(super) fn count_classes(w: &Weights) -> Result<usize> {
    let [rows, columns] = w.dims("class_emb.weight")?;
    match rows {
        0 | 1 => {
            let expected = "rows for classes and one for none".to_owned();
            Err(w.mismatch("class_emb.weight", expected, format!("[{rows}, {columns}]")))
        }
        _ => Ok(rows - 1),
    }
}

/// The tables of positions and scales must have the rows that the grids need.
fn check_grids(w: &Weights, grids: &[(usize, usize)]) -> Result<()> {
    let [levels, _] = w.dims("lvl_embed.weight")?;
    let [_, positions, _] = w.dims("pos_1LC")?;
    let tokens = count_tokens(grids);
    if levels != grids.len() {
        let expected = format!("{} rows, one for each scale", grids.len());
        return Err(w.mismatch("lvl_embed.weight", expected, levels.to_string()));
    }
    if positions != tokens {
        let expected = format!("{tokens} positions, as the token grids have");
        return Err(w.mismatch("pos_1LC", expected, positions.to_string()));
    }
    Ok(())
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
        match config.shared_modulation {
            true => self.add(&format!("{name}.ada_gss"), &[1, 1, 6, c]),
            false => self.linear(&format!("{name}.ada_lin.1"), c, 6 * c),
        }
        self.add(
            &format!("{name}.attn.scale_mul_1H11"),
            &[1, config.heads, 1, 1],
        );
        self.add(&format!("{name}.attn.q_bias"), &[c]);
        self.add(&format!("{name}.attn.v_bias"), &[c]);
        self.add(&format!("{name}.attn.mat_qkv.weight"), &[3 * c, c]);
        self.linear(&format!("{name}.attn.proj"), c, c);
        self.linear(&format!("{name}.ffn.fc1"), c, config.hidden);
        self.linear(&format!("{name}.ffn.fc2"), config.hidden, c);
    }
}
