//! The transformer. It runs one token at a time and keeps keys and values. Candidates of one prompt
//! run together, with guidance in two branches.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{FlexArConfig, Sizes, block::Block};
use crate::{
    Error, Result, interrupt,
    models::{
        branches::{ScaleKv, add_kv, kv_before},
        flextok::Watch,
    },
    nn::{Activation, Kv, Linear, RmsNorm, Weights},
};

/// The next token of R candidates.
#[derive(Clone, Copy)]
pub struct TokenRun<'a> {
    /// How many tokens each candidate has.
    pub position: usize,
    /// The latest token of each candidate; none of them counts at position 0.
    pub tokens: &'a [u32],
    /// What each branch of guidance is conditioned on.
    pub conditions: &'a [Condition],
    /// The keys and values of each candidate at the positions before, in any number of parts.
    pub seen: &'a [Vec<Arc<ScaleKv>>],
}

/// A text or a class, as the network reads it.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// The keys and values of a text for each block; empty for a class.
    text: Vec<Kv>,
    /// Added to the start vector: (1, C)
    class: Option<Tensor>,
}

impl Condition {
    /// Tokens of the text.
    pub fn tokens(&self) -> usize {
        self.text.first().map_or(0, |kv| kv.k.dims()[0])
    }

    /// The keys and values of the text at a block, (T, C) each.
    pub fn text_kv(&self, block: usize) -> Option<&Kv> {
        self.text.get(block)
    }
}

/// The network.
#[derive(Clone, Debug)]
pub struct FlexAr {
    sizes: Sizes,
    embedding: Tensor,             // (V, C)
    positional_embedding: Tensor,  // (N, C)
    sos_token_embed: Tensor,       // (1, C)
    cls_embedding: Option<Tensor>, // (classes, C)
    text: Option<TextMlp>,
    blocks: Vec<Block>,
    post_trunk_norm: Option<RmsNorm>,
    head_norm: Option<RmsNorm>,
    head: Linear,
    kept_as: DType, // of keys and values
}

/// From the features of the text encoder to the width of the transformer.
#[derive(Clone, Debug)]
struct TextMlp {
    fc1: Linear,
    fc2: Linear,
    activation: Activation,
}

impl FlexAr {
    /// The number of classes of a checkpoint.
    ///
    /// # Errors
    /// It is of a model of texts.
    pub fn classes(w: &Weights, config: &FlexArConfig) -> Result<usize> {
        let preprocessor = w.pp("models").pp(&config.transformer).pp("preprocessor");
        let [classes, _] = preprocessor.dims("cls_embedding.weight")?;
        Ok(classes)
    }

    /// Reads a checkpoint; every size is the file's.
    ///
    /// # Errors
    /// A tensor is missing or of another shape than the rest implies.
    pub fn load(w: &Weights, config: &FlexArConfig) -> Result<Self> {
        let sizes = Sizes::read(w, config)?;
        let c = sizes.width;
        let model = w.pp("models").pp(&config.transformer);
        let preprocessor = model.pp("preprocessor");
        let trunk = model.pp("trunk");
        let block = |i| Block::load(&trunk.pp("blocks").pp(i), config, &sizes);
        let norm = |w: Weights| match w.has("weight") {
            true => RmsNorm::load(&w, c, config.eps).map(Some),
            false => Ok(None),
        };
        let classes = |classes| preprocessor.get((classes, c), "cls_embedding.weight");
        let text = match (&config.text, sizes.text_width) {
            (Some(text), Some(width)) => {
                let w = w.pp("models").pp(&text.name).pp("mlp");
                Some(TextMlp {
                    fc1: Linear::load_no_bias(&w.pp("fc1"), width, width)?,
                    fc2: Linear::load_no_bias(&w.pp("fc2"), width, c)?,
                    activation: text.activation,
                })
            }
            _ => None,
        };
        Ok(Self {
            embedding: preprocessor.get((sizes.vocabulary, c), "embedding.weight")?,
            positional_embedding: preprocessor.get((sizes.tokens, c), "positional_embedding")?,
            sos_token_embed: preprocessor.get_reshaped((1, c), "sos_token_embed")?,
            cls_embedding: sizes.classes.map(classes).transpose()?,
            text,
            blocks: (0..sizes.depth).map(block).collect::<Result<_>>()?,
            post_trunk_norm: norm(trunk.pp("post_trunk_norm"))?,
            head_norm: norm(model.pp("head.norm"))?,
            head: Linear::load_no_bias(&model.pp("head.linear"), c, sizes.vocabulary)?,
            kept_as: w.dtype().of_activations(),
            sizes,
        })
    }

