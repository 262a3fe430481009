//! The `config.json` of a tokenizer: a tree of classes with their arguments. Parts are found by
//! their classes, sizes are those of the weights.

use serde_json::Value;

use super::positions::Table;
use crate::{Error, Result, models::switches::Switches};

/// Settings of a class that matter in training only.
const TRAINING: [&str; 12] = [
    "attn_drop",
    "drop_path_rate",
    "dropout_prob",
    "dtype_override",
    "mlp_drop",
    "n_min",
    "proj_drop",
    "size_sampling_mode",
    "use_act_checkpoint",
    "use_mup_readout",
    "weight_init_style",
    "flatten_patches",
];

/// The default width of a head (`FlexTransformer`).
const HEAD_WIDTH: usize = 64;

/// The default longest period of time features (`TimestepEmbedder`).
const MAX_TIMESTEP: f64 = 1000.0;

/// The scaling factor of Stable Diffusion's VAE, where the configuration names none.
const SCALING: f64 = 0.18215;

/// The settings of a tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct FlexTokConfig {
    /// The factor between latents of the VAE and those of the flow.
    pub scaling_factor: f64,
    /// The numbers of values of each dimension of a code.
    pub levels: Vec<usize>,
    /// The encoder.
    pub encoder: EncoderConfig,
    /// The decoder.
    pub decoder: DecoderConfig,
}

/// The settings of the encoder. Names are those of its parts in the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// Cuts a latent into patches.
    pub patches: Patches,
    /// Positions of the patches.
    pub positions: Table,
    /// The registers.
    pub registers: String,
    /// The transformer.
    pub transformer: TransformerConfig,
    /// From registers to codes.
    pub head: String,
}

/// The settings of the flow decoder. Names are those of its parts in the checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// From codes to registers.
    pub from_codes: String,
    /// Positions of the registers.
    pub register_positions: Table,
    /// Stands for tokens beyond the prefix.
    pub dropped: String,
    /// Stands for all tokens without guidance.
    pub null: String,
    /// Cuts a noisy latent into patches.
    pub patches: Patches,
    /// Positions of the patches.
    pub patch_positions: Table,
    /// Time to a vector.
    pub time: String,
    /// The longest period of the time features.
    pub max_timestep: f64,
    /// The transformer.
    pub transformer: TransformerConfig,
    /// From patches to velocities.
    pub head: String,
}

/// A part that cuts maps into patches.
#[derive(Clone, Debug, PartialEq)]
pub struct Patches {
    /// Its name in the checkpoint.
    pub name: String,
    /// Rows and columns of a patch.
    pub size: (usize, usize),
}

/// A transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct TransformerConfig {
    /// Its name in the checkpoint.
    pub name: String,
    /// Width of a head.
    pub head_width: usize,
    /// Normalises queries and keys of each head.
    pub qk_norm: bool,
}

impl DecoderConfig {
    /// The names and settings of a decoder as they are known of the published tokenizers.
    pub fn published() -> Self {
        let table = |name: &str| Table {
            name: name.to_owned(),
            multiplies: false,
        };
        Self {
            from_codes: "dec_from_latents".to_owned(),
            register_positions: table("dec_registers_posemb_module"),
            dropped: "dec_nested_dropout".to_owned(),
            null: "dec_latent_dropout".to_owned(),
            patches: Patches {
                name: "dec_noise_patch_emb".to_owned(),
                size: (2, 2),
            },
            patch_positions: table("dec_patches_posemb_module"),
            time: "dec_time_embedder".to_owned(),
            max_timestep: MAX_TIMESTEP,
            transformer: TransformerConfig {
                name: "dec_transformer".to_owned(),
                head_width: HEAD_WIDTH,
                qk_norm: true,
            },
            head: "dec_to_patches".to_owned(),
        }
    }
}

