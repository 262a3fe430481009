//! Benchmarks whose evaluators are networks: images are generated here by several methods, or read
//! from folders.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use ttsvar_search::Method;

use super::{
    super::{
        arguments::{BenchmarkOptions, Global},
        console::Console,
        interrupt::undisturbed,
        memory::fit_plans,
        progress::bar,
    },
    context::{self, EvalContext, EvalSpec},
};
use crate::{
    Error, Result,
    eval::{
        Contender, CostModel, EvaluatedImage, Log, ResultRecord, Setup, Suite, Summary,
        check_samples,
        external::{self, ExternalImage},
    },
    file::{self, slug},
    image,
    report::{ResultTables, html::verdicts},
    request::Session,
};

/// The suite to evaluate and how to record it.
pub(super) struct EvalTarget<'a> {
    pub title: &'a str,
    pub suite: &'a dyn Suite,
    /// The description of the suite for the setup.
    pub described: Map<String, Value>,
    pub samples: usize,
    /// Whether verdicts are scores instead of right or wrong.
    pub graded: bool,
    /// Notes on the results, one line each.
    pub notes: Vec<String>,
    /// Folder of the results.
    pub out: &'a Path,
    pub resume: bool,
}

/// The file layout of generated images.
pub(super) trait ImageLayout {
    /// The path of an image, relative to the folder of its method.
    fn path(&self, record: &ResultRecord) -> PathBuf;

    /// Writes the metadata of the image at `path`.
    fn write_metadata(&self, path: &Path, record: &ResultRecord) -> Result<()>;
}

/// A folder of images with its contender.
pub(super) struct ExternalContender {
    pub contender: Contender,
    pub folder: PathBuf,
    pub images: Vec<ExternalImage>,
}

/// The results, with the paths of the images.
pub(super) struct BenchmarkResults {
    pub tables: ResultTables,
    log: Log,
    /// The contenders with the names of their result files.
    pub names: Vec<(String, Contender)>,
    files: HashMap<(String, usize, usize, usize), PathBuf>,
}

impl BenchmarkResults {
    /// The records of a contender, sorted by prompt and sample, with the paths of their images.
    pub(super) fn records_of(&self, contender: &Contender) -> Vec<(&Path, &ResultRecord)> {
        let mut records: Vec<_> = self
            .log
            .records()
            .iter()
            .filter(|record| contender.is(&record.method, record.n))
            .filter_map(|record| Some((self.files.get(&key(record))?.as_path(), record)))
            .collect();
        records.sort_by_key(|(_, record)| (record.case, record.sample));
        records
    }

    /// All records with the paths of their images, relative to `home`.
    fn relative_to(&self, home: &Path) -> Result<Vec<(PathBuf, &ResultRecord)>> {
        let home = absolute(home)?;
        let mut all = vec![];
        for record in self.log.records() {
            if let Some(path) = self.files.get(&key(record)) {
                all.push((verdicts::relative_path(&home, &absolute(path)?), record));
            }
        }
        Ok(all)
    }
}

/// The key of an image: method, N, case, sample.
fn key(record: &ResultRecord) -> (String, usize, usize, usize) {
    (record.method.clone(), record.n, record.case, record.sample)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(Error::io(path))
}

/// Writes a file and creates its parent folders.
///
/// # Errors
/// The file or a folder cannot be written.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    file::replace(path, text.as_bytes()).map_err(Error::io(path))
}

