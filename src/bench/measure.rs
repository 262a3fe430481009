//! Runs a search several times and takes the medians of its phases.

use std::time::Instant;

use ttsvar_search::{Cost, Event, Listener, Plan, Prompt, Search, Seconds, Workload, run};

use crate::{Result, process::peak_bytes};

/// The search to measure.
pub struct BenchJob<'a> {
    /// Generator, scorer and features.
    pub search: Search<'a>,
    /// The prompt, unless the generator steers candidates.
    pub prompt: Prompt,
    /// The method.
    pub plan: Plan,
    /// Timed runs after a warm-up; at least 1.
    pub repeat: usize,
    /// Random seed, the same in every run.
    pub seed: u64,
    /// When the model began to be opened.
    pub opened: Instant,
}

/// Floating-point operations by phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhaseFlops {
    /// Encoding the prompt.
    pub text: f64,
    /// The transformer at all scales.
    pub transformer: f64,
    /// Decoding.
    pub decode: f64,
    /// Features.
    pub features: f64,
    /// Scores.
    pub scorer: f64,
    /// The total.
    pub total: f64,
}

/// The result.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Medians of the seconds.
    pub seconds: Seconds,
    /// The least and the most seconds of each phase.
    pub spread: [Seconds; 2],
    /// Shortest and longest run in seconds.
    pub range: [f64; 2],
    /// Floating-point operations.
    pub flops: PhaseFlops,
    /// Rows computed at each scale; rows that share a state count once.
    pub states: Vec<usize>,
    /// Decoded images.
    pub decodes: usize,
    /// Seconds from opening the model until scale 0 of the first run is drawn: its networks are read
    /// by then.
    pub first_scale: f64,
    /// Peak memory of the process in bytes.
    pub peak_bytes: Option<u64>,
    /// Predicted peak memory of the generator in bytes.
    pub predicted_bytes: u64,
}

/// The prompt of all runs. A generator that steers is given something to steer.
fn prompt(job: &BenchJob) -> Result<Prompt> {
    let relation = Prompt::from("a photo of a red circle left of a blue square");
    Ok(match job.search.pipeline.steering(&relation)? {
        Some(_) => relation,
        None => job.prompt.clone(),
    })
}

/// Measures a search.
///
/// # Errors
/// The plan is invalid, a run fails, or the listener stops it.
pub fn measure(job: &BenchJob, listener: &mut dyn Listener) -> Result<Measurement> {
    let prompt = prompt(job)?;
    let mut listener = FirstScale {
        listener,
        opened: job.opened,
        seconds: None,
    };
    let mut costs = Vec::with_capacity(job.repeat);
    for turn in 0..=job.repeat.max(1) {
        let outcome = run(&job.search, &prompt, &job.plan, job.seed, &mut listener)?;
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
        seconds: summarize(&costs, median),
        spread: [
            summarize(&costs, |values| {
                values.into_iter().fold(f64::INFINITY, f64::min)
            }),
            summarize(&costs, |values| values.into_iter().fold(0.0, f64::max)),
        ],
        range,
        flops: flops(job, last),
        states: last.states.clone(),
        decodes: last.decodes,
        first_scale: listener.seconds.unwrap_or_default(),
        peak_bytes: peak_bytes(),
        predicted_bytes: predicted(job),
    })
}

fn predicted(job: &BenchJob) -> u64 {
    let scales = job.search.pipeline.scales().len();
    job.search
        .pipeline
        .estimate(&job.plan.workload(scales, job.search.preview))
        .peak_bytes
}

/// Notes when the first scale is drawn, and forwards events only: decoding images for the listener
/// would cost time.
struct FirstScale<'a> {
    listener: &'a mut dyn Listener,
    opened: Instant,
    /// Until the first scale was drawn.
    seconds: Option<f64>,
}

impl Listener for FirstScale<'_> {
    fn on(&mut self, event: &Event<'_>) -> ttsvar_search::Result<()> {
        if let Event::ScaleDone { .. } = event {
            let passed = self.opened.elapsed().as_secs_f64();
            self.seconds.get_or_insert(passed);
        }
        self.listener.on(event)
    }
}

/// One number for each phase of several runs.
fn summarize(costs: &[Cost], number: fn(Vec<f64>) -> f64) -> Seconds {
    let of_runs = |part: &dyn Fn(&Cost) -> f64| number(costs.iter().map(part).collect());
    let scales = costs[0].seconds.transformer.len();
    Seconds {
        text: of_runs(&|cost| cost.seconds.text),
        transformer: (0..scales)
            .map(|scale| of_runs(&|cost| cost.seconds.transformer[scale]))
            .collect(),
        decode: of_runs(&|cost| cost.seconds.decode),
        features: of_runs(&|cost| cost.seconds.features),
        scorer: of_runs(&|cost| cost.seconds.scorer),
        verifier: of_runs(&|cost| cost.seconds.verifier),
        selection: of_runs(&|cost| cost.seconds.selection),
        previews: of_runs(&|cost| cost.seconds.previews),
        total: of_runs(&|cost| cost.seconds.total),
    }
}

/// The median.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}

/// The estimated operations of the phases for the rows that were computed.
fn flops(job: &BenchJob, cost: &Cost) -> PhaseFlops {
    let nothing = vec![0; cost.states.len()];
    let estimate = |widths: &[usize]| {
        let workload = Workload {
            widths: widths.to_vec(),
            suspended: nothing.clone(),
            decodes: nothing.clone(),
            size: job.search.preview,
        };
        job.search.pipeline.estimate(&workload).flops
    };
    let text = estimate(&nothing);
    let transformer = estimate(&cost.states) - text;
    let total = cost.flops.generator;
    PhaseFlops {
        text,
        transformer,
        decode: total - text - transformer,
        features: cost.flops.features,
        scorer: cost.flops.scorer,
        total: cost.flops.total(),
    }
}
