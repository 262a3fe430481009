//! Finds and opens the networks that judge, or says what to fetch.

use std::path::{Path, PathBuf};

use super::super::arguments::Judges;
use crate::{
    Error, Result,
    bundle::Device,
    detectors::{ColourNamer, Detector, open},
    hub::{Folder, catalog},
};

/// A network that judges: what it is for, its names in the catalogue, and about how large its files are. Sizes are 4 bytes
/// for each of the values that the papers count.
struct Part {
    what: &'static str,
    flag: &'static str,
    names: &'static [&'static str],
    size: &'static str,
}

const DETECTOR: Part = Part {
    what: "detector",
    flag: "--detector",
    names: &["mask2former-swin-s", "mask2former-swin-small-coco-instance"],
    size: "about 0.28 GB",
};

const CLIP: Part = Part { what: "CLIP", flag: "--clip", names: &["clip-vit-large-patch14"], size: "about 1.7 GB" };

/// The files of both.
pub(super) struct Files {
    pub detector: PathBuf,
    pub clip: PathBuf,
}

impl Files {
    /// What was named, and what is not named found in the folder of downloads.
    ///
    /// # Errors
    /// Something is not there; the error says what to fetch and how large it is.
    pub(super) fn find(typed: &Judges, weights: Option<&Path>) -> Result<Self> {
        let folder = typed.judges.as_deref().or(weights);
        let detector = DETECTOR.find(typed.detector.as_deref(), folder);
        let clip = CLIP.find(typed.clip.as_deref(), folder);
        match (detector, clip) {
            (Ok(detector), Ok(clip)) => Ok(Self { detector, clip }),
            (detector, clip) => {
                let missing: Vec<String> = [detector.err(), clip.err()].into_iter().flatten().collect();
                Err(Error::input(format!("GenEval needs {}", missing.join(" and "))).with_hint(
                    "fetch it into one folder and give that: `--judges DIR`; `ttsvar models` names the files",
                ))
            }
        }
    }

    /// Opens both.
    ///
    /// # Errors
    /// A file is damaged or not what it should be.
    pub(super) fn open(&self, device: &Device) -> Result<(Box<dyn Detector>, Box<dyn ColourNamer>)> {
        let detector = open::mask2former(&self.detector, device)?;
        let known = crate::eval::geneval::names::OBJECTS.len();
        if detector.classes() != known {
            let message = format!("knows {} classes, GenEval asks for the {known} of COCO", detector.classes());
            return Err(Error::file(&self.detector, message).with_hint(format!("take {}", DETECTOR.names.join(" or "))));
        }
        Ok((Box::new(detector), Box::new(open::clip_colours(&self.clip, device)?)))
    }
}

impl Part {
    /// Where it is, or else what to fetch.
    fn find(&self, named: Option<&Path>, folder: Option<&Path>) -> Result<PathBuf, String> {
        if let Some(path) = named {
            return if path.exists() {
                Ok(path.to_owned())
            } else {
                Err(format!("the {} `{}`, which is not there ({})", self.what, path.display(), self.flag))
            };
        }
        let found = folder.and_then(|folder| {
            let folder = Folder::Disk(folder.to_owned());
            self.names.iter().find_map(|name| in_folder(catalog::entry(name)?, &folder))
        });
        found.ok_or_else(|| {
            let published = self.names.iter().filter_map(|name| Some(catalog::entry(name)?.published));
            let published: Vec<&str> = published.collect();
            format!("a {} ({}: {}, {})", self.what, self.names[0], published.join(" or "), self.size)
        })
    }
}

/// The one file of a model, or the folder that holds all of them.
fn in_folder(entry: &catalog::Entry, folder: &Folder) -> Option<PathBuf> {
    let found: Vec<PathBuf> = entry.presence(folder).into_iter().map(|one| one.found).collect::<Option<_>>()?;
    let first = found.first()?;
    if entry.is_folder() { first.parent().map(Path::to_owned) } else { Some(first.clone()) }
}