impl FlexTokConfig {
    /// Reads the tree of a `config.json`; `path` is its name for messages.
    ///
    /// # Errors
    /// A part is missing, or a class or a setting is not known.
    pub fn read(path: &str, tree: &Value) -> Result<Self> {
        let mut tree = Switches::new(path, tree)?;
        let scaling_factor = vae(tree.require("vae")?)?;
        let levels = levels(tree.require("regularizer")?)?;
        let encoder = Parts::read(tree.require("encoder")?, "causal_last")?.encoder()?;
        let decoder = Parts::read(tree.require("decoder")?, "full")?.decoder()?;
        pipeline(&mut tree)?;
        tree.ignore(&["_target_", "flow_matching_noise_module"]);
        tree.finish()?;
        Ok(Self {
            scaling_factor,
            levels,
            encoder,
            decoder,
        })
    }
}

/// The scaling factor of the VAE.
fn vae(mut vae: Switches) -> Result<f64> {
    let target = vae.target()?;
    if target != "StableDiffusionVAE" {
        return Err(unknown(&vae, target));
    }
    let factor = vae.number("scaling_factor")?;
    vae.ignore(&[
        "latent_channels",
        "dtype_override",
        "hf_hub_path",
        "sample_posterior",
        "force_vae_encode",
        "frozen",
    ]);
    vae.finish()?;
    Ok(factor.filter(|factor| *factor != 0.0).unwrap_or(SCALING))
}

/// The levels of the quantizer.
fn levels(mut fsq: Switches) -> Result<Vec<usize>> {
    let target = fsq.target()?;
    if target != "FSQ" {
        return Err(unknown(&fsq, target));
    }
    let levels = fsq.counts("levels")?;
    fsq.ignore(&["drop_quant_p", "packed_call"]);
    let missing = fsq.missing("levels");
    fsq.finish()?;
    levels.ok_or(missing)
}

/// Checks how the flow is sampled.
fn pipeline(tree: &mut Switches) -> Result<()> {
    let Some(mut pipeline) = tree.table("pipeline")? else {
        return Ok(());
    };
    let target = pipeline.target()?;
    if target != "MinRFPipeline" {
        return Err(unknown(&pipeline, target));
    }
    pipeline.ignore(&["_partial_", "out_channels"]);
    pipeline.finish()
}

/// The parts of an encoder or a decoder that were found.
#[derive(Default)]
struct Parts {
    path: String,
    linear: Option<String>,
    dropped: Option<String>,
    null: Option<String>,
    patches: Option<Patches>,
    positions: Option<Table>,
    register_positions: Option<Table>,
    registers: Option<String>,
    time: Option<(String, f64)>,
    transformer: Option<TransformerConfig>,
    head: Option<String>,
}

impl Parts {
    /// Reads all parts of a network whose attention has this kind of mask.
    fn read(mut network: Switches, mask: &'static str) -> Result<Self> {
        let target = network.target()?;
        if target != "SequentialModuleDictWrapper" {
            return Err(unknown(&network, target));
        }
        let modules = network.require("module_dict")?;
        network.finish()?;
        let mut parts = Self {
            path: modules.path().to_owned(),
            ..Self::default()
        };
        for (name, module) in modules.entries() {
            let module = Switches::new(format!("{}.{name}", modules.path()), module)?;
            parts.add(name.to_owned(), module, mask)?;
        }
        Ok(parts)
    }

    fn add(&mut self, name: String, mut module: Switches, mask: &'static str) -> Result<()> {
        let target = module.target()?;
        module.ignore(&TRAINING);
        module.ignore(&["dim", "dim_in", "dim_out", "channels_in", "channels_out"]);
        match target {
            // Heads of other kinds serve the training.
            "MLPHead" => return Ok(()),
            "PerSampleOp" => module.ignore(&["per_sample_op"]),
            "SequenceUnpacker" => {}
            "LinearLayer" => self.linear = Some(name),
            "MaskedNestedDropout" => self.dropped = Some(name),
            "LearnedNullCond" => self.null = Some(name),
            "LinearHead" | "ToPatchesLinearHead" => {
                module.ignore(&["patch_sizes"]);
                self.head = Some(name);
            }
            "Registers1D" => {
                module.ignore(&["n_max"]);
                module.one_of("ordering_mode", &["nested"])?;
                self.registers = Some(name);
            }
            "PatchEmbedder" => {
                let size = patch_size(&mut module)?;
                self.patches = Some(Patches { name, size });
            }
            "PositionalEmbeddingAdder" => self.add_positions(name, &mut module)?,
            "BlockWiseSequencePacker" => {
                module.ignore(&["pad_to_multiple", "per_subseq_embs"]);
                module.one_of("mask_mode", &[mask])?;
            }
            "TimestepEmbedder" => {
                module.ignore(&["frequency_embedding_size"]);
                let longest = module.number("max_timestep")?.unwrap_or(MAX_TIMESTEP);
                self.time = Some((name, longest));
            }
            "FlexTransformer" => self.transformer = Some(transformer(name, &mut module)?),
            other => return Err(unknown(&module, other)),
        }
        module.finish()
    }

