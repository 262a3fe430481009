//! Results per method: accuracy per task and overall, confidence intervals, cost, held-out scores.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Case, Contender, CostModel, ResultRecord, Suite,
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
    /// The cost models by which searches were priced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cost_models: Vec<String>,
    /// The scorers that searches did not use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held_out: Vec<String>,
    /// The contenders, in their order.
    pub methods: Vec<MethodSummary>,
    /// Where a larger search of the same method pleases its own scorer more, and another measure
    /// less.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overfits: Vec<Overfit>,
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
    pub tasks: Map<String, Value>,
    /// Mean final score in the search; none for images of other programs, and for scorer mixes,
    /// whose scores are relative to each search.
    pub score: Option<f64>,
    /// Mean score of each held-out scorer, as far as the records have them.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub held_out: Map<String, Value>,
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
    /// The cost in each cost model, in the order of [`Summary::cost_models`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub model_costs: Vec<ModelCost>,
}

/// The cost of a contender in a cost model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelCost {
    /// The cost model.
    pub cost_model: String,
    /// Mean cost of an image, in raw images; none if a record lacks the counts for it.
    pub raw_images: Option<f64>,
    /// Difference from best-of-n at the same cost, interpolated between its sizes.
    pub at_equal_cost: Option<Gain>,
}

/// A larger search whose own score is higher, but whose images are worse by another measure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overfit {
    /// The method.
    pub method: String,
    /// The two sizes.
    pub n: [usize; 2],
    /// The rise of the search's own score.
    pub score: f64,
    /// What falls: `overall`, or a held-out scorer.
    pub measure: String,
    /// The change, below 0.
    pub mean: f64,
    /// Its 95 % interval.
    pub interval: Interval,
}

impl MethodSummary {
    /// Mean over the prompts of a task; `None` if no image was evaluated.
    pub fn of_task(&self, task: &str) -> Option<f64> {
        self.tasks.get(task).and_then(Value::as_f64)
    }

    /// Mean score of a held-out scorer; `None` if a record lacks it.
    pub fn of_held_out(&self, scorer: &str) -> Option<f64> {
        self.held_out.get(scorer).and_then(Value::as_f64)
    }
}

/// A paired difference, over the prompts that both sides have images of.
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

/// The name of the mean over the tasks among the measures.
const OVERALL: &str = "overall";

impl Summary {
    /// Summarises the records; contenders without any image are left out.
    pub fn new(
        suite: &dyn Suite,
        samples: usize,
        contenders: &[Contender],
        records: &[ResultRecord],
    ) -> Self {
        Self::priced(suite, samples, contenders, records, &[])
    }

    /// The same with the cost in some cost models.
    pub fn priced(
        suite: &dyn Suite,
        samples: usize,
        contenders: &[Contender],
        records: &[ResultRecord],
        cost_models: &[CostModel],
    ) -> Self {
        let tally = Tally::new(suite, contenders, records, cost_models);
        let expected = suite.cases().len() * samples;
        let rows = (0..tally.contenders.len())
            .map(|i| tally.row(i, expected))
            .collect();
        let names = cost_models.iter().map(|model| model.name().to_owned());
        Self {
            suite: suite.name().to_owned(),
            tasks: suite.tasks().to_vec(),
            prompts: suite.cases().len(),
            samples,
            cost_models: names.collect(),
            held_out: tally.held_out_names(),
            methods: rows,
            overfits: tally.overfits(),
        }
    }
}

/// The mean cost of an image of each contender, by one measure; none where a record lacks what it is
/// computed from.
type Costs = Vec<Option<f64>>;

/// The numbers that the rows are computed from.
struct Tally<'a> {
    cases: &'a [Case],
    tasks: &'a [&'static str],
    contenders: Vec<&'a Contender>,
    /// The records of each contender, in the order of prompts and samples.
    records: Vec<Vec<&'a ResultRecord>>,
    measures: Vec<Measure>,
    /// In operations.
    operations: Costs,
    /// By each cost model, with its name.
    prices: Vec<(&'a str, Costs)>,
    /// Indices of the contenders with the method [`REFERENCE`].
    references: Vec<usize>,
}

