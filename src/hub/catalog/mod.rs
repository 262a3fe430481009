//! The catalogue of released weights: their files, their places of publication and their formats.
//!
//! Sizes that are not known are left out.

mod entries;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use ttsvar_search::suggestion::suggest;

use super::{
    blob::{Folder, Location},
    cache, checkpoint, sharded,
};

pub use entries::ENTRIES;

/// A released model.
#[derive(Debug)]
pub struct Entry {
    /// Its name, also that of the sub-folder that may hold its files.
    pub name: &'static str,
    /// Other sub-folders that may hold its files.
    pub folders: &'static [&'static str],
    /// Its files, each as a list of alternative names.
    pub files: &'static [&'static [&'static str]],
    /// Its place of publication.
    pub source: Source,
    /// Millions of parameters, as its authors state; none if that is not known or it has no
    /// weights.
    pub millions: Option<u32>,
    /// The size of its files in gigabytes, if it is not that of 4 bytes per parameter.
    pub gigabytes: Option<f64>,
    /// The licence of the weights as its authors state it, if that is known here.
    pub licence: Option<&'static str>,
    /// The layout of the tensors in the files.
    pub kind: &'static str,
    /// Its purpose.
    pub used: Use,
    /// A shorter name under which it is downloaded together with what it needs.
    pub alias: Option<&'static str>,
    /// Other entries that it requires.
    pub needs: &'static [&'static str],
}

/// A place of publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A repository of Hugging Face, `owner/name`.
    HuggingFace(&'static str),
    /// Another place, described in words.
    Elsewhere(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HuggingFace(repository) => write!(f, "Hugging Face {repository}"),
            Self::Elsewhere(place) => f.write_str(place),
        }
    }
}

/// The purpose of a released model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Generates images, or the tokens of images.
    Generator,
    /// Turns tokens into images.
    Tokenizer,
    /// Encodes prompts.
    Text,
    /// Scores images.
    Scorer,
    /// Computes features of images.
    Features,
    /// Evaluates finished images.
    Evaluation,
}

/// Where torch.hub keeps checkpoints, from different folders on.
const TORCH_HUB: [&str; 3] = ["checkpoints", "hub/checkpoints", "torch/hub/checkpoints"];

/// Names of files that many models have.
const SHARED_NAMES: [&str; 3] = ["config.json", "config.yaml", "tokenizer.json"];

/// Files by which a folder is known to be one model.
const FOLDER_NAMES: [&str; 2] = ["config.json", "config.yaml"];

/// A file of a released model, and where it was found.
#[derive(Clone, Debug)]
pub struct Presence {
    /// Its name: the one found, otherwise the preferred one.
    pub file: String,
    /// Its path, or `None` if it is missing.
    pub found: Option<PathBuf>,
}

/// The presence of a file or folder of this name that was found. An index brings its shards; a folder
/// counts as missing as long as its weights are not complete.
fn presence_with_shards(name: &str, location: &Location) -> Vec<Presence> {
    let path = location.path();
    let presence = |file: String, found| Presence { file, found };
    let is_complete = match location {
        Location::File(blob) if checkpoint::is_index(&path) => {
            let Ok(shards) = sharded::shards(blob) else {
                return vec![presence(name.to_owned(), None)];
            };
            let beside = |name: &str, shard: &str| Path::new(name).with_file_name(shard);
            let mut all = vec![presence(name.to_owned(), Some(path.clone()))];
            all.extend(shards.iter().map(|shard| {
                let file = beside(name, shard).to_string_lossy().into_owned();
                let path = path.with_file_name(shard);
                presence(file, path.is_file().then_some(path))
            }));
            return all;
        }
        Location::File(_) => true,
        Location::Folder(folder) => {
            let weights = checkpoint::weights_of(folder);
            weights.is_ok() && checkpoint::missing_parts(location).is_empty()
        }
    };
    vec![presence(name.to_owned(), is_complete.then_some(path))]
}

