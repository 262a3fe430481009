//! Where the tensors of a checkpoint come from, and how they are described there.

use candle_core::{DType, Tensor};

use super::{Q8Block, cpu::Values};
use crate::Result;

/// The description of a tensor in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// Element type as stored.
    pub element: StoredType,
}

impl TensorInfo {
    /// Returns whether its values are stored in this type.
    pub(super) fn is_stored_as(&self, dtype: DType) -> bool {
        self.element == StoredType::Readable(dtype)
    }

    /// The number of its values. A file may claim any shape: numbers that are too large for memory
    /// are the largest there is.
    pub fn values(&self) -> usize {
        let sizes = self.shape.iter();
        sizes.fold(1, |values: usize, size| values.saturating_mul(*size))
    }

    /// Bytes of its values, as far as their type is known.
    pub fn bytes(&self) -> u64 {
        match self.element {
            StoredType::Readable(dtype) => {
                (self.values() as u64).saturating_mul(dtype.size_in_bytes() as u64)
            }
            StoredType::Unreadable(_) => 0,
        }
    }
}

/// The element type of a stored tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredType {
    /// A type that networks can read.
    Readable(DType),
    /// Another type or kind of tensor, such as `complex64` or a sparse one.
    Unreadable(String),
}

/// Tensors by which the checkpoint of a network is recognised.
#[derive(Debug)]
pub struct Signature {
    /// Sets of names, one per layout of published files; a state dict has all names of one set.
    pub layouts: &'static [&'static [&'static str]],
}

/// The state dict that was chosen in a checkpoint with several or with an unusual one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDictChoice {
    /// The file.
    pub origin: String,
    /// The prefix of the tensors that are read; empty for the top level of the file.
    pub chosen: String,
    /// True if published files have their tensors there.
    pub is_usual: bool,
    /// True if the user asked for it by name.
    pub is_asked_for: bool,
    /// The prefixes of other state dicts that fit.
    pub others: Vec<String>,
}

/// Somewhere that tensors come from: a file, several shards, memory.
pub trait TensorSource: Send + Sync {
    /// The file or folder, for messages.
    fn origin(&self) -> String;

    /// Every tensor's name.
    fn names(&self) -> Vec<String>;

    /// Shape and type of a tensor, without reading it; `None` if there is no tensor of that name.
    fn info(&self, name: &str) -> Option<TensorInfo>;

    /// Reads a tensor into main memory, in the type it is stored in.
    fn load(&self, name: &str) -> Result<Tensor>;

    /// Opens a tensor to read its values in parts. Sources whose files have them in order read
    /// each part when it is asked for; others read the whole tensor first.
    fn open_matrix(&self, name: &str) -> Result<OpenMatrix<'_>> {
        OpenMatrix::of_tensor(&self.load(name)?)
    }

    /// The name under which the file was saved, if it tells; renaming it later does not change that.
    fn saved_as(&self) -> Option<&str> {
        None
    }

    /// The state dict that these tensors are, if the file left a choice.
    fn state_dict(&self) -> Option<&StateDictChoice> {
        None
    }
}

/// Fills memory with the part of a tensor that begins at some element, counted row by row. Several
/// threads may read at once. Each element is read once.
pub type ReadPart<'a, T> = Box<dyn Fn(usize, &mut [T]) -> Result<()> + Send + Sync + 'a>;

/// A matrix that is read in parts.
pub enum OpenMatrix<'a> {
    /// Its values.
    Values(ReadPart<'a, f32>),
    /// Its blocks of GGUF's `q8_0`, each of [`Q8Block::BYTES`] bytes. Elements are bytes here.
    Q8_0(ReadPart<'a, u8>),
}

impl OpenMatrix<'_> {
    /// The values of a tensor in main memory.
    pub(crate) fn of_tensor(tensor: &Tensor) -> Result<Self> {
        let tensor = tensor.to_dtype(DType::F32)?.contiguous()?;
        Ok(Self::Values(Box::new(move |first, part| {
            let values = Values::from_f32(&tensor)?;
            part.copy_from_slice(&values[first..][..part.len()]);
            Ok(())
        })))
    }
}

impl<'a> OpenMatrix<'a> {
    /// The values of a tensor in parts where a file has them in order, otherwise of the whole tensor.
    pub(crate) fn in_parts_or_whole(
        parts: Option<ReadPart<'a, f32>>,
        load: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Self> {
        match parts {
            Some(read) => Ok(Self::Values(read)),
            None => Self::of_tensor(&load()?),
        }
    }

    /// The same as values, where these are blocks. Parts are of whole blocks.
    pub(super) fn into_values(self) -> ReadPart<'a, f32> {
        match self {
            Self::Values(read) => read,
            Self::Q8_0(read) => Box::new(move |first, part| {
                let blocks = |values| values / Q8Block::VALUES * Q8Block::BYTES;
                let mut stored = vec![0; blocks(part.len())];
                read(blocks(first), &mut stored)?;
                Q8Block::write_values(&stored, part);
                Ok(())
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_that_no_memory_can_hold_are_counted_without_overflow() {
        let info = |shape: &[usize], element| TensorInfo {
            shape: shape.to_vec(),
            element,
        };
        let huge = [usize::MAX, 3, usize::MAX];
        let unreadable = StoredType::Unreadable("GGUF type 99".to_owned());
        assert_eq!(info(&huge, unreadable).bytes(), 0);
        let readable = || StoredType::Readable(DType::F32);
        assert_eq!(info(&huge, readable()).bytes(), u64::MAX);
        assert_eq!(info(&[usize::MAX, 3, 0], readable()).bytes(), 0);
        assert_eq!(info(&[2, 3], readable()).bytes(), 24);
    }
}
