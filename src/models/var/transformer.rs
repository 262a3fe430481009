//! The transformer. Candidates of one class run together; with guidance, each of them runs twice:
//! once with the class and once with the unconditional one. All rows of one of these branches share
//! their modulation.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{Config, checkpoint::count_classes};
use crate::{
    Result, interrupt,
    models::{
        branches::{ScaleKv, add_kv, kv_before, of_branch, of_branches},
        grids::stored_grids,
    },
    nn::{
        Activation, CosineAttention, Kv, Linear, Mlp, Rope, Signature, Weights, modulate, residual,
    },
};

const EPS: f32 = 1e-6; // norm_eps of every released model

/// One scale of the candidates of one class, in one or two branches.
#[derive(Clone, Copy)]
pub struct ScaleRun<'a> {
    /// The number of the scale.
    pub scale: usize,
    /// The running sum as tokens, the same for all branches: (R, L, code width); `None` at scale 0,
    /// where all candidates are equal.
    pub tokens: Option<&'a Tensor>,
    /// The class of each branch: the conditional one, then the unconditional one.
    pub classes: &'a [Class],
    /// The keys and values of each row at the scales before.
    pub seen: &'a [Vec<Arc<ScaleKv>>],
    /// The weight t of guidance: `(1 + t) * conditional - t * unconditional`.
    pub guidance: f64,
    /// Returns the keys and values, which later scales need.
    pub keep: bool,
}

/// The parts of the network that depend on the class alone, computed once.
#[derive(Clone, Debug)]
pub struct Class {
    /// The class vector: (1, C)
    pub vector: Tensor,
    blocks: Vec<Modulation>,
    head_scale: Tensor, // (C)
    head_shift: Tensor, // (C)
}

/// A class as one block sees it.
#[derive(Clone, Debug)]
struct Modulation {
    gamma1: Tensor, // each (C)
    gamma2: Tensor,
    scale1: Tensor,
    scale2: Tensor,
    shift1: Tensor,
    shift2: Tensor,
}

/// The network.
#[derive(Clone, Debug)]
pub struct Var {
    config: Config,
    word_embed: Linear,
    class_emb: Tensor,      // (classes + 1, C)
    pos_start: Tensor,      // (1, C)
    positions: Vec<Tensor>, // for each scale, with its level: (L, C)
    shared_ada_lin: Option<Linear>,
    blocks: Vec<Block>,
    head_nm: Linear,
    head: Linear,
    unrotated: Vec<Rope>,
}

impl Var {
    /// Tensors of every checkpoint.
    pub const SIGNATURE: Signature = Signature {
        layouts: &[&[
            "class_emb.weight",
            "pos_1LC",
            "word_embed.weight",
            "head.weight",
        ]],
    };

    /// The number of classes of a checkpoint, without the unconditional one.
    ///
    /// # Errors
    /// The checkpoint does not tell it.
    pub fn classes(w: &Weights) -> Result<usize> {
        count_classes(w)
    }

    /// Reads a checkpoint; every size is the file's.
    pub fn load(w: &Weights) -> Result<Self> {
        let _: [usize; 2] = w.dims("class_emb.weight")?; // no other family has it
        Self::load_with_grids(w, stored_grids(w)?)
    }

    /// Reads a checkpoint whose token grids (rows, columns) are known.
    pub fn load_with_grids(w: &Weights, grids: Vec<(usize, usize)>) -> Result<Self> {
        let config = Config::read(w, grids)?;
        let c = config.width;
        let block = |i| Block::load(&w.pp("blocks").pp(i), &config);
        let shared_ada_lin = match config.shared_modulation {
            true => Some(Linear::load(&w.pp("shared_ada_lin.1"), c, 6 * c)?),
            false => None,
        };
        let unrotated = |(rows, columns): &(usize, usize)| {
            Rope::none(rows * columns, c / config.heads, w.device())
        };
        Ok(Self {
            word_embed: Linear::load(&w.pp("word_embed"), config.code_width, c)?,
            class_emb: w.get((config.classes + 1, c), "class_emb.weight")?,
            pos_start: w.get_reshaped((1, c), "pos_start")?,
            positions: positions(w, &config)?,
            shared_ada_lin,
            blocks: (0..config.depth).map(block).collect::<Result<_>>()?,
            head_nm: Linear::load(&w.pp("head_nm.ada_lin.1"), c, 2 * c)?,
            head: Linear::load(&w.pp("head"), c, config.vocabulary)?,
            unrotated: config
                .grids
                .iter()
                .map(unrotated)
                .collect::<candle_core::Result<_>>()?,
            config,
        })
    }

