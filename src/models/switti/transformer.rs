//! The transformer. Candidates of one prompt run together; with guidance, each of them runs twice:
//! once with the prompt and once with the negative one. All rows of one of these branches share
//! their condition.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{
    Config, CropEmbedding, Part, SwittiConfig,
    block::{Block, BlockCondition},
    crop_of,
};
use crate::{
    Result, interrupt,
    models::{
        branches::{ScaleKv, add_kv, kv_before, of_branch},
        grids::stored_grids,
        rotation::{Pairs, Rotation},
    },
    nn::{Activation, Linear, Signature, Weights, modulate},
};

const EPS: f32 = 1e-6;

/// Height and width of the training images whose crop condition the original samples with, for
/// images of every size.
const TRAINED: (usize, usize) = (512, 512);

/// Features of a text.
#[derive(Clone, Debug)]
pub struct Context {
    /// One vector per token, without padding: (T, context width)
    pub features: Tensor,
    /// One vector for the whole text: (pooled width)
    pub pooled: Tensor,
}

/// The parts of the network that depend on the text alone, computed once.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The vector of the text: (1, C)
    pub vector: Tensor,
    blocks: Vec<BlockCondition>,
    head_scale: Tensor, // (C)
    head_shift: Tensor, // (C)
}

impl Condition {
    /// Tokens of the text.
    pub fn tokens(&self) -> usize {
        let first = self.blocks.first();
        first.map_or(0, |block| block.text_tokens())
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
    /// The keys and values of each row at the scales before; none if no scale sees earlier ones.
    pub seen: &'a [Vec<Arc<ScaleKv>>],
    /// The weight t of guidance: `(1 + t) * conditional - t * unconditional`.
    pub guidance: f64,
    /// Returns the keys and values, if later scales see them.
    pub keep: bool,
}

/// The network.
#[derive(Clone, Debug)]
pub struct Switti {
    config: Config,
    word_embed: Linear,
    text_pooler: Linear,
    pos_start: Tensor,      // (1, C)
    positions: Vec<Tensor>, // for each scale, with its level: (1, C), or (L, C) with a table
    rotations: Vec<Option<Rotation>>,
    crop: Option<Crop>,
    blocks: Vec<Block>,
    head_nm: Linear,
    head: Linear,
    dtype: DType,
    device: Device,
}

/// The crop condition.
#[derive(Clone, Debug)]
struct Crop {
    embedding: CropEmbedding,
    proj: Linear,
}

impl Switti {
    /// Tensors of every checkpoint.
    pub const SIGNATURE: Signature = Signature {
        layouts: &[&[
            "text_pooler.weight",
            "word_embed.weight",
            "blocks.0.cross_attn.to_kv.weight",
            "head.weight",
        ]],
    };

    /// Reads a checkpoint with its `config.json`.
    ///
    /// # Errors
    /// A tensor is missing or of another shape than the rest implies, or a number of the file is
    /// out of range.
    pub fn load(w: &Weights, file: &SwittiConfig) -> Result<Self> {
        Self::load_with_grids(w, file, stored_grids(w)?)
    }

    /// Reads a checkpoint whose token grids (rows, columns) are known.
    ///
    /// # Errors
    /// As [`Switti::load`].
    pub fn load_with_grids(
        w: &Weights,
        file: &SwittiConfig,
        grids: Vec<(usize, usize)>,
    ) -> Result<Self> {
        let config = Config::read(w, file, grids)?;
        let c = config.width;
        let block = |i| Block::load(&w.pp("blocks").pp(i), &config);
        let crop = match config.crop {
            true => Some(Crop {
                embedding: CropEmbedding::load(&w.pp("crop_embed"), c)?,
                proj: Linear::load(&w.pp("crop_proj"), c, c)?,
            }),
            false => None,
        };
        Ok(Self {
            word_embed: Linear::load(&w.pp("word_embed"), config.code_width, c)?,
            text_pooler: Linear::load(&w.pp("text_pooler"), config.pooled_width, c)?,
            pos_start: w.get_reshaped((1, c), "pos_start")?,
            positions: positions(w, &config)?,
            rotations: rotations(&config, file, w.device())?,
            crop,
            blocks: (0..config.depth).map(block).collect::<Result<_>>()?,
            head_nm: Linear::load(&w.pp("head_nm.ada_lin.1"), c, 2 * c)?,
            head: Linear::load(&w.pp("head"), c, config.vocabulary)?,
            dtype: w.held_as(),
            device: w.device().clone(),
            config,
        })
    }

