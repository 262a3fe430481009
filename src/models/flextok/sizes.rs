//! The sizes of a flow decoder, and what follows from them without its weights.

use candle_core::DType;

use super::{DecoderConfig, Fsq};
use crate::{Result, nn::Weights};

/// The sizes of a flow decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSizes {
    /// Width of the vectors.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Width inside the feed-forward.
    pub hidden: usize,
    /// Registers, and so tokens of an image.
    pub registers: usize,
    /// Channels of the latent.
    pub channels: usize,
    /// Values of a code.
    pub code_width: usize,
    /// Features of a time.
    pub time_features: usize,
    /// Parts of the tokens that a block modulates by themselves.
    pub parts: usize,
    /// Rows and columns of a patch.
    pub patch: (usize, usize),
    /// Rows and columns of patches in the table of positions.
    pub most: (usize, usize),
}

impl FlowSizes {
    /// The sizes that the weights show, below `module_dict`.
    pub(super) fn read(w: &Weights, config: &DecoderConfig, fsq: &Fsq) -> Result<Self> {
        let [width, _] = w.pp(&config.from_codes).dims("proj.weight")?;
        let transformer = w.pp(&config.transformer.name);
        let block = transformer.pp("blocks.0");
        let [_, hidden] = block.dims("mlp.fc2.weight")?;
        let [modulated, _] = block.dims("adaLN_modulation.1.weight")?;
        let [.., registers] = w.pp(&config.register_positions.name).dims::<4>("posembs")?;
        let patches = w.pp(&config.patches.name);
        let [_, values] = patches.dims("patch_proj.weight")?;
        let [axes, _, rows, columns] = w.pp(&config.patch_positions.name).dims("posembs")?;
        let [_, time_features] = w.pp(&config.time).dims("mlp.0.weight")?;
        let patch = config.patches.size;
        let area = patch.0 * patch.1;
        if !values.is_multiple_of(area) {
            let expected = format!("a multiple of the {area} cells of a patch");
            return Err(patches.mismatch("patch_proj.weight", expected, values.to_string()));
        }
        Ok(Self {
            width,
            depth: transformer.count("blocks"),
            hidden,
            registers,
            channels: values / area,
            code_width: fsq.width(),
            time_features,
            parts: modulated / (6 * width),
            patch,
            most: match axes {
                1 => (rows, columns),
                _ => (columns, columns),
            },
        })
    }

    /// Values of a patch.
    pub fn patch_values(&self) -> usize {
        self.patch.0 * self.patch.1 * self.channels
    }

    /// Tokens that the network runs for a latent of (rows, columns) cells.
    fn tokens(&self, (rows, columns): (usize, usize)) -> usize {
        rows * columns / (self.patch.0 * self.patch.1) + self.registers
    }

    /// Floating-point operations of one velocity of a latent of (rows, columns) cells.
    pub fn flops(&self, cells: (usize, usize)) -> f64 {
        let tokens = self.tokens(cells);
        let patches = tokens - self.registers;
        let block = self.width * (4 * self.width + 3 * self.hidden + 2 * tokens);
        let ends = 2 * patches * self.width * self.patch_values();
        2.0 * (self.depth * tokens * block + ends) as f64
    }

    /// Floating-point operations for a time, whatever the number of latents.
    pub fn time_flops(&self) -> f64 {
        let blocks = self.depth * self.parts * 6 * self.width;
        2.0 * (self.width * (self.time_features + self.width + blocks + 2 * self.width)) as f64
    }

    /// Bytes of what a velocity of `rows` latents of (rows, columns) cells takes.
    pub fn activation_bytes(&self, rows: usize, cells: (usize, usize), dtype: DType) -> u64 {
        let values = rows * self.tokens(cells) * (6 * self.width + 3 * self.hidden);
        (values * dtype.size_in_bytes()) as u64
    }

    /// The number of parameters.
    pub fn values(&self, config: &DecoderConfig) -> usize {
        let shapes = self.tensors(config).into_iter().map(|(_, shape)| shape);
        shapes.map(|shape| shape.iter().product::<usize>()).sum()
    }

    /// Name and shape of every tensor.
    pub fn tensors(&self, config: &DecoderConfig) -> Vec<(String, Vec<usize>)> {
        let d = self.width;
        let mut all = Tensors(vec![]);
        all.linear(&format!("{}.proj", config.from_codes), [d, self.code_width]);
        let registers = &config.register_positions.name;
        all.add(format!("{registers}.posembs"), &[1, 1, d, self.registers]);
        all.add(format!("{}.dropout_mask_token", config.dropped), &[d]);
        all.add(format!("{}.nullcond", config.null), &[d]);
        let values = self.patch_values();
        all.linear(&format!("{}.patch_proj", config.patches.name), [d, values]);
        let (rows, columns) = self.most;
        let positions = &config.patch_positions.name;
        all.add(format!("{positions}.posembs"), &[1, d, rows, columns]);
        all.linear(&format!("{}.mlp.0", config.time), [d, self.time_features]);
        all.linear(&format!("{}.mlp.2", config.time), [d, d]);
        for i in 0..self.depth {
            let block = format!("{}.blocks.{i}", config.transformer.name);
            for layer in ["wq", "wk", "wv", "proj"] {
                all.add(format!("{block}.attn.{layer}.weight"), &[d, d]);
            }
            for layer in ["fc1", "fc3"] {
                all.add(format!("{block}.mlp.{layer}.weight"), &[self.hidden, d]);
            }
            all.add(format!("{block}.mlp.fc2.weight"), &[d, self.hidden]);
            let modulated = 6 * self.parts * d;
            all.linear(&format!("{block}.adaLN_modulation.1"), [modulated, d]);
        }
        all.linear(&format!("{}.adaLN_modulation.1", config.head), [2 * d, d]);
        all.linear(&format!("{}.proj", config.head), [values, d]);
        all.0
    }
}

/// Tensors of a network.
struct Tensors(Vec<(String, Vec<usize>)>);

impl Tensors {
    fn add(&mut self, name: String, shape: &[usize]) {
        self.0.push((format!("module_dict.{name}"), shape.to_vec()));
    }

    fn linear(&mut self, name: &str, [outputs, inputs]: [usize; 2]) {
        self.add(format!("{name}.weight"), &[outputs, inputs]);
        self.add(format!("{name}.bias"), &[outputs]);
    }
}
