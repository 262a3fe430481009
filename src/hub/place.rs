//! A folder in which files are found by the model that they belong to.

use std::{path::Path, sync::Arc};

use ttsvar_search::suggestion::closest;

use super::{
    blob::{Blob, Folder, Location, missing},
    bundle::FILE,
    catalog, checkpoint,
    state_dict::Wanted,
};
use crate::{
    Error, Result,
    nn::{Signature, TensorSource},
};

/// The folder of a bundle, with literal names, or a folder of released downloads under their
/// published names, directly inside or in sub-folders named after the models.
#[derive(Clone, Debug)]
pub struct Place {
    folder: Folder,
    released: bool,
    /// The state dict that the user chose, for checkpoints with several that fit.
    state_dict: Option<String>,
}

impl Place {
    /// The folder of a bundle.
    pub fn bundle(folder: Folder) -> Self {
        Self {
            folder,
            released: false,
            state_dict: None,
        }
    }

    /// A folder with released downloads.
    pub fn downloads(folder: Folder) -> Self {
        Self {
            folder,
            released: true,
            state_dict: None,
        }
    }

    /// The same place, with the name of the state dict to read in checkpoints with several that fit.
    pub fn with_state_dict(self, name: Option<String>) -> Self {
        Self {
            state_dict: name,
            ..self
        }
    }

    /// The name of that state dict.
    pub(super) fn state_dict(&self) -> Option<&str> {
        self.state_dict.as_deref()
    }

    /// Opens the weights of a network that is recognised by `signature`.
    ///
    /// # Errors
    /// As [`checkpoint::open`].
    pub(super) fn open(
        &self,
        location: Location,
        usual: &[&str],
        signature: Option<&Signature>,
    ) -> Result<Arc<dyn TensorSource>> {
        let wanted = Wanted {
            usual,
            signature,
            state_dict: self.state_dict.as_deref(),
        };
        checkpoint::open(location, wanted)
    }

    /// The folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The file or folder `name` of a model, if it exists, under any published name of a released
    /// file.
    pub(super) fn find(&self, model: &str, name: &str) -> Option<Location> {
        let entry = match catalog::entry(model) {
            Some(entry) if self.released => entry,
            _ => return catalog::find_or_converted(&self.folder, name),
        };
        if !entry.is_folder() {
            let names = entry.files.iter().find(|names| names.contains(&name));
            let either = names
                .and_then(|names| names.iter().find_map(|name| entry.find(&self.folder, name)));
            return either.or_else(|| entry.find(&self.folder, name));
        }
        entry.whole(&self.folder)
    }

    /// Like [`Place::find`], for a required file or folder.
    ///
    /// # Errors
    /// It is missing; the hint says where it is published.
    pub(super) fn locate(&self, model: &str, name: &str) -> Result<Location> {
        self.find(model, name)
            .ok_or_else(|| match self.entry(model) {
                Some(entry) => {
                    let published = &entry.source;
                    let message = format!("contains no `{name}` of {model}");
                    Error::file(self.folder.path(), message).with_hint(format!(
                        "{name} is published at {published}; \
                     put it there or into a sub-folder `{model}`"
                    ))
                }
                None => {
                    missing(&self.folder.path().join(name)).with_hint(format!("{FILE} names it"))
                }
            })
    }

    /// A required file.
    ///
    /// # Errors
    /// It is missing, or it is a folder.
    pub(super) fn file(&self, model: &str, name: &str) -> Result<Blob> {
        match self.locate(model, name)? {
            Location::File(blob) => Ok(blob),
            Location::Folder(folder) => Err(Error::file(
                folder.path(),
                "expected a file, found a folder",
            )),
        }
    }

    /// A required folder; `what` describes its expected content.
    ///
    /// # Errors
    /// It is missing, or it is a file.
    pub(super) fn sub_folder(&self, model: &str, name: &str, what: &str) -> Result<Folder> {
        match self.locate(model, name)? {
            Location::Folder(folder) => Ok(folder),
            Location::File(blob) => Err(Error::file(
                blob.path(),
                format!("expected a folder with {what}, found a file"),
            )),
        }
    }

    /// The missing ones of these files and folders, each of a model, and where they are published
    /// if that is known.
    pub(super) fn missing<'n>(
        &self,
        wanted: impl IntoIterator<Item = (&'n str, &'n str)>,
    ) -> Vec<String> {
        let mut missing = vec![];
        for (model, name) in wanted {
            if let Some(found) = self.find(model, name) {
                missing.extend(self.missing_shards(model, name, &found));
                continue;
            }
            let similar = self.similar(name);
            let Some(entry) = self.entry(model) else {
                missing.push(match similar {
                    Some(similar) => format!("{name} (found the similar {similar})"),
                    None => name.to_owned(),
                });
                continue;
            };
            let parts = entry.missing_parts(&self.folder);
            let parts = parts.iter().map(|part| part.display().to_string());
            let mut names: Vec<String> = parts.collect();
            if names.is_empty() {
                names.push(name.to_owned());
            }
            let found = similar.map_or(String::new(), |similar| {
                format!("; found the similar {similar}")
            });
            let named = names
                .iter()
                .map(|name| format!("{name} ({}{found})", entry.source));
            missing.extend(named);
        }
        missing
    }

    /// What is missing of weights in several files.
    fn missing_shards(&self, model: &str, name: &str, found: &Location) -> Vec<String> {
        let folder = match found {
            Location::Folder(_) => Path::new(name),
            Location::File(_) => Path::new(name).parent().unwrap_or(Path::new("")),
        };
        let published = match self.entry(model) {
            Some(entry) => format!(" ({})", entry.source),
            None => String::new(),
        };
        let shards = checkpoint::missing_parts(found).into_iter();
        shards
            .map(|shard| format!("{}{published}", folder.join(shard).display()))
            .collect()
    }

    /// A file or folder whose name is nearly this one, and which is not another released one.
    fn similar(&self, name: &str) -> Option<String> {
        let wanted = Path::new(name).file_name()?.to_str()?;
        let folders = self.folder.folders().into_iter();
        let folders = folders.filter_map(|folder| {
            let name = folder.path().file_name()?.to_str()?.to_owned();
            Some(format!("{name}/"))
        });
        let files = self.folder.names().into_iter();
        let names: Vec<String> = files.chain(folders).collect();
        let other = names.iter().map(String::as_str);
        let other = other.filter(|name| !catalog::is_known(name.trim_end_matches('/')));
        let other: Vec<&str> = other.collect();
        let similar = closest(wanted, &other)?;
        Some(similar.escape_debug().to_string())
    }

    fn entry(&self, model: &str) -> Option<&'static catalog::Entry> {
        catalog::entry(model).filter(|_| self.released)
    }
}
