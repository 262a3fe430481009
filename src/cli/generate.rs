//! `ttsvar generate`: from prompts to image files.
//!
//! Reads the request, opens the system, sets up a session (`request/session.rs`: read on
//! there) and runs it on every prompt; the rest of this file writes files and prints results.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Map, Value, json};
use ttsvar_search::{AnsweredQuestion, Drafts, Event, Finished, Listener, Outcome, Trace, number};

use super::{
    arguments::{self, Global},
    code,
    console::Console,
    interrupt::first as on_first_interrupt,
    memory::{check_machine, fit_memory},
    numbers,
    outputs::{OutputTarget, Outputs, REPORT, TRACE, TREE},
    progress::Progress,
    prompts::{Prompts, Subject},
};
use crate::{
    Error, Result,
    file::slug,
    image::{self, Png},
    interrupt,
    options::Options,
    quoting,
    report::{Album, Provenance, html, tree},
    request::{EditInput, MethodSpec, Recorded, Session, check_subject, new_seed, no_prompt},
    system::SystemBuilder,
};

/// Generates an image for every prompt. An error with one prompt of a list is reported and the
/// others continue; the exit code is that of the first failure.
pub(super) fn run(typed: &arguments::Generate, global: &Global, console: &Console) -> Result<u8> {
    let request = Request::read(typed, global, console)?;
    let system = console.open(&request.system)?;
    system.expect_prompts(request.prompts.subjects.len());
    let mut session = Session::new(&system, &request.options)?;
    if let Some(edit) = &request.edit {
        session = session.with_edit(edit.clone())?;
    }
    session.check_best(request.images())?;
    console.advise(&session);
    match typed.limit.memory {
        Some(_) => fit_memory(&mut session, typed.limit, console)?,
        None => check_machine(&session)?,
    }
    let job = GenerateJob {
        request: &request,
        seed: session.options().seed.unwrap_or_else(new_seed),
        stopped: Arc::default(),
        session,
    };
    if job.session.options().budget.is_some() {
        let stopped = job.stopped.clone();
        on_first_interrupt(move || stopped.store(true, Ordering::Relaxed));
    }
    let shown = request.outputs.shows();
    note_unused(&typed.options, &job.session, shown, console);
    job.session.prepare(&request.prompts.texts())?;
    let mut progress = Progress::new(console, request.prompts.subjects.len() > 1);
    let mut first_failure = 0;
    for number in 1..=request.prompts.subjects.len() {
        let Err(error) = job.generate(number, console, &mut progress) else {
            if job.stopped.load(Ordering::Relaxed) {
                break;
            }
            continue;
        };
        if !request.prompts.list || error.is_interrupted() {
            return Err(error);
        }
        progress.clear();
        console.error_of(&format!("prompt {number}: "), &error);
        if first_failure == 0 {
            first_failure = code(&error);
        }
    }
    Ok(first_failure)
}

/// Notes the options that the plan of a session has no use for. `shown` means that candidates are
/// decoded for the user as well.
pub(super) fn note_unused(typed: &Options, session: &Session, shown: bool, console: &Console) {
    let plan = session.plan();
    let unused = typed.unused_by(plan, session.pipeline().scales().len());
    for (flag, reason) in unused {
        if flag != "--preview" || !shown {
            console.note(&format!(
                "{flag} has no effect: {} {reason}",
                session.method()
            ));
        }
    }
}

/// The request, checked as far as that is possible without the model.
struct Request {
    prompts: Prompts,
    system: SystemBuilder,
    options: Options,
    outputs: Outputs,
    /// A part of an image that is generated again.
    edit: Option<EditInput>,
    /// Whether the search repeats that of an image.
    repeats: bool,
    /// The place of the first image to write among the finished ones, 1 for the best.
    rank: usize,
}

