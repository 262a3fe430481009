//! Checkpoints in several files, with an index from tensors to files.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use candle_core::Tensor;
use serde::Deserialize;

use super::{
    blob::{Blob, Folder, WHERE_TO_GET},
    checkpoint,
};
use crate::{
    Error, Result,
    nn::{OpenMatrix, TensorInfo, TensorSource},
};

/// An open checkpoint of several files.
pub struct Sharded {
    origin: String,
    names: Vec<String>,
    shards: Vec<Arc<dyn TensorSource>>,
    shard_of: HashMap<String, usize>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Sharded {
    /// Opens the files that `index` (`*.safetensors.index.json` or `*.bin.index.json`) names, all
    /// inside `folder`.
    ///
    /// Tensors that the index promises and no file has are left out: in converted files
    /// (flan-t5-xl) a tensor that is the same as another (`decoder.embed_tokens.weight`, which is
    /// `shared.weight`) keeps its name in the index alone.
    ///
    /// # Errors
    /// The index is not one, names a file outside the folder or one that is missing, or a file has
    /// none of the tensors that it promises.
    pub fn open(folder: &Folder, index: &Blob) -> Result<Self> {
        let Index { weight_map } = index.json()?;
        let mut sharded = Self {
            origin: folder.path().display().to_string(),
            names: Vec::with_capacity(weight_map.len()),
            shards: Vec::new(),
            shard_of: HashMap::with_capacity(weight_map.len()),
        };
        let files: BTreeSet<&String> = weight_map.values().collect();
        require_shards(folder, index, &files)?;
        let mut opened: HashMap<String, usize> = HashMap::new();
        for (name, file) in weight_map {
            let shard = match opened.get(&file) {
                Some(shard) => *shard,
                None => {
                    sharded.shards.push(open_shard(folder, &file)?);
                    opened.insert(file.clone(), sharded.shards.len() - 1);
                    sharded.shards.len() - 1
                }
            };
            if sharded.shards[shard].info(&name).is_some() {
                sharded.names.push(name.clone());
                sharded.shard_of.insert(name, shard);
            }
        }
        if opened.is_empty() {
            return Err(Error::file(index.path(), "an index without tensors"));
        }
        let used: HashSet<usize> = sharded.shard_of.values().copied().collect();
        if let Some((file, _)) = opened.iter().find(|(_, shard)| !used.contains(shard)) {
            let message =
                format!("`{file}` contains none of the tensors that the index lists for it");
            return Err(Error::file(index.path(), message).with_hint(
                "the index and the files belong to different models; download them again",
            ));
        }
        Ok(sharded)
    }
}

/// The files that an index names.
///
/// # Errors
/// It is not an index.
pub(super) fn shards(index: &Blob) -> Result<BTreeSet<String>> {
    let Index { weight_map } = index.json()?;
    Ok(weight_map.into_values().collect())
}

/// Those of these files that are not in the folder.
fn missing<'n>(folder: &Folder, files: impl IntoIterator<Item = &'n String>) -> Vec<&'n str> {
    let files = files.into_iter().map(String::as_str);
    files.filter(|file| folder.file(file).is_none()).collect()
}

/// The shards that an index names and the folder lacks; none if it is not an index, which is an error
/// where it is opened.
pub(super) fn missing_shards(folder: &Folder, index: &Blob) -> Vec<String> {
    let shards = shards(index).unwrap_or_default();
    let missing = missing(folder, &shards).into_iter();
    missing.map(str::to_owned).collect()
}

/// Checks that every shard is there, and names those that are not.
fn require_shards(folder: &Folder, index: &Blob, files: &BTreeSet<&String>) -> Result<()> {
    for file in files {
        check_name(index, file)?;
    }
    let missing = missing(folder, files.iter().copied());
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} of {} shards are missing: {}",
        missing.len(),
        files.len(),
        missing.join(", ")
    );
    Err(Error::file(folder.path(), message).with_hint(WHERE_TO_GET))
}

/// Checks that an index names a file of its folder.
fn check_name(index: &Blob, file: &str) -> Result<()> {
    if file.is_empty() || file.contains(['/', '\\', ':']) || file.starts_with('.') {
        let message = format!(
            "it names the file `{}`, which is not in the same folder",
            file.escape_debug()
        );
        return Err(Error::file(index.path(), message)
            .with_hint("an index can only name files in its own folder"));
    }
    Ok(())
}

fn open_shard(folder: &Folder, file: &str) -> Result<Arc<dyn TensorSource>> {
    Ok(checkpoint::open_file(folder.require(file)?)?.tensors)
}

impl Sharded {
    /// The shard that holds a tensor.
    fn shard(&self, name: &str) -> Result<&dyn TensorSource> {
        let shard = self.shard_of.get(name).map(|shard| &*self.shards[*shard]);
        shard.ok_or_else(|| super::absent(self, name))
    }
}

impl TensorSource for Sharded {
    fn origin(&self) -> String {
        self.origin.clone()
    }

    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.shards[*self.shard_of.get(name)?].info(name)
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        self.shard(name)?.load(name)
    }

    fn open_matrix(&self, name: &str) -> Result<OpenMatrix<'_>> {
        self.shard(name)?.open_matrix(name)
    }
}
