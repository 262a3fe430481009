//! Loads networks and reports tensors in their files that no network reads.

use std::{fmt, str::FromStr, sync::Arc};

use candle_core::DType;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    nn::{TensorSource, Weights, open_gpu},
};
use ttsvar_search::suggestion::suggest;

/// Tensors in checkpoints that no model reads: buffers that can be computed, and a token that is
/// used only in training.
const BUFFERS: [&str; 6] = [
    "zero_k_bias",
    "lvl_1L",
    "attn_bias_for_masking",
    "lfq.mask",
    "position_ids",
    "mask_token",
];

/// The data type in which matrices are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32-bit floating point.
    #[default]
    F32,
    /// bfloat16: half the memory.
    Bf16,
}

impl Dtype {
    /// The name in options and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dtype {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(
                Error::input(format!("unknown data type `{name}`")).with_hint(suggest(
                    name,
                    &["f32", "bf16"],
                    "expected `f32` or `bf16`",
                )),
            ),
        }
    }
}

impl From<Dtype> for DType {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::Bf16 => Self::BF16,
        }
    }
}

/// The device that computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The first NVIDIA GPU.
    Cuda,
}

impl Device {
    /// Opens the device.
    ///
    /// # Errors
    /// This program was built without support for it, or the machine has no such device.
    pub fn open(self) -> Result<candle_core::Device> {
        match self {
            Self::Cpu => Ok(candle_core::Device::Cpu),
            Self::Cuda if !cfg!(feature = "cuda") => {
                Err(Error::input("this program was built without CUDA")
                    .with_hint("build it with `cargo build --release --features cuda`"))
            }
            Self::Cuda => open_gpu().map_err(|error| {
                Error::system(format!("no CUDA device can be used: {error}"))
                    .with_hint("leave --device out to use the CPU")
            }),
        }
    }

    /// The name in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda),
            _ => Err(
                Error::input(format!("unknown device `{name}`")).with_hint(suggest(
                    name,
                    &["cpu", "cuda"],
                    "expected `cpu` or `cuda`",
                )),
            ),
        }
    }
}

/// The data type and the device of the networks that are loaded.
#[derive(Clone, Debug)]
pub struct Loader {
    /// The type in which matrices are kept.
    pub dtype: Dtype,
    /// The device that computes.
    pub device: candle_core::Device,
}

/// A loaded network.
pub struct Loaded<T> {
    /// The network.
    pub network: T,
    /// Bytes of its weights in memory.
    pub bytes: u64,
    /// Tensors in its file that no network reads.
    pub unread: UnreadTensors,
}

/// Tensors of a file that no network reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadTensors {
    /// The file.
    pub origin: String,
    /// The names of the tensors.
    pub names: Vec<String>,
}

/// Findings from loading the networks of a system.
#[derive(Default)]
pub struct LoadReport {
    /// Tensors that no network reads, file by file.
    pub unread: Vec<UnreadTensors>,
}

impl LoadReport {
    /// Adds the findings of one network.
    pub fn add<T>(&mut self, loaded: &Loaded<T>) {
        if !loaded.unread.names.is_empty() {
            self.unread.push(loaded.unread.clone());
        }
    }
}

impl Loader {
    /// Loads a network from the tensors of `source`. It should read all tensors whose names begin
    /// with `prefix`, except those that begin with one of `unused`; others are reported as unread.
    ///
    /// # Errors
    /// The errors of `load`.
    pub fn load<T>(
        &self,
        source: Arc<dyn TensorSource>,
        prefix: &str,
        unused: &[&str],
        load: impl FnOnce(&Weights) -> Result<T>,
    ) -> Result<Loaded<T>> {
        let origin = source.origin();
        let weights = Weights::new(source, self.dtype.into(), &self.device);
        let network = load(&weights)?;
        let expected = |name: &String| {
            BUFFERS.iter().any(|buffer| name.ends_with(buffer))
                || unused.iter().any(|prefix| name.starts_with(prefix))
        };
        let names = weights
            .unread()
            .into_iter()
            .filter(|name| name.starts_with(prefix) && !expected(name))
            .collect();
        Ok(Loaded {
            network,
            bytes: weights.bytes_kept(),
            unread: UnreadTensors { origin, names },
        })
    }
}