impl Request {
    fn read(typed: &arguments::Generate, global: &Global, console: &Console) -> Result<Self> {
        typed.options.check()?;
        let mut options = typed.options.clone();
        let mut system = global
            .system_within(&typed.system, typed.limit)
            .may_lack_parts();
        system.held_out.clone_from(&typed.held_out.held_out);
        let recorded = typed.from.as_deref().map(Recorded::open).transpose()?;
        if let Some(recorded) = &recorded {
            warn_of_differences(recorded, &system, console);
            options = options.or(&recorded.options);
            system.model = system.model.or_else(|| recorded.system.model.clone());
            system.scorer = system.scorer.or_else(|| recorded.system.scorer.clone());
            system.dtype = system.dtype.or(recorded.system.dtype);
            system.text_dtype = system.text_dtype.or(recorded.system.text_dtype);
            system.server.or_model_of(&recorded.system.server);
            let recorded = recorded.system.state_dict.clone();
            system.state_dict = system.state_dict.or(recorded);
        }
        options.negative = options
            .negative
            .filter(|negative| !negative.trim().is_empty());
        let prompts = read_prompts(typed, recorded.as_ref(), &options, &system)?;
        let outputs = Outputs::read(&typed.outputs, prompts.list, console)?;
        let rank = match &recorded {
            Some(recorded) if is_plain_repeat(typed) => recorded.rank,
            _ => 1,
        };
        check_conditioning(&prompts, &options, &system)?;
        let edit = read_edit(typed)?;
        let was_edited = recorded
            .as_ref()
            .is_some_and(|recorded| recorded.edit.is_some());
        if was_edited && edit.is_none() {
            return Err(unknown_original());
        }
        let request = Self {
            edit,
            outputs,
            prompts,
            system,
            options,
            repeats: recorded.is_some(),
            rank,
        };
        request.check_plan()?;
        Ok(request)
    }

    /// How many images the search has to finish.
    fn images(&self) -> usize {
        self.outputs.best.unwrap_or(self.rank)
    }

    /// Checks the plan, and that it may finish as many images as are wanted, without the model.
    fn check_plan(&self) -> Result<()> {
        // What is checked does not depend on the number of scales.
        const ANY_SCALES: usize = 13;
        let options = self.system.resolve(&self.options)?;
        let (plan, method) = MethodSpec::plan(&options, ANY_SCALES, Drafts::default())?;
        method.check_best(&plan, self.images())
    }
}

/// Returns whether nothing but the image to repeat, and where to write, was typed.
fn is_plain_repeat(typed: &arguments::Generate) -> bool {
    let texts = [&typed.prompt, &typed.prompt_flag];
    let files = [&typed.prompts, &typed.classes];
    typed.options == Options::default()
        && texts.iter().all(|text| text.is_none())
        && files.iter().all(|file| file.is_none())
        && typed.outputs.best.is_none()
}

/// The image and the mask of an edit.
fn read_edit(typed: &arguments::Generate) -> Result<Option<EditInput>> {
    let (Some(image), Some(mask)) = (&typed.image, &typed.mask) else {
        return Ok(None);
    };
    Ok(Some(EditInput {
        image: image::open(image)?,
        mask: image::open_mask(mask)?,
    }))
}

/// The error for repeating an edit without its original.
fn unknown_original() -> Error {
    Error::input("this image is a part of another one, which it does not record")
        .with_hint("give that image and its mask again with --image and --mask")
}

/// The prompts or classes that were typed, otherwise those of the repeated image.
fn read_prompts(
    typed: &arguments::Generate,
    recorded: Option<&Recorded>,
    options: &Options,
    system: &SystemBuilder,
) -> Result<Prompts> {
    if let Some(file) = &typed.classes {
        return Prompts::classes(file);
    }
    let prompt = typed.prompt.as_deref().or(typed.prompt_flag.as_deref());
    if let Some(prompts) = Prompts::read(prompt, typed.prompts.as_deref())? {
        return Ok(prompts);
    }
    if options.class.is_some() {
        return Ok(Prompts::class_of_options());
    }
    match recorded {
        Some(recorded) => Prompts::literal(&recorded.prompt),
        None if system.takes_classes()? => Ok(Prompts::class_of_options()),
        None => Err(no_prompt()),
    }
}

/// Refuses prompts for a model of classes and the other way round, and a class that the model does
/// not know, before the model is loaded.
fn check_conditioning(prompts: &Prompts, options: &Options, system: &SystemBuilder) -> Result<()> {
    let has_class = prompts.are_classes() || options.class.is_some();
    check_subject(system.takes_classes()?, !prompts.are_classes(), has_class)?;
    if let (Some(class), Some(classes)) = (&options.class, system.classes()?) {
        classes.find(class.as_str())?;
    }
    Ok(())
}

