//! What a running search tells the world, and who listens: progress bar, log, picture of the tree,
//! web page.

use crate::{
    Image, Result,
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

/// What a stage made of one candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
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
