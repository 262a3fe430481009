//! The `config.yaml` of a model: a tree of classes with their arguments. Parts are found by their
//! classes, sizes are those of the weights.

use serde_json::Value;

use crate::{Error, Result, models::switches::Switches, nn::Activation};

/// Settings of a class that matter in training only.
const TRAINING: [&str; 4] = [
    "_partial_",
    "init_style",
    "cond_dropout_prob",
    "cond_dropout_p",
];

/// Added to mean squares before the root, where the configuration names nothing.
const EPS: f32 = 1e-5;

/// The settings of a model. Names are those of its parts in the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct FlexArConfig {
    /// The name of the transformer with its embeddings.
    pub transformer: String,
    /// Attention among the tokens.
    pub self_attention: AttentionConfig,
    /// Heads of attention to the text, if there is one.
    pub cross_heads: Option<usize>,
    /// Added to mean squares before the root.
    pub eps: f32,
    /// What reads texts; `None` for a model of classes.
    pub text: Option<TextConfig>,
    /// The tokenizer that it was trained with.
    pub tokenizer: Option<String>,
    /// Decodes with adaptive projected guidance.
    pub projected_guidance: bool,
}

/// Self-attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionConfig {
    /// The number of heads.
    pub heads: usize,
    /// Added to the mean square of queries and keys, if those are normalised.
    pub qk_norm: Option<f32>,
}

/// Texts as the model reads them.
#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    /// The name of the layers behind the text encoder.
    pub name: String,
    /// The most tokens of a text.
    pub tokens: usize,
    /// The activation between the two layers.
    pub activation: Activation,
}

/// The parts that were found.
#[derive(Default)]
struct Parts {
    tokenizer: Option<String>,
    text: Option<TextConfig>,
    transformer: Option<(String, Trunk)>,
    classes: bool,
}

/// The transformer.
struct Trunk {
    self_attention: AttentionConfig,
    cross_heads: Option<usize>,
    eps: f32,
}

impl FlexArConfig {
    /// The names and settings of a model of texts or of classes with so many heads, as they are known
    /// of the published ones.
    pub fn published(heads: usize, reads_text: bool) -> Self {
        let text = || TextConfig {
            name: "text_encoder".to_owned(),
            tokens: 128,
            activation: Activation::GeluTanh,
        };
        Self {
            transformer: "ar_image_model".to_owned(),
            self_attention: AttentionConfig {
                heads,
                qk_norm: None,
            },
            cross_heads: reads_text.then_some(heads),
            eps: EPS,
            text: reads_text.then(text),
            tokenizer: None,
            projected_guidance: true,
        }
    }

    /// Reads the tree of a `config.yaml`; `path` is its name for messages.
    ///
    /// # Errors
    /// A part is missing, or a class or a setting is not known.
    pub fn read(path: &str, tree: &Value) -> Result<Self> {
        let mut tree = Switches::new(path, tree)?;
        let mut meta = tree.require("model")?.require("meta_model")?;
        expect_class(&mut meta, "InSeriesMetaModels")?;
        let models = meta.require("models")?;
        meta.finish()?;
        let mut parts = Parts::default();
        for (name, model) in models.entries() {
            let model = Switches::new(format!("{}.{name}", models.path()), model)?;
            parts.add(name, model)?;
        }
        let projected_guidance = projected_guidance(&mut tree)?;
        let missing = || models.missing("transformer");
        let (transformer, trunk) = parts.transformer.ok_or_else(missing)?;
        let reads_text = parts.text.is_some();
        if reads_text == parts.classes || reads_text != trunk.cross_heads.is_some() {
            return Err(Error::input(format!(
                "{path}: expected either a text encoder with attention to it, or classes"
            )));
        }
        Ok(Self {
            transformer,
            self_attention: trunk.self_attention,
            cross_heads: trunk.cross_heads,
            eps: trunk.eps,
            text: parts.text,
            tokenizer: parts.tokenizer,
            projected_guidance,
        })
    }
}

/// The kind of guidance with which images are decoded.
fn projected_guidance(tree: &mut Switches) -> Result<bool> {
    match tree.table("generation")? {
        Some(mut generation) => generation.truth("tokenizer_perform_norm_guidance", true),
        None => Ok(true),
    }
}

impl Parts {
    fn add(&mut self, name: &str, mut model: Switches) -> Result<()> {
        match model.target()? {
            "ImageResamplerTokenizer" => {
                self.tokenizer = model
                    .value("model_id")
                    .and_then(Value::as_str)
                    .map(str::to_owned);
                model.ignore(&["token_grid_size"]);
                model.finish()
            }
            "T5EmbedderWithMLP" => {
                self.text = Some(text(name, model)?);
                Ok(())
            }
            "MetaModel" => self.add_transformer(name, model),
            other => Err(unknown(&model, other)),
        }
    }

    fn add_transformer(&mut self, name: &str, mut model: Switches) -> Result<()> {
        self.classes = preprocessor(model.require("preprocessor")?)?;
        let trunk = trunk(model.require("trunk")?)?;
        head(model.require("head")?)?;
        self.transformer = Some((name.to_owned(), trunk));
        model.finish()
    }
}

