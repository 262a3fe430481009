//! DINOv2: a vision transformer for general-purpose image features (arXiv 2304.07193; registers:
//! 2309.16588).
//!
//! Reference: facebookresearch/dinov2 at commit b8931f7, `dinov2/models/vision_transformer.py`,
//! lines 45-331 (positions: 180-212); huggingface/transformers at v4.49.0,
//! `src/transformers/models/dinov2/modeling_dinov2.py`, lines 61-532 and 637-725.

use candle_core::{Device, Tensor};

use crate::{
    Error, Result, interrupt,
    nn::{
        LayerNorm, PatchEmbed, Signature, VitBlock, Weights, antialiased_cubic_matrix,
        cubic_matrix, heads_for, resample, side_of_grid,
    },
};

mod names;

use names::Layout;

/// All LayerNorms of all released models.
const EPS: f32 = 1e-6;

/// The network. Its sizes are read off the weights.
#[derive(Clone, Debug)]
pub struct Dinov2 {
    patch_embed: PatchEmbed,
    cls_token: Tensor,               // (1, 1, C)
    pos_embed: Tensor,               // (1 + grid * grid, C), the class token first
    register_tokens: Option<Tensor>, // (1, R, C)
    blocks: Vec<VitBlock>,
    norm: LayerNorm,
    interpolation: Interpolation,
}

/// Interpolation of the position table to another grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interpolation {
    /// Models with registers: antialiased, to exactly the size.
    Antialiased,
    /// The official program without registers: by the factor (size + 0.1) / grid, "to avoid
    /// floating point error".
    Offset,
    /// Hugging Face without registers: to exactly the size.
    Exact,
}

/// Normalised features of a batch of images.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// (B, C), one vector per image.
    pub cls: Tensor,
    /// (B, R, C); R is 0 in a model without registers.
    pub registers: Tensor,
    /// (B, L, C), of each patch, row by row.
    pub patches: Tensor,
}

impl Dinov2 {
    /// Tensors of every checkpoint, of the official program and of Hugging Face.
    pub const SIGNATURE: Signature = Signature {
        layouts: &[
            &["cls_token", "patch_embed.proj.weight", "norm.weight"],
            &[
                "embeddings.cls_token",
                "embeddings.patch_embeddings.projection.weight",
                "layernorm.weight",
            ],
        ],
    };

    /// Reads a file of the official program (with or without registers, plain or gated feed-forward
    /// layers) or of Hugging Face. `heads` may be `None` for the released widths: 384, 768, 1024
    /// and 1536 have 64 numbers per head.
    pub fn load(w: &Weights, heads: Option<usize>) -> Result<Self> {
        let layout = Layout::detect(w);
        let patch_embed = PatchEmbed::load(&layout.patch_embed(w))?;
        let width = patch_embed.width();
        let heads = heads_for(w, layout.cls_token(), width, heads)?;
        let register_tokens = layout.register_tokens();
        let registers = w
            .has(register_tokens)
            .then(|| w.dims(register_tokens))
            .transpose()?;
        let block = |i| layout.block(&w.pp(layout.blocks()).pp(i), width, heads);
        Ok(Self {
            cls_token: w.get((1, 1, width), layout.cls_token())?,
            pos_embed: load_positions(w, layout.pos_embed(), width)?,
            register_tokens: registers
                .map(|[_, r, _]| w.get((1, r, width), register_tokens))
                .transpose()?,
            blocks: (0..w.count(layout.blocks()).max(1))
                .map(block)
                .collect::<Result<_>>()?,
            norm: LayerNorm::load(&w.pp(layout.norm()), width, EPS)?,
            interpolation: match (registers, layout) {
                (Some(_), _) => Interpolation::Antialiased,
                (None, Layout::Official) => Interpolation::Offset,
                (None, Layout::HuggingFace) => Interpolation::Exact,
            },
            patch_embed,
        })
    }

    /// Side of a patch in pixels.
    pub fn patch(&self) -> usize {
        self.patch_embed.patch()
    }

    /// Numbers per token.
    pub fn width(&self) -> usize {
        self.patch_embed.width()
    }

    /// The device that holds the weights.
    pub fn device(&self) -> &Device {
        self.cls_token.device()
    }

