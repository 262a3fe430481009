//! A session: a system set up by options, ready to search any number of prompts.
//!
//! [`Session::new`] goes from options to a search, for every front end: it completes the options,
//! sets up the generator, makes the plan and checks that it fits. [`Session::run`] passes a prompt
//! to the search loop. Read on there: `crates/ttsvar-search/src/run.rs`.

use std::sync::Arc;

use serde_json::{Map, Value};
use ttsvar_search::{
    Answers, Drafts, ErrorKind, Event, Image, Listener, Method, Outcome, Pipeline, Plan, Prompt,
    Scorer, Search, Warning, Workload, mixer::Part, run,
};

use super::{EditInput, MethodSpec, check_subject, recorded};
use crate::{
    Error, Result,
    options::{ClassChoice, Options},
    pipelines::{Edit, EditedPart, Editor},
    system::{MemoryLimit, MemoryPlan, ScorerWithQuestions, System, Uses, too_little_memory},
};

/// A system set up for searches.
pub struct Session<'a> {
    system: &'a System,
    options: Options,
    method: MethodSpec,
    plan: Plan,
    pipeline: Box<dyn Pipeline + 'a>,
    rows_at_once: Option<usize>,
    uses: Uses,
    edit: Option<SessionEdit>,
    scorers: Vec<ScorerWithQuestions<'a>>,
    held_out: Vec<ScorerWithQuestions<'a>>,
}

/// An edit as the caller gave it, scaled, and as the generator needs it.
#[derive(Clone)]
struct SessionEdit {
    input: EditInput,
    encoded: Arc<Edit>,
}

/// The expected cost of one round of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Floating-point operations of text encoder, transformer and decoder.
    pub generator_flops: f64,
    /// Floating-point operations of all scorers.
    pub scorer_flops: f64,
    /// Floating-point operations of the latent verifier.
    pub verifier_flops: f64,
    /// Floating-point operations of the features.
    pub feature_flops: f64,
    /// Images scored.
    pub scorings: usize,
    /// Bytes of memory at the peak.
    pub peak_bytes: u64,
}

impl<'a> Session<'a> {
    /// Sets a system up by `options`; the bundle's defaults and the released values fill unset
    /// ones.
    ///
    /// # Errors
    /// An option is out of range or does not fit the model, or the system lacks what the plan
    /// needs.
    pub fn new(system: &'a System, options: &Options) -> Result<Self> {
        let session = Self::complete(system, system.resolve(options)?, system.drafts())?;
        system.refuse_missing(session.plan.compares(), session.uses.features())?;
        let search = system.search(session.pipeline.as_ref());
        search.check(&session.plan)?;
        Ok(session)
    }

    /// The same for a search whose scorers or verifier the caller replaces: methods score
    /// unfinished candidates as `drafts` says, the usual method is `draft`, which needs no thresholds,
    /// and whether the search has what the plan needs is checked when it runs.
    ///
    /// # Errors
    /// An option is out of range or does not fit the model.
    pub fn with_drafts(system: &'a System, options: &Options, drafts: Drafts) -> Result<Self> {
        Self::complete(system, system.resolve_with(options, Method::Draft)?, drafts)
    }

    /// A session with options that are complete.
    fn complete(system: &'a System, options: Options, drafts: Drafts) -> Result<Self> {
        options.check_ranges()?;
        if options.class.is_some() && system.classes().is_none() {
            check_subject(false, false, true)?;
        }
        let pipeline = system.pipeline(&options, None)?;
        let (plan, method) = MethodSpec::plan(&options, pipeline.scales().len(), drafts)?;
        let (scorers, held_out) = system.scorers_with_questions(&options)?;
        drop(pipeline);
        let uses = Uses::of([&plan]);
        Ok(Self {
            pipeline: system.pipeline_for(&options, None, uses, None)?,
            system,
            options,
            method,
            plan,
            rows_at_once: None,
            uses,
            edit: None,
            scorers,
            held_out,
        })
    }

