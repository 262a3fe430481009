//! Events of a running search, and the listeners that receive them: progress bar, log, chart of the
//! candidates, web page.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Budget, Image, Result, number,
    pipeline::{Prompt, Scale},
    plan::Plan,
    steering::Steering,
    trace::{StageRecord, Trace},
    verifier::Verifier,
    warning::Warning,
};

/// Something that happened in a search. A row is a place in the present batch; an id names a
/// candidate in the whole search ([`super::trace::Candidate`]).
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The search begins; nothing has been computed.
    Started {
        /// The prompt.
        prompt: &'a Prompt,
        /// The plan of the search.
        plan: &'a Plan,
        /// The grids, coarse to fine.
        scales: &'a [Scale],
        /// Rows that will be computed at each scale.
        widths: &'a [usize],
        /// What the search may spend, if that is limited.
        budget: Option<Budget>,
        /// The seed of all random numbers.
        seed: u64,
    },
    /// The generator steers the candidates, or was asked to and found no layout in the prompt.
    Steered {
        /// The layouts and scales.
        steering: &'a Steering,
    },
    /// A scale begins.
    ScaleBegun {
        /// Counted from 0.
        scale: usize,
        /// The candidates that draw it, in the order of the rows.
        ids: &'a [usize],
        /// Its grid.
        grid: Scale,
    },
    /// The tokens of a scale were drawn and added to the images.
    ScaleDone {
        /// Counted from 0.
        scale: usize,
        /// Candidates that drew it.
        rows: usize,
        /// Distinct states that the network was run on.
        states: usize,
        /// Seconds that it took.
        seconds: f64,
    },
    /// Images were decoded, for a stage, for a listener or because they are finished.
    Decoded {
        /// The scale after which they were decoded.
        scale: usize,
        /// The candidates of the images.
        ids: &'a [usize],
        /// One image for each id.
        images: &'a [Image],
    },
    /// Candidates were scored.
    Scored {
        /// The scale after which they were scored.
        scale: usize,
        /// What was scored: images or latents.
        verifier: Verifier,
        /// The candidates.
        ids: &'a [usize],
        /// One score for each id.
        scores: &'a [f32],
    },
    /// A stage chose rows, or a suspended candidate is resumed. After the last scale the new candidates take over the images and scores
    /// of the candidates that they continue; nothing is decoded or scored again.
    Selected {
        /// The scale after which the stage acted.
        scale: usize,
        /// The outcome for every candidate that reached the stage.
        fates: &'a [CandidateOutcome],
        /// The record of the stage, as in the trace.
        choice: &'a StageRecord,
    },
    /// An anomaly that did not stop the search.
    Warned(&'a Warning),
    /// The search is over.
    Finished {
        /// The complete record.
        trace: &'a Trace,
        /// The best image.
        image: &'a Image,
    },
}

impl Event<'_> {
    /// The name under which front ends report the event: the server in its event streams, the
    /// Python package in its dictionaries.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Steered { .. } => "steering",
            Self::ScaleBegun { .. } => "scale",
            Self::ScaleDone { .. } => "candidates",
            Self::Decoded { .. } => "decoded",
            Self::Scored { .. } => "scores",
            Self::Selected { .. } => "selection",
            Self::Warned(_) => "warning",
            Self::Finished { .. } => "winner",
        }
    }

    /// The event as a JSON object without images, which each front end transports differently.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Started {
                prompt,
                plan,
                scales,
                widths,
                budget,
                seed,
            } => json!({
                "prompt": prompt.text,
                "negative": prompt.negative,
                "seed": seed,
                "plan": plan,
                "scales": scales.iter().map(|scale| scale.grid()).collect::<Vec<_>>(),
                "widths": widths,
                "budget": budget,
            }),
            Self::Steered { steering } => json!(steering),
            Self::ScaleBegun { scale, ids, grid } => json!({
                "scale": scale,
                "grid": grid.grid(),
                "ids": ids,
            }),
            Self::ScaleDone {
                scale,
                rows,
                states,
                seconds,
            } => json!({
                "scale": scale,
                "rows": rows,
                "states": states,
                "seconds": seconds,
            }),
            Self::Decoded { scale, ids, .. } => json!({ "scale": scale, "ids": ids }),
            Self::Scored {
                scale,
                verifier,
                ids,
                scores,
            } => json!({
                "scale": scale,
                "verifier": verifier,
                "ids": ids,
                "scores": scores.iter().map(|score| number::to_json(*score)).collect::<Vec<_>>(),
            }),
            Self::Selected {
                scale,
                fates,
                choice,
            } => json!({
                "scale": scale,
                "select": choice.select,
                "fates": fates,
                "resumes": choice.resumes,
                "clusters": choice.clusters,
                "weights": choice.weights,
            }),
            Self::Warned(warning) => json!({
                "message": warning.to_string(),
                "advice": warning.advice(),
            }),
            Self::Finished { trace, .. } => json!({ "id": trace.winner }),
        }
    }
}

/// The outcome of a stage for one candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CandidateOutcome {
    /// The candidate.
    pub id: usize,
    /// The candidates that continue it, in the order of the rows; empty if none does.
    pub children: Vec<usize>,
}

/// Receives the events of a search. Closures that take an [`Event`] are listeners too.
pub trait Listener {
    /// Receives an event. An error ends the search with that error; return
    /// [`crate::Error::Interrupted`] to stop it.
    fn on(&mut self, event: &Event<'_>) -> Result<()>;

    /// Returns whether to decode all rows after `scale` even if no stage needs their images. These
    /// decodes take time, which the trace counts apart as previews.
    fn wants_images(&self, scale: usize) -> bool {
        let _ = scale;
        false
    }
}

impl<F: FnMut(&Event<'_>) -> Result<()>> Listener for F {
    fn on(&mut self, event: &Event<'_>) -> Result<()> {
        self(event)
    }
}

/// A listener that ignores all events.
pub struct Silent;

impl Listener for Silent {
    fn on(&mut self, _: &Event<'_>) -> Result<()> {
        Ok(())
    }
}
