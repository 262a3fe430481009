//! Finds and opens the networks of evaluators; reports what to fetch if one is missing.

use std::path::{Path, PathBuf};

use super::super::arguments::{CompBenchNetworks, GenEvalNetworks};
use candle_core::Device;

use crate::{
    Error, Result,
    detectors::{ColourNamer, Detector, open},
    eval::t2i_compbench::{EvaluatorNetworks, Parts, Prompt},
    hub::{Folder, catalog},
};

/// A network of an evaluator: its kind, its flag, and its names in the catalogue.
struct NetworkSpec {
    kind: &'static str,
    flag: &'static str,
    names: &'static [&'static str],
}

const DETECTOR: NetworkSpec = NetworkSpec {
    kind: "detector",
    flag: "--detector",
    names: &["mask2former-swin-s", "mask2former-swin-small-coco-instance"],
};

const CLIP: NetworkSpec = NetworkSpec {
    kind: "CLIP",
    flag: "--clip",
    names: &["clip-vit-large-patch14"],
};

const SMALL_CLIP: NetworkSpec = NetworkSpec {
    kind: "CLIP",
    flag: "--clip",
    names: &["clip-vit-base-patch32"],
};

const BLIP: NetworkSpec = NetworkSpec {
    kind: "BLIP",
    flag: "--blip",
    names: &["blip-vqa"],
};

const VOCABULARY: NetworkSpec = NetworkSpec {
    kind: "vocabulary",
    flag: "--vocabulary",
    names: &["bert-base-uncased"],
};

/// The weight files of GenEval's evaluator.
pub(super) struct GenEvalFiles {
    pub detector: PathBuf,
    pub clip: PathBuf,
}

impl GenEvalFiles {
    /// The given files; those that are not given are found in the folder of downloads.
    ///
    /// # Errors
    /// A file is missing; the error says what to fetch and how large it is.
    pub(super) fn find(typed: &GenEvalNetworks, weights: Option<&Path>) -> Result<Self> {
        let folder = typed.judges.as_deref().or(weights);
        let found = find_all(
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
    /// A file is damaged or of the wrong kind.
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

/// The networks that some prompts of T2I-CompBench need.
#[derive(Clone, Copy, Debug)]
pub(super) struct NeededNetworks {
    pub answers: bool,
    pub boxes: bool,
    pub likeness: bool,
}

impl NeededNetworks {
    pub(super) fn for_prompts(prompts: &[Prompt]) -> Self {
        let parts = || prompts.iter().map(|prompt| prompt.parts);
        Self {
            answers: parts().any(|parts| parts.attributes),
            boxes: parts().any(Parts::boxes),
            likeness: parts().any(|parts| parts.likeness),
        }
    }
}

/// The weight files of T2I-CompBench's evaluator that are needed.
pub(super) struct CompBenchFiles {
    pub blip: Option<PathBuf>,
    words: Option<PathBuf>,
    pub detector: Option<PathBuf>,
    pub clip: Option<PathBuf>,
}

impl CompBenchFiles {
    /// As [`GenEvalFiles::find`].
    ///
    /// # Errors
    /// A needed file is missing; the error says what to fetch and how large it is.
    pub(super) fn find(
        typed: &CompBenchNetworks,
        needs: NeededNetworks,
        weights: Option<&Path>,
    ) -> Result<Self> {
        let folder = typed.judges.as_deref().or(weights);
        let beside = typed
            .blip
            .as_deref()
            .map(|blip| blip.with_file_name("vocab.txt"))
            .filter(|path| path.is_file());
        let words = typed.vocabulary.as_deref().or(beside.as_deref());
        let asked = [
            (needs.answers, &BLIP, typed.blip.as_deref()),
            (needs.answers, &VOCABULARY, words),
            (needs.boxes, &DETECTOR, typed.detector.as_deref()),
            (needs.likeness, &SMALL_CLIP, typed.clip.as_deref()),
        ];
        let found = find_needed("T2I-CompBench", folder, asked)?;
        let [blip, words, detector, clip] = found;
        Ok(Self {
            blip,
            words,
            detector,
            clip,
        })
    }

    /// Opens them.
    ///
    /// # Errors
    /// A file is damaged or of the wrong kind.
    pub(super) fn open(&self, device: &Device) -> Result<EvaluatorNetworks> {
        let mut networks = EvaluatorNetworks::default();
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

/// A detector with the classes of COCO.
fn detector(path: &Path, device: &Device) -> Result<Box<dyn Detector>> {
    Ok(Box::new(open::coco_detector(path, device)?))
}

/// The paths of all networks, or an error that names the missing ones.
fn find_all<const N: usize>(
    suite: &str,
    folder: Option<&Path>,
    asked: [(&NetworkSpec, Option<&Path>); N],
) -> Result<[PathBuf; N]> {
    let found = find_needed(
        suite,
        folder,
        asked.map(|(part, named)| (true, part, named)),
    )?;
    Ok(found.map(Option::unwrap_or_default))
}

/// The same for those that are needed.
fn find_needed<const N: usize>(
    suite: &str,
    folder: Option<&Path>,
    asked: [(bool, &NetworkSpec, Option<&Path>); N],
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
        let message = format!("{suite} needs {}", missing.join(" and "));
        return Err(Error::input(message).with_hint(format!(
            "`ttsvar models fetch {names} --weights DIR` downloads it or prints where to get it; \
             then give `--judges DIR`"
        )));
    }
    Ok(found.map(|found| found.unwrap_or_default()))
}

impl NetworkSpec {
    /// The name for `ttsvar models fetch`: the last, which is on Hugging Face.
    fn fetched(&self) -> &'static str {
        self.names.last().copied().unwrap_or_default()
    }

    /// Its path, or else what to fetch.
    fn find(&self, named: Option<&Path>, folder: Option<&Path>) -> Result<PathBuf, String> {
        if let Some(path) = named {
            return if path.exists() {
                Ok(path.to_owned())
            } else {
                Err(format!(
                    "the {} `{}`, which does not exist ({})",
                    self.kind,
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
                self.kind,
                self.names[0],
                published.join(" or ")
            )
        })
    }
}
