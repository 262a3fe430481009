//! Reads the pickle inside a PyTorch file as data: plain values and descriptions of tensors,
//! nothing else.
//!
//! A pickle is a program for a stack machine, and Python's own reader lets that program import and
//! call anything. This reader never runs code. It knows a closed list of names (the `globals`
//! file); a pickle that asks for any other is refused with that name. All values live in flat
//! tables of a [`Tree`], so a hostile file can neither nest deeper than the call stack nor build
//! cycles that are never freed, and the number of values is bounded.

mod element;
mod globals;
mod input;
mod machine;
mod op;

use std::{path::Path, sync::Arc};

pub use element::ElementType;

use crate::Result;

/// Largest pickle that is read; that of a model with 10 000 tensors has about 2 MB.
pub const MAX_PICKLE_BYTES: u64 = 32 << 20;

/// A value of a pickle. Sequences and the like are [`Node`]s of the [`Tree`], referred to by their
/// index.
#[derive(Clone, Debug)]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A text.
    Str(Arc<str>),
    /// A tuple: a [`Node::Sequence`].
    Tuple(usize),
    /// A list: a [`Node::Sequence`].
    List(usize),
    /// A dictionary of any kind: a [`Node::Mapping`].
    Dict(usize),
    /// A stored run of numbers: a [`Node::Storage`].
    Storage(usize),
    /// A tensor: a [`Node::Tensor`] or [`Node::Unreadable`].
    Tensor(usize),
    /// A name of the closed list.
    Global(Global),
    /// Something that is known to be harmless and of no use here; its kind, for messages.
    Opaque(&'static str),
}

/// The meanings of the names on the closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Global {
    /// Makes an empty dictionary.
    Dict,
    /// `torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`: a view of a storage.
    RebuildTensor,
    /// `torch._utils._rebuild_tensor_v3`: a view of untyped bytes.
    RebuildTypedTensor,
    /// `torch._tensor._rebuild_from_type_v2`: what another function makes, with attributes.
    RebuildFromType,
    /// A function that makes a tensor which cannot be read; its kind.
    Unreadable(&'static str),
    /// `torch._utils._rebuild_parameter` and its relatives: the tensor that is their first
    /// argument.
    RebuildParameter,
    /// A storage class.
    Storage(ElementType),
    /// A type of numbers, such as `torch.float32`.
    Type(ElementType),
    /// `torch.Size`: the tuple that is its argument.
    Size,
    /// A class whose objects are skipped.
    Skipped(&'static str),
}

/// The target of a [`Value`].
#[derive(Clone, Debug)]
pub enum Node {
    /// Items of a tuple or list.
    Sequence(Vec<Value>),
    /// Keys and values of a dictionary, in order; a repeated key counts with its last value.
    Mapping(Vec<(Value, Value)>),
    /// A stored run of numbers.
    Storage(Box<Storage>),
    /// A view of a storage.
    Tensor(Arc<View>),
    /// A tensor that cannot be read; its kind.
    Unreadable(&'static str),
}

/// A stored run of numbers: one member of the archive, or in files of the old kind a part of the
/// file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Name of the member below `data/`, or of the part.
    pub key: Arc<str>,
    /// Element type.
    pub element: ElementType,
    /// Number of elements.
    pub elements: usize,
}

/// A tensor: elements of a storage at `offset + sum(index * stride)`. Nothing is checked against
/// the storage yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The storage of the elements.
    pub storage: Storage,
    /// First element.
    pub offset: usize,
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// Elements from one index to the next, per axis.
    pub stride: Vec<usize>,
}

/// All that a pickle holds.
#[derive(Debug)]
pub struct Tree {
    root: Value,
    nodes: Vec<Node>,
}

impl Tree {
    /// Reads a pickle of protocol 0 to 5; `origin` is its file, for messages.
    ///
    /// # Errors
    /// The pickle is damaged, too large, or asks for a name outside the closed list.
    pub fn read(pickle: &[u8], origin: &Path) -> Result<Self> {
        Ok(machine::run(pickle, origin)?.0)
    }

    /// Reads the first of several pickles that follow each other, and how many bytes it has.
    ///
    /// # Errors
    /// As [`Tree::read`].
    pub fn read_first(pickles: &[u8], origin: &Path) -> Result<(Self, usize)> {
        machine::run(pickles, origin)
    }

    /// The storages of all tensors, each as often as it is named.
    pub fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(storage.as_ref()),
            _ => None,
        })
    }

    /// The value that the pickle stands for.
    pub fn root(&self) -> &Value {
        &self.root
    }

    /// Items of a tuple or list.
    pub fn items(&self, value: &Value) -> Option<&[Value]> {
        match value {
            Value::Tuple(i) | Value::List(i) => match self.nodes.get(*i) {
                Some(Node::Sequence(items)) => Some(items),
                _ => None,
            },
            _ => None,
        }
    }

    /// Keys and values of a dictionary.
    pub fn entries(&self, value: &Value) -> Option<&[(Value, Value)]> {
        match value {
            Value::Dict(i) => match self.nodes.get(*i) {
                Some(Node::Mapping(entries)) => Some(entries),
                _ => None,
            },
            _ => None,
        }
    }

    /// The value under a text key of a dictionary.
    pub fn entry(&self, dictionary: &Value, key: &str) -> Option<&Value> {
        let mut entries = self.entries(dictionary)?.iter().rev();
        entries
            .find(|(k, _)| matches!(k, Value::Str(text) if &**text == key))
            .map(|(_, value)| value)
    }

    /// The description of a tensor.
    pub fn tensor(&self, value: &Value) -> Option<Stored<'_>> {
        match value {
            Value::Tensor(i) => match self.nodes.get(*i) {
                Some(Node::Tensor(view)) => Some(Stored::View(view)),
                Some(Node::Unreadable(kind)) => Some(Stored::Unreadable(kind)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A tensor of a pickle.
#[derive(Clone, Copy, Debug)]
pub enum Stored<'t> {
    /// A view of a storage.
    View(&'t Arc<View>),
    /// A tensor that cannot be read; its kind.
    Unreadable(&'static str),
}