    /// The sizes of the network.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The type of activations.
    pub fn dtype(&self) -> DType {
        self.class_emb.dtype()
    }

    /// The device of the weights.
    pub fn device(&self) -> &Device {
        self.class_emb.device()
    }

    /// Prepares a class; `None` is the unconditional one.
    pub fn class(&self, class: Option<usize>) -> Result<Class> {
        let c = self.config.width;
        let row = class.unwrap_or(self.config.classes);
        let vector = self.class_emb.narrow(0, row, 1)?; // (1, C)
        let active = Activation::Silu.forward(&vector)?;
        let shared = match &self.shared_ada_lin {
            Some(layer) => Some(layer.forward(&active)?.reshape((6, c))?),
            None => None,
        };
        let block = |block: &Block| block.modulation.of_class(&active, shared.as_ref());
        let blocks = self.blocks.iter().map(block).collect::<Result<_>>()?;
        let head = self.head_nm.forward(&active)?.reshape((2, c))?;
        Ok(Class {
            vector,
            blocks,
            head_scale: head.get(0)?,
            head_shift: head.get(1)?,
        })
    }

    /// The input of a scale for one branch: (R, L, C), at scale 0 the same for every candidate.
    fn input(&self, run: &ScaleRun, class: &Class, rows: usize) -> Result<Tensor> {
        let positions = &self.positions[run.scale]; // (L, C)
        let c = self.config.width;
        let Some(tokens) = run.tokens else {
            let first = ((&class.vector + &self.pos_start)? + positions)?; // (1, C)
            return Ok(first
                .unsqueeze(0)?
                .repeat((rows, 1, 1))?
                .reshape((rows, 1, c))?);
        };
        Ok(self.word_embed.forward(tokens)?.broadcast_add(positions)?)
    }

    /// Runs one scale. Returns logits (R, L, V), mixed by the guidance, and each row's keys and
    /// values, if `keep` is set. `watch` receives the branch, number and output (R, L, C) of every
    /// block.
    pub fn forward(
        &self,
        run: ScaleRun,
        watch: &mut dyn FnMut(usize, usize, &Tensor),
    ) -> Result<(Tensor, Vec<ScaleKv>)> {
        let ScaleRun { classes, seen, .. } = run;
        let rows = seen.len();
        let branches = classes.len();
        let inputs = classes.iter().map(|class| self.input(&run, class, rows));
        let mut x = Tensor::cat(&inputs.collect::<Result<Vec<_>>>()?, 0)?; // (branches * R, L, C)
        let mut kept: Vec<ScaleKv> = vec![vec![Vec::new(); branches]; rows];
        for (i, block) in self.blocks.iter().enumerate() {
            interrupt::check()?;
            let before = kv_before(seen, branches, i);
            let modulations: Vec<&Modulation> =
                classes.iter().map(|class| &class.blocks[i]).collect();
            let (out, own) =
                block.forward(&x, &modulations, &before, &self.unrotated[run.scale])?;
            x = out;
            for branch in 0..branches {
                watch(branch, i, &of_branch(&x, branch, rows)?);
            }
            if run.keep {
                add_kv(&mut kept, own);
            }
        }
        let mut logits = self.logits(&of_branch(&x, 0, rows)?, &classes[0])?;
        if branches == 2 && run.guidance != 0.0 {
            let other = self.logits(&of_branch(&x, 1, rows)?, &classes[1])?;
            logits = ((logits * (1.0 + run.guidance))? - (other * run.guidance)?)?;
        }
        Ok((logits, if run.keep { kept } else { Vec::new() }))
    }