impl EvalTarget<'_> {
    fn spec<'a>(
        &'a self,
        contenders: &'a [Contender],
        cost_models: &'a [CostModel],
        seed: u64,
    ) -> EvalSpec<'a> {
        EvalSpec {
            title: self.title,
            suite: self.suite,
            described: self.described.clone(),
            contenders,
            samples: self.samples,
            seed,
            consistency: 0,
            cost_models,
            folder: self.out,
            resume: self.resume,
            log: None,
            graded: self.graded,
            notes: &self.notes,
        }
    }

    /// Generates and evaluates images.
    ///
    /// # Errors
    /// Generating or evaluating fails.
    pub(super) fn generate(
        &self,
        typed: &BenchmarkOptions,
        layout: &dyn ImageLayout,
        global: &Global,
        console: &Console,
    ) -> Result<BenchmarkResults> {
        self.check_resumable()?;
        let methods = typed
            .methods
            .iter()
            .map(|name| name.parse())
            .collect::<Result<Vec<Method>, ttsvar_search::Error>>()?;
        let options = &typed.image.0;
        options.check()?;
        let cost_models = CostModel::find_all(&typed.cost_model)?;
        let mut builder = global.system_within(&typed.system, typed.limit);
        builder.held_out.clone_from(&typed.held_out.held_out);
        let system = console.open(&builder)?;
        let mut session = Session::new(&system, options)?;
        console.advise(&session);
        let scales = session.pipeline().scales().len();
        let contenders = Contender::grid(&methods, &typed.n, scales, system.drafts())?;
        // Small searches run in parallel; a large model and the evaluator use all threads
        // themselves.
        let workers = match system.is_small() {
            true => context::workers(global),
            false => 1,
        };
        let plans = contenders.iter().map(|contender| &contender.plan);
        fit_plans(&mut session, plans, typed.limit, workers, console)?;
        session.read_networks()?;
        let context = EvalContext {
            session: &session,
            variants: &[],
            workers,
            console,
        };
        let mut notes = self.notes.clone();
        notes.extend(context::shared_detector_note(&system));
        let spec = EvalSpec {
            notes: &notes,
            log: typed.log,
            ..self.spec(&contenders, &cost_models, options.seed.unwrap_or(0))
        };
        check_samples(self.suite.cases().len(), self.samples)?;
        fs::create_dir_all(self.out).map_err(Error::io(self.out))?;
        self.check_outputs(&cost_models)?;
        let (tables, log) = context.run(&spec, |evaluated| {
            if typed.keep {
                self.keep(layout, evaluated)
            } else {
                Ok(())
            }
        })?;
        let files: HashMap<_, _> = log
            .records()
            .iter()
            .map(|record| (key(record), self.image_path(layout, record)))
            .filter(|(_, path)| !typed.keep || path.exists())
            .collect();
        let lost = log.records().len() - files.len();
        if lost > 0 {
            console.note(&format!(
                "the report lacks {lost} images that were evaluated without --keep"
            ));
        }
        let names = contenders
            .iter()
            .map(|contender| (name_of(&contender.method, contender.n), contender.clone()))
            .collect();
        let results = BenchmarkResults {
            tables,
            log,
            names,
            files,
        };
        if typed.keep {
            self.write_page(&results)?;
        }
        Ok(results)
    }

    /// Checks that there is an evaluation to resume, if one shall be.
    fn check_resumable(&self) -> Result<()> {
        match self.resume {
            true => context::check_resumable(self.out, [self.out]),
            false => Ok(()),
        }
    }

    /// Checks that the results can be written, before the work starts.
    fn check_outputs(&self, cost_models: &[CostModel]) -> Result<()> {
        ResultTables::check_folder(self.out, cost_models)?;
        file::check_replaceable(&self.out.join(context::PAGE))?;
        let results = self.out.join("results");
        fs::create_dir_all(&results).map_err(Error::io(&results))
    }

    /// The path of a generated image.
    fn image_path(&self, layout: &dyn ImageLayout, record: &ResultRecord) -> PathBuf {
        self.out
            .join("images")
            .join(name_of(&record.method, record.n))
            .join(layout.path(record))
    }

    /// Saves a generated image.
    fn keep(&self, layout: &dyn ImageLayout, evaluated: &EvaluatedImage) -> Result<()> {
        let path = self.image_path(layout, &evaluated.record);
        let folder = path.parent().unwrap_or(self.out);
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        layout.write_metadata(&path, &evaluated.record)?;
        image::save(&evaluated.image, &path)
    }

    fn write_page(&self, results: &BenchmarkResults) -> Result<()> {
        context::write_page(
            &self.spec(&[], &[], 0),
            results.tables.summary(),
            &results.relative_to(self.out)?,
        )
    }

    /// Evaluates images that other programs generated.
    ///
    /// # Errors
    /// Evaluating fails. Files that are not images only cause a warning and count as missing.
    pub(super) fn compare(
        &self,
        external: &[ExternalContender],
        console: &Console,
    ) -> Result<BenchmarkResults> {
        self.check_resumable()?;
        let contenders: Vec<Contender> = external
            .iter()
            .map(|external| external.contender.clone())
            .collect();
        let spec = self.spec(&contenders, &[], 0);
        let mut pictures = BTreeMap::new();
        for external in external {
            let name = external.contender.method.clone();
            pictures.insert(name, absolute(&external.folder)?);
        }
        let setup = Setup {
            pictures,
            ..spec.setup(Map::new())
        };
        let mut log = Log::open(self.out, &setup, self.suite, self.resume)?;
        context::print_notes(console, &log);
        self.check_outputs(&[])?;
        let bar = bar(
            console,
            external.iter().map(|external| external.images.len()).sum(),
            "images evaluated",
        );
        let mut files = HashMap::new();
        for ExternalContender {
            contender, images, ..
        } in external
        {
            for image in images {
                let method = contender.method.clone();
                let key = (method, contender.n, image.case, image.sample);
                files.insert(key, image.path.clone());
            }
            let known = log.records().to_vec();
            let keep = |record| {
                bar.inc(1);
                undisturbed(|| log.add(record, self.suite))
            };
            let lost = |_: &Path, error: &Error| {
                bar.suspend(|| console.warn(&format!("{error} (counted as missing)"), None))
            };
            external::evaluate(self.suite, contender, images, &known, keep, lost)?;
        }
        bar.finish_and_clear();
        for ExternalContender {
            folder,
            images,
            contender,
        } in external
        {
            let mut records = log.records().iter();
            if !records.any(|record| contender.is(&record.method, record.n)) {
                let count = images.len();
                let message = format!("none of its {count} images could be evaluated");
                return Err(Error::file(folder, message)
                    .with_hint("see the warnings above; PNG, JPEG and WebP are supported"));
            }
        }
        let summary = Summary::new(self.suite, self.samples, &contenders, log.records());
        let tables = spec.tables(summary, vec![]);
        tables.write(self.out)?;
        let names = contenders
            .iter()
            .map(|contender| (slug(&contender.method), contender.clone()))
            .collect();
        let results = BenchmarkResults {
            tables,
            log,
            names,
            files,
        };
        self.write_page(&results)?;
        Ok(results)
    }
}

/// `tts-var-4`
fn name_of(method: &str, n: usize) -> String {
    format!("{}-{n}", slug(method))
}

/// The contenders for folders of images, named after the folders.
///
/// # Errors
/// Two folders have the same name, or names that give the same file names.
pub(super) fn contenders(folders: &[PathBuf]) -> Result<Vec<Contender>> {
    let mut all: Vec<Contender> = vec![];
    for path in folders {
        let last = path.components().next_back();
        let name = last.map_or_else(String::new, |name| {
            name.as_os_str().to_string_lossy().into_owned()
        });
        if let Some(other) = all
            .iter()
            .find(|other| slug(&other.method).eq_ignore_ascii_case(&slug(&name)))
        {
            let message = if other.method == name {
                format!("a second folder is called `{name}`")
            } else {
                format!(
                    "its result files would have the same names as those of `{}`",
                    other.method
                )
            };
            return Err(Error::file(path, message)
                .with_hint("tables identify folders by their names; rename one"));
        }
        all.push(external::contender(&name)?);
    }
    Ok(all)
}