/// The name that `ttsvar convert` gives the converted form of a weight file, which is used in its
/// place; `None` for other files. In folders of a model it is that of the usual whole file.
pub fn converted_name(name: &str) -> Option<String> {
    const ENDINGS: [&str; 5] = [".pth", ".pt", ".bin", ".safetensors", ".gguf"];
    let whole = name.strip_suffix(checkpoint::INDEX).unwrap_or(name);
    let stem = ENDINGS
        .iter()
        .find_map(|ending| whole.strip_suffix(ending))?;
    let folder = stem.strip_suffix("pytorch_model");
    Some(
        match folder.filter(|folder| folder.is_empty() || folder.ends_with('/')) {
            Some(folder) => format!("{folder}model.gguf"),
            None => format!("{stem}.gguf"),
        },
    )
}

/// The file or folder of this name, or what `ttsvar convert` made of it.
pub(super) fn find_or_converted(folder: &Folder, name: &str) -> Option<Location> {
    folder
        .find(name)
        .or_else(|| folder.find(&converted_name(name)?))
}

/// The entry of this name.
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}

/// Returns whether a released file or folder has this name.
pub(super) fn is_known(name: &str) -> bool {
    ENTRIES.iter().any(|entry| {
        let files = entry.files.iter().flat_map(|names| names.iter());
        entry.name == name
            || entry.folders.contains(&name)
            || files.copied().any(|file| file == name)
    })
}

/// The entry of this name or alias followed by those that it needs; empty if there is none.
pub fn with_needs(name: &str) -> Vec<&'static Entry> {
    let named = |entry: &&Entry| entry.name == name || entry.alias == Some(name);
    let Some(first) = ENTRIES.iter().find(named) else {
        return vec![];
    };
    let needs = first.needs.iter().filter_map(|need| entry(need));
    std::iter::once(first).chain(needs).collect()
}

/// The names of entries as text, with sizes if they are known: `a (about 1.7 GB), b and c`.
pub fn list_names(entries: &[&Entry]) -> String {
    let mut names = vec![];
    for entry in entries {
        let name = entry.name;
        names.push(match entry.size() {
            Some(size) => format!("{name} ({size})"),
            None => name.to_owned(),
        });
    }
    match names.pop() {
        Some(last) if !names.is_empty() => format!("{} and {last}", names.join(", ")),
        last => last.unwrap_or_default(),
    }
}

/// The hint for a name that none of `names` is: those that a repository of Hugging Face of this name
/// or address publishes, or else the most similar one.
pub fn suggest_name(typed: &str, names: &[&str], expected: &str) -> String {
    // An address ends with the owner and the name
    let mut parts = typed.trim_end_matches('/').rsplitn(3, '/');
    let (name, owner) = (parts.next(), parts.next());
    let repository = format!("{}/{}", owner.unwrap_or_default(), name.unwrap_or_default());
    let published: Vec<String> = ENTRIES
        .iter()
        .filter(|entry| entry.is_published_by(&repository) && names.contains(&entry.name))
        .map(|entry| format!("`{}`", entry.name))
        .collect();
    match &published[..] {
        [] => suggest(typed, names, expected),
        [name] => format!("its model is called {name} here"),
        _ => format!("its models are called {} here", published.join(", ")),
    }
}