    /// Encodes prompts that will be searched for, if the text encoder does not stay in memory, then
    /// reads the networks that do. Without it, networks are read at their first use.
    ///
    /// # Errors
    /// A prompt cannot be encoded, or a file is gone or damaged.
    pub fn prepare(&self, prompts: &[&str]) -> Result<()> {
        let prompts = prompts.iter().map(|text| self.prompt(text));
        let prompts: Vec<Prompt> = prompts.collect();
        self.pipeline.prepare(&prompts)?;
        self.read_networks()
    }

    /// Reads the networks that stay in memory and that searches use.
    ///
    /// # Errors
    /// A file is gone or damaged.
    pub fn read_networks(&self) -> Result<()> {
        self.system.read_networks(self.uses)
    }

    /// Keeps searches within a limit of memory, and returns the measures taken.
    ///
    /// # Errors
    /// They do not fit; the error names the memory that they need.
    pub fn fit_memory(&mut self, limit: MemoryLimit) -> Result<MemoryPlan> {
        let plan = self.plan.clone();
        self.fit_plans([&plan], limit)
    }

    /// The same for searches by any of these plans instead of the session's own.
    ///
    /// # Errors
    /// As [`Session::fit_memory`].
    pub fn fit_plans<'p>(
        &mut self,
        plans: impl IntoIterator<Item = &'p Plan>,
        limit: MemoryLimit,
    ) -> Result<MemoryPlan> {
        let plans: Vec<&Plan> = plans.into_iter().collect();
        let workload = self.largest_workload(plans.iter().copied());
        self.uses = Uses::of(plans);
        let fit = self
            .system
            .fit_memory(&self.options, &workload, self.uses, limit)?;
        self.run_at_once(fit.rows_at_once)?;
        Ok(fit)
    }

    /// Keeps searches within a limit by running fewer rows at once. Networks stay where they are,
    /// since other sessions may use them.
    ///
    /// # Errors
    /// As [`Session::fit_memory`].
    pub fn fit_rows(&mut self, limit: MemoryLimit) -> Result<()> {
        let rows =
            self.system
                .rows_within(&self.options, &self.workload(&self.plan), self.uses, limit)?;
        match rows {
            Ok(rows) => self.run_at_once(rows),
            Err(least) => Err(too_little_memory(least, limit.bytes)),
        }
    }

    /// Runs at most so many rows through the network together; `None` for all. This affects memory and
    /// time, but no image.
    ///
    /// # Errors
    /// The generator cannot be set up again.
    pub fn run_at_once(&mut self, rows: Option<usize>) -> Result<()> {
        self.rows_at_once = rows;
        self.pipeline = self.set_up(&self.options)?;
        Ok(())
    }

    /// The generator for these options, with the edit and the rows at once of the session.
    fn set_up(&self, options: &Options) -> Result<Box<dyn Pipeline + 'a>> {
        let edit = self.edit.as_ref().map(|edit| edit.encoded.clone());
        self.system
            .pipeline_for(options, self.rows_at_once, self.uses, edit)
    }

    /// The session for an edit: searches regenerate part of an image and keep the rest. The
    /// image is scaled to the size that the session generates.
    ///
    /// # Errors
    /// As [`Session::check_edit`], or the image cannot be encoded.
    pub fn with_edit(mut self, input: EditInput) -> Result<Self> {
        let (editor, input, part) = self.read_edit(input)?;
        let latent = editor.encode(&input.image)?;
        self.edit = Some(SessionEdit {
            input,
            encoded: Arc::new(Edit { latent, part }),
        });
        self.pipeline = self.set_up(&self.options)?;
        Ok(self)
    }

    /// Checks an edit without encoding its image, and scales it to the size that the session
    /// generates.
    ///
    /// # Errors
    /// The generator cannot edit, image and mask differ in size, the image has another shape than
    /// the session generates, or the mask is empty or the whole image.
    pub fn check_edit(&self, input: EditInput) -> Result<EditInput> {
        let (_, input, _) = self.read_edit(input)?;
        Ok(input)
    }

    /// The editor, the scaled edit, and its part.
    fn read_edit(&self, input: EditInput) -> Result<(&'a dyn Editor, EditInput, EditedPart)> {
        let editor = self.system.editor().ok_or_else(|| {
            let model = self.system.model();
            Error::input(format!("`{model}` cannot regenerate part of an image"))
                .with_hint("the demo and the models of Infinity, VAR, HART and Switti can")
        })?;
        let input = input.fitted(self.pipeline.image_size())?;
        let size = (input.image.height(), input.image.width());
        let part = EditedPart::new(size, |pixel| input.mask.holds(pixel))?;
        let finest = self.pipeline.scales().last();
        part.check(finest.map_or((1, 1), |scale| (scale.height, scale.width)))?;
        Ok((editor, input, part))
    }

    /// What a search by a plan will at most compute at once.
    fn workload(&self, plan: &Plan) -> Workload {
        let scales = self.pipeline.scales().len();
        plan.workload(scales, self.options.decode_size())
    }

    /// At each scale, the most that a search by any of these plans will compute at once.
    fn largest_workload<'p>(&self, plans: impl IntoIterator<Item = &'p Plan>) -> Workload {
        let mut plans = plans.into_iter();
        let mut largest = self.workload(plans.next().unwrap_or(&self.plan));
        for plan in plans {
            largest.raise(&self.workload(plan));
        }
        largest
    }

    /// Keeps searches within so many candidates, if a budget decides how many there are.
    pub fn limit_candidates(&mut self, most: usize) -> Result<()> {
        if self.options.budget.is_some() {
            let rounds = (most / self.plan.start()).max(1);
            self.plan = self.plan.clone().repeated(rounds)?;
        }
        Ok(())
    }

    /// What a user should know about the options, one line each.
    pub fn advice(&self) -> Vec<String> {
        self.system.advice(&self.options)
    }

    /// The system.
    pub fn system(&self) -> &'a System {
        self.system
    }

    /// The options, completed.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Checks that the plan may finish as many images as the caller wants to keep.
    ///
    /// # Errors
    /// It finishes fewer.
    pub fn check_best(&self, best: usize) -> Result<()> {
        self.method.check_best(&self.plan, best)
    }

    /// The name of the plan.
    pub fn method(&self) -> MethodSpec {
        self.method
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The generator, set up.
    pub fn pipeline(&self) -> &dyn Pipeline {
        self.pipeline.as_ref()
    }

    /// The search that [`Session::run`] runs, for callers who run it themselves.
    pub fn search(&self) -> Search<'_> {
        let mut search = self.system.search(self.pipeline.as_ref());
        search.scorers = self
            .scorers
            .iter()
            .map(ScorerWithQuestions::weighted)
            .collect();
        search.preview = self.options.decode_size();
        search.budget = self.options.budget;
        search.settings = self.settings();
        search
    }

    /// The prompt of a search: the given one, or for a model of classes what scorers read of the
    /// class in the options.
    ///
    /// # Errors
    /// The model reads prompts and none is given, or it knows classes and a prompt is given or no
    /// class.
    pub fn subject(&self, prompt: Option<&str>) -> Result<String> {
        let class = self.options.class.as_ref();
        check_subject(
            self.system.classes().is_some(),
            prompt.is_some(),
            class.is_some(),
        )?;
        match (self.system.classes(), class) {
            (Some(classes), Some(class)) => Ok(classes.prompt(classes.find(class.as_str())?)),
            _ => Ok(prompt.unwrap_or_default().to_owned()),
        }
    }

    /// The session for another class.
    ///
    /// # Errors
    /// The model does not know the class.
    pub fn with_class(&self, class: ClassChoice) -> Result<Self> {
        let options = Options {
            class: Some(class),
            ..self.options.clone()
        };
        Ok(Self {
            system: self.system,
            pipeline: self.set_up(&options)?,
            options,
            method: self.method,
            plan: self.plan.clone(),
            rows_at_once: self.rows_at_once,
            uses: self.uses,
            edit: self.edit.clone(),
            scorers: self.scorers.clone(),
            held_out: self.held_out.clone(),
        })
    }

    /// A prompt with the session's negative prompt.
    pub fn prompt(&self, text: &str) -> Prompt {
        Prompt {
            text: text.to_owned(),
            negative: self.options.negative.clone(),
        }
    }

    /// Searches for the best image of a prompt.
    ///
    /// # Errors
    /// The generator, a scorer, the features or the listener fail.
    pub fn run(&self, text: &str, seed: u64, listener: &mut dyn Listener) -> Result<Outcome> {
        let mut search = self.search();
        search.settings = self.settings_of(text);
        let mut outcome = run(&search, &self.prompt(text), &self.plan, seed, listener)?;
        self.score_held_out(text, &mut outcome, listener)?;
        Ok(outcome)
    }

    /// Lets the held-out scorers of the system score the finished images, for the record. If one
    /// fails, that is a warning: the images are worth more than its scores.
    fn score_held_out(
        &self,
        text: &str,
        outcome: &mut Outcome,
        listener: &mut dyn Listener,
    ) -> Result<()> {
        let finished = outcome.finished.iter();
        let (ids, images): (Vec<usize>, Vec<Image>) = finished
            .map(|finished| (finished.id, finished.image.clone()))
            .unzip();
        let trace = &mut outcome.trace;
        let scale = trace.scales.len().saturating_sub(1);
        for held_out in &self.held_out {
            let name = &held_out.scorer.name;
            let scored = match held_out.score_with_answers(text, &images) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    let warning = Warning::HeldOutFailed {
                        scorer: name.clone(),
                        error: error.to_string(),
                    };
                    listener.on(&Event::Warned(&warning))?;
                    trace.warnings.push(warning);
                    continue;
                }
                scored => scored?,
            };
            trace.held_out.push(Part {
                scorer: name.clone(),
                scale,
                ids: ids.clone(),
                scores: scored.scores.clone(),
            });
            trace
                .answers
                .extend(Answers::new(name, scale, &ids, scored));
        }
        Ok(())
    }

    /// The scorers that searches do not use, with the questions that they are asked.
    pub fn held_out(&self) -> &[ScorerWithQuestions<'a>] {
        &self.held_out
    }

    /// The settings that the trace and the image of a prompt record: of questions, those about this
    /// prompt.
    pub fn settings_of(&self, prompt: &str) -> Map<String, Value> {
        let mut settings = self.settings();
        recorded::keep_questions_about(&mut settings, &self.options, prompt);
        settings
    }

    /// The settings for any prompt.
    pub fn settings(&self) -> Map<String, Value> {
        let mut settings = recorded::settings(self.system, &self.options, self.method);
        if let Some(edit) = &self.edit {
            edit.input.record(&mut settings);
        }
        settings
    }

    /// The settings of the generator without the method, for evaluations that record their plans
    /// separately. The negative prompt is one of them.
    pub fn generator_settings(&self) -> Map<String, Value> {
        let mut settings = recorded::settings(self.system, &self.options, MethodSpec::default());
        if let Some(negative) = &self.options.negative {
            settings.insert("negative".to_owned(), negative.as_str().into());
        }
        settings
    }

    /// The expected cost of one round of the plan; most plans have one.
    pub fn estimate(&self) -> Estimate {
        let scales = self.pipeline.scales().len();
        let workload = self.workload(&self.plan);
        let generator = self.pipeline.estimate(&workload);
        let scorings = self.plan.scorings(scales);
        let verifications = self.plan.verifications(scales);
        let search = self.search();
        let mut feature_flops = 0.0;
        for (kind, extractor) in self.system.extractors() {
            let stages = self.plan.stages().iter();
            let clustering = stages.filter(|stage| stage.select.features() == Some(*kind));
            feature_flops +=
                extractor.flops(clustering.map(|stage| workload.widths[stage.scale]).sum());
        }
        Estimate {
            generator_flops: generator.flops,
            scorer_flops: search.scoring_flops(scorings),
            verifier_flops: search
                .verifier
                .map_or(0.0, |verifier| verifier.flops(verifications)),
            feature_flops,
            scorings,
            peak_bytes: generator.peak_bytes,
        }
    }
}
