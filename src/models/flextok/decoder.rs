//! The network of the flow: codes of a prefix, a noisy latent and a time to a velocity.

use candle_core::{DType, Device, Tensor};

use super::{
    DecoderConfig, FlowSizes, Fsq, Watch,
    block::{Block, EPS, parts},
    patches::{from_patches, to_patches},
    positions::Positions,
    time::TimeEmbedder,
};
use crate::{
    Error, Result, interrupt,
    nn::{Activation, Linear, Weights, modulate},
};

/// The network.
#[derive(Clone, Debug)]
pub struct FlowDecoder {
    fsq: Fsq,
    from_codes: Linear,
    register_positions: Tensor, // (K, D)
    dropout_mask_token: Tensor, // (1, D)
    nullcond: Tensor,           // (1, D)
    patch_proj: Linear,
    patch_positions: Positions,
    time: TimeEmbedder,
    blocks: Vec<Block>,
    head_ada_ln: Linear,
    head: Linear,
    sizes: FlowSizes,
}

impl FlowDecoder {
    /// Reads the parts of `config` below `w`; every size is the file's.
    ///
    /// # Errors
    /// A tensor is missing or of another shape than the rest implies.
    pub fn load(w: &Weights, config: &DecoderConfig, fsq: Fsq) -> Result<Self> {
        let w = w.pp("module_dict");
        let sizes = FlowSizes::read(&w, config, &fsq)?;
        let FlowSizes { width, .. } = sizes;
        let values = sizes.patch_values();
        let from_codes = w.pp(&config.from_codes).pp("proj");
        let patches = w.pp(&config.patches.name).pp("patch_proj");
        let registers = Positions::load(&w, &config.register_positions, width)?;
        let head = w.pp(&config.head);
        let transformer = w.pp(&config.transformer.name);
        let block = |i| {
            let w = transformer.pp("blocks").pp(i);
            Block::load(&w, width, &config.transformer)
        };
        let vector = |part: &str, name| w.pp(part).get_reshaped((1, width), name);
        Ok(Self {
            from_codes: Linear::load(&from_codes, fsq.width(), width)?,
            register_positions: registers.of_grid(registers.most())?,
            dropout_mask_token: vector(&config.dropped, "dropout_mask_token")?,
            nullcond: vector(&config.null, "nullcond")?,
            patch_proj: Linear::load(&patches, values, width)?,
            patch_positions: Positions::load(&w, &config.patch_positions, width)?,
            time: TimeEmbedder::load(&w.pp(&config.time), width, config.max_timestep)?,
            blocks: (0..sizes.depth).map(block).collect::<Result<_>>()?,
            head_ada_ln: Linear::load(&head.pp("adaLN_modulation.1"), width, 2 * width)?,
            head: Linear::load(&head.pp("proj"), width, values)?,
            sizes,
            fsq,
        })
    }

    /// The sizes.
    pub fn sizes(&self) -> &FlowSizes {
        &self.sizes
    }

    /// The quantizer whose codes it reads.
    pub fn fsq(&self) -> &Fsq {
        &self.fsq
    }

    /// Where the network computes, and in which type.
    pub fn place(&self) -> (&Device, DType) {
        (self.nullcond.device(), self.nullcond.dtype())
    }

    /// The registers of a prefix of tokens, as the transformer reads them: (K, D)
    ///
    /// # Errors
    /// There are more tokens than registers, or the tensor library fails.
    pub fn condition(&self, prefix: &[u32], watch: &mut Watch) -> Result<Tensor> {
        let FlowSizes {
            width, registers, ..
        } = self.sizes;
        if prefix.len() > registers {
            let tokens = prefix.len();
            return Err(Error::internal(format!(
                "{tokens} tokens for {registers} registers"
            )));
        }
        let mut padded = prefix.to_vec();
        padded.resize(registers, 0);
        let codes = Tensor::from_vec(
            self.fsq.codes(&padded),
            (registers, self.fsq.width()),
            &Device::Cpu,
        )?;
        let (device, dtype) = self.place();
        let codes = codes.to_dtype(dtype)?.to_device(device)?;
        watch("quants", None, &codes);
        let x = self.from_codes.forward(&codes)?; // (K, D)
        watch("registers_proj", None, &x);
        let x = (x + &self.register_positions)?;
        watch("registers_with_posemb", None, &x);
        let absent = registers - prefix.len();
        let dropped = self.dropout_mask_token.broadcast_as((absent, width))?;
        let x = Tensor::cat(&[x.narrow(0, 0, prefix.len())?, dropped.contiguous()?], 0)?;
        watch("registers_in", None, &x);
        Ok(x)
    }

    /// The registers without guidance: (K, D)
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn null_condition(&self) -> Result<Tensor> {
        let FlowSizes {
            width, registers, ..
        } = self.sizes;
        Ok(self
            .nullcond
            .broadcast_as((registers, width))?
            .contiguous()?)
    }

    /// Noisy latents (B, C, h, w) at a time, with the registers of each (B, K, D) -> velocities
    /// (B, C, h, w), from the image to the noise
    ///
    /// # Errors
    /// The latent is larger than the table of positions, or the tensor library fails.
    pub fn velocity(
        &self,
        x: &Tensor,
        t: f64,
        registers: &Tensor,
        watch: &mut Watch,
    ) -> Result<Tensor> {
        let (_, _, h, w) = x.dims4()?;
        let patch = self.sizes.patch;
        let grid = (h / patch.0, w / patch.1);
        let patches = grid.0 * grid.1;
        let count = registers.dims()[1];
        let x = self.patch_proj.forward(&to_patches(x, patch)?)?; // (B, L, D)
        watch("patches", None, &x);
        let x = x.broadcast_add(&self.patch_positions.of_grid(grid)?)?;
        watch("patches_with_posemb", None, &x);
        let time = self.time.forward(t, &x)?; // (1, D)
        watch("temb", None, &time);
        let active = Activation::Silu.forward(&time)?;
        let width = self.sizes.width;
        let mut x = Tensor::cat(&[&x, registers], 1)?; // (B, L + K, D)
        for (i, block) in self.blocks.iter().enumerate() {
            interrupt::check()?;
            let Some(values) = block.modulation(&active)? else {
                return Err(Error::input(
                    "a block of the decoder has no `adaLN_modulation`",
                ));
            };
            watch("adaLN", Some(i), &values);
            let parts = parts(&values, width, patches, count)?;
            x = block.forward(&x, &parts, None, i, watch)?;
        }
        let x = x.narrow(1, 0, patches)?.contiguous()?; // (B, L, D)
        watch("patches_out", None, &x);
        let shift_scale = self.head_ada_ln.forward(&active)?.reshape((2, width))?;
        let shift = shift_scale.get(0)?;
        let scale = shift_scale.get(1)?;
        let x = self.head.forward(&modulate(&x, &scale, &shift, EPS)?)?;
        Ok(from_patches(&x, patch, grid)?)
    }
}