    /// The sizes of the network.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The device of the weights.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The type of activations.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The rotary embedding of a scale, if the model has any.
    pub fn rotation(&self, scale: usize) -> Option<&Rotation> {
        self.rotations[scale].as_ref()
    }

    /// The embedding of crop conditions, if the model reads them.
    pub fn crop_embedding(&self) -> Option<&CropEmbedding> {
        self.crop.as_ref().map(|crop| &crop.embedding)
    }

    /// The projected embedding of a crop condition, (1, C), if the model reads them.
    pub fn crop_condition(&self, crop: [usize; 4]) -> Result<Option<Tensor>> {
        let Some(Crop { embedding, proj }) = &self.crop else {
            return Ok(None);
        };
        let embedded = embedding.embed(crop)?;
        let embedded = embedded.to_device(&self.device)?.to_dtype(self.dtype)?;
        Ok(Some(proj.forward(&embedded)?))
    }

    /// Prepares a text.
    pub fn condition(&self, context: &Context) -> Result<Condition> {
        let held = |x: &Tensor| x.to_device(&self.device)?.to_dtype(self.dtype);
        let features = held(&context.features)?;
        let pooled = held(&context.pooled)?.unsqueeze(0)?;
        let vector = self.text_pooler.forward(&pooled)?; // (1, C)
        let (height, width) = TRAINED;
        let crop = self.crop_condition(crop_of(height, width))?;
        let block = |block: &Block| block.condition(&vector, &features, crop.as_ref());
        let blocks = self.blocks.iter().map(block).collect::<Result<_>>()?;
        let active = Activation::Silu.forward(&vector)?;
        let head = self.head_nm.forward(&active)?;
        let head = head.reshape((2, self.config.width))?;
        Ok(Condition {
            vector,
            blocks,
            head_scale: head.get(0)?,
            head_shift: head.get(1)?,
        })
    }

    /// The input of a scale for one branch: (R, L, C), at scale 0 the same for every candidate.
    fn input(&self, run: &ScaleRun, condition: &Condition, rows: usize) -> Result<Tensor> {
        let positions = &self.positions[run.scale];
        Ok(match run.tokens {
            None => {
                let first = ((&condition.vector + &self.pos_start)? + positions)?; // (1, C)
                first.unsqueeze(0)?.repeat((rows, 1, 1))?
            }
            Some(tokens) => self.word_embed.forward(tokens)?.broadcast_add(positions)?,
        })
    }

    /// Runs one scale. Returns logits (R, L, V), mixed by the guidance, and each row's keys and
    /// values, if `keep` is set and later scales see them. `watch` receives values inside of blocks:
    /// the part, the branch, the number of the block, (R, L, C).
    pub fn forward(
        &self,
        run: ScaleRun,
        watch: &mut dyn FnMut(Part, usize, usize, &Tensor),
    ) -> Result<(Tensor, Vec<ScaleKv>)> {
        let ScaleRun {
            conditions, seen, ..
        } = run;
        let rows = seen.len();
        let branches = conditions.len();
        let keep = run.keep && self.config.sees_earlier_scales;
        let inputs = conditions
            .iter()
            .map(|condition| self.input(&run, condition, rows));
        let mut x = Tensor::cat(&inputs.collect::<Result<Vec<_>>>()?, 0)?; // (branches * R, L, C)
        let mut kept: Vec<ScaleKv> = vec![vec![Vec::new(); branches]; rows];
        for (i, block) in self.blocks.iter().enumerate() {
            interrupt::check()?;
            let before = kv_before(seen, branches, i);
            let of_block: Vec<&BlockCondition> = conditions
                .iter()
                .map(|condition| &condition.blocks[i])
                .collect();
            let mut watch_block = |part: Part, x: &Tensor| {
                for branch in 0..branches {
                    watch(part, branch, i, &of_branch(x, branch, rows)?);
                }
                Ok(())
            };
            let rotation = self.rotation(run.scale);
            let (out, own) = block.forward(&x, &of_block, rotation, &before, &mut watch_block)?;
            x = out;
            if keep {
                add_kv(&mut kept, own);
            }
        }
        let mut logits = self.logits(&of_branch(&x, 0, rows)?, &conditions[0])?;
        if branches == 2 && run.guidance != 0.0 {
            let other = self.logits(&of_branch(&x, 1, rows)?, &conditions[1])?;
            logits = ((logits * (1.0 + run.guidance))? - (other * run.guidance)?)?;
        }
        Ok((logits, if keep { kept } else { Vec::new() }))
    }