/// A repeated image may differ under another version or data type.
fn warn_of_differences(recorded: &Recorded, typed: &SystemBuilder, console: &Console) {
    let Some(version) = &recorded.version else {
        console.note(
            "another program made that image: its prompts and its seed are used here, \
             and the image will be a different one",
        );
        return;
    };
    if version != env!("CARGO_PKG_VERSION") {
        console.note(&format!(
            "version {version} made that image; this is another, which may make a different one"
        ));
    }
    let before = recorded.system.dtype.unwrap_or_default();
    let now = typed.dtype.unwrap_or(before);
    if now != before {
        console.note(&format!(
            "that image was made with --dtype {before}; {now} may make a different one"
        ));
    }
}

/// Everything that the prompts of a run share.
struct GenerateJob<'a> {
    request: &'a Request,
    session: Session<'a>,
    /// The seed of the first prompt.
    seed: u64,
    /// Whether Ctrl-C has ended a search with a budget.
    stopped: Arc<AtomicBool>,
}

impl GenerateJob<'_> {
    /// Generates an image for one prompt, counted from 1, and writes everything that was asked for.
    fn generate(&self, number: usize, console: &Console, progress: &mut Progress) -> Result<()> {
        let prompts = &self.request.prompts;
        let subject = &prompts.subjects[number - 1];
        if prompts.subjects.len() > 1 {
            progress.set_prompt(number, prompts.subjects.len());
        }
        let (prompt, of_class) = match subject {
            Subject::Prompt(text) => (Some(text.as_str()), None),
            Subject::Class(None) => (None, None),
            Subject::Class(Some(class)) => (None, Some(self.session.with_class(class.clone())?)),
        };
        let session = of_class.as_ref().unwrap_or(&self.session);
        let text = &session.subject(prompt)?;
        let mut listener = ProgressAndAlbum {
            progress,
            album: self.request.outputs.shows().then(Album::default),
        };
        // Each prompt of a list has its own seed, so that the same prompt twice gives two images.
        let seed = self.seed.wrapping_add(number as u64 - 1);
        let outcome = self.search(session, text, seed, &mut listener)?;
        let shown = self.shown(&outcome)?;
        let album = listener.album.unwrap_or_default();
        let stem = match prompts.list {
            true => format!("{number:04}-{}", slug(text)),
            false => slug(text),
        };
        let written = self.write(&stem, &outcome, &album, console)?;
        if let Some(best) = self.request.outputs.best {
            note_fewer(best, &outcome, console);
        }
        if !self.request.repeats && session.options().budget.is_none() {
            note_below_enough(&outcome, console);
        }
        if self.request.outputs.uses_stdout() {
            console.note(&self.summary(&shown, &written).replace("\n ", ":"));
            return Ok(());
        }
        console.result(&match (console.json, console.quiet) {
            (true, _) => self.json(&shown, &written).to_string(),
            (false, true) => written.image_names(),
            (false, false) => self.summary(&shown, &written),
        })
    }

    /// The result with the first image that is written as the winner.
    fn shown(&self, outcome: &Outcome) -> Result<Outcome> {
        let rank = self.request.rank;
        outcome.of_place(rank - 1).ok_or_else(|| {
            let found = numbers::counted(outcome.finished.len(), "image");
            Error::input(format!(
                "the search finished {found}, but the file records number {rank}"
            ))
            .with_hint("another program may have changed the file")
        })
    }

    /// The images that are written, best first.
    fn kept<'o>(&self, outcome: &'o Outcome) -> impl Iterator<Item = &'o Finished> {
        let count = self.request.outputs.best.unwrap_or(1);
        outcome.ranking().skip(self.request.rank - 1).take(count)
    }

    /// Runs the search. With a budget, Ctrl-C ends it with the best image so far, and a second one
    /// ends the program.
    fn search(
        &self,
        session: &Session,
        text: &str,
        seed: u64,
        listener: &mut dyn Listener,
    ) -> Result<Outcome> {
        if session.options().budget.is_none() {
            return session.run(text, seed, listener);
        }
        let stopped = self.stopped.clone();
        let check = move || match stopped.load(Ordering::Relaxed) {
            true => Err(ttsvar_search::Error::Interrupted),
            false => Ok(()),
        };
        interrupt::with_check(check, || session.run(text, seed, listener))
    }

    fn write(
        &self,
        stem: &str,
        outcome: &Outcome,
        album: &Album,
        console: &Console,
    ) -> Result<Written> {
        let outputs = &self.request.outputs;
        let trace = &outcome.trace;
        // Everything is encoded before anything is written.
        let ends = outputs.image_ends();
        let mut images = vec![];
        for (end, finished) in ends.iter().zip(self.kept(outcome)) {
            let provenance = Provenance::from_trace(&trace.of_finished(finished.id));
            images.push((end, provenance.beside(finished.image.clone()).encode()?));
        }
        let tree = match &outputs.tree {
            Some(_) => Some(Png::new(tree::picture(trace, album)).encode()?),
            None => None,
        };
        let report = match &outputs.report {
            Some(_) => Some(html::search::page(trace, album)?.into_bytes()),
            None => None,
        };
        let stem = &outputs.free(stem);
        let save = |place: &Option<OutputTarget>, end: &str, bytes: Option<Vec<u8>>| {
            let place = place.as_ref().zip(bytes);
            place
                .map(|(place, bytes)| place.save(stem, end, &bytes, console))
                .transpose()
        };
        let written = images
            .iter()
            .map(|(end, bytes)| outputs.image.save(stem, end, bytes, console));
        Ok(Written {
            images: written.collect::<Result<_>>()?,
            trace: save(&outputs.trace, TRACE, Some(trace.to_json().into_bytes()))?,
            tree: save(&outputs.tree, TREE, tree)?,
            report: save(&outputs.report, REPORT, report)?,
        })
    }

    /// The result for people: file, score, seed, method and cost.
    fn summary(&self, outcome: &Outcome, written: &Written) -> String {
        let winner = outcome.winner();
        let trace = &outcome.trace;
        let parts: Vec<String> = trace
            .parts_of(winner.id)
            .into_iter()
            .map(|(scorer, score)| format!("{scorer} {score:.3}"))
            .collect();
        let parts = match parts.is_empty() {
            true => String::new(),
            false => format!(" ({})", parts.join(", ")),
        };
        let held_out: String = held_out(trace)
            .map(|(scorer, score)| format!(", {scorer} {score:.3} (held out)"))
            .collect();
        let wrong: String = wrong_answers(trace)
            .map(|answer| format!("\n  {}", quoting::line(&answer.to_string())))
            .collect();
        let score = match self.session.system().scorers().is_empty() {
            true => "not scored".to_owned(),
            false => format!("score {:.3}", winner.score),
        };
        format!(
            "{}\n  {score}{parts}{held_out}, seed {}, {}: {}{wrong}",
            written.image_names(),
            trace.seed,
            self.session.method(),
            cost(trace)
        )
    }

    /// The winner's score by each scorer.
    fn scores(&self, outcome: &Outcome) -> Map<String, Value> {
        let winner = outcome.winner();
        let mut parts = outcome.trace.parts_of(winner.id);
        if parts.is_empty() {
            let scorers = self.session.system().scorers();
            parts.extend(
                scorers
                    .first()
                    .map(|only| (only.name.as_str(), winner.score)),
            );
        }
        parts
            .into_iter()
            .map(|(scorer, score)| (scorer.to_owned(), number::to_json(score)))
            .collect()
    }

    /// The images that were written, best first, with their scores.
    fn images(&self, outcome: &Outcome, written: &Written) -> Vec<Value> {
        let images = written.images.iter().zip(self.kept(outcome));
        let json = |(path, finished): (&PathBuf, &Finished)| {
            json!({
                "path": path.display().to_string(),
                "score": number::to_json(finished.score),
            })
        };
        images.map(json).collect()
    }

    fn json(&self, outcome: &Outcome, written: &Written) -> Value {
        let winner = outcome.winner();
        let trace = &outcome.trace;
        let method = self.session.method();
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let warnings: Vec<String> = trace.warnings.iter().map(ToString::to_string).collect();
        let answers: BTreeMap<_, _> = trace.answers_of(winner.id).into_iter().collect();
        json!({
            "path": written.images.first().map(|path| path.display().to_string()),
            "images": self.images(outcome, written),
            "prompt": trace.prompt,
            "negative": trace.negative,
            "seed": trace.seed,
            "score": number::to_json(winner.score),
            "scores": self.scores(outcome),
            "held_out": held_out(trace)
                .map(|(scorer, score)| (scorer.to_owned(), number::to_json(score)))
                .collect::<Map<_, _>>(),
            "answers": answers,
            "method": method.method,
            "n": method.n,
            "width": winner.image.width(),
            "height": winner.image.height(),
            "settings": trace.settings,
            "plan": trace.plan,
            "cost": trace.cost,
            "warnings": warnings,
            "unknown_words": self.session.system().unknown_words(&trace.prompt),
            "trace": path(&written.trace),
            "tree": path(&written.tree),
            "report": path(&written.report),
            "version": trace.version,
        })
    }
}

