//! `ttsvar eval scenes`: the demo's world.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ttsvar_search::Method;

use super::{
    super::{
        arguments::{Global, Results, Scenes as Typed},
        charts,
        findings::Findings,
        talk::Talk,
    },
    hall::{self, Asked, Hall},
};
use crate::{
    Error, Result,
    eval::{
        Contender, Experiment,
        scenes::{Scenes, Split},
    },
    file::slug,
    image,
    report::sheet,
    request::Session,
};

/// How many prompts and tries, where nothing else is said; enough to tell methods apart that differ
/// by .03.
const PROMPTS: usize = 300;
const SAMPLES: usize = 4;
const CONSISTENCY: usize = 60;

pub(in super::super) fn run(typed: &Typed, global: &Global, talk: &Talk) -> Result<()> {
    let split: Split = typed.prompts.split.parse()?;
    let options = &typed.image.0;
    options.check()?;
    let system = global.system(&typed.system).open()?;
    let session = Session::new(&system, options)?;
    let hall = Hall {
        session: &session,
        workers: hall::workers(global),
        talk,
    };
    let world = World { typed, split, hall };
    if typed.experiments.is_empty() {
        world.grid()
    } else {
        world.experiments()
    }
}

struct World<'a> {
    typed: &'a Typed,
    split: Split,
    hall: Hall<'a>,
}

impl World<'_> {
    /// Methods at several sizes.
    fn grid(&self) -> Result<()> {
        let methods = self
            .typed
            .methods
            .iter()
            .map(|name| name.parse())
            .collect::<Result<Vec<Method>, ttsvar_search::Error>>()?;
        let contenders = Contender::grid(
            &methods,
            &self.typed.n,
            self.hall.session.pipeline().scales().len(),
        )?;
        let experiment = Experiment {
            title: "Methods side by side".to_owned(),
            prompts: PROMPTS,
            samples: SAMPLES,
            consistency: CONSISTENCY,
            contenders,
        };
        let findings = self.compare(&experiment, &self.typed.results.out)?;
        hall::say(self.hall.talk, &findings, &self.typed.results.out)
    }

    /// Every experiment in a folder of its own.
    fn experiments(&self) -> Result<()> {
        let Results { out, page, .. } = &self.typed.results;
        for path in experiment_files(&self.typed.experiments)? {
            let experiment = Experiment::read(&path, self.hall.session.pipeline().scales().len())?;
            let name = path
                .file_stem()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let folder = out.join(&name);
            self.hall
                .talk
                .note(&format!("{name}: {}", experiment.title));
            let findings = self.compare(&experiment, &folder)?;
            hall::say(self.hall.talk, &findings, &folder)?;
            if let Some(page) = page {
                findings.put_into(page, &name)?;
            }
        }
        Ok(())
    }

    fn compare(&self, experiment: &Experiment, folder: &Path) -> Result<Findings> {
        let asked = &self.typed.prompts;
        let prompts = asked.prompts.unwrap_or(experiment.prompts);
        let suite = Scenes::new(self.split, prompts, asked.prompt_seed)?;
        let asked = Asked {
            title: &experiment.title,
            suite: &suite,
            graded: false,
            described: suite.described(),
            contenders: &experiment.contenders,
            samples: asked.samples.unwrap_or(experiment.samples),
            seed: self.typed.image.0.seed.unwrap_or(0),
            consistency: asked
                .consistency
                .unwrap_or(experiment.consistency)
                .min(prompts),
            folder,
            resume: self.typed.results.resume,
            notes: &[],
        };
        let images = self.typed.results.images.then(|| folder.join("images"));
        let (findings, _) = self.hall.run(&asked, |judged| {
            let Some(images) = &images else { return Ok(()) };
            fs::create_dir_all(images).map_err(Error::io(images))?;
            let record = &judged.record;
            let (case, sample, method, n) =
                (record.case, record.sample, slug(&record.method), record.n);
            let path = images.join(format!("{case:04}-{sample}-{method}-{n}.png"));
            image::save(&judged.image, path)
        })?;
        let search = self.hall.search();
        let pairs = charts::pairs(&self.hall.evaluation(&asked, &search))?;
        image::save(&sheet::sheet(&pairs), folder.join("sheet.png"))?;
        Ok(findings)
    }
}

/// The files themselves, and in their order those of the folders.
fn experiment_files(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut inside = vec![];
        for entry in fs::read_dir(path).map_err(Error::io(path))? {
            let file = entry.map_err(Error::io(path))?.path();
            inside.extend(
                file.extension()
                    .is_some_and(|end| end == "toml")
                    .then_some(file),
            );
        }
        if inside.is_empty() {
            return Err(
                Error::file(path, "holds no experiment").with_hint("experiments are .toml files")
            );
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}
