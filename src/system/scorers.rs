//! Loads scorers by name: those of a system, or released ones without a system. Several scorers may
//! share a network.

use std::{path::Path, sync::Arc};

use ttsvar_search::{AnsweredScores, Image, Method, PromptReader, Scorer, WeightedScorer};

use super::{DEMO, SystemBuilder, builder::require_files, loader::note_revisions};
use crate::{
    Error, Result,
    hub::{BuiltIn, Bundle, ScorerFiles, bundle::FILE},
    loading::{Evict, Evictable, LoadListener, LoadProgress, LoadReport, Loader},
    options::{Options, YES},
    scorers::{
        QuestionLists, ScorerList, ScorerMix, ScorerName, ScorerNetwork, ScorerSettings,
        image_reward,
    },
};

/// The network of a scorer, which may be evicted.
pub(super) type EvictableScorer = Evictable<Box<dyn ScorerNetwork>>;

/// A loaded scorer with its name and its weight in a mix.
pub struct LoadedScorer {
    /// The name under which users choose it.
    pub name: String,
    /// The weight, above 0.
    pub weight: f64,
    /// Its kind, as a `bundle.toml` calls it.
    pub family: &'static str,
    pub(super) network: Arc<EvictableScorer>,
    /// The function from the network's output to the score.
    pub(super) score: fn(f32) -> f32,
    /// The question that it answers instead of reading prompts.
    question: Option<String>,
    /// Whether it answers lists of questions.
    answers_lists: bool,
    /// Floating-point operations per image.
    flops: f64,
    /// Reads prompts for warnings, also while the network is evicted.
    reader: Option<Arc<dyn PromptReader>>,
}

impl LoadedScorer {
    /// The scores of images, with answers if it is asked a list of questions about the prompt.
    fn ask(
        &self,
        lists: Option<&QuestionLists>,
        prompt: &str,
        images: &[Image],
    ) -> Result<AnsweredScores> {
        let network = self.network.get()?;
        let answering = network.image_questions();
        if let (Some(answering), Some(lists)) = (answering, lists)
            && let Some(scored) = lists.score(answering, prompt, images)?
        {
            return Ok(scored);
        }
        let numbers = match (answering, &self.question) {
            (Some(answering), Some(question)) => answering.answer(question, YES, images)?,
            _ => network.score(prompt, images)?,
        };
        let scores: Vec<f32> = numbers.into_iter().map(self.score).collect();
        Ok(scores.into())
    }
}

impl Scorer for LoadedScorer {
    fn score(&self, prompt: &str, images: &[Image]) -> ttsvar_search::Result<Vec<f32>> {
        Ok(self.ask(None, prompt, images)?.scores)
    }

    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        self.reader.clone()
    }

    fn flops(&self, images: usize) -> f64 {
        self.flops * images as f64
    }
}

/// A scorer with the questions that options let it answer instead of reading prompts, if it can.
#[derive(Clone)]
pub struct ScorerWithQuestions<'a> {
    /// The scorer.
    pub scorer: &'a LoadedScorer,
    lists: Option<Arc<QuestionLists>>,
}

impl ScorerWithQuestions<'_> {
    /// The scorer for a search.
    pub fn weighted(&self) -> WeightedScorer<'_> {
        WeightedScorer {
            name: &self.scorer.name,
            weight: self.scorer.weight,
            scorer: self,
        }
    }
}

/// The scorers with the questions in `options`.
///
/// # Errors
/// There are questions, but none of the scorers answers lists of them; or there is a mean and there
/// are no questions.
pub fn with_questions<'a>(
    scorers: impl IntoIterator<Item = &'a LoadedScorer>,
    options: &Options,
) -> Result<Vec<ScorerWithQuestions<'a>>> {
    let scorers: Vec<&LoadedScorer> = scorers.into_iter().collect();
    if options.question_mean.is_some() && options.questions.is_none() {
        return Err(
            Error::input("a mean of answers is chosen, but there are no questions")
                .with_hint("give questions too: auto, or a list for each prompt"),
        );
    }
    let mean = options.question_mean.unwrap_or_default();
    let questions = options.questions.clone();
    let lists = questions.map(|questions| Arc::new(QuestionLists::new(questions, mean)));
    if lists.is_some() && !scorers.iter().any(|scorer| scorer.answers_lists) {
        let names: Vec<&str> = scorers.iter().map(|scorer| scorer.name.as_str()).collect();
        let does = if names.len() == 1 { "does" } else { "do" };
        return Err(Error::input(format!(
            "`--questions` needs a scorer that answers questions; `{}` {does} not",
            names.join("`, `")
        ))
        .with_hint("choose one that does: vqa or openai"));
    }
    let scorers = scorers.into_iter();
    Ok(scorers
        .map(|scorer| ScorerWithQuestions {
            scorer,
            lists: lists.clone().filter(|_| scorer.answers_lists),
        })
        .collect())
}