/// The files of one prompt's results.
struct Written {
    /// The images, best first.
    images: Vec<PathBuf>,
    trace: Option<PathBuf>,
    tree: Option<PathBuf>,
    report: Option<PathBuf>,
}

impl Written {
    /// The paths of the images, one per line.
    fn image_names(&self) -> String {
        let names: Vec<String> = self.images.iter().map(quoting::path).collect();
        names.join("\n")
    }
}

/// Notes that a search finished fewer images than were to be kept.
fn note_fewer(best: usize, outcome: &Outcome, console: &Console) {
    let finished = outcome.finished.len();
    if finished < best {
        console.note(&format!(
            "the search finished {}, fewer than the {best} to keep; a larger --finish, or \
             --method best-of-n, finishes more",
            numbers::counted(finished, "image")
        ));
    }
}

/// Notes that a search among several candidates looked for a score and did not find it.
fn note_below_enough(outcome: &Outcome, console: &Console) {
    let score = outcome.winner().score;
    let plan = &outcome.trace.plan;
    match plan.enough() {
        Some(enough) if score < enough && plan.rounds() > 1 => console.note(&format!(
            "no image reached a score of {enough}, at which the search stops; \
             try another --seed, a larger --n, or --method best-of-n"
        )),
        _ => {}
    }
}