    /// Features of images (B, 3, H, W), normalised with the mean and standard deviation of
    /// ImageNet.
    ///
    /// Fails unless each side is a multiple of the patch.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tokens> {
        let (b, _, height, width) = pixels.dims4()?;
        let (rows, columns) = self.grid(height, width)?;
        let x = self
            .patch_embed
            .forward(&pixels.to_dtype(self.cls_token.dtype())?)?; // (B, L, C)
        let cls = self.cls_token.broadcast_as((b, 1, self.width()))?;
        // (B, 1 + L, C)
        let x = Tensor::cat(&[&cls, &x], 1)?.broadcast_add(&self.positions(rows, columns)?)?;
        let mut x = self.insert_registers(x)?; // (B, 1 + R + L, C)
        for block in &self.blocks {
            interrupt::check()?;
            x = block.forward(&x)?;
        }
        let x = self.norm.forward(&x)?;
        let registers = x.dim(1)? - 1 - rows * columns;
        Ok(Tokens {
            cls: x.narrow(1, 0, 1)?.squeeze(1)?,
            registers: x.narrow(1, 1, registers)?,
            patches: x.narrow(1, 1 + registers, rows * columns)?,
        })
    }

    /// The table of positions for a grid of patches: (1 + rows * columns, C), that of the class
    /// token first.
    pub fn positions(&self, rows: usize, columns: usize) -> Result<Tensor> {
        let side = (self.pos_embed.dim(0)? - 1).isqrt();
        if (rows, columns) == (side, side) {
            return Ok(self.pos_embed.clone());
        }
        let width = self.width();
        let dtype = self.pos_embed.dtype();
        let device = self.pos_embed.device();
        let table = self.pos_embed.to_dtype(candle_core::DType::F32)?;
        let grid = table
            .narrow(0, 1, side * side)?
            .reshape((side, side, width))?;
        let matrix = |to| self.interpolation.matrix(side, to, device);
        let grid = resample(&grid, &matrix(rows)?, &matrix(columns)?)?; // (Y, X, C)
        let grid = grid.reshape((rows * columns, width))?;
        Ok(Tensor::cat(&[&table.narrow(0, 0, 1)?, &grid], 0)?.to_dtype(dtype)?)
    }

    /// Floating-point operations for one image of `height` by `width` pixels.
    pub fn flops(&self, height: usize, width: usize) -> f64 {
        let patches = (height / self.patch()) * (width / self.patch());
        let registers = self.register_tokens.as_ref().map_or(0, |r| r.dims()[1]);
        let blocks: f64 = self
            .blocks
            .iter()
            .map(|block| block.flops(1 + registers + patches))
            .sum();
        self.patch_embed.flops(patches) + blocks
    }

    /// Rows and columns of patches of an image of this size in pixels. Fails unless each side is a
    /// multiple of the patch.
    pub fn grid(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        let patch = self.patch();
        if height == 0
            || width == 0
            || !height.is_multiple_of(patch)
            || !width.is_multiple_of(patch)
        {
            return Err(Error::input(format!(
                "DINOv2 expects sides that are multiples of {patch}, found {width} x {height}"
            )));
        }
        Ok((height / patch, width / patch))
    }

    /// Registers follow the class token; they have no positions.
    fn insert_registers(&self, x: Tensor) -> Result<Tensor> {
        let Some(registers) = &self.register_tokens else {
            return Ok(x);
        };
        let (b, tokens, width) = x.dims3()?;
        let registers = registers.broadcast_as((b, registers.dim(1)?, width))?;
        Ok(Tensor::cat(
            &[
                &x.narrow(1, 0, 1)?,
                &registers,
                &x.narrow(1, 1, tokens - 1)?,
            ],
            1,
        )?)
    }
}

impl Interpolation {
    /// The (to, from) matrix of one axis.
    fn matrix(self, from: usize, to: usize, device: &Device) -> candle_core::Result<Tensor> {
        match self {
            Self::Antialiased => antialiased_cubic_matrix(from, to, device),
            Self::Offset => cubic_matrix(from, to, from as f64 / (to as f64 + 0.1), device),
            Self::Exact => cubic_matrix(from, to, from as f64 / to as f64, device),
        }
    }
}

/// The table (1, 1 + grid * grid, C) as (1 + grid * grid, C).
fn load_positions(w: &Weights, name: &str, width: usize) -> Result<Tensor> {
    let [_, positions, _] = w.dims(name)?;
    side_of_grid(w, name, positions)?;
    Ok(w.get((1, positions, width), name)?.squeeze(0)?)
}
