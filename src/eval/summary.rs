//! What the methods reached: accuracy for each task and over all, how certain that is, what it
//! cost.

use serde::Serialize;

use super::{
    Case, Contender, ResultRecord, Suite,
    record::Spent,
    stats::{Bootstrap, Interval, Scores, mean, on_line},
};

/// The results of an evaluation, one row a contender.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Name of the suite.
    pub suite: String,
    /// The tasks, in the order of the columns.
    pub tasks: Vec<&'static str>,
    /// Prompts.
    pub prompts: usize,
    /// Tries with every prompt.
    pub samples: usize,
    /// The contenders, in their order.
    pub methods: Vec<Row>,
}

/// The result of one contender.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The method.
    pub method: String,
    /// Its size.
    pub n: usize,
    /// Mean over the tasks.
    pub overall: f64,
    /// 95 % interval of `overall`.
    pub interval: Interval,
    /// Mean over the prompts of each task; missing where nothing was judged.
    pub tasks: serde_json::Map<String, serde_json::Value>,
    /// Mean cost of an image.
    pub cost: Spent,
    /// Images that were judged.
    pub images: usize,
    /// Images that are missing.
    pub missing: usize,
    /// How far it is above the first contender.
    pub gain: Option<Gain>,
    /// How far it is above best-of-n where that spends as many operations, read off the line
    /// between its sizes.
    pub at_equal_cost: Option<Gain>,
}

impl Row {
    /// Mean over the prompts of a task; `None` where nothing was judged.
    pub fn of_task(&self, task: &str) -> Option<f64> {
        self.tasks.get(task).and_then(serde_json::Value::as_f64)
    }
}

/// A paired difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gain {
    /// The other side.
    pub over: String,
    /// Difference of the overall results.
    pub mean: f64,
    /// Its 95 % interval.
    pub interval: Interval,
    /// The difference as a share of the other side's result.
    pub relative: f64,
}

/// Whose line others are held against at equal cost.
const RIVAL: &str = "best-of-n";

impl Summary {
    /// Sums up what is known; contenders without a single image are left out.
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
        let (tasks, prompts) = (suite.tasks().to_vec(), suite.cases().len());
        Self {
            suite: suite.name().to_owned(),
            tasks,
            prompts,
            samples,
            methods: rows,
        }
    }
}

/// Everything that rows are computed from.
struct Tally<'a> {
    cases: &'a [Case],
    tasks: &'a [&'static str],
    contenders: Vec<&'a Contender>,
    scores: Vec<Scores>,
    costs: Vec<Spent>,
    overall: Vec<f64>,
    bootstrap: Bootstrap,
    /// The contenders of [`RIVAL`], cheapest first.
    rivals: Vec<usize>,
}

impl<'a> Tally<'a> {
    fn new(suite: &'a dyn Suite, contenders: &'a [Contender], records: &[ResultRecord]) -> Self {
        let (cases, tasks) = (suite.cases(), suite.tasks());
        let of = |who: &Contender| -> Vec<&ResultRecord> {
            records.iter().filter(|r| who.is(&r.method, r.n)).collect()
        };
        let (mut seen, mut scores, mut costs) = (vec![], vec![], vec![]);
        for contender in contenders {
            let mut own = of(contender);
            if own.is_empty() {
                continue;
            }
            own.sort_by_key(|record| (record.case, record.sample)); // whoever finished first
            let mut table: Scores = vec![vec![]; cases.len()];
            own.iter()
                .filter(|record| record.case < cases.len())
                .for_each(|r| table[r.case].push(r.correct));
            seen.push(contender);
            scores.push(table);
            costs.push(Spent::mean(own.iter().map(|record| &record.cost)));
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
        let mut rivals: Vec<usize> = (0..seen.len())
            .filter(|&i| seen[i].method == RIVAL)
            .collect();
        rivals.sort_by(|&a, &b| costs[a].flops.total_cmp(&costs[b].flops));
        Self {
            cases,
            tasks,
            contenders: seen,
            scores,
            costs,
            overall,
            bootstrap,
            rivals,
        }
    }

    fn row(&self, i: usize, expected: usize) -> Row {
        let who = self.contenders[i];
        let images = self.scores[i].iter().map(Vec::len).sum();
        let task = |task: &&'static str| {
            Some((
                (*task).to_owned(),
                task_mean(self.cases, task, &self.scores[i])?.into(),
            ))
        };
        Row {
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

    /// How far contender `i` is above another number that is computed from the overall results.
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
        if self.rivals.contains(&i) {
            return None;
        }
        let line = |all: &[f64]| {
            let points: Vec<(f64, f64)> = self
                .rivals
                .iter()
                .map(|&rival| (self.costs[rival].flops, all[rival]))
                .collect();
            on_line(&points, self.costs[i].flops)
        };
        self.gain(i, format!("{RIVAL} at the same cost"), line)
    }
}

/// The mean over the prompts of a task.
fn task_mean(cases: &[Case], task: &str, scores: &Scores) -> Option<f64> {
    let own = cases
        .iter()
        .zip(scores)
        .filter(|(case, _)| case.task == task);
    mean(own.filter_map(|(_, tries)| mean(tries.iter().copied())))
}