/// The winner's score by each held-out scorer.
fn held_out(trace: &Trace) -> impl Iterator<Item = (&str, f32)> {
    trace.held_out.iter().filter_map(|part| {
        let place = part.ids.iter().position(|id| *id == trace.winner)?;
        Some((part.scorer.as_str(), *part.scores.get(place)?))
    })
}

/// The questions about the winner that are answered wrongly.
fn wrong_answers(trace: &Trace) -> impl Iterator<Item = AnsweredQuestion> {
    let answers = trace.answers_of(trace.winner).into_iter();
    let answers = answers.flat_map(|(_, answers)| answers);
    answers.filter(AnsweredQuestion::is_wrong)
}

/// The cost of a search for people.
pub(super) fn cost(trace: &Trace) -> String {
    let cost = &trace.cost;
    let flops = match cost.flops.total() {
        0.0 => String::new(),
        flops => format!("{}, ", numbers::operations(flops)),
    };
    let decodes = numbers::counted(cost.decodes, "decode");
    format!("{decodes}, {flops}{:.1} s", cost.seconds.total)
}

/// Shows progress and keeps the images that a tree or a report shows.
struct ProgressAndAlbum<'a> {
    progress: &'a mut Progress,
    album: Option<Album>,
}

impl Listener for ProgressAndAlbum<'_> {
    fn on(&mut self, event: &Event<'_>) -> ttsvar_search::Result<()> {
        self.progress.on(event)?;
        match &mut self.album {
            Some(album) => album.on(event),
            None => Ok(()),
        }
    }

    fn wants_images(&self, scale: usize) -> bool {
        let album = self.album.as_ref();
        album.is_some_and(|album| album.wants_images(scale))
    }
}