/// A measure of the images: their verdicts, or the scores of a held-out scorer.
#[derive(Clone)]
struct Measure {
    name: String,
    /// Of each contender; empty if its records lack it.
    scores: Vec<Scores>,
    /// The mean over the tasks, of each contender.
    overall: Vec<f64>,
    bootstrap: Bootstrap,
}

impl<'a> Tally<'a> {
    fn new(
        suite: &'a dyn Suite,
        contenders: &'a [Contender],
        records: &'a [ResultRecord],
        cost_models: &'a [CostModel],
    ) -> Self {
        let cases = suite.cases();
        let tasks = suite.tasks();
        let mut seen = vec![];
        let mut of_each = vec![];
        for contender in contenders {
            let found = records_of(contender, records, cases.len());
            if !found.is_empty() {
                seen.push(contender);
                of_each.push(found);
            }
        }
        let verdicts = scores_of_each(cases.len(), &of_each, |record| Some(record.correct));
        let mut measures = vec![Measure::new(OVERALL, cases, tasks, verdicts)];
        for name in held_out_names(&of_each) {
            let score = |record: &ResultRecord| held_out_score(record, &name);
            let scores = scores_of_each(cases.len(), &of_each, score);
            measures.push(Measure::new(&name, cases, tasks, scores));
        }
        let references = (0..seen.len()).filter(|&i| seen[i].method == REFERENCE);
        let price = |model: &'a CostModel| {
            let price = |record: &ResultRecord| Some(model.price(record.counts.as_ref()?));
            (model.name(), costs(&of_each, price))
        };
        Self {
            cases,
            tasks,
            operations: costs(&of_each, |record| Some(record.cost.flops)),
            prices: cost_models.iter().map(price).collect(),
            references: references.collect(),
            contenders: seen,
            records: of_each,
            measures,
        }
    }

    /// The verdicts.
    fn verdicts(&self) -> &Measure {
        &self.measures[0]
    }

    fn row(&self, i: usize, expected: usize) -> MethodSummary {
        let who = self.contenders[i];
        let verdicts = self.verdicts();
        let images = self.records[i].len();
        let mut tasks = Map::new();
        for task in self.tasks {
            if let Some(mean) = task_mean(self.cases, task, &verdicts.scores[i]) {
                tasks.insert((*task).to_owned(), mean.into());
            }
        }
        MethodSummary {
            method: who.method.clone(),
            n: who.n,
            overall: verdicts.overall[i],
            interval: verdicts
                .bootstrap
                .interval(|all| Some(all[i]))
                .unwrap_or((f64::NAN, f64::NAN)),
            tasks,
            score: self.score(i),
            held_out: self.held_out(i),
            cost: ImageCost::mean(self.records[i].iter().map(|record| &record.cost)),
            images,
            missing: expected.saturating_sub(images),
            gain: if i == 0 {
                None
            } else {
                self.gain(i, &[0], self.contenders[0].to_string(), |all| Some(all[0]))
            },
            at_equal_cost: self.at_equal_cost(i, &self.operations),
            model_costs: self.model_costs(i),
        }
    }

    /// The mean final score of contender `i`, if all of its records have comparable scores.
    fn score(&self, i: usize) -> Option<f64> {
        let comparable = |record: &&ResultRecord| {
            let score = record.score.filter(|_| record.parts.is_empty())?;
            Some(f64::from(score))
        };
        let scores: Option<Vec<f64>> = self.records[i].iter().map(comparable).collect();
        mean(scores?)
    }

    fn held_out(&self, i: usize) -> Map<String, Value> {
        let mut means = Map::new();
        for measure in &self.measures[1..] {
            let scores = measure.scores[i].iter().flatten().copied();
            if let Some(mean) = mean(scores) {
                means.insert(measure.name.clone(), mean.into());
            }
        }
        means
    }

    fn held_out_names(&self) -> Vec<String> {
        let names = self.measures[1..].iter();
        names.map(|measure| measure.name.clone()).collect()
    }

    /// A measure over the prompts that all of these contenders have results of, since means over
    /// different prompts cannot be compared.
    fn over_common_prompts(&self, measure: usize, who: &[usize]) -> Cow<'_, Measure> {
        let measure = &self.measures[measure];
        let has = |i: usize, case: usize| !measure.scores[i][case].is_empty();
        let is_common = |case: &usize| who.iter().all(|&i| has(i, *case));
        let is_of_one = |case: &usize| who.iter().any(|&i| has(i, *case));
        let cases = 0..self.cases.len();
        let common: Vec<bool> = cases.clone().map(|case| is_common(&case)).collect();
        if cases.clone().filter(is_of_one).all(|case| common[case]) {
            return Cow::Borrowed(measure);
        }
        let mut scores = measure.scores.clone();
        for of_contender in &mut scores {
            for case in cases.clone().filter(|case| !common[*case]) {
                of_contender[case].clear();
            }
        }
        Cow::Owned(Measure::new(&measure.name, self.cases, self.tasks, scores))
    }

    /// Difference of contender `i` from another number, which is computed from the overall results of
    /// `others`.
    fn gain(
        &self,
        i: usize,
        others: &[usize],
        over: String,
        other: impl Fn(&[f64]) -> Option<f64>,
    ) -> Option<Gain> {
        let verdicts = self.over_common_prompts(0, &[&[i], others].concat());
        let Measure {
            overall, bootstrap, ..
        } = &*verdicts;
        let base = other(overall)?;
        let interval = bootstrap.interval(|all| Some(all[i] - other(all)?))?;
        let mean = overall[i] - base;
        Some(Gain {
            over,
            mean,
            interval,
            relative: mean / base,
        })
    }

    fn model_costs(&self, i: usize) -> Vec<ModelCost> {
        let mut all = vec![];
        for (name, costs) in &self.prices {
            all.push(ModelCost {
                cost_model: (*name).to_owned(),
                raw_images: costs[i],
                at_equal_cost: self.at_equal_cost(i, costs),
            });
        }
        all
    }

    fn at_equal_cost(&self, i: usize, costs: &Costs) -> Option<Gain> {
        if self.references.contains(&i) {
            return None;
        }
        let cost = costs[i]?;
        let references = self.references.iter();
        let mut references: Vec<(f64, usize)> =
            references.filter_map(|&i| Some((costs[i]?, i))).collect();
        references.sort_by(|a, b| a.0.total_cmp(&b.0));
        let line = |all: &[f64]| {
            let points = references.iter().map(|&(cost, i)| (cost, all[i]));
            on_line(&points.collect::<Vec<_>>(), cost)
        };
        let others: Vec<usize> = references.iter().map(|(_, i)| *i).collect();
        self.gain(i, &others, format!("{REFERENCE} at the same cost"), line)
    }

    /// Where the next larger size of a method has a higher score, but falls by another measure.
    fn overfits(&self) -> Vec<Overfit> {
        let mut all = vec![];
        for smaller in 0..self.contenders.len() {
            let Some(larger) = self.next_size(smaller) else {
                continue;
            };
            let Some((before, after)) = self.score(smaller).zip(self.score(larger)) else {
                continue;
            };
            if after > before {
                let places = 0..self.measures.len();
                let falls = places.filter_map(|place| self.fall(place, smaller, larger));
                all.extend(falls.map(|(measure, mean, interval)| Overfit {
                    method: self.contenders[larger].method.clone(),
                    n: [smaller, larger].map(|i| self.contenders[i].n),
                    score: after - before,
                    measure,
                    mean,
                    interval,
                }));
            }
        }
        all
    }

    /// The contender with the next larger size of the same method.
    fn next_size(&self, of: usize) -> Option<usize> {
        let Contender { method, n, .. } = self.contenders[of];
        (0..self.contenders.len())
            .filter(|&i| self.contenders[i].method == *method && self.contenders[i].n > *n)
            .min_by_key(|&i| self.contenders[i].n)
    }

    /// By how much a measure falls between two contenders, if it does, with the interval.
    fn fall(&self, place: usize, from: usize, to: usize) -> Option<(String, f64, Interval)> {
        let measure = self.over_common_prompts(place, &[from, to]);
        let mean = measure.overall[to] - measure.overall[from];
        let difference = |all: &[f64]| Some(all[to] - all[from]);
        let interval = measure.bootstrap.interval(difference)?;
        (mean < 0.0).then(|| (measure.name.clone(), mean, interval))
    }
}

