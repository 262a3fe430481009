//! `ttsvar generate`: from prompts to image files.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use ttsvar_search::{
    self as search, Event, Listener, Outcome, Pipeline, Plan, Prompt, Search, Trace, number,
};

use super::{
    arguments::{self, Global},
    code,
    console::Console,
    numbers,
    outputs::{IMAGE, OutputTarget, REPORT, TRACE, TREE},
    progress::Progress,
    request::Request,
    system,
};
use crate::{
    Result,
    bundle::{Settings, System},
    file::slug,
    image::Png,
    report::{Album, Provenance, html, tree},
    request::Named,
};

/// Paints every prompt. What goes wrong with one prompt of a list is said, and the others go on;
/// the exit code is that of the first failure.
pub(super) fn run(typed: &arguments::Generate, global: &Global, talk: &Console) -> Result<u8> {
    let request = Request::read(typed)?;
    if let Some(version) = request
        .painted_by
        .as_ref()
        .filter(|version| *version != env!("CARGO_PKG_VERSION"))
    {
        talk.note(&format!(
            "version {version} painted that image; this is another, which may paint a different one"
        ));
    }
    let global = &Global {
        dtype: global.dtype.clone().or(request.painted_in.clone()),
        ..global.clone()
    };
    if let Some(dtype) = request
        .painted_in
        .as_ref()
        .filter(|dtype| *dtype != global.dtype())
    {
        talk.note(&format!(
            "that image was painted with --dtype {dtype}; {} may paint a different one",
            global.dtype()
        ));
    }
    let (weights, judging) = (request.weights.as_deref(), request.judging.as_ref());
    let system = system::open_within(typed.limit, &request.model, weights, judging, global)?;
    let settings = request.settings(system.defaults());
    let settings = system::fitted(&system, settings, &request.wish, typed.limit, talk)?;
    let pipeline = system.pipeline(&settings)?;
    let studio = Studio::new(&request, &system, pipeline.as_ref(), &settings)?;
    studio.warn(talk);
    let mut progress = Progress::new(talk, request.prompts.texts.len() > 1);
    let mut worst = 0;
    for number in 1..=request.prompts.texts.len() {
        match studio.paint(number, talk, &mut progress) {
            Ok(()) => {}
            Err(error) if !request.prompts.list || code(&error) == super::INTERRUPTED => {
                return Err(error);
            }
            Err(error) => {
                progress.clear();
                talk.error_of(&format!("prompt {number}: "), &error);
                worst = if worst == 0 { code(&error) } else { worst };
            }
        }
    }
    Ok(worst)
}

/// Everything that the prompts of a run share.
struct Studio<'a> {
    request: &'a Request,
    system: &'a System,
    search: Search<'a>,
    plan: Plan,
    named: Named,
}

impl<'a> Studio<'a> {
    fn new(
        request: &'a Request,
        system: &'a System,
        pipeline: &'a dyn Pipeline,
        settings: &Settings,
    ) -> Result<Self> {
        let (plan, named) = request
            .wish
            .plan(pipeline.scales().len(), system.defaults())?;
        let mut search = system::search(system, pipeline);
        search.preview = request.preview;
        search.settings = request.recorded(system, settings, named);
        search.check(&plan)?;
        Ok(Self {
            request,
            system,
            search,
            plan,
            named,
        })
    }

    /// What is good to know before anything is painted.
    fn warn(&self, talk: &Console) {
        for (file, names) in self.system.unknown_tensors() {
            let first: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
            let more = if names.len() > first.len() {
                ", …"
            } else {
                ""
            };
            let count = names.len();
            talk.warn(
                &format!(
                    "{file}: {count} tensors that the model does not know: {}{more}",
                    first.join(", ")
                ),
                None,
            );
        }
        let mut unknown: Vec<String> = vec![];
        for word in self
            .request
            .prompts
            .texts
            .iter()
            .flat_map(|text| self.system.unknown_words(text))
        {
            if !unknown.contains(&word) {
                unknown.push(word);
            }
        }
        if unknown.is_empty() {
            return;
        }
        let known = self.system.words().unwrap_or_default().join(", ");
        let text = format!(
            "`{}` does not know: {}",
            self.system.name(),
            unknown.join(", ")
        );
        talk.warn(&text, Some(&format!("it knows these words: {known}")));
    }

    /// Paints the prompt of a number, counted from 1, and writes everything that was asked for.
    fn paint(&self, number: usize, talk: &Console, progress: &mut Progress) -> Result<()> {
        let prompts = &self.request.prompts;
        let text = &prompts.texts[number - 1];
        if prompts.texts.len() > 1 {
            progress.title(format!("{number}/{}  ", prompts.texts.len()));
        }
        let prompt = Prompt {
            text: text.clone(),
            negative: self.request.negative.clone(),
        };
        let mut ears = Ears {
            progress,
            album: self.request.outputs.shows().then(Album::default),
        };
        // Each prompt of a list has a seed of its own, so that the same prompt twice gives two
        // pictures.
        let seed = self.request.seed.wrapping_add(number as u64 - 1);
        let outcome = search::run(&self.search, &prompt, &self.plan, seed, &mut ears)?;
        let album = ears.album;
        let stem = if prompts.list {
            format!("{number:04}-{}", slug(text))
        } else {
            slug(text)
        };
        let written = self.write(&stem, &outcome, &album.unwrap_or_default())?;
        talk.result(&if talk.json {
            self.json(&outcome, &written)
        } else {
            self.words(&outcome, &written, talk)
        })
    }

