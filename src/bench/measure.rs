//! Runs a search several times and takes the middle of what its phases took.

use ttsvar_search::{Cost, Event, Listener, Plan, Prompt, Search, Seconds, run};

use super::peak_bytes;
use crate::Result;

/// What to measure.
pub struct Job<'a> {
    /// Generator, scorer and features.
    pub search: Search<'a>,
    /// The method.
    pub plan: Plan,
    /// Timed runs, after one that warms up; at least 1.
    pub repeat: usize,
    /// Seed of all draws, the same in every run.
    pub seed: u64,
}

/// Floating-point operations by phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Preparing the prompt.
    pub text: f64,
    /// The transformer at all scales.
    pub transformer: f64,
    /// Decoding.
    pub decode: f64,
    /// Features.
    pub features: f64,
    /// Scores.
    pub scorer: f64,
    /// All of it.
    pub total: f64,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Medians of seconds.
    pub seconds: Seconds,
    /// Shortest and longest run in seconds.
    pub range: [f64; 2],
    /// Floating-point operations.
    pub flops: Work,
    /// Rows computed at each scale, those that share a state once.
    pub states: Vec<usize>,
    /// Images decoded, those that share a state once each.
    pub decodes: usize,
    /// The most memory that the process held up to now, in bytes.
    pub peak_bytes: Option<u64>,
    /// The same as it was predicted for the generator.
    pub predicted_bytes: u64,
}

/// # Errors
/// The plan does not fit, a run fails, or the listener wants it to end.
pub fn measure(job: &Job, listener: &mut dyn Listener) -> Result<Measurement> {
    let prompt = Prompt::from("a photo of a red circle");
    let mut costs = Vec::with_capacity(job.repeat);
    for turn in 0..=job.repeat.max(1) {
        let outcome = run(
            &job.search,
            &prompt,
            &job.plan,
            job.seed,
            &mut Ears(listener),
        )?;
        if turn > 0 {
            costs.push(outcome.trace.cost);
        }
    }
    let totals = costs.iter().map(|cost| cost.seconds.total);
    let range = [
        totals.clone().fold(f64::INFINITY, f64::min),
        totals.fold(0.0, f64::max),
    ];
    let last = &costs[costs.len() - 1];
    Ok(Measurement {
        seconds: medians(&costs),
        range,
        flops: flops(job, last),
        states: last.states.clone(),
        decodes: last.decodes,
        peak_bytes: peak_bytes(),
        predicted_bytes: predicted(job),
    })
}

fn predicted(job: &Job) -> u64 {
    let scales = job.search.pipeline.scales().len();
    job.search
        .pipeline
        .estimate(
            &job.plan.widths(scales),
            &job.plan.decodes(scales),
            job.search.preview,
        )
        .peak_bytes
}

/// Passes everything on but the wish for images, which would cost time.
struct Ears<'a>(&'a mut dyn Listener);

impl Listener for Ears<'_> {
    fn on(&mut self, event: &Event<'_>) -> ttsvar_search::Result<()> {
        self.0.on(event)
    }
}

fn medians(costs: &[Cost]) -> Seconds {
    let of = |f: &dyn Fn(&Cost) -> f64| median(costs.iter().map(f).collect());
    let scales = costs[0].seconds.transformer.len();
    Seconds {
        text: of(&|cost| cost.seconds.text),
        transformer: (0..scales)
            .map(|scale| of(&|cost| cost.seconds.transformer[scale]))
            .collect(),
        decode: of(&|cost| cost.seconds.decode),
        features: of(&|cost| cost.seconds.features),
        scorer: of(&|cost| cost.seconds.scorer),
        selection: of(&|cost| cost.seconds.selection),
        total: of(&|cost| cost.seconds.total),
    }
}

/// The middle one, or the mean of the middle two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}

/// What the phases were estimated to take for the rows that were really computed.
fn flops(job: &Job, cost: &Cost) -> Work {
    let nothing = vec![0; cost.states.len()];
    let of = |widths: &[usize]| {
        job.search
            .pipeline
            .estimate(widths, &nothing, job.search.preview)
            .flops
    };
    let text = of(&nothing);
    let transformer = of(&cost.states) - text;
    let total = cost.flops.generator;
    Work {
        text,
        transformer,
        decode: total - text - transformer,
        features: cost.flops.features,
        scorer: cost.flops.scorer,
        total: cost.flops.total(),
    }
}
