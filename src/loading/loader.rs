//! Loads networks and reports tensors in their files that no network reads.

use std::{fmt, str::FromStr, sync::Arc};

use super::LoadProgress;
use crate::{
    Error, Result,
    nn::{Dtype, StateDictChoice, TensorSource, Weights, open_gpu},
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

impl FromStr for Dtype {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let names = Self::ALL.map(Self::name);
        Self::ALL
            .into_iter()
            .find(|dtype| dtype.name() == name)
            .ok_or_else(|| {
                Error::input(format!("unknown data type `{name}`")).with_hint(suggest(
                    name,
                    &names,
                    "expected `f32`, `bf16` or `q8`",
                ))
            })
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
            _ => Err(Error::input(format!("unknown device `{name}`"))
                .with_hint("expected `cpu`, or `cuda` for a GPU")),
        }
    }
}

/// The data type and the device of the networks that are loaded.
#[derive(Clone, Debug)]
pub struct Loader {
    /// The type in which matrices are kept.
    pub dtype: Dtype,
    /// The type in which those of text encoders are kept.
    pub text_dtype: Dtype,
    /// The device that computes.
    pub device: candle_core::Device,
    /// Whether networks are only measured by the headers of their files ([`Weights::of_header`]).
    pub headers_only: bool,
    /// What is told how far reading is.
    pub progress: LoadProgress,
}

/// A loaded network.
pub struct Loaded<T> {
    /// The network.
    pub network: T,
    /// Bytes of its weights in memory.
    pub bytes: u64,
    /// Bytes at the widest moment of reading it, `bytes` or more.
    pub peak_bytes: u64,
    /// Bytes that are read from its files.
    pub stored_bytes: u64,
    /// The files that it was read from.
    pub files: Vec<LoadedFile>,
}

/// A file that a network was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedFile {
    /// Tensors in it that no network reads.
    pub unread: UnreadTensors,
    /// The state dict that was read, if the file left a choice.
    pub state_dict: Option<StateDictChoice>,
}

/// Tensors of a file that no network reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadTensors {
    /// The file.
    pub origin: String,
    /// The names of the tensors.
    pub names: Vec<String>,
}

impl<T> Loaded<T> {
    /// A network without a file of weights.
    pub fn without_weights(network: T, origin: impl fmt::Display) -> Self {
        Self {
            network,
            bytes: 0,
            peak_bytes: 0,
            stored_bytes: 0,
            files: vec![LoadedFile::complete(origin)],
        }
    }

    /// The file, or the first of several, for messages.
    pub fn origin(&self) -> &str {
        self.files.first().map_or("", |file| &file.unread.origin)
    }

    /// This network and one that is read after it, put together.
    pub fn and<U, V>(self, next: Loaded<U>, join: impl FnOnce(T, U) -> V) -> Loaded<V> {
        Loaded {
            network: join(self.network, next.network),
            bytes: self.bytes + next.bytes,
            peak_bytes: self.peak_bytes.max(self.bytes + next.peak_bytes),
            stored_bytes: self.stored_bytes + next.stored_bytes,
            files: [self.files, next.files].concat(),
        }
    }
}

impl LoadedFile {
    /// A file of which everything was read.
    pub fn complete(origin: impl fmt::Display) -> Self {
        Self {
            unread: UnreadTensors::none(origin),
            state_dict: None,
        }
    }
}

impl UnreadTensors {
    /// None in this file.
    pub fn none(origin: impl fmt::Display) -> Self {
        Self {
            origin: origin.to_string(),
            names: vec![],
        }
    }
}

/// Findings from loading the networks of a system.
#[derive(Default)]
pub struct LoadReport {
    /// Tensors that no network reads, file by file.
    pub unread: Vec<UnreadTensors>,
    /// The state dicts that were chosen, file by file.
    pub state_dicts: Vec<StateDictChoice>,
    /// The files and folders from which networks were read.
    pub files: Vec<String>,
    /// Other things that the user should know.
    pub notes: Vec<String>,
}

