//! `ttsvar eval scenes`: the scenes of the demo.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ttsvar_search::Method;

use super::{
    super::{
        arguments::{Global, Results, Scenes as Typed},
        console::Console,
    },
    context::{self, EvalContext, EvalSpec},
};
use crate::{
    Error, Result,
    eval::{
        Contender, Experiment, Suite, check_samples,
        scenes::{Scenes, Split},
    },
    file::{self, is_hidden, slug},
    image,
    report::{
        ResultTables, result_charts,
        result_tables::{GRID_TITLE, check_page},
        sheet,
    },
    request::Session,
};

/// Default numbers of prompts and samples: enough to distinguish methods that differ by 0.03.
const PROMPTS: usize = 300;
const SAMPLES: usize = 4;
const CONSISTENCY: usize = 60;

pub(in super::super) fn run(typed: &Typed, global: &Global, console: &Console) -> Result<()> {
    let split: Split = typed.prompts.split.parse()?;
    let options = &typed.image.0;
    options.check()?;
    let files = experiment_files(&typed.experiments)?;
    if let Some(page) = &typed.results.page {
        let names: Vec<String> = files.iter().map(|path| experiment_name(path)).collect();
        check_page(page, &names)?;
    }
    let system = console.open(&global.system(&typed.system))?;
    let session = Session::new(&system, options)?;
    let context = EvalContext {
        session: &session,
        workers: context::workers(global),
        console,
    };
    let evaluation = ScenesEval {
        typed,
        split,
        context,
    };
    if typed.experiments.is_empty() {
        evaluation.grid()
    } else {
        evaluation.experiments(&files)
    }
}

struct ScenesEval<'a> {
    typed: &'a Typed,
    split: Split,
    context: EvalContext<'a>,
}

impl ScenesEval<'_> {
    /// Compares methods at several sizes.
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
            self.context.session.pipeline().scales().len(),
        )?;
        let experiment = Experiment {
            title: GRID_TITLE.to_owned(),
            prompts: PROMPTS,
            samples: SAMPLES,
            consistency: CONSISTENCY,
            contenders,
        };
        let tables = self.compare(&experiment, &self.typed.results.out)?;
        context::print_results(self.context.console, &tables, &self.typed.results.out)
    }

    /// Runs every experiment, each in its own folder. All are read before the first one runs.
    fn experiments(&self, files: &[PathBuf]) -> Result<()> {
        let Results { out, page, .. } = &self.typed.results;
        let scales = self.context.session.pipeline().scales().len();
        let experiments = files
            .iter()
            .map(|path| Experiment::read(path, scales))
            .collect::<Result<Vec<_>>>()?;
        for (path, experiment) in files.iter().zip(experiments) {
            let name = experiment_name(path);
            let folder = out.join(&name);
            self.context
                .console
                .note(&format!("{name}: {}", experiment.title));
            let tables = self.compare(&experiment, &folder)?;
            context::print_results(self.context.console, &tables, &folder)?;
            if let Some(page) = page {
                tables.put_into(page, &name)?;
            }
        }
        Ok(())
    }

    fn compare(&self, experiment: &Experiment, folder: &Path) -> Result<ResultTables> {
        let typed = &self.typed.prompts;
        let prompts = typed.prompts.unwrap_or(experiment.prompts);
        let suite = Scenes::new(self.split, prompts, typed.prompt_seed)?;
        let spec = EvalSpec {
            title: &experiment.title,
            suite: &suite,
            graded: false,
            described: suite.described(),
            contenders: &experiment.contenders,
            samples: typed.samples.unwrap_or(experiment.samples),
            seed: self.typed.image.0.seed.unwrap_or(0),
            consistency: typed
                .consistency
                .unwrap_or(experiment.consistency)
                .min(prompts),
            folder,
            resume: self.typed.results.resume,
            notes: &[],
        };
        check_samples(suite.cases().len(), spec.samples)?;
        let sheet_path = folder.join("sheet.png");
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        file::check_replaceable(&sheet_path)?;
        let images = self.typed.results.images.then(|| folder.join("images"));
        if let Some(images) = &images {
            fs::create_dir_all(images).map_err(Error::io(images))?;
        }
        let (tables, _) = self.context.run(&spec, |evaluated| {
            let Some(images) = &images else { return Ok(()) };
            let record = &evaluated.record;
            let name = format!(
                "{:04}-{}-{}-{}.png",
                record.case,
                record.sample,
                slug(&record.method),
                record.n
            );
            image::save(&evaluated.image, images.join(name))
        })?;
        let search = self.context.search();
        let pairs = result_charts::pairs(&self.context.evaluation(&spec, &search))?;
        image::save(&sheet::sheet(&pairs), sheet_path)?;
        Ok(tables)
    }
}

/// The name of an experiment: that of its file without the ending.
fn experiment_name(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The given files, and the sorted files of the given folders.
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
            if !is_hidden(&file) && file.extension().is_some_and(|end| end == "toml") {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            return Err(Error::file(path, "contains no experiment")
                .with_hint("experiments are .toml files"));
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}
