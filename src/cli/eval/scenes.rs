//! `ttsvar eval scenes`: the scenes of the demo.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use ttsvar_search::{Drafts, Method};

use super::{
    super::{
        arguments::{Global, Scenes as Typed},
        console::Console,
        memory::fit_plans,
    },
    context::{self, EvalContext, EvalSpec},
};
use crate::{
    Error, Result,
    eval::{
        Contender, CostModel, Experiment, Suite, check_samples,
        scenes::{Scenes, Split},
    },
    file::{self, is_hidden, slug},
    image,
    options::Options,
    report::{
        ResultTables, result_charts,
        result_tables::{GRID_TITLE, check_page},
        sheet,
    },
    request::Session,
    system::System,
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
    let cost_models = CostModel::find_all(&typed.cost_model)?;
    let mut builder = global.system_within(&typed.system, typed.limit);
    builder.held_out.clone_from(&typed.held_out.held_out);
    let system = console.open(&builder)?;
    let mut session = Session::new(&system, options)?;
    console.advise(&session);
    let scales = session.pipeline().scales().len();
    let runs = runs(typed, &files, scales, system.drafts())?;
    if typed.results.resume {
        let folders = runs.iter().map(|run| run.folder.as_path());
        context::check_resumable(&typed.results.out, folders)?;
    }
    let workers = context::workers(global);
    let contenders = runs.iter().flat_map(|run| &run.experiment.contenders);
    let plans = contenders.clone().map(|contender| &contender.plan);
    fit_plans(&mut session, plans, typed.limit, workers, console)?;
    session.read_networks()?;
    let mut variants = variants(&system, options, contenders.clone())?;
    for (settings, session) in &mut variants {
        let own = contenders.clone().filter(|one| one.settings == *settings);
        let plans = own.map(|contender| &contender.plan);
        fit_plans(session, plans, typed.limit, workers, console)?;
    }
    let context = EvalContext {
        session: &session,
        variants: &variants,
        workers,
        console,
    };
    let evaluation = ScenesEval {
        typed,
        split,
        cost_models,
        context,
    };
    for run in &runs {
        evaluation.run(run)?;
    }
    Ok(())
}

/// A session for each set of settings that contenders have of their own.
fn variants<'a>(
    system: &'a System,
    options: &Options,
    contenders: impl Iterator<Item = &'a Contender>,
) -> Result<Vec<(Map<String, Value>, Session<'a>)>> {
    let mut variants: Vec<(Map<String, Value>, Session)> = vec![];
    for contender in contenders {
        let settings = &contender.settings;
        if settings.is_empty() || variants.iter().any(|(known, _)| known == settings) {
            continue;
        }
        let own = Options::from_map(settings)?;
        if let Some(name) = own.search_option() {
            return Err(Error::input(format!(
                "`{name}` is not a setting of the generator, but the settings of `{contender}` have it"
            ))
            .with_hint("give it beside `settings`, or in the contender's plan"));
        }
        let session = Session::new(system, &own.or(options))?;
        variants.push((settings.clone(), session));
    }
    Ok(variants)
}

/// An experiment and where its results go.
struct Run {
    /// The name of its file; none for the grid of methods and sizes.
    name: Option<String>,
    folder: PathBuf,
    experiment: Experiment,
}

/// The grid of methods and sizes, or every experiment in its own folder. All are read before the
/// first one runs.
fn runs(typed: &Typed, files: &[PathBuf], scales: usize, drafts: Drafts) -> Result<Vec<Run>> {
    let out = &typed.results.out;
    if files.is_empty() {
        return Ok(vec![Run {
            name: None,
            folder: out.clone(),
            experiment: grid(typed, scales, drafts)?,
        }]);
    }
    let mut runs = vec![];
    for (i, path) in files.iter().enumerate() {
        let name = experiment_name(path);
        let mut before = files[..i].iter();
        if let Some(other) = before.find(|other| experiment_name(other) == name) {
            return Err(Error::file(
                path,
                format!(
                    "has the name of {}, so both would write to {}",
                    other.display(),
                    out.join(&name).display()
                ),
            )
            .with_hint("rename one of the two files"));
        }
        runs.push(Run {
            folder: out.join(&name),
            name: Some(name),
            experiment: Experiment::read(path, scales, drafts)?,
        });
    }
    Ok(runs)
}

/// Several methods at several sizes.
fn grid(typed: &Typed, scales: usize, drafts: Drafts) -> Result<Experiment> {
    let methods = typed
        .methods
        .iter()
        .map(|name| name.parse())
        .collect::<Result<Vec<Method>, ttsvar_search::Error>>()?;
    Ok(Experiment {
        title: GRID_TITLE.to_owned(),
        prompts: PROMPTS,
        samples: SAMPLES,
        consistency: CONSISTENCY,
        contenders: Contender::grid(&methods, &typed.n, scales, drafts)?,
    })
}

struct ScenesEval<'a> {
    typed: &'a Typed,
    split: Split,
    cost_models: Vec<CostModel>,
    context: EvalContext<'a>,
}

impl ScenesEval<'_> {
    fn run(&self, run: &Run) -> Result<()> {
        let console = self.context.console;
        if let Some(name) = &run.name {
            console.note(&format!("{name}: {}", run.experiment.title));
        }
        let tables = self.compare(&run.experiment, &run.folder)?;
        context::print_results(console, &tables, &run.folder)?;
        match (&run.name, &self.typed.results.page) {
            (Some(name), Some(page)) => tables.put_into(page, name),
            _ => Ok(()),
        }
    }

    fn compare(&self, experiment: &Experiment, folder: &Path) -> Result<ResultTables> {
        let typed = &self.typed.prompts;
        let prompts = typed.prompts.unwrap_or(experiment.prompts);
        let suite = Scenes::new(self.split, prompts, typed.prompt_seed)?;
        let note = context::shared_detector_note(self.context.session.system());
        let notes: Vec<String> = note.into_iter().collect();
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
            cost_models: &self.cost_models,
            folder,
            resume: self.typed.results.resume,
            log: self.typed.results.log,
            notes: &notes,
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
        let variants = self.context.variants();
        let evaluation = self.context.evaluation(&spec, &search, &variants, &[]);
        let pairs = result_charts::pairs(&evaluation)?;
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
