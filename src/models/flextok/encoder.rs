//! Latents to vectors of registers, which the quantizer makes tokens of.

use candle_core::{Device, Tensor};

use super::{
    EncoderConfig, Watch,
    block::{Block, EPS, Modulation, Part},
    patches::to_patches,
    positions::Positions,
};
use crate::{
    Result, interrupt,
    nn::{Linear, Weights, modulate},
};

/// The network.
#[derive(Clone, Debug)]
pub struct Encoder {
    patch_proj: Linear,
    positions: Positions,
    registers: Tensor, // (K, D)
    blocks: Vec<Block>,
    proj: Linear,
    patch: (usize, usize),
    plain: Modulation,
}

impl Encoder {
    /// Reads the parts of `config` below `w`; every size is the file's.
    ///
    /// # Errors
    /// A tensor is missing or of another shape than the rest implies.
    pub fn load(w: &Weights, config: &EncoderConfig) -> Result<Self> {
        let w = w.pp("module_dict");
        let registers = w.pp(&config.registers);
        let [count, width] = registers.dims("registers")?;
        let patches = w.pp(&config.patches.name).pp("patch_proj");
        let [_, values] = patches.dims("weight")?;
        let head = w.pp(&config.head).pp("proj");
        let [codes, _] = head.dims("weight")?;
        let transformer = w.pp(&config.transformer.name);
        let block = |i| {
            let w = transformer.pp("blocks").pp(i);
            Block::load(&w, width, &config.transformer)
        };
        Ok(Self {
            patch_proj: Linear::load(&patches, values, width)?,
            positions: Positions::load(&w, &config.positions, width)?,
            registers: registers.get((count, width), "registers")?,
            blocks: (0..transformer.count("blocks"))
                .map(block)
                .collect::<Result<_>>()?,
            proj: Linear::load(&head, width, codes)?,
            patch: config.patches.size,
            plain: Modulation::none(width, w.held_as(), w.device())?,
        })
    }

    /// Registers, and so tokens of an image.
    pub fn registers(&self) -> usize {
        self.registers.dims()[0]
    }

    /// Latents (B, C, h, w) -> vectors of the registers (B, K, values of a code)
    ///
    /// # Errors
    /// The latent is larger than the table of positions, or the tensor library fails.
    pub fn forward(&self, latents: &Tensor, watch: &mut Watch) -> Result<Tensor> {
        let (b, _, h, w) = latents.dims4()?;
        let grid = (h / self.patch.0, w / self.patch.1);
        let x = self.patch_proj.forward(&to_patches(latents, self.patch)?)?; // (B, L, D)
        watch("patches", None, &x);
        let x = x.broadcast_add(&self.positions.of_grid(grid)?)?;
        watch("patches_with_posemb", None, &x);
        let patches = grid.0 * grid.1;
        let registers = self.registers.unsqueeze(0)?;
        let (_, count, width) = registers.dims3()?;
        let registers = registers.broadcast_as((b, count, width))?.contiguous()?;
        let mut x = Tensor::cat(&[x, registers], 1)?; // (B, L + K, D)
        watch("packed", None, &x);
        let bias = prefix_bias(patches, count)?
            .to_dtype(x.dtype())?
            .to_device(x.device())?;
        let parts = [Part {
            tokens: patches + count,
            modulation: self.plain.clone(),
        }];
        for (i, block) in self.blocks.iter().enumerate() {
            interrupt::check()?;
            x = block.forward(&x, &parts, Some(&bias), i, watch)?;
        }
        let x = x.narrow(1, patches, count)?.contiguous()?; // (B, K, D)
        watch("registers_out", None, &x);
        let zeros = Tensor::zeros(width, x.dtype(), x.device())?;
        Ok(self.proj.forward(&modulate(&x, &zeros, &zeros, EPS)?)?)
    }
}

/// What is added to the scores of attention, (1, 1, L + K, L + K): patches see patches, a register
/// sees patches and the registers up to itself.
pub(super) fn prefix_bias(patches: usize, registers: usize) -> candle_core::Result<Tensor> {
    let all = patches + registers;
    let sees = |row: usize, column: usize| column < patches || (row >= patches && column <= row);
    let mut bias = Vec::with_capacity(all * all);
    for row in 0..all {
        let scores = (0..all).map(|column| match sees(row, column) {
            true => 0.0,
            false => f32::NEG_INFINITY,
        });
        bias.extend(scores);
    }
    Tensor::from_vec(bias, (1, 1, all, all), &Device::Cpu)
}
