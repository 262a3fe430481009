//! Finds and opens the networks that judge, or says what to fetch.

use std::path::{Path, PathBuf};

use super::super::arguments::{BenchJudges, Judges};
use candle_core::Device;

use crate::{
    Error, Result,
    detectors::{ColourNamer, Detector, open},
    eval::{
        geneval::names::OBJECTS,
        t2i_compbench::{Networks, Parts, Prompt},
    },
    hub::{Folder, catalog},
};

/// A network that judges: what it is for, and its names in the catalogue.
struct Part {
    what: &'static str,
    flag: &'static str,
    names: &'static [&'static str],
}

const DETECTOR: Part = Part {
    what: "detector",
    flag: "--detector",
    names: &["mask2former-swin-s", "mask2former-swin-small-coco-instance"],
};

const CLIP: Part = Part {
    what: "CLIP",
    flag: "--clip",
    names: &["clip-vit-large-patch14"],
};

const NEAR: Part = Part {
    what: "CLIP",
    flag: "--clip",
    names: &["clip-vit-base-patch32"],
};

const BLIP: Part = Part {
    what: "BLIP",
    flag: "--blip",
    names: &["blip-vqa"],
};

const WORDS: Part = Part {
    what: "vocabulary",
    flag: "--vocabulary",
    names: &["bert-base-uncased"],
};

/// The files that GenEval's judges are made of.
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
        let found = all(
            "GenEval",
            folder,
            [
                (&DETECTOR, typed.detector.as_deref()),
                (&CLIP, typed.clip.as_deref()),
            ],
        )?;
        let [detector, clip] = found;
        Ok(Self { detector, clip })
    }

    /// Opens both.
    ///
    /// # Errors
    /// A file is damaged or not what it should be.
    pub(super) fn open(
        &self,
        device: &Device,
    ) -> Result<(Box<dyn Detector>, Box<dyn ColourNamer>)> {
        Ok((
            detector(&self.detector, device)?,
            Box::new(open::clip_colours(&self.clip, device)?),
        ))
    }
}

/// Which networks some prompts of T2I-CompBench need.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    pub answers: bool,
    pub boxes: bool,
    pub likeness: bool,
}

impl Needs {
    pub(super) fn of(prompts: &[Prompt]) -> Self {
        let any = |of: fn(Parts) -> bool| prompts.iter().any(|prompt| of(prompt.parts));
        Self {
            answers: any(|parts| parts.attributes),
            boxes: any(Parts::boxes),
            likeness: any(|parts| parts.likeness),
        }
    }
}

/// The files that T2I-CompBench's judges are made of, those that are needed.
pub(super) struct BenchFiles {
    pub blip: Option<PathBuf>,
    words: Option<PathBuf>,
    pub detector: Option<PathBuf>,
    pub clip: Option<PathBuf>,
}

impl BenchFiles {
    /// As [`Files::find`].
    ///
    /// # Errors
    /// Something that is needed is not there; the error says what to fetch and how large it is.
    pub(super) fn find(typed: &BenchJudges, needs: Needs, weights: Option<&Path>) -> Result<Self> {
        let folder = typed.judges.as_deref().or(weights);
        let beside = typed
            .blip
            .as_deref()
            .map(|blip| blip.with_file_name("vocab.txt"))
            .filter(|path| path.is_file());
        let words = typed.vocabulary.as_deref().or(beside.as_deref());
        let asked = [
            (needs.answers, &BLIP, typed.blip.as_deref()),
            (needs.answers, &WORDS, words),
            (needs.boxes, &DETECTOR, typed.detector.as_deref()),
            (needs.likeness, &NEAR, typed.clip.as_deref()),
        ];
        let found = all_needed("T2I-CompBench", folder, asked)?;
        let [blip, words, detector, clip] = found;
        Ok(Self {
            blip,
            words,
            detector,
            clip,
        })
    }