impl Scorer for ScorerWithQuestions<'_> {
    fn score(&self, prompt: &str, images: &[Image]) -> ttsvar_search::Result<Vec<f32>> {
        Ok(self.score_with_answers(prompt, images)?.scores)
    }

    fn score_with_answers(
        &self,
        prompt: &str,
        images: &[Image],
    ) -> ttsvar_search::Result<AnsweredScores> {
        let lists = self.lists.as_deref();
        Ok(self.scorer.ask(lists, prompt, images)?)
    }

    fn prompt_reader(&self) -> Option<Arc<dyn PromptReader>> {
        self.scorer.prompt_reader()
    }

    fn flops(&self, images: usize) -> f64 {
        self.scorer.flops(images)
    }
}

/// The scorers to load: those of searches, and held-out ones.
pub(super) struct ScorerChoice {
    /// All of them, those of searches first. Weights of held-out ones mean nothing.
    pub all: ScorerMix,
    /// How many of them searches use.
    pub searching: usize,
    /// The method that suits those.
    pub usual_method: Method,
}

impl ScorerChoice {
    /// The scorers of a mix, and held-out ones.
    ///
    /// # Errors
    /// A held-out scorer has the same network as one in the mix.
    pub(super) fn new(mix: ScorerMix, held_out: Option<&ScorerList>) -> Result<Self> {
        let searching = mix.scorers().len();
        let usual_method = mix.usual_method();
        let mut all = mix;
        for name in held_out.map_or(&[][..], ScorerList::names) {
            let family = name.kind.release.family;
            let mut used = all.scorers()[..searching].iter().map(|(name, _)| name);
            if let Some(used) = used.find(|used| used.kind.release.family == family) {
                let message = match used == name {
                    true => format!("the search uses `{name}`, so it is not held out"),
                    false => format!(
                        "the search uses `{used}`, which has the same network as `{name}`, so that \
                         is not held out"
                    ),
                };
                return Err(Error::input(message)
                    .with_hint("hold out another scorer, or search by another: --scorer NAME"));
            }
            all = all.with(name.clone());
        }
        Ok(Self {
            all,
            searching,
            usual_method,
        })
    }
}

/// The files of each kind of scorer in a mix.
pub(super) fn scorer_files(bundle: &Bundle, mix: &ScorerMix) -> Result<Vec<ScorerFiles>> {
    let kinds = mix.kinds().into_iter();
    kinds.map(|kind| bundle.scorer(&kind.release)).collect()
}

/// Opens the scorers of a mix from the files of each kind. Also returns each network once.
pub(super) fn load_scorers(
    mix: &ScorerMix,
    files: &[ScorerFiles],
    loader: &Loader,
    settings: &ScorerSettings,
    resident: bool,
    report: &mut LoadReport,
) -> Result<(Vec<LoadedScorer>, Vec<Arc<EvictableScorer>>)> {
    let mut networks = vec![];
    for (kind, files) in mix.kinds().into_iter().zip(files) {
        let files = files.clone();
        let settings = settings.clone();
        let load = move |loader: &Loader| (kind.load)(&files, loader, &settings);
        let network = Evictable::new("scorer", loader, resident, report, load)?;
        let measured = network.measured();
        let flops = measured.flops(1);
        let reader = measured.prompt_reader();
        let stands_in = measured.stands_in();
        let model = measured.model().or(stands_in).map(str::to_owned);
        if let Some(other) = stands_in {
            let family = kind.release.family;
            report
                .notes
                .push(format!("{family}: the {other} stands in for its network"));
        }
        networks.push((kind.release.family, Arc::new(network), flops, reader, model));
    }
    let mut scorers = vec![];
    for (name, weight) in mix.scorers() {
        let family = name.kind.release.family;
        let found = networks.iter().find(|(loaded, ..)| *loaded == family);
        let (family, network, flops, reader, model) = found.ok_or_else(|| {
            Error::internal(format!("the network of the scorer `{name}` was not loaded"))
        })?;
        scorers.push(LoadedScorer {
            name: match model {
                Some(model) => format!("{name} ({model})"),
                None => name.to_string(),
            },
            family,
            weight: *weight,
            network: network.clone(),
            score: name.score,
            question: name.question.clone(),
            answers_lists: name.kind.answers && name.question.is_none(),
            flops: *flops,
            reader: reader.clone(),
        });
    }
    let networks = networks.into_iter().map(|(_, network, ..)| network);
    Ok((scorers, networks.collect()))
}

