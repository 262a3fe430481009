//! The search loop, through which every method runs.
//!
//! A batch of candidates is drawn scale by scale. Where the plan has a stage, the candidates that
//! continue are chosen by their scores or features. A batch is a round of the plan; when all rounds
//! are over, it is a candidate that was suspended and is resumed. The best finished image wins.
//!
//! Read on where a step leads: `state.rs` for the steps, `choose.rs` for the stages, `plan.rs` for
//! the methods as data, `pipeline.rs` for the interface to a generator (implemented in
//! `src/pipelines/infinity/` of the main crate), `trace.rs` for the record.

use crate::{
    Error, Image, Result, event::Listener, pipeline::Prompt, plan::Plan, search::Search,
    state::SearchState, trace::Trace,
};

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Every candidate that reached the end, in the order of the trace's `finals`.
    pub finished: Vec<Finished>,
    /// The index of the winner in `finished`.
    pub best: usize,
    /// The record of the search.
    pub trace: Trace,
}

impl Outcome {
    /// The same result as if the finished image at this place of [`Outcome::ranking`] were the
    /// winner; `None` if there are fewer.
    pub fn of_place(&self, place: usize) -> Option<Self> {
        let best = *self.trace.ranking().get(place)?;
        Some(Self {
            trace: self.trace.of_finished(self.finished[best].id),
            finished: self.finished.clone(),
            best,
        })
    }

    /// The winner.
    pub fn winner(&self) -> &Finished {
        &self.finished[self.best]
    }

    /// The finished images, best first. The first is the winner.
    pub fn ranking(&self) -> impl Iterator<Item = &Finished> {
        let places = self.trace.ranking().into_iter();
        places.map(|place| &self.finished[place])
    }
}

/// A finished image.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The candidate that it belongs to.
    pub id: usize,
    /// The image at full size.
    pub image: Image,
    /// Its final score.
    pub score: f32,
}

/// Searches for the best image of a prompt. The same arguments give the same outcome, except for
/// the measured times. With a budget of time, the number of candidates depends on the time that
/// each takes; the plan in the trace then has as many rounds as the search had.
///
/// [`Error::Interrupted`] ends a search with a budget early: it returns the best image so far, if
/// there is one.
///
/// # Errors
/// [`Error::Input`] when the plan does not fit the model; otherwise any error
/// of the pipeline, a scorer, the features or the listener.
pub fn run(
    search: &Search,
    prompt: &Prompt,
    plan: &Plan,
    seed: u64,
    listener: &mut dyn Listener,
) -> Result<Outcome> {
    let mut state = SearchState::begin(search, prompt, plan, seed, listener)?;
    loop {
        match run_batch(&mut state) {
            Ok(true) => {}
            Ok(false) => break,
            Err(Error::Interrupted) if state.may_end_early() => {
                state.abandon_batch();
                break;
            }
            Err(error) => return Err(error),
        }
    }
    state.finish()
}

/// Draws the candidates of the next batch to the end, or until a stage suspends all of them. Returns
/// `false` if there is no batch left.
fn run_batch(state: &mut SearchState) -> Result<bool> {
    if !state.next_batch()? {
        return Ok(false);
    }
    while let Some(scale) = state.next_scale() {
        state.step(scale)?;
        state.decode(scale)?;
        if let Some(stage) = state.stage(scale) {
            state.choose(&stage)?;
        }
    }
    state.finish_batch()?;
    Ok(true)
}