    /// Opens them, each once.
    ///
    /// # Errors
    /// A file is damaged or not what it should be.
    pub(super) fn open(&self, device: &Device) -> Result<Networks> {
        let mut networks = Networks::default();
        if let (Some(blip), Some(words)) = (&self.blip, &self.words) {
            networks.answerer = Some(Box::new(open::blip_vqa(blip, words, device)?));
        }
        if let Some(path) = &self.detector {
            networks.detector = Some(detector(path, device)?);
        }
        if let Some(clip) = &self.clip {
            networks.likeness = Some(Box::new(open::clip_colours(clip, device)?));
        }
        Ok(networks)
    }
}

/// A detector that knows the classes of COCO.
fn detector(path: &Path, device: &Device) -> Result<Box<dyn Detector>> {
    let detector = open::mask2former(path, device)?;
    if detector.classes() != OBJECTS.len() {
        let message = format!(
            "knows {} classes, expected the {} of COCO",
            detector.classes(),
            OBJECTS.len()
        );
        return Err(
            Error::file(path, message).with_hint(format!("take {}", DETECTOR.names.join(" or ")))
        );
    }
    Ok(Box::new(detector))
}

/// Every part, or an error that names all that are not there.
fn all<const N: usize>(
    who: &str,
    folder: Option<&Path>,
    asked: [(&Part, Option<&Path>); N],
) -> Result<[PathBuf; N]> {
    let found = all_needed(who, folder, asked.map(|(part, named)| (true, part, named)))?;
    Ok(found.map(Option::unwrap_or_default))
}

/// The same of those that are needed.
fn all_needed<const N: usize>(
    who: &str,
    folder: Option<&Path>,
    asked: [(bool, &Part, Option<&Path>); N],
) -> Result<[Option<PathBuf>; N]> {
    let found =
        asked.map(|(needed, part, named)| needed.then(|| part.find(named, folder)).transpose());
    let parts = asked
        .iter()
        .zip(&found)
        .filter_map(|((_, part, _), found)| Some((part, found.as_ref().err()?)));
    let (names, missing): (Vec<&str>, Vec<&str>) = parts
        .map(|(part, error)| (part.fetched(), error.as_str()))
        .unzip();
    if !missing.is_empty() {
        let names = names.join(" ");
        return Err(Error::input(format!("{who} needs {}", missing.join(" and "))).with_hint(format!(
            "`ttsvar models fetch {names} --weights DIR` brings it or says where it is; then give `--judges DIR`"
        )));
    }
    Ok(found.map(|found| found.unwrap_or_default()))
}

impl Part {
    /// The name under which it is fetched: of several the last, which is on Hugging Face.
    fn fetched(&self) -> &'static str {
        self.names.last().copied().unwrap_or_default()
    }

    /// Where it is, or else what to fetch.
    fn find(&self, named: Option<&Path>, folder: Option<&Path>) -> Result<PathBuf, String> {
        if let Some(path) = named {
            return if path.exists() {
                Ok(path.to_owned())
            } else {
                Err(format!(
                    "the {} `{}`, which is not there ({})",
                    self.what,
                    path.display(),
                    self.flag
                ))
            };
        }
        let found = folder.and_then(|folder| {
            let folder = Folder::Disk(folder.to_owned());
            self.names
                .iter()
                .find_map(|name| catalog::entry(name)?.whole(&folder))
                .map(|found| found.path())
        });
        found.ok_or_else(|| {
            let entries: Vec<_> = self
                .names
                .iter()
                .filter_map(|name| catalog::entry(name))
                .collect();
            let published: Vec<String> = entries
                .iter()
                .map(|entry| entry.source.to_string())
                .collect();
            let size = entries
                .iter()
                .find_map(|entry| entry.size())
                .map_or(String::new(), |size| format!(", {size}"));
            format!(
                "a {} ({}: {}{size})",
                self.what,
                self.names[0],
                published.join(" or ")
            )
        })
    }
}