    fn write(&self, stem: &str, outcome: &Outcome, album: &Album) -> Result<Written> {
        let (outputs, trace) = (&self.request.outputs, &outcome.trace);
        let image = Provenance::from_trace(trace)
            .beside(outcome.winner().image.clone())
            .encode()?;
        let tree = outputs
            .tree
            .as_ref()
            .map(|_| Png::new(tree::picture(trace, album)).encode())
            .transpose()?;
        let report = outputs
            .report
            .as_ref()
            .map(|_| html::search::page(trace, album))
            .transpose()?;
        let stem = &outputs.free(stem);
        let image = outputs.image.save(stem, IMAGE, &image)?;
        let save = |place: &Option<OutputTarget>, end: &str, bytes: Option<Vec<u8>>| {
            place
                .as_ref()
                .zip(bytes)
                .map(|(place, bytes)| place.save(stem, end, &bytes))
                .transpose()
        };
        Ok(Written {
            image,
            trace: save(&outputs.trace, TRACE, Some(trace.to_json().into_bytes()))?,
            tree: save(&outputs.tree, TREE, tree)?,
            report: save(&outputs.report, REPORT, report.map(String::into_bytes))?,
        })
    }

    fn words(&self, outcome: &Outcome, written: &Written, talk: &Console) -> String {
        let path = written.image.display();
        if talk.quiet {
            return path.to_string();
        }
        let (score, seed) = (outcome.winner().score, outcome.trace.seed);
        let cost = cost(&outcome.trace);
        let parts = outcome.trace.parts_of(outcome.winner().id);
        let parts: Vec<String> = parts
            .into_iter()
            .map(|(scorer, score)| format!("{scorer} {score:.3}"))
            .collect();
        let parts = if parts.is_empty() {
            String::new()
        } else {
            format!(" ({})", parts.join(", "))
        };
        format!(
            "{path}\n  score {score:.3}{parts}, seed {seed}, {}: {cost}",
            self.named
        )
    }

    /// The winner's number by each scorer.
    fn scores(&self, outcome: &Outcome) -> Value {
        let winner = outcome.winner();
        let parts = outcome.trace.parts_of(winner.id);
        let alone = self
            .search
            .scorers
            .first()
            .map(|one| (one.name, winner.score));
        let each = if parts.is_empty() {
            alone.into_iter().collect()
        } else {
            parts
        };
        each.into_iter()
            .map(|(scorer, score)| (scorer.to_owned(), number::to_json(score)))
            .collect::<Map<_, _>>()
            .into()
    }

    fn json(&self, outcome: &Outcome, written: &Written) -> String {
        let (winner, trace) = (outcome.winner(), &outcome.trace);
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let warnings: Vec<String> = trace.warnings.iter().map(ToString::to_string).collect();
        let object: Value = json!({
            "path": written.image.display().to_string(),
            "prompt": trace.prompt,
            "negative": trace.negative,
            "seed": trace.seed,
            "score": number::to_json(winner.score),
            "scores": self.scores(outcome),
            "method": self.named.method.map(|method| method.to_string()),
            "n": self.named.n,
            "width": winner.image.width(),
            "height": winner.image.height(),
            "settings": trace.settings,
            "plan": trace.plan,
            "cost": trace.cost,
            "warnings": warnings,
            "unknown_words": self.system.unknown_words(&trace.prompt),
            "trace": path(&written.trace),
            "tree": path(&written.tree),
            "report": path(&written.report),
            "version": trace.version,
        });
        object.to_string()
    }
}

/// Where the results of a prompt are.
struct Written {
    image: PathBuf,
    trace: Option<PathBuf>,
    tree: Option<PathBuf>,
    report: Option<PathBuf>,
}

/// What a search cost, in words.
pub(super) fn cost(trace: &Trace) -> String {
    let cost = &trace.cost;
    let flops = match cost.flops.total() {
        0.0 => String::new(),
        flops => format!("{}, ", numbers::operations(flops)),
    };
    format!(
        "{}, {flops}{:.1} s",
        numbers::counted(cost.decodes, "decode"),
        cost.seconds.total
    )
}

/// Everyone who follows a search here.
struct Ears<'a> {
    progress: &'a mut Progress,
    album: Option<Album>,
}

impl Listener for Ears<'_> {
    fn on(&mut self, event: &Event<'_>) -> ttsvar_search::Result<()> {
        self.progress.on(event)?;
        self.album.as_mut().map_or(Ok(()), |album| album.on(event))
    }
}