    /// (R, L, C) -> (R, L, V)
    fn logits(&self, x: &Tensor, class: &Class) -> Result<Tensor> {
        Ok(self
            .head
            .forward(&modulate(x, &class.head_scale, &class.head_shift, EPS)?)?)
    }

    /// Bytes of the keys and values that one row of one branch leaves for `tokens` tokens.
    pub fn kv_bytes(&self, tokens: usize) -> u64 {
        let first = self.blocks.first();
        let dtype = first.map_or(DType::F32, |block| block.attn.kept_as());
        self.config.kv_bytes(tokens, dtype)
    }
}

/// The position embeddings of each scale, (L, C), with its level embedding.
fn positions(w: &Weights, config: &Config) -> Result<Vec<Tensor>> {
    let c = config.width;
    let table = w.get_reshaped((config.positions(), c), "pos_1LC")?;
    let levels = w.get((config.grids.len(), c), "lvl_embed.weight")?;
    let mut begin = 0;
    let mut all = vec![];
    for (scale, (rows, columns)) in config.grids.iter().enumerate() {
        let tokens = rows * columns;
        let level = levels.narrow(0, scale, 1)?; // (1, C)
        all.push(table.narrow(0, begin, tokens)?.broadcast_add(&level)?);
        begin += tokens;
    }
    Ok(all)
}

/// One block: self-attention over all scales so far, feed-forward.
#[derive(Clone, Debug)]
struct Block {
    modulation: ModulationSource,
    attn: CosineAttention,
    ffn: Mlp,
}

/// Where a block's modulation comes from.
#[derive(Clone, Debug)]
enum ModulationSource {
    /// `ada_lin.1`, a layer of its own.
    Own(Linear),
    /// `ada_gss`, added to what all blocks share: (6, C)
    Shared(Tensor),
}

impl ModulationSource {
    fn load(w: &Weights, config: &Config) -> Result<Self> {
        let c = config.width;
        Ok(match config.shared_modulation {
            true => Self::Shared(w.get_reshaped((6, c), "ada_gss")?),
            false => Self::Own(Linear::load(&w.pp("ada_lin.1"), c, 6 * c)?),
        })
    }

    /// `active` is the class vector after SiLU, (1, C); `shared` what all blocks share, (6, C).
    fn of_class(&self, active: &Tensor, shared: Option<&Tensor>) -> Result<Modulation> {
        let all = match (self, shared) {
            (Self::Own(layer), _) => layer.forward(active)?.reshape((6, active.dims()[1]))?,
            (Self::Shared(own), Some(shared)) => (own + shared)?,
            (Self::Shared(own), None) => own.clone(),
        };
        Ok(Modulation {
            gamma1: all.get(0)?,
            gamma2: all.get(1)?,
            scale1: all.get(2)?,
            scale2: all.get(3)?,
            shift1: all.get(4)?,
            shift2: all.get(5)?,
        })
    }
}

impl Block {
    fn load(w: &Weights, config: &Config) -> Result<Self> {
        Ok(Self {
            modulation: ModulationSource::load(w, config)?,
            attn: CosineAttention::load(&w.pp("attn"), config.width, config.heads)?,
            ffn: Mlp::load(&w.pp("ffn"), config.width, Activation::GeluTanh)?,
        })
    }

    /// x (branches * R, L, C), one branch after the other; `before[r]` are the keys and values of
    /// the earlier scales of row r.
    fn forward(
        &self,
        x: &Tensor,
        modulations: &[&Modulation],
        before: &[Vec<&Kv>],
        rope: &Rope,
    ) -> Result<(Tensor, Vec<Kv>)> {
        let all = |vector: fn(&Modulation) -> &Tensor| of_branches(modulations, vector);
        let h = modulate(x, &all(|m| &m.scale1)?, &all(|m| &m.shift1)?, EPS)?;
        let (mut h, own) = self.attn.forward(h, before, rope)?;
        let x = residual(x, &h, Some(&all(|m| &m.gamma1)?))?;
        h = modulate(&x, &all(|m| &m.scale2)?, &all(|m| &m.shift2)?, EPS)?;
        h = self.ffn.forward(&h)?;
        Ok((residual(&x, &h, Some(&all(|m| &m.gamma2)?))?, own))
    }
}