    /// The output of the last block, (R, L, C) -> the input of the head, (R, L, C)
    pub fn head_input(&self, x: &Tensor, condition: &Condition) -> Result<Tensor> {
        let Condition {
            head_scale,
            head_shift,
            ..
        } = condition;
        Ok(modulate(x, head_scale, head_shift, EPS)?)
    }

    /// The output of the last block, (R, L, C) -> the logits of its branch, (R, L, V)
    pub fn logits(&self, x: &Tensor, condition: &Condition) -> Result<Tensor> {
        Ok(self.head.forward(&self.head_input(x, condition)?)?)
    }

    /// Bytes of the keys and values that one row of one branch leaves for `tokens` tokens.
    pub fn kv_bytes(&self, tokens: usize) -> u64 {
        let first = self.blocks.first();
        let dtype = first.map_or(DType::F32, |block| block.attention().kept_as());
        self.config.kv_bytes(tokens, dtype)
    }
}

/// The level embedding of each scale, (1, C), with its part of the table of positions, (L, C), if
/// the model has one.
fn positions(w: &Weights, config: &Config) -> Result<Vec<Tensor>> {
    let c = config.width;
    let scales = config.grids.len();
    let levels = w.get((scales, c), "lvl_embed.weight")?;
    let table = match config.rotary {
        true => None,
        false => Some(w.get_reshaped((config.positions(), c), "pos_1LC")?),
    };
    let mut begin = 0;
    let mut all = vec![];
    for scale in 0..scales {
        let tokens = config.tokens(scale);
        let level = levels.narrow(0, scale, 1)?; // (1, C)
        all.push(match &table {
            Some(table) => table.narrow(0, begin, tokens)?.broadcast_add(&level)?,
            None => level,
        });
        begin += tokens;
    }
    Ok(all)
}

/// The rotary embedding of each scale.
fn rotations(
    config: &Config,
    file: &SwittiConfig,
    device: &Device,
) -> Result<Vec<Option<Rotation>>> {
    let width = config.width / config.heads();
    let rotation = |(side, _): &(usize, usize)| {
        if !config.rotary {
            return Ok(None);
        }
        let angles = grid_angles(*side, width, file);
        Ok(Some(Rotation::new(
            angles,
            width,
            Pairs::Neighbours,
            device,
        )?))
    };
    config.grids.iter().map(rotation).collect()
}

/// The angles (L, D) of a square grid that is stretched onto the same span for every scale: the
/// first half of the pairs turns by the column, the other by the row.
fn grid_angles(side: usize, width: usize, file: &SwittiConfig) -> Vec<f32> {
    let quarter = width / 4;
    let frequency = |m: usize| file.rope_theta.powf(-((4 * m) as f32) / width as f32);
    let frequencies: Vec<f32> = (0..quarter).map(frequency).collect();
    let step = match side {
        1 => 0.0,
        _ => file.rope_size / (side - 1) as f32,
    };
    let mut angles = Vec::with_capacity(side * side * width);
    for row in 0..side {
        for column in 0..side {
            for place in [column as f32 * step, row as f32 * step] {
                for frequency in &frequencies {
                    angles.extend([place * frequency; 2]);
                }
            }
        }
    }
    angles
}