    fn add_positions(&mut self, name: String, module: &mut Switches) -> Result<()> {
        let sizes = module.counts("max_sizes")?.unwrap_or_default();
        module.one_of("posemb_scaling", &["absolute"])?;
        let kinds = ["sincos", "learnable_sum", "learnable_prod"];
        let kind = module.one_of("posemb_type", &kinds)?;
        let table = Table {
            name,
            multiplies: kind == Some("learnable_prod"),
        };
        match sizes.len() {
            1 => self.register_positions = Some(table),
            _ => self.positions = Some(table),
        }
        Ok(())
    }

    fn encoder(self) -> Result<EncoderConfig> {
        let missing = |what| missing(&self.path, what);
        Ok(EncoderConfig {
            patches: self.patches.ok_or_else(|| missing("PatchEmbedder"))?,
            positions: self
                .positions
                .ok_or_else(|| missing("PositionalEmbeddingAdder"))?,
            registers: self.registers.ok_or_else(|| missing("Registers1D"))?,
            transformer: self.transformer.ok_or_else(|| missing("FlexTransformer"))?,
            head: self.head.ok_or_else(|| missing("LinearHead"))?,
        })
    }

    fn decoder(self) -> Result<DecoderConfig> {
        let missing = |what| missing(&self.path, what);
        let (time, max_timestep) = self.time.ok_or_else(|| missing("TimestepEmbedder"))?;
        Ok(DecoderConfig {
            from_codes: self.linear.ok_or_else(|| missing("LinearLayer"))?,
            register_positions: self
                .register_positions
                .ok_or_else(|| missing("PositionalEmbeddingAdder of the registers"))?,
            dropped: self.dropped.ok_or_else(|| missing("MaskedNestedDropout"))?,
            null: self.null.ok_or_else(|| missing("LearnedNullCond"))?,
            patches: self.patches.ok_or_else(|| missing("PatchEmbedder"))?,
            patch_positions: self
                .positions
                .ok_or_else(|| missing("PositionalEmbeddingAdder of the patches"))?,
            time,
            max_timestep,
            transformer: self.transformer.ok_or_else(|| missing("FlexTransformer"))?,
            head: self.head.ok_or_else(|| missing("ToPatchesLinearHead"))?,
        })
    }
}

fn patch_size(module: &mut Switches) -> Result<(usize, usize)> {
    let sizes = module.counts("patch_sizes")?;
    match sizes.as_deref() {
        Some(&[rows, columns]) => Ok((rows, columns)),
        _ => Err(module.missing("patch_sizes with rows and columns")),
    }
}

fn transformer(name: String, module: &mut Switches) -> Result<TransformerConfig> {
    module.ignore(&[
        "depth",
        "mlp_ratio",
        "adaLN_expansion",
        "intermediate_layers",
    ]);
    if !module.truth("gated_mlp", true)? {
        return Err(Error::input(format!(
            "{}.gated_mlp: only gated layers are supported",
            module.path()
        )));
    }
    Ok(TransformerConfig {
        name,
        head_width: module.count("head_dim")?.unwrap_or(HEAD_WIDTH),
        qk_norm: module.truth("qk_norm", true)?,
    })
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

/// The error for a part that is missing.
fn missing(path: &str, class: &str) -> Error {
    Error::input(format!("{path}: no {class}"))
}
