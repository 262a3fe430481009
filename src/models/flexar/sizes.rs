//! The sizes of a model, and what follows from them without its weights.

use candle_core::DType;

use super::FlexArConfig;
use crate::{Result, nn::Weights};

/// The sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Width of the vectors.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Width inside the feed-forward.
    pub hidden: usize,
    /// Different tokens.
    pub vocabulary: usize,
    /// Tokens of an image.
    pub tokens: usize,
    /// Width of the features of texts; `None` for a model of classes.
    pub text_width: Option<usize>,
    /// Classes; `None` for a model of texts.
    pub classes: Option<usize>,
}

impl Sizes {
    /// The sizes that the weights show.
    pub(super) fn read(w: &Weights, config: &FlexArConfig) -> Result<Self> {
        let model = w.pp("models").pp(&config.transformer);
        let preprocessor = model.pp("preprocessor");
        let [vocabulary, width] = preprocessor.dims("embedding.weight")?;
        let [tokens, _] = preprocessor.dims("positional_embedding")?;
        let [_, hidden] = model.pp("trunk.blocks.0").dims("mlp.fc2.weight")?;
        let classes = match preprocessor.has("cls_embedding.weight") {
            true => Some(preprocessor.dims::<2>("cls_embedding.weight")?[0]),
            false => None,
        };
        let text_width = match &config.text {
            Some(text) => {
                let text = w.pp("models").pp(&text.name);
                Some(text.dims::<2>("mlp.fc1.weight")?[1])
            }
            None => None,
        };
        Ok(Self {
            width,
            depth: model.pp("trunk").count("blocks"),
            hidden,
            vocabulary,
            tokens,
            text_width,
            classes,
        })
    }

    /// Values of the matrices of a block: those that a token reads, and those that the text does.
    fn block(&self) -> (usize, usize) {
        let c = self.width;
        let own = c * (4 * c + 3 * self.hidden);
        match self.text_width {
            Some(_) => (own + 2 * c * c, 2 * c * c),
            None => (own, 0),
        }
    }

    /// The number of parameters.
    pub fn values(&self) -> usize {
        let shapes = self.tensors().into_iter().map(|(_, shape)| shape);
        shapes.map(|shape| shape.iter().product::<usize>()).sum()
    }

    /// Floating-point operations of one token of one branch that sees `seen` tokens, itself
    /// included, and a text of `text` tokens.
    pub fn token_flops(&self, seen: usize, text: usize) -> f64 {
        let text = if self.text_width.is_some() { text } else { 0 };
        let (own, _) = self.block();
        let pairs = 2 * (seen + text) * self.width;
        2.0 * (self.depth * (own + pairs) + self.width * self.vocabulary) as f64
    }

    /// Floating-point operations of preparing a text of so many tokens.
    pub fn text_flops(&self, tokens: usize) -> f64 {
        let Some(text) = self.text_width else {
            return 0.0;
        };
        let (_, keys_and_values) = self.block();
        let values = text * text + text * self.width + self.depth * keys_and_values;
        2.0 * (tokens * values) as f64
    }

    /// Bytes of the keys and values of `tokens` tokens of one branch.
    pub fn kv_bytes(&self, tokens: usize, dtype: DType) -> u64 {
        (2 * self.depth * tokens * self.width * dtype.size_in_bytes()) as u64
    }

    /// Bytes that a step of `rows` rows takes, which see `seen` tokens: vectors, the hidden layer,
    /// packed keys and values of a block, and logits.
    pub fn activation_bytes(&self, rows: usize, seen: usize) -> u64 {
        let of_row = 6 * self.width + 3 * self.hidden + 2 * seen * self.width + 2 * self.vocabulary;
        (rows * of_row * size_of::<f32>()) as u64
    }

    /// Name and shape of every tensor, under the names of the released models.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let c = self.width;
        let mut all = vec![];
        let model = "models.ar_image_model";
        let mut add = |name: String, shape: &[usize]| all.push((name, shape.to_vec()));
        let preprocessor = format!("{model}.preprocessor");
        add(
            format!("{preprocessor}.embedding.weight"),
            &[self.vocabulary, c],
        );
        add(
            format!("{preprocessor}.positional_embedding"),
            &[self.tokens, c],
        );
        add(format!("{preprocessor}.sos_token_embed"), &[1, 1, c]);
        if let Some(classes) = self.classes {
            add(
                format!("{preprocessor}.cls_embedding.weight"),
                &[classes, c],
            );
        }
        for i in 0..self.depth {
            let block = format!("{model}.trunk.blocks.{i}");
            let own = if self.text_width.is_some() {
                "self_attn"
            } else {
                "attn"
            };
            add(format!("{block}.{own}.qkv.weight"), &[3 * c, c]);
            add(format!("{block}.{own}.proj.weight"), &[c, c]);
            add(format!("{block}.norm_1.weight"), &[c]);
            add(format!("{block}.norm_2.weight"), &[c]);
            if self.text_width.is_some() {
                add(format!("{block}.norm_3.weight"), &[c]);
                for layer in ["Wq", "Wk", "Wv", "proj"] {
                    add(format!("{block}.cross_attn.{layer}.weight"), &[c, c]);
                }
            }
            for layer in ["fc1", "fc3"] {
                add(format!("{block}.mlp.{layer}.weight"), &[self.hidden, c]);
            }
            add(format!("{block}.mlp.fc2.weight"), &[c, self.hidden]);
        }
        add(format!("{model}.trunk.post_trunk_norm.weight"), &[c]);
        add(format!("{model}.head.linear.weight"), &[self.vocabulary, c]);
        if let Some(text) = self.text_width {
            add(
                "models.text_encoder.mlp.fc1.weight".to_owned(),
                &[text, text],
            );
            add("models.text_encoder.mlp.fc2.weight".to_owned(), &[c, text]);
        }
        all
    }
}
