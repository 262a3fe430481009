//! One prompt of a run: its search, and the files that are written.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ttsvar_search::{Event, Finished, Listener, Outcome};

use super::{
    super::{
        console::Console,
        numbers,
        outputs::{OutputTarget, REPORT, TRACE, TREE},
        prompts::Subject,
    },
    request::Request,
    result::{PromptResult, Written},
};
use crate::{
    Error, Result,
    file::slug,
    image::Png,
    interrupt,
    report::{Album, Provenance, html, tree},
    request::Session,
};

/// Everything that the prompts of a run share.
pub(super) struct GenerateJob<'a> {
    pub request: &'a Request,
    pub session: Session<'a>,
    /// The seed of the first prompt.
    pub seed: u64,
    /// Whether Ctrl-C has ended a search with a budget.
    pub stopped: Arc<AtomicBool>,
}

impl GenerateJob<'_> {
    /// The number of prompts.
    pub fn prompts(&self) -> usize {
        self.request.prompts.subjects.len()
    }

    /// Whether Ctrl-C has ended a search with a budget.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Generates an image for one prompt, counted from 1, and writes every file that was asked for.
    /// Returns what is to be printed.
    pub fn generate(
        &self,
        number: usize,
        console: &Console,
        progress: &mut dyn Listener,
    ) -> Result<PromptResult> {
        let prompts = &self.request.prompts;
        let (prompt, of_class) = match &prompts.subjects[number - 1] {
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
        let mut notes = self.notes(&outcome);
        if self.request.outputs.uses_stdout() {
            let summary = self.summary(&shown, &written);
            notes.push(summary.replace("\n  ", ": ").replace('\n', ", "));
            return Ok(PromptResult { notes, text: None });
        }
        let text = match (console.json, console.quiet) {
            (true, _) => self.json(&shown, &written).to_string(),
            (false, true) => written.image_names(),
            (false, false) => self.summary(&shown, &written),
        };
        Ok(PromptResult {
            notes,
            text: Some(text),
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
    pub(super) fn kept<'o>(&self, outcome: &'o Outcome) -> impl Iterator<Item = &'o Finished> {
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
}

/// Shows progress and keeps the images that a tree or a report shows.
struct ProgressAndAlbum<'a> {
    progress: &'a mut dyn Listener,
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