impl Measure {
    fn new(name: &str, cases: &[Case], tasks: &[&str], scores: Vec<Scores>) -> Self {
        let overall = scores.iter().map(|scores| {
            let tasks = tasks.iter();
            mean(tasks.filter_map(|task| task_mean(cases, task, scores))).unwrap_or(f64::NAN)
        });
        Self {
            name: name.to_owned(),
            overall: overall.collect(),
            bootstrap: Bootstrap::new(cases, tasks, &scores),
            scores,
        }
    }
}

/// The scores of each contender, as [`scores_of`] has them.
fn scores_of_each(
    cases: usize,
    records: &[Vec<&ResultRecord>],
    score: impl Fn(&ResultRecord) -> Option<f64>,
) -> Vec<Scores> {
    let of_one = |records: &Vec<&ResultRecord>| scores_of(cases, records, &score);
    records.iter().map(of_one).collect()
}

/// The scores of a contender; none if one of its records lacks one.
fn scores_of(
    cases: usize,
    records: &[&ResultRecord],
    score: impl Fn(&ResultRecord) -> Option<f64>,
) -> Scores {
    let mut scores: Scores = vec![vec![]; cases];
    for record in records {
        let Some(score) = score(record) else {
            return vec![vec![]; cases];
        };
        scores[record.case].push(score);
    }
    scores
}

