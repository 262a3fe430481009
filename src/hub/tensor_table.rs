//! The tensors in a checkpoint's pickle under their full names: the keys that lead to each, joined
//! by dots.
//!
//! Real files are a plain state dict, or have one under a key (`vae`, `model`, `state_dict`), or,
//! saved during training, under a path of keys (`trainer`, `gpt_fsdp`) beside optimizer states and
//! settings. With full names all of these are the same: a state dict is whatever has one prefix
//! ([`super::state_dict`]).

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    path::Path,
    sync::Arc,
};

use super::pickle::{Stored, Tree, Value, View};
use crate::{
    Error, LoadError, Result,
    nn::{StoredType, TensorInfo, TensorSource},
};

/// The longest full name of a tensor, in bytes. A file can repeat a key of any length for a few
/// bytes.
const LONGEST_NAME: usize = 512;

/// Tensors and dictionaries at most, each counted as often as it is named: a file can name the same one
/// again for a few bytes. A checkpoint of 10 000 weights with the state of an optimizer has 40 000.
const MOST_NAMES: usize = 200_000;

/// Bytes of all full names at most; those 40 000 have about 4 MB.
const MOST_NAME_BYTES: usize = 64 << 20;

/// A tensor of a checkpoint.
enum Held {
    View(Arc<View>),
    /// It cannot be read; its kind.
    Unreadable(&'static str),
}

/// All tensors of a checkpoint.
pub(super) struct TensorTable {
    names: Vec<Arc<str>>,
    tensors: HashMap<Arc<str>, Held>,
    /// The full names of the dictionaries, each ending with a dot, and the empty one.
    dictionaries: HashSet<String>,
}

/// What the names of a checkpoint have taken so far.
#[derive(Default)]
struct Taken {
    names: usize,
    bytes: usize,
}

impl Taken {
    /// Counts another name.
    ///
    /// # Errors
    /// There are too many, or they are too long.
    fn add(&mut self, name: &str, origin: &Path) -> Result<()> {
        self.names += 1;
        self.bytes += name.len();
        let message = match (self.names > MOST_NAMES, self.bytes > MOST_NAME_BYTES) {
            (true, _) => format!("expected at most {MOST_NAMES} names of tensors, found more"),
            (_, true) => format!(
                "expected names of tensors of at most {MOST_NAME_BYTES} bytes together, found more"
            ),
            _ => return Ok(()),
        };
        Err(Error::file(origin, message)
            .with_hint("save only the weights of the model in Python, and load that file"))
    }
}

impl TensorTable {
    /// Collects the tensors of a pickle in the order of their first mention, from the outside
    /// inwards; a repeated name counts with its last value.
    ///
    /// # Errors
    /// There are none, or too many.
    pub(super) fn read(tree: &Tree, origin: &Path) -> Result<Self> {
        let mut table = Self {
            names: Vec::new(),
            tensors: HashMap::new(),
            dictionaries: HashSet::new(),
        };
        let mut taken = Taken::default();
        let mut seen = HashSet::new();
        let mut queue = VecDeque::new();
        if let Value::Dict(index) = tree.root() {
            seen.insert(*index);
            queue.push_back((String::new(), tree.root()));
        }
        while let Some((prefix, value)) = queue.pop_front() {
            let mut here = HashSet::new();
            for (key, value) in tree.entries(value).unwrap_or_default() {
                // Only tensors and dictionaries need names.
                let stored = tree.tensor(value);
                let inner = match value {
                    Value::Dict(index) if !seen.contains(index) => Some(*index),
                    _ => None,
                };
                if stored.is_none() && inner.is_none() {
                    continue;
                }
                let Some(name) = join(&prefix, key) else {
                    continue;
                };
                taken.add(&name, origin)?;
                if let Some(stored) = stored {
                    table.add(name.into(), stored, &mut here);
                } else if let Some(index) = inner {
                    seen.insert(index);
                    queue.push_back((format!("{name}."), value));
                }
            }
            table.dictionaries.insert(prefix);
        }
        if table.names.is_empty() {
            return Err(no_tensors(tree, origin));
        }
        Ok(table)
    }

