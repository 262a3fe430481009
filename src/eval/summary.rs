//! Results per method: accuracy per task and overall, confidence intervals, cost.

use serde::Serialize;

use super::{
    Case, Contender, ResultRecord, Suite,
    record::ImageCost,
    stats::{Bootstrap, Interval, Scores, mean, on_line},
};

/// The results of an evaluation, one row per contender.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the suite.
    pub suite: String,
    /// The tasks, in the order of the columns.
    pub tasks: Vec<&'static str>,
    /// Number of prompts.
    pub prompts: usize,
    /// Samples per prompt.
    pub samples: usize,
    /// The contenders, in their order.
    pub methods: Vec<MethodSummary>,
}

/// The result of one contender.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodSummary {
    /// The method.
    pub method: String,
    /// Its size.
    pub n: usize,
    /// Mean over the tasks.
    pub overall: f64,
    /// 95 % interval of `overall`.
    pub interval: Interval,
    /// Mean over the prompts of each task; absent if no image was evaluated.
    pub tasks: serde_json::Map<String, serde_json::Value>,
    /// Mean cost of an image.
    pub cost: ImageCost,
    /// Number of evaluated images.
    pub images: usize,
    /// Number of missing images.
    pub missing: usize,
    /// Difference from the first contender.
    pub gain: Option<Gain>,
    /// Difference from best-of-n at the same number of operations, interpolated between its sizes.
    pub at_equal_cost: Option<Gain>,
}

impl MethodSummary {
    /// Mean over the prompts of a task; `None` if no image was evaluated.
    pub fn of_task(&self, task: &str) -> Option<f64> {
        self.tasks.get(task).and_then(serde_json::Value::as_f64)
    }
}

/// A paired difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gain {
    /// The reference.
    pub over: String,
    /// Difference of the overall results.
    pub mean: f64,
    /// Its 95 % interval.
    pub interval: Interval,
    /// The difference as a share of the reference's result.
    pub relative: f64,
}

/// The method that others are compared with at equal cost.
const REFERENCE: &str = "best-of-n";

impl Summary {
    /// Summarises the records; contenders without any image are left out.
    pub fn new(
        suite: &dyn Suite,
        samples: usize,
        contenders: &[Contender],
        records: &[ResultRecord],
    ) -> Self {
        let tally = Tally::new(suite, contenders, records);
        let expected = suite.cases().len() * samples;
        let rows = (0..tally.contenders.len())
            .map(|i| tally.row(i, expected))
            .collect();
        Self {
            suite: suite.name().to_owned(),
            tasks: suite.tasks().to_vec(),
            prompts: suite.cases().len(),
            samples,
            methods: rows,
        }
    }
}

/// The numbers that the rows are computed from.
struct Tally<'a> {
    cases: &'a [Case],
    tasks: &'a [&'static str],
    contenders: Vec<&'a Contender>,
    scores: Vec<Scores>,
    costs: Vec<ImageCost>,
    overall: Vec<f64>,
    bootstrap: Bootstrap,
    /// Indices of the contenders with the method [`REFERENCE`], cheapest first.
    references: Vec<usize>,
}

impl<'a> Tally<'a> {
    fn new(suite: &'a dyn Suite, contenders: &'a [Contender], records: &[ResultRecord]) -> Self {
        let cases = suite.cases();
        let tasks = suite.tasks();
        let mut seen = vec![];
        let mut scores = vec![];
        let mut costs = vec![];
        for contender in contenders {
            let mut results: Vec<&ResultRecord> = records
                .iter()
                .filter(|record| contender.is(&record.method, record.n))
                .collect();
            if results.is_empty() {
                continue;
            }
            // Independent of the order in which the workers finished.
            results.sort_by_key(|record| (record.case, record.sample));
            let mut table: Scores = vec![vec![]; cases.len()];
            for record in results.iter().filter(|record| record.case < cases.len()) {
                table[record.case].push(record.correct);
            }
            seen.push(contender);
            scores.push(table);
            costs.push(ImageCost::mean(results.iter().map(|record| &record.cost)));
        }
        let bootstrap = Bootstrap::new(cases, tasks, &scores);
        let means = |table: &Scores| {
            mean(
                tasks
                    .iter()
                    .filter_map(|task| task_mean(cases, task, table)),
            )
        };
        let overall = scores
            .iter()
            .map(|table| means(table).unwrap_or(f64::NAN))
            .collect();
        let mut references: Vec<usize> = (0..seen.len())
            .filter(|&i| seen[i].method == REFERENCE)
            .collect();
        references.sort_by(|&a, &b| costs[a].flops.total_cmp(&costs[b].flops));
        Self {
            cases,
            tasks,
            contenders: seen,
            scores,
            costs,
            overall,
            bootstrap,
            references,
        }
    }

    fn row(&self, i: usize, expected: usize) -> MethodSummary {
        let who = self.contenders[i];
        let images = self.scores[i].iter().map(Vec::len).sum();
        let task = |task: &&'static str| {
            Some((
                (*task).to_owned(),
                task_mean(self.cases, task, &self.scores[i])?.into(),
            ))
        };
        MethodSummary {
            method: who.method.clone(),
            n: who.n,
            overall: self.overall[i],
            interval: self
                .bootstrap
                .interval(|all| Some(all[i]))
                .unwrap_or((f64::NAN, f64::NAN)),
            tasks: self.tasks.iter().filter_map(task).collect(),
            cost: self.costs[i],
            images,
            missing: expected.saturating_sub(images),
            gain: if i == 0 {
                None
            } else {
                self.gain(i, self.contenders[0].to_string(), |all| Some(all[0]))
            },
            at_equal_cost: self.at_equal_cost(i),
        }
    }

    /// Difference of contender `i` from another number that is computed from the overall results.
    fn gain(&self, i: usize, over: String, other: impl Fn(&[f64]) -> Option<f64>) -> Option<Gain> {
        let base = other(&self.overall)?;
        let interval = self.bootstrap.interval(|all| Some(all[i] - other(all)?))?;
        let mean = self.overall[i] - base;
        Some(Gain {
            over,
            mean,
            interval,
            relative: mean / base,
        })
    }

    fn at_equal_cost(&self, i: usize) -> Option<Gain> {
        if self.references.contains(&i) {
            return None;
        }
        let line = |all: &[f64]| {
            let points: Vec<(f64, f64)> = self
                .references
                .iter()
                .map(|&i| (self.costs[i].flops, all[i]))
                .collect();
            on_line(&points, self.costs[i].flops)
        };
        self.gain(i, format!("{REFERENCE} at the same cost"), line)
    }
}

/// The mean over the prompts of a task.
fn task_mean(cases: &[Case], task: &str, scores: &Scores) -> Option<f64> {
    let of_task = cases
        .iter()
        .zip(scores)
        .filter(|(case, _)| case.task == task);
    mean(of_task.filter_map(|(_, samples)| mean(samples.iter().copied())))
}