impl Entry {
    /// The repository of Hugging Face that publishes it.
    pub fn repository(&self) -> Option<&'static str> {
        match self.source {
            Source::HuggingFace(repository) => Some(repository),
            Source::Elsewhere(_) => None,
        }
    }

    /// Returns whether a repository of Hugging Face publishes it. Upper and lower case are the same.
    pub fn is_published_by(&self, repository: &str) -> bool {
        let published = self.repository();
        published.is_some_and(|published| published.eq_ignore_ascii_case(repository))
    }

    /// The presence of each of the files, and of the shards that their indexes name.
    pub fn presence(&self, folder: &Folder) -> Vec<Presence> {
        let present = |names: &'static [&'static str]| {
            let found = names
                .iter()
                .filter_map(|name| Some(presence_with_shards(name, &self.find(folder, name)?)));
            let found: Vec<Vec<Presence>> = found.collect();
            let is_complete =
                |files: &&Vec<Presence>| files.iter().all(|file| file.found.is_some());
            match found.iter().find(is_complete).or(found.first()) {
                Some(files) => files.clone(),
                None => vec![Presence {
                    file: names.first().copied().unwrap_or_default().to_owned(),
                    found: None,
                }],
            }
        };
        self.files.iter().flat_map(|names| present(names)).collect()
    }

    /// The files with their paths, if all of them are present, none of another revision than the
    /// others.
    pub fn complete_in(&self, folder: &Folder) -> Option<Vec<(String, PathBuf)>> {
        let presence = self.presence(folder).into_iter();
        let files: Option<Vec<_>> = presence
            .map(|file| Some((file.file, file.found?)))
            .collect();
        files.filter(|files| {
            let paths = files.iter().map(|(_, path)| path.as_path());
            cache::are_of_one_revision(paths)
        })
    }

    /// Finds one of the files in a sub-folder named after the model, or directly in `folder` unless
    /// its name is common to many models (`config.json`).
    pub fn find(&self, folder: &Folder, file: &str) -> Option<Location> {
        let mut places = self.places(folder);
        if !SHARED_NAMES.contains(&file) && !self.is_folder() {
            places.push(folder.clone());
        }
        places
            .into_iter()
            .find_map(|place| find_or_converted(&place, file))
    }

    /// Finds the complete model: its single file, or the folder that holds all of its files, which
    /// is a sub-folder or `folder` itself.
    pub fn whole(&self, folder: &Folder) -> Option<Location> {
        if let [names] = self.files
            && !self.is_folder()
        {
            return names.iter().find_map(|name| self.find(folder, name));
        }
        let mut places = self.places(folder);
        places.push(folder.clone());
        let whole = |place: &Folder| {
            self.files.iter().all(|names| {
                names
                    .iter()
                    .any(|name| find_or_converted(place, name).is_some())
            })
        };
        places.into_iter().find(whole).map(Location::Folder)
    }

    /// The size of its files as text; if it is not known, with 4 bytes per parameter.
    pub fn size(&self) -> Option<String> {
        let gigabytes = match (self.gigabytes, self.millions) {
            (Some(gigabytes), _) => gigabytes,
            (None, millions) => f64::from(millions?) * 4.0 / 1000.0,
        };
        let digits = if gigabytes < 1.0 { 2 } else { 1 };
        Some(format!("about {gigabytes:.digits$} GB"))
    }

    /// True if it is a folder whose files have names that are common to many models.
    pub fn is_folder(&self) -> bool {
        let mut files = self.files.iter().copied().flatten();
        files.any(|name| FOLDER_NAMES.contains(name))
    }

    /// The sub-folders of the caches of Python libraries that may hold its files: those of
    /// huggingface_hub, which once knew repositories without an owner, and of torch.hub. A cache may
    /// lie inside a folder `hub`.
    fn cache_folders(&self) -> Vec<String> {
        let Some(repository) = self.repository() else {
            return TORCH_HUB.map(str::to_owned).to_vec();
        };
        let whole = repository.replace('/', "--");
        let (_, name) = repository.split_once('/').unwrap_or(("", repository));
        let mut folders = vec![];
        for name in [whole.as_str(), name] {
            folders.push(format!("models--{name}"));
            folders.push(format!("hub/models--{name}"));
        }
        folders
    }

    /// The sub-folders of `folder` that may hold its files, including the snapshots of a Hugging
    /// Face cache.
    pub fn places(&self, folder: &Folder) -> Vec<Folder> {
        let names = std::iter::once(self.name).chain(self.folders.iter().copied());
        let names = names.map(str::to_owned).chain(self.cache_folders());
        let found = names.filter_map(|name| match folder.find(&name) {
            Some(Location::Folder(place)) => Some(place),
            _ => None,
        });
        let with_snapshots = found.flat_map(|place| {
            let snapshots = cache::snapshots(&place);
            std::iter::once(place).chain(snapshots)
        });
        with_snapshots.collect()
    }

    /// The files that are missing where some are present, each with its folder; empty if the model
    /// is complete or not there at all.
    pub fn missing_parts(&self, folder: &Folder) -> Vec<PathBuf> {
        if self.whole(folder).is_some() {
            return vec![];
        }
        let missing = |place: &Folder| {
            let absent = |names: &&&[&str]| {
                let mut names = names.iter();
                names.all(|name| find_or_converted(place, name).is_none())
            };
            let names = self.files.iter().filter(absent);
            let first = names.filter_map(|names| names.first());
            first
                .map(|name| place.path().join(name))
                .collect::<Vec<_>>()
        };
        let some = |missing: &Vec<PathBuf>| missing.len() < self.files.len();
        let places = self.places(folder);
        let found = places.iter().map(missing).filter(some);
        found.min_by_key(Vec::len).unwrap_or_default()
    }
}
