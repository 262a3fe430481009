//! `ttsvar eval`: search methods side by side on prompts whose pictures can be judged.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{
    arguments::{Global, Results, Scenes as Typed},
    charts,
    findings::Findings,
    interrupt::undisturbed,
    outputs::slug,
    progress::bar,
    request::Look,
    system,
    talk::Talk,
};
use crate::{
    Error, Result,
    bundle::{DEMO, System},
    eval::{
        Contender, Evaluation, Experiment, Log, Setup, Summary,
        consistency::{self, Path as ScorePath, consistency},
        log::SCHEMA,
        scenes::{Scenes, Split},
    },
    pipelines::Pipeline,
    report::sheet,
    search::{Method, Search},
};

/// How many prompts and tries, where nothing else is said; enough to tell methods apart that differ by .03.
const PROMPTS: usize = 300;
const SAMPLES: usize = 4;
const CONSISTENCY: usize = 60;

/// `ttsvar eval scenes`
pub(super) fn scenes(typed: &Typed, global: &Global, talk: &Talk) -> Result<()> {
    let split: Split = typed.prompts.split.parse()?;
    let look = Look::read(&typed.canvas, typed.drawing)?;
    let model = typed.model.model.as_deref().unwrap_or(DEMO);
    let system = system::open(model, typed.model.weights.as_deref(), global)?;
    let settings = look.settings(system.defaults());
    let pipeline = system.pipeline(&settings)?;
    let mut recorded = Map::from_iter([("model".to_owned(), Value::from(model))]);
    recorded.extend(look.recorded(&settings));
    let hall = Hall { typed, split, system: &system, pipeline: pipeline.as_ref(), settings: recorded, global, talk };
    if typed.experiments.is_empty() { hall.grid() } else { hall.experiments() }
}

/// Where evaluations take place: everything that they share.
struct Hall<'a> {
    typed: &'a Typed,
    split: Split,
    system: &'a System,
    pipeline: &'a dyn Pipeline,
    settings: Map<String, Value>,
    global: &'a Global,
    talk: &'a Talk,
}

impl Hall<'_> {
    /// Methods at several sizes.
    fn grid(&self) -> Result<()> {
        let methods = self.typed.methods.iter().map(|name| name.parse()).collect::<Result<Vec<Method>>>()?;
        let contenders = Contender::grid(&methods, &self.typed.n, self.pipeline.scales().len())?;
        let experiment = Experiment {
            title: "Methods side by side".to_owned(),
            prompts: PROMPTS,
            samples: SAMPLES,
            consistency: CONSISTENCY,
            contenders,
        };
        let findings = self.run(&experiment, &self.typed.results.out)?;
        self.say(&findings, &self.typed.results.out)
    }

    /// Every experiment in a folder of its own.
    fn experiments(&self) -> Result<()> {
        let Results { out, page, .. } = &self.typed.results;
        for path in experiment_files(&self.typed.experiments)? {
            let experiment = Experiment::read(&path, self.pipeline.scales().len())?;
            let name = path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let folder = out.join(&name);
            self.talk.note(&format!("{name}: {}", experiment.title));
            let findings = self.run(&experiment, &folder)?;
            self.say(&findings, &folder)?;
            if let Some(page) = page {
                findings.put_into(page, &name)?;
            }
        }
        Ok(())
    }

    fn say(&self, findings: &Findings, folder: &Path) -> Result<()> {
        self.talk.result(&if self.talk.json { findings.json().to_string() } else { findings.words() })?;
        self.talk.note(&format!("records, tables and plots are in {}", folder.display()));
        Ok(())
    }

    fn run(&self, experiment: &Experiment, folder: &Path) -> Result<Findings> {
        let asked = &self.typed.prompts;
        let (prompts, samples) =
            (asked.prompts.unwrap_or(experiment.prompts), asked.samples.unwrap_or(experiment.samples));
        if samples == 0 {
            return Err(Error::input("--samples is 0, but every prompt needs at least 1 try")
                .with_hint("choose 4 to tell methods apart"));
        }
        let suite = Scenes::new(self.split, prompts, asked.prompt_seed)?;
        let search = Search::new(self.pipeline, self.system.scorer(), self.system.extractors());
        let evaluation = Evaluation {
            suite: &suite,
            search: &search,
            contenders: &experiment.contenders,
            samples,
            seed: self.typed.drawing.seed.unwrap_or(0),
            workers: self.workers(),
        };
        let mut log = Log::open(folder, &self.setup(&evaluation), self.typed.results.resume)?;
        self.judge(&evaluation, &mut log)?;
        let wanted = asked.consistency.unwrap_or(experiment.consistency).min(prompts);
        let paths = self.paths(&evaluation, &log, wanted)?;
        let summary = Summary::new(&suite, samples, &experiment.contenders, log.records());
        let findings = Findings::new(&experiment.title, summary, consistency(&paths));
        findings.write(folder)?;
        sheet::sheet(&charts::pairs(&evaluation)?).save(folder.join("sheet.png"))?;
        Ok(findings)
    }

    fn workers(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if self.global.device == "cpu" { self.global.threads.unwrap_or(cores).clamp(1, cores) } else { 1 }
    }

    fn setup(&self, evaluation: &Evaluation) -> Setup {
        let suite = json!({
            "name": evaluation.suite.name(),
            "split": self.split.to_string(),
            "prompts": evaluation.suite.cases().len(),
            "prompt_seed": self.typed.prompts.prompt_seed,
        });
        Setup {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            suite: suite.as_object().cloned().unwrap_or_default(),
            samples: evaluation.samples,
            seed: evaluation.seed,
            settings: self.settings.clone(),
            contenders: evaluation.contenders.to_vec(),
        }
    }

    /// Paints and judges what is not in the log yet.
    fn judge(&self, evaluation: &Evaluation, log: &mut Log) -> Result<()> {
        let known = log.records().to_vec();
        let bar = bar(self.talk, evaluation.images(), "images judged");
        bar.set_position(evaluation.done(&known) as u64);
        bar.reset_eta();
        let images = self.typed.results.images.then(|| log.folder().join("images"));
        if let Some(folder) = &images {
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        evaluation.run(&known, |judged| {
            bar.inc(1);
            undisturbed(|| {
                if let Some(folder) = &images {
                    let record = &judged.record;
                    let (case, sample, method, n) = (record.case, record.sample, slug(&record.method), record.n);
                    judged.image.save(folder.join(format!("{case:04}-{sample}-{method}-{n}.png")))?;
                }
                log.add(judged.record)
            })
        })?;
        bar.finish_and_clear();
        Ok(())
    }

    /// Scores after every scale, for the first prompts.
    fn paths(&self, evaluation: &Evaluation, log: &Log, wanted: usize) -> Result<Vec<ScorePath>> {
        let bar = bar(self.talk, wanted, "prompts scored after every scale");
        let paths = consistency::measure(evaluation, log.folder(), wanted, || bar.inc(1))?;
        bar.finish_and_clear();
        Ok(paths)
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
            inside.extend(file.extension().is_some_and(|end| end == "toml").then_some(file));
        }
        if inside.is_empty() {
            return Err(Error::file(path, "holds no experiment").with_hint("experiments are .toml files"));
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}