/// The mean cost of the records of each contender.
fn costs(records: &[Vec<&ResultRecord>], cost: impl Fn(&ResultRecord) -> Option<f64>) -> Costs {
    let of_one = |records: &Vec<&ResultRecord>| {
        let costs: Option<Vec<f64>> = records.iter().map(|record| cost(record)).collect();
        mean(costs?)
    };
    records.iter().map(of_one).collect()
}

/// The records of a contender, in an order that does not depend on the workers.
fn records_of<'a>(
    contender: &Contender,
    records: &'a [ResultRecord],
    cases: usize,
) -> Vec<&'a ResultRecord> {
    let mut found: Vec<&ResultRecord> = records
        .iter()
        .filter(|record| contender.is(&record.method, record.n) && record.case < cases)
        .collect();
    found.sort_by_key(|record| (record.case, record.sample));
    found
}

/// The held-out scorers of all records, in the order in which they first appear.
fn held_out_names(records: &[Vec<&ResultRecord>]) -> Vec<String> {
    let mut names: Vec<String> = vec![];
    for held_out in records.iter().flatten().flat_map(|record| &record.held_out) {
        if !names.contains(&held_out.scorer) {
            names.push(held_out.scorer.clone());
        }
    }
    names
}

fn held_out_score(record: &ResultRecord, scorer: &str) -> Option<f64> {
    let mut scores = record.held_out.iter();
    let found = scores.find(|held_out| held_out.scorer == scorer)?;
    Some(f64::from(found.score))
}

/// The mean over the prompts of a task.
fn task_mean(cases: &[Case], task: &str, scores: &Scores) -> Option<f64> {
    let of_task = cases
        .iter()
        .zip(scores)
        .filter(|(case, _)| case.task == task);
    mean(of_task.filter_map(|(_, samples)| mean(samples.iter().copied())))
}