/// Scorers without the rest of a system.
pub struct ScorerSet {
    /// The scorers, at least one.
    pub scorers: Vec<LoadedScorer>,
    /// True if any of them uses the prompt.
    pub reads_prompt: bool,
    /// True if they are the demo's scorers.
    pub from_demo: bool,
    /// Findings from opening them.
    pub report: LoadReport,
    progress: LoadProgress,
}

impl ScorerSet {
    /// Reads the networks, and tells `listener` how far that is.
    ///
    /// # Errors
    /// A file is gone or damaged.
    pub fn read_networks(&self, listener: impl LoadListener + 'static) -> Result<()> {
        self.progress.tell(listener);
        let mut scorers = self.scorers.iter();
        scorers.try_for_each(|scorer| scorer.network.read_if_resident())
    }
}

impl SystemBuilder {
    /// Opens only the scorers: those of the model; without a model the released ones in the folder
    /// of weights, or else those of the demo.
    ///
    /// # Errors
    /// As [`SystemBuilder::open`].
    pub fn open_scorers(&self) -> Result<ScorerSet> {
        let loader = self.loader()?;
        let (mix, files) = self.find_scorers()?;
        let mut missing = vec![];
        let mut incomplete = vec![];
        for (kind, files) in mix.kinds().into_iter().zip(&files) {
            let of_scorer = files.missing();
            if !of_scorer.is_empty() {
                incomplete.push(&kind.release);
                missing.extend(of_scorer);
            }
        }
        let model = self.model.as_deref().map(Path::new);
        let folder = self.weights.as_deref().or(model);
        let fetch = self.fetch_names(false, &incomplete);
        require_files(folder.unwrap_or(Path::new(DEMO)), &missing, &fetch)?;
        let mut report = LoadReport::default();
        let settings = self.scorer_settings();
        let (scorers, _) = load_scorers(&mix, &files, &loader, &settings, true, &mut report)?;
        self.check_state_dict(&report)?;
        note_revisions(&mut report);
        let mut kinds = mix.kinds().into_iter();
        let from_files = kinds.any(|kind| kind.release.built_in != BuiltIn::Always);
        Ok(ScorerSet {
            scorers,
            reads_prompt: mix
                .scorers()
                .iter()
                .any(|(name, _)| name.kind.reads_prompt && name.question.is_none()),
            from_demo: self.weights.is_none() && self.model_name() == DEMO && from_files,
            report,
            progress: loader.progress,
        })
    }

    fn find_scorers(&self) -> Result<(ScorerMix, Vec<ScorerFiles>)> {
        let downloads = self
            .weights
            .as_ref()
            .filter(|folder| !folder.join(FILE).exists());
        if self.model.is_none()
            && let Some(folder) = downloads
        {
            let mix = match &self.scorer {
                Some(mix) => mix.clone(),
                None => ScorerMix::single(ScorerName::usual(&image_reward::KIND)),
            };
            let kinds = mix.kinds().into_iter();
            let files = kinds
                .map(|kind| ScorerFiles::released(&kind.release, folder, self.state_dict.clone()));
            let files = files.collect::<Result<_>>()?;
            return Ok((mix, files));
        }
        let bundle = self.bundle()?;
        let mix = self.scorers_or_default(&bundle)?;
        let files = scorer_files(&bundle, &mix)?;
        Ok((mix, files))
    }
}