fn text(name: &str, mut model: Switches) -> Result<TextConfig> {
    let mut embedder = model.require("t5_embedder")?;
    expect_class(&mut embedder, "T5Embedder")?;
    embedder.ignore(&TRAINING);
    embedder.ignore(&["hf_hub_path", "decoder_seqlen"]);
    let missing = embedder.missing("encoder_seqlen_max");
    let tokens = embedder.count("encoder_seqlen_max")?.ok_or(missing)?;
    embedder.finish()?;
    let mut mlp = model.require("mlp")?;
    expect_class(&mut mlp, "TextToEmbedMLP")?;
    mlp.ignore(&["text_dim", "embed_dim"]);
    let activation = match mlp.table("act_layer")? {
        Some(layer) => activation(layer)?,
        None => Activation::GeluTanh,
    };
    mlp.finish()?;
    model.finish()?;
    Ok(TextConfig {
        name: name.to_owned(),
        tokens,
        activation,
    })
}

fn activation(mut layer: Switches) -> Result<Activation> {
    layer.ignore(&TRAINING);
    let activation = match layer.target()? {
        "GELU" => match layer.one_of("approximate", &["none", "tanh"])? {
            Some("tanh") => Activation::GeluTanh,
            _ => Activation::Gelu,
        },
        "SiLU" => Activation::Silu,
        "ReLU" => Activation::Relu,
        other => return Err(unknown(&layer, other)),
    };
    layer.finish()?;
    Ok(activation)
}

/// Returns whether images are generated from classes.
fn preprocessor(mut model: Switches) -> Result<bool> {
    expect_class(&mut model, "ARImageEmbedPreprocessor")?;
    model.ignore(&TRAINING);
    model.ignore(&["token_grid_size", "codebook_size", "embed_dim"]);
    model.one_of("pos_embed_type", &["absolute"])?;
    let classes = model.count("num_classes")?;
    model.finish()?;
    Ok(classes.is_some())
}

fn trunk(mut model: Switches) -> Result<Trunk> {
    let attention = match model.target()? {
        "Transformer" => "attn_target",
        "TransformerDecoder" => "self_attn_target",
        other => return Err(unknown(&model, other)),
    };
    let self_attention = self_attention(model.require(attention)?)?;
    let cross = model.table("cross_attn_target")?;
    let cross_heads = cross.map(cross_heads).transpose()?;
    if let Some(mut ffn) = model.table("ffn_target")? {
        expect_class(&mut ffn, "SwiGLUFFN")?;
        ffn.ignore(&TRAINING);
        ffn.ignore(&["multiple_of"]);
        ffn.finish()?;
    }
    let eps = norm(model.table("norm_layer")?)?;
    if model.truth("use_bias", false)? {
        return Err(Error::input(format!(
            "{}.use_bias: only false is supported",
            model.path()
        )));
    }
    model.ignore(&TRAINING);
    model.ignore(&["embed_dim", "num_blocks", "mlp_ratio", "post_trunk_norm"]);
    model.ignore(&["drop_rate", "drop_path_rate", "attn_drop", "proj_drop"]);
    model.finish()?;
    Ok(Trunk {
        self_attention,
        cross_heads,
        eps,
    })
}

fn self_attention(mut attention: Switches) -> Result<AttentionConfig> {
    expect_class(&mut attention, "EfficientAttention")?;
    attention.ignore(&TRAINING);
    attention.ignore(&["dim", "attn_drop", "proj_drop"]);
    if !attention.truth("is_causal", false)? {
        return Err(Error::input(format!(
            "{}.is_causal: only true is supported",
            attention.path()
        )));
    }
    let heads = heads(&mut attention)?;
    let qk_norm = attention.table("qk_norm")?;
    let qk_norm = qk_norm.map(|layer| norm(Some(layer))).transpose()?;
    attention.finish()?;
    Ok(AttentionConfig { heads, qk_norm })
}

fn cross_heads(mut attention: Switches) -> Result<usize> {
    expect_class(&mut attention, "GeneralizedAttentionWithMask")?;
    attention.ignore(&TRAINING);
    attention.ignore(&["dim", "encoder_dim", "attn_drop", "proj_drop"]);
    let heads = heads(&mut attention)?;
    attention.finish()?;
    Ok(heads)
}

fn heads(attention: &mut Switches) -> Result<usize> {
    let missing = attention.missing("num_heads");
    attention.count("num_heads")?.ok_or(missing)
}

/// What a norm adds to mean squares.
fn norm(layer: Option<Switches>) -> Result<f32> {
    let Some(mut layer) = layer else {
        return Ok(EPS);
    };
    expect_class(&mut layer, "RMSNorm")?;
    layer.ignore(&TRAINING);
    let eps = layer.number("eps")?.map_or(EPS, |eps| eps as f32);
    layer.finish()?;
    Ok(eps)
}

fn head(mut head: Switches) -> Result<()> {
    expect_class(&mut head, "LinearClassifier")?;
    head.ignore(&["in_features", "out_features"]);
    if head.truth("use_bias", false)? {
        return Err(Error::input(format!(
            "{}.use_bias: only false is supported",
            head.path()
        )));
    }
    head.finish()
}

fn expect_class(at: &mut Switches, class: &str) -> Result<()> {
    match at.target()? {
        found if found == class => Ok(()),
        other => Err(unknown(at, other)),
    }
}

/// The error for a class that is not known.
fn unknown(at: &Switches, class: &str) -> Error {
    let class = class.escape_debug();
    Error::input(format!(
        "{}: this program does not know the class `{class}`",
        at.path()
    ))
    .with_hint("the model may be newer than this program")
}