/// A finding from loading, for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Something unusual that is probably right.
    Note(String),
    /// Something that is probably wrong.
    Warning(String),
}

impl LoadReport {
    /// Adds the findings of one network.
    pub fn add<T>(&mut self, loaded: &Loaded<T>) {
        for file in &loaded.files {
            if !file.unread.names.is_empty() {
                self.unread.push(file.unread.clone());
            }
            self.state_dicts.extend(file.state_dict.clone());
            self.files.push(file.unread.origin.clone());
        }
    }

    /// Returns whether a file had the state dict that the user asked for.
    pub fn has_asked_for(&self) -> bool {
        self.state_dicts.iter().any(|choice| choice.is_asked_for)
    }

    /// The findings as sentences.
    pub fn notices(&self) -> Vec<Notice> {
        let choices = self.state_dicts.iter().filter_map(describe_choice);
        let unread = self.unread.iter().map(describe_unread);
        let notes = self.notes.iter().cloned();
        choices
            .chain(notes)
            .map(Notice::Note)
            .chain(unread.map(Notice::Warning))
            .collect()
    }
}

/// Describes a choice that the user should know of.
fn describe_choice(choice: &StateDictChoice) -> Option<String> {
    let quoted = |name: &String| match name.is_empty() {
        true => "the top level".to_owned(),
        false => format!("`{}`", name.escape_debug()),
    };
    let origin = &choice.origin;
    let chosen = quoted(&choice.chosen);
    if choice.others.is_empty() {
        let known = choice.is_usual || choice.is_asked_for;
        return (!known).then(|| format!("{origin}: using the tensors under {chosen}"));
    }
    let others: Vec<String> = choice.others.iter().map(quoted).collect();
    let others = others.join(", ");
    let hint = match choice.others.iter().find(|name| !name.is_empty()) {
        Some(name) if !choice.is_asked_for => {
            format!("; --state-dict {} reads the other", name.escape_debug())
        }
        _ => String::new(),
    };
    Some(format!(
        "{origin}: using the state dict at {chosen}; {others} would fit too{hint}"
    ))
}

fn describe_unread(tensors: &UnreadTensors) -> String {
    const SHOWN: usize = 3;
    let first = tensors.names.iter().take(SHOWN);
    let first: Vec<String> = first.map(|name| name.escape_debug().to_string()).collect();
    let more = match tensors.names.len() > SHOWN {
        true => ", …",
        false => "",
    };
    format!(
        "{}: {} tensors that the model does not know: {}{more}",
        tensors.origin,
        tensors.names.len(),
        first.join(", ")
    )
}

impl Loader {
    /// Loads networks whole.
    pub fn new(dtype: Dtype, device: candle_core::Device) -> Self {
        Self {
            dtype,
            text_dtype: dtype,
            device,
            headers_only: false,
            progress: LoadProgress::default(),
        }
    }

    /// The same for text encoders.
    pub fn of_text(&self) -> Self {
        Self {
            dtype: self.text_dtype,
            ..self.clone()
        }
    }

    /// The same, but only measures networks by the headers of their files.
    pub fn of_headers(&self) -> Self {
        Self {
            headers_only: true,
            ..self.clone()
        }
    }

    /// The tensors of `source`, of type `dtype`.
    pub fn weights(&self, source: Arc<dyn TensorSource>, dtype: Dtype) -> Weights {
        if self.headers_only {
            return Weights::of_header(source, dtype, &self.device);
        }
        let progress = self.progress.clone();
        Weights::new(source, dtype, &self.device).watched(move |bytes| progress.read(bytes))
    }

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
        let state_dict = source.state_dict().cloned();
        let weights = self.weights(source, self.dtype);
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
            peak_bytes: weights.peak_bytes(),
            stored_bytes: weights.bytes_stored(),
            files: vec![LoadedFile {
                unread: UnreadTensors { origin, names },
                state_dict,
            }],
        })
    }
}