    /// Adds a tensor. `here` has the names of its dictionary: one of them replaces the tensor of
    /// that name, one from further inside does not.
    fn add(&mut self, name: Arc<str>, stored: Stored<'_>, here: &mut HashSet<Arc<str>>) {
        let held = match stored {
            Stored::View(view) => Held::View(view.clone()),
            Stored::Unreadable(kind) => Held::Unreadable(kind),
        };
        let again = !here.insert(name.clone());
        match self.tensors.entry(name) {
            Entry::Occupied(mut entry) if again => {
                entry.insert(held);
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(entry) => {
                self.names.push(entry.key().clone());
                entry.insert(held);
            }
        }
    }

    /// The names, in order.
    pub(super) fn names(&self) -> Vec<String> {
        self.names.iter().map(ToString::to_string).collect()
    }

    /// The full names of the dictionaries, each ending with a dot, and the empty one.
    pub(super) fn dictionaries(&self) -> &HashSet<String> {
        &self.dictionaries
    }

    /// Shape and type of a tensor.
    pub(super) fn info(&self, name: &str) -> Option<TensorInfo> {
        Some(match self.tensors.get(name)? {
            Held::View(view) => TensorInfo {
                shape: view.shape.clone(),
                element: match view.storage.element.dtype {
                    Some(dtype) => StoredType::Readable(dtype),
                    None => StoredType::Unreadable(view.storage.element.name.to_owned()),
                },
            },
            Held::Unreadable(kind) => TensorInfo {
                shape: Vec::new(),
                element: StoredType::Unreadable((*kind).to_owned()),
            },
        })
    }

    /// The description of a tensor that is about to be read; `check` sees whether the file has its
    /// numbers, and otherwise returns what was expected and found.
    ///
    /// # Errors
    /// There is no such tensor, its type cannot be read, or the file does not have its numbers.
    pub(super) fn view(
        &self,
        name: &str,
        file: &dyn TensorSource,
        check: impl FnOnce(&View) -> Result<(), (String, String)>,
    ) -> Result<&View> {
        let view = match self.tensors.get(name) {
            Some(Held::View(view)) => view,
            Some(Held::Unreadable(kind)) => return Err(super::unreadable(file, name, kind)),
            None => return Err(super::absent(file, name)),
        };
        let element = view.storage.element;
        if element.dtype.is_none() {
            return Err(super::unreadable(file, name, element.name));
        }
        match check(view) {
            Ok(()) => Ok(view),
            Err((expected, found)) => Err(LoadError::Tensor {
                origin: file.origin(),
                tensor: name.to_owned(),
                expected,
                found,
            }
            .into()),
        }
    }
}

/// The full name of an entry, if it can be that of a tensor.
fn join(prefix: &str, key: &Value) -> Option<String> {
    let name = match key {
        Value::Str(key) if prefix.len() + key.len() <= LONGEST_NAME => format!("{prefix}{key}"),
        Value::Int(key) => format!("{prefix}{key}"),
        _ => return None,
    };
    Some(name).filter(|name| name.len() <= LONGEST_NAME)
}

fn no_tensors(tree: &Tree, origin: &Path) -> Error {
    let found = match tree.entries(tree.root()) {
        Some(entries) => {
            let names = entries.iter().filter_map(|(key, _)| match key {
                Value::Str(name) => Some(format!("`{}`", name.escape_debug())),
                _ => None,
            });
            let shown: Vec<String> = names.take(12).collect();
            match shown.as_slice() {
                [] => "an empty dictionary".to_owned(),
                shown => format!("a dictionary with the keys {}", shown.join(", ")),
            }
        }
        None => format!("{} instead of a dictionary", kind(tree.root())),
    };
    Error::file(origin, format!("expected named tensors, found {found}")).with_hint(
        "is this the right file? a checkpoint of weights is a dictionary from names to tensors",
    )
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::None => "`None`",
        Value::Bool(_) => "a boolean",
        Value::Int(_) | Value::Float(_) => "a number",
        Value::Str(_) => "a string",
        Value::Tuple(_) => "a tuple",
        Value::List(_) => "a list",
        Value::Dict(_) => "a dictionary",
        Value::Storage(_) | Value::Tensor(_) => "a single tensor",
        Value::Global(_) => "a class",
        Value::Opaque(kind) => kind,
    }
}