    /// The sizes.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Where the network computes, and in which type.
    pub fn place(&self) -> (&Device, DType) {
        (self.embedding.device(), self.embedding.dtype())
    }

    /// Bytes of the keys and values of `tokens` tokens of one branch.
    pub fn kv_bytes(&self, tokens: usize) -> u64 {
        self.sizes.kv_bytes(tokens, self.kept_as)
    }

    /// The features of a text (T, text width) in the width of the transformer: (T, C)
    ///
    /// # Errors
    /// The model reads no texts, or features of another width.
    pub fn project(&self, features: &Tensor) -> Result<Tensor> {
        let Some(mlp) = &self.text else {
            return Err(Error::internal("a model of classes was given a text"));
        };
        let hidden = mlp.activation.forward(&mlp.fc1.forward(features)?)?;
        Ok(mlp.fc2.forward(&hidden)?)
    }

    /// A text by its features (T, text width), without padding.
    ///
    /// # Errors
    /// As [`FlexAr::project`].
    pub fn text(&self, features: &Tensor) -> Result<Condition> {
        let text = self.project(features)?;
        let mut blocks = vec![];
        for block in &self.blocks {
            blocks.extend(block.text_kv(&text)?);
        }
        Ok(Condition {
            text: blocks,
            ..Condition::default()
        })
    }

    /// A class; `None` is no class at all.
    ///
    /// # Errors
    /// There is no such class, or the model reads texts.
    pub fn class(&self, class: Option<usize>) -> Result<Condition> {
        let Some(table) = &self.cls_embedding else {
            return Err(Error::internal("a model of texts was given a class"));
        };
        let Some(class) = class else {
            return Ok(Condition::default());
        };
        let count = table.dims()[0];
        if class >= count {
            let message = format!("class {class}, but the transformer has {count} classes");
            return Err(Error::input(message));
        }
        Ok(Condition {
            class: Some(table.narrow(0, class, 1)?),
            ..Condition::default()
        })
    }

    /// Runs one token of every candidate. Returns logits (branches * R, V), one branch after the
    /// other, and the keys and values of each candidate. `watch` receives the rows of all branches
    /// (branches * R, 1, C).
    ///
    /// # Errors
    /// There are no more positions, or the tensor library fails.
    pub fn forward(&self, run: TokenRun, watch: &mut Watch) -> Result<(Tensor, Vec<ScaleKv>)> {
        let conditions = run.conditions;
        let rows = run.seen.len();
        let branches = conditions.len();
        let inputs = conditions
            .iter()
            .map(|condition| self.input(&run, condition));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let mut x = Tensor::cat(&inputs, 0)?.unsqueeze(1)?; // (branches * R, 1, C)
        watch("input", None, &x);
        let mut kept: Vec<ScaleKv> = vec![vec![Vec::new(); branches]; rows];
        for (i, block) in self.blocks.iter().enumerate() {
            interrupt::check()?;
            let before = kv_before(run.seen, branches, i);
            let texts = texts(conditions, i, rows);
            let (out, own) = block.forward(&x, &before, &texts, i, watch)?;
            x = out;
            add_kv(&mut kept, own);
        }
        if let Some(norm) = &self.post_trunk_norm {
            x = norm.forward(&x)?;
        }
        watch("trunk_out", None, &x);
        if let Some(norm) = &self.head_norm {
            x = norm.forward(&x)?;
        }
        Ok((self.head.forward(&x)?.squeeze(1)?, kept))
    }

    /// The input of every candidate in one branch: (R, C)
    fn input(&self, run: &TokenRun, condition: &Condition) -> Result<Tensor> {
        let Sizes { width, tokens, .. } = self.sizes;
        if run.position >= tokens {
            return Err(Error::internal(format!("an image has {tokens} tokens")));
        }
        let rows = run.seen.len();
        let position = self.positional_embedding.narrow(0, run.position, 1)?; // (1, C)
        if run.position > 0 {
            let ids = Tensor::new(run.tokens, self.embedding.device())?;
            let x = self.embedding.index_select(&ids, 0)?; // (R, C)
            return Ok(x.broadcast_add(&position)?);
        }
        let mut first = (&self.sos_token_embed + position)?;
        if let Some(class) = &condition.class {
            first = (first + class)?;
        }
        Ok(first.broadcast_as((rows, width))?.contiguous()?)
    }
}

/// The text of each row at a block, for the rows of all branches.
fn texts(conditions: &[Condition], block: usize, rows: usize) -> Vec<Vec<&Kv>> {
    let mut all = Vec::with_capacity(conditions.len() * rows);
    for condition in conditions {
        let text: Vec<&Kv> = condition.text.get(block).into_iter().collect();
        all.extend(std::iter::repeat_n(text, rows));
    }
    all
}
