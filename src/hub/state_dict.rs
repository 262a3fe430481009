//! Finds the mapping of tensors inside a checkpoint's pickle.
//!
//! Real files are a plain state dict, or have one under a key (`vae`, `model`, `state_dict`), or,
//! saved in the midst of training, under a path of keys (`trainer` → `gpt_fsdp`) beside optimizer
//! states and settings.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    path::Path,
};

use super::pickle::{Tree, Value, View};
use crate::{Error, Result};

/// Names and tensors of the mapping at the first of the dotted `keys` that leads to one with
/// tensors, otherwise of the mapping that holds the most tensors (the first of equals, from the
/// outside inwards).
pub(super) fn find<'t>(
    tree: &'t Tree,
    keys: &[&str],
    origin: &Path,
) -> Result<Vec<(&'t str, &'t View)>> {
    let asked = keys.iter().find_map(|path| {
        let value = path
            .split('.')
            .try_fold(tree.root(), |value, key| tree.entry(value, key))?;
        Some(tensors(tree, value)).filter(|found| !found.is_empty())
    });
    match asked.or_else(|| fullest(tree)) {
        Some(found) => Ok(found),
        None => Err(nothing(tree, keys, origin)),
    }
}

/// The longest name of a tensor, in bytes. A file can repeat a key of any length for a few bytes.
const LONGEST_NAME: usize = 1 << 10;

/// In the order of their first mention; a repeated name counts with its last value.
fn tensors<'t>(tree: &'t Tree, mapping: &'t Value) -> Vec<(&'t str, &'t View)> {
    let mut places = HashMap::new();
    let mut found = Vec::new();
    for (key, value) in tree.entries(mapping).unwrap_or_default() {
        let Value::Str(name) = key else { continue };
        let (Some(view), true) = (tree.tensor(value), name.len() <= LONGEST_NAME) else {
            continue;
        };
        match places.entry(&**name) {
            Entry::Occupied(place) => found[*place.get()] = (&**name, view),
            Entry::Vacant(place) => {
                place.insert(found.len());
                found.push((&**name, view));
            }
        }
    }
    found
}

fn fullest(tree: &Tree) -> Option<Vec<(&str, &View)>> {
    let mut best = Vec::new();
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([tree.root()]);
    while let Some(value) = queue.pop_front() {
        let Value::Dict(index) = value else { continue };
        if !seen.insert(index) {
            continue;
        }
        let found = tensors(tree, value);
        if found.len() > best.len() {
            best = found;
        }
        queue.extend(
            tree.entries(value)
                .unwrap_or_default()
                .iter()
                .map(|(_, value)| value),
        );
    }
    Some(best).filter(|found| !found.is_empty())
}

fn nothing(tree: &Tree, keys: &[&str], origin: &Path) -> Error {
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
    let looked = if keys.is_empty() {
        String::new()
    } else {
        format!(" (looked under `{}` first)", keys.join("`, `"))
    };
    Error::file(
        origin,
        format!("expected named tensors, found {found}{looked}"),
    )
    .with_hint(
        "is this the right file? a checkpoint of weights is a dictionary from names to tensors",
    )
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::None => "`None`",
        Value::Bool(_) => "a truth value",
        Value::Int(_) | Value::Float(_) => "a number",
        Value::Str(_) => "a text",
        Value::Tuple(_) => "a tuple",
        Value::List(_) => "a list",
        Value::Dict(_) => "a dictionary",
        Value::Storage(_) | Value::Tensor(_) => "a single tensor",
        Value::Global(_) => "a class",
        Value::Opaque(kind) => kind,
    }
}
