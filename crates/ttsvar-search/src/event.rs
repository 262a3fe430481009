//! What a running search tells the world, and who listens: progress bar, log, picture of the tree,
//! web page.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Image, Result, number,
    pipeline::{Prompt, Scale},
    plan::Plan,
    trace::{StageRecord, Trace},
    warning::Warning,
};

/// Something that happened in a search. Rows are places in the batch of the moment; ids name
/// candidates for good ([`super::trace::Candidate`]).
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The search begins; nothing has been computed.
    Started {
        /// What to paint.
        prompt: &'a Prompt,
        /// The plan that is followed.
        plan: &'a Plan,
        /// The grids, coarse to fine.
        scales: &'a [Scale],
        /// Rows that will be computed at each scale.
        widths: &'a [usize],
        /// The seed of all draws.
        seed: u64,
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
    /// A scale was drawn and added.
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
    /// Images were decoded: a stage, a listener or the end wants to see them.
    Decoded {
        /// The scale after which they were decoded.
        scale: usize,
        /// Whose images they are.
        ids: &'a [usize],
        /// One image for each id.
        images: &'a [Image],
    },
    /// Images were scored.
    Scored {
        /// The scale after which they were decoded.
        scale: usize,
        /// Whose images they are.
        ids: &'a [usize],
        /// One score for each id.
        scores: &'a [f32],
    },
    /// Rows were chosen. After the last scale the images and scores of the chosen are those of the
    /// candidates that they continue; nothing is decoded or scored again.
    Selected {
        /// The scale after which it happened.
        scale: usize,
        /// Every candidate that was there, and what became of it.
        fates: &'a [CandidateOutcome],
        /// What the stage saw and did, as the trace keeps it.
        choice: &'a StageRecord,
    },
    /// Something odd that did not stop the search.
    Warned(&'a Warning),
    /// The search is over.
    Finished {
        /// The record of it all.
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
            Self::ScaleBegun { .. } => "scale",
            Self::ScaleDone { .. } => "candidates",
            Self::Decoded { .. } => "decoded",
            Self::Scored { .. } => "scores",
            Self::Selected { .. } => "selection",
            Self::Warned(_) => "warning",
            Self::Finished { .. } => "winner",
        }
    }

    /// The event as JSON, an object. Images are left out: front ends carry them in their own way.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Started {
                prompt,
                plan,
                scales,
                widths,
                seed,
            } => json!({
                "prompt": prompt.text,
                "negative": prompt.negative,
                "seed": seed,
                "plan": plan,
                "scales": scales.iter().map(|scale| scale.grid()).collect::<Vec<_>>(),
                "widths": widths,
            }),
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
            Self::Scored { scale, ids, scores } => json!({
                "scale": scale,
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

/// What a stage made of one candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CandidateOutcome {
    /// The candidate.
    pub id: usize,
    /// The candidates that continue it, in the order of the rows; empty when it fell.
    pub children: Vec<usize>,
}

/// Someone who follows a search. Closures that take an [`Event`] listen too.
pub trait Listener {
    /// Hears an event. An error ends the search with that error; [`crate::Error::Interrupted`] is
    /// the one to stop with.
    fn on(&mut self, event: &Event<'_>) -> Result<()>;

    /// Whether to decode all rows after `scale` even where no stage looks at them. Such decodes
    /// cost time and count in the trace.
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

/// Listens to nothing.
pub struct Silent;

impl Listener for Silent {
    fn on(&mut self, _: &Event<'_>) -> Result<()> {
        Ok(())
    }
}
