//! Summaries and tables: costs in several cost models, held-out scorers, records of earlier versions.

use std::fs;

use insta::assert_snapshot;
use ttsvar::{
    Result,
    eval::{
        Case, Contender, CostModel, Counts, ImageCost, NamedScore, ResultRecord, Suite, Summary,
        Verdict,
    },
    report::ResultTables,
    search::{Drafts, Image, Method},
};

const PROMPTS: usize = 4;

/// Four prompts of one task.
struct Prompts(Vec<Case>);

impl Prompts {
    fn new() -> Self {
        let case = |i| Case {
            task: "all",
            prompt: format!("prompt {i}"),
        };
        Self((0..PROMPTS).map(case).collect())
    }
}

impl Suite for Prompts {
    fn name(&self) -> &str {
        "prompts"
    }

    fn tasks(&self) -> &[&'static str] {
        &["all"]
    }

    fn cases(&self) -> &[Case] {
        &self.0
    }

    fn evaluate(&self, _: usize, _: &[Image]) -> Result<Vec<Verdict>> {
        Ok(vec![])
    }
}

fn contenders() -> Vec<Contender> {
    let grid =
        |method, sizes: &[usize]| Contender::grid(&[method], sizes, 3, Drafts::default()).unwrap();
    [grid(Method::BestOfN, &[1, 4]), grid(Method::Draft, &[4])].concat()
}

/// What a search of three scales computed that drafts `drafts` candidates and finishes `finished`.
fn counts(drafts: usize, finished: usize) -> Counts {
    let rows = drafts.max(finished);
    Counts {
        passes: vec![2, 2 * rows, 2 * finished],
        unfinished_decodes: drafts,
        finished_decodes: finished,
        unfinished_scorings: drafts,
        finished_scorings: finished,
        ..Counts::default()
    }
}

/// A record of every prompt. The first `right` images are right.
fn records(method: &str, n: usize, right: usize, counts: &Counts) -> Vec<ResultRecord> {
    let record = |case: usize| ResultRecord {
        case,
        task: "all".to_owned(),
        prompt: format!("prompt {case}"),
        sample: 0,
        seed: 0,
        method: method.to_owned(),
        n,
        correct: f64::from(u8::from(case < right)),
        reason: String::new(),
        score: Some(n as f32 / 4.0),
        parts: vec![],
        held_out: vec![],
        cost: ImageCost {
            images: counts.finished_decodes as f64,
            flops: 5e8 * (2 * counts.finished_decodes + counts.unfinished_decodes) as f64,
            ..ImageCost::default()
        },
        counts: Some(counts.clone()),
        details: None,
    };
    (0..PROMPTS).map(record).collect()
}

fn all_records() -> Vec<ResultRecord> {
    [
        records("best-of-n", 1, 1, &counts(0, 1)),
        records("best-of-n", 4, 3, &counts(0, 4)),
        records("draft", 4, 3, &counts(4, 1)),
    ]
    .concat()
}

/// A model with dear previews, and one with cheap ones.
fn models() -> [CostModel; 2] {
    let model = |name: &str, preview: f64| {
        let text = format!(
            "unit = 'ms'\nprompt = 0\ntransformer = 6\nshares = [0, 0.5, 0.5]\n\
             unfinished_decode = {preview}\nfinal_decode = 3\nscoring = 1\n\
             verification = 0\nextraction = 0\n"
        );
        CostModel::from_toml(name, &text).unwrap()
    };
    [model("dear", 3.0), model("cheap", 0.0)]
}

fn summary(records: &[ResultRecord]) -> Summary {
    Summary::priced(&Prompts::new(), 1, &contenders(), records, &models())
}

fn costs(text: &str) -> &str {
    text.split("\n\n").last().unwrap()
}

#[test]
fn every_cost_model_has_its_columns_and_its_chart() {
    let tables = ResultTables::new("Two prices", summary(&all_records()), vec![]);
    let drafts = &tables.summary().methods[2];
    // 3 of 4 rows end after half of the transformer: 4 * 3 + 3 + 4 * 3 + 3 + 5 = 35, and 23.
    let costs: Vec<Option<f64>> = drafts
        .model_costs
        .iter()
        .map(|cost| cost.raw_images)
        .collect();
    assert_eq!(costs, [Some(3.5), Some(2.3)]);
    let gain = |model: usize| {
        drafts.model_costs[model]
            .at_equal_cost
            .as_ref()
            .unwrap()
            .mean
    };
    // Best-of-N rises from 0.25 at 1 to 0.75 at 4 images, along the logarithm of the cost.
    for (model, cost) in [(0, 3.5_f64), (1, 2.3)] {
        let line = 0.25 + 0.5 * cost.ln() / 4.0_f64.ln();
        assert!((gain(model) - (0.75 - line)).abs() < 1e-12);
    }
    assert_snapshot!(tables.text(), @r"
    Two prices (4 prompts, 1 sample each)

    method     N    all  overall   95 % interval
    best-of-n  1  0.250    0.250  0.000 to 0.750
    best-of-n  4  0.750    0.750  0.250 to 1.000
    draft      4  0.750    0.750  0.250 to 1.000

    method     N          against the first  raw images (dear)  against best-of-n at equal cost (dear)  raw images (cheap)  against best-of-n at equal cost (cheap)  GFLOP  images  decodes  scorings  seconds
    best-of-n  1                          -               1.00                                       -                1.00                                        -    1.0       1        0         0     0.00
    best-of-n  4  +0.500 (+0.000 to +1.000)               4.00                                       -                4.00                                        -    4.0       4        0         0     0.00
    draft      4  +0.500 (+0.000 to +1.000)               3.50               +0.048 (+0.000 to +0.096)                2.30                +0.200 (+0.000 to +0.399)    3.0       1        0         0     0.00
    ");
    let folder = tempfile::tempdir().unwrap();
    tables.write(folder.path()).unwrap();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_snapshot!(read("table.md"), @r"
    | method | N | all | overall | 95 % interval | against the first | raw images (dear) | against best-of-n at equal cost (dear) | raw images (cheap) | against best-of-n at equal cost (cheap) | GFLOP | images | decodes | scorings |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
    | best-of-n | 1 | 0.250 | 0.250 | 0.000 to 0.750 | - | 1.00 | - | 1.00 | - | 1.0 | 1 | 0 | 0 |
    | best-of-n | 4 | 0.750 | 0.750 | 0.250 to 1.000 | +0.500 (+0.000 to +1.000) | 4.00 | - | 4.00 | - | 4.0 | 4 | 0 | 0 |
    | draft | 4 | 0.750 | 0.750 | 0.250 to 1.000 | +0.500 (+0.000 to +1.000) | 3.50 | +0.048 (+0.000 to +0.096) | 2.30 | +0.200 (+0.000 to +0.399) | 3.0 | 1 | 0 | 0 |
    ");
    for name in [
        "accuracy-by-cost-dear",
        "accuracy-by-cost-cheap",
        "accuracy-by-cost",
    ] {
        assert!(read(&format!("{name}.svg")).contains("draft"), "{name}");
    }
    let json: serde_json::Value = serde_json::from_str(&read("summary.json")).unwrap();
    assert_eq!(json["cost_models"], serde_json::json!(["dear", "cheap"]));
    let cost = &json["methods"][2]["model_costs"][1];
    assert_eq!(
        (&cost["cost_model"], &cost["raw_images"]),
        (&"cheap".into(), &2.3.into())
    );
}

#[test]
fn without_cost_models_the_operations_count() {
    let summary = Summary::new(&Prompts::new(), 1, &contenders(), &all_records());
    let tables = ResultTables::new("Operations", summary, vec![]);
    assert_snapshot!(costs(&tables.text()), @r"
    method     N          against the first  against best-of-n at equal cost  GFLOP  images  decodes  scorings  seconds
    best-of-n  1                          -                                -    1.0       1        0         0     0.00
    best-of-n  4  +0.500 (+0.000 to +1.000)                                -    4.0       4        0         0     0.00
    draft      4  +0.500 (+0.000 to +1.000)        +0.104 (+0.000 to +0.208)    3.0       1        0         0     0.00
    ");
}

#[test]
fn records_of_earlier_versions_have_no_price() {
    let mut all = all_records();
    let line = serde_json::to_string(&all[11]).unwrap();
    let mut fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&line).unwrap();
    fields.remove("counts").unwrap();
    all[11] = serde_json::from_value(fields.into()).unwrap();
    assert_eq!(all[11].counts, None);
    let priced = summary(&all);
    assert!(
        priced.methods[2]
            .model_costs
            .iter()
            .all(|cost| { cost.raw_images.is_none() && cost.at_equal_cost.is_none() })
    );
    assert!(priced.methods[2].at_equal_cost.is_some());
    let tables = ResultTables::new("Earlier", priced, vec![]);
    assert_snapshot!(costs(&tables.text()), @r"
    method     N          against the first  raw images (dear)  against best-of-n at equal cost (dear)  raw images (cheap)  against best-of-n at equal cost (cheap)  GFLOP  images  decodes  scorings  seconds
    best-of-n  1                          -               1.00                                       -                1.00                                        -    1.0       1        0         0     0.00
    best-of-n  4  +0.500 (+0.000 to +1.000)               4.00                                       -                4.00                                        -    4.0       4        0         0     0.00
    draft      4  +0.500 (+0.000 to +1.000)                  -                                       -                   -                                        -    3.0       1        0         0     0.00
    ");
}

#[test]
fn held_out_scorers_show_what_a_search_overfits() {
    let mut all = [
        records("best-of-n", 1, 3, &counts(0, 1)),
        records("best-of-n", 4, 2, &counts(0, 4)),
        records("draft", 4, 3, &counts(4, 1)),
    ]
    .concat();
    for record in &mut all {
        let falls = 1.0 - record.n as f32 / 10.0;
        for (scorer, score) in [("hps", falls), ("clip", 0.5)] {
            record.held_out.push(NamedScore {
                scorer: scorer.to_owned(),
                score,
            });
        }
    }
    let tables = ResultTables::new("Overfit", summary(&all), vec![]);
    let found = &tables.summary().overfits;
    let named: Vec<(&str, [usize; 2], &str)> = found
        .iter()
        .map(|one| (one.method.as_str(), one.n, one.measure.as_str()))
        .collect();
    assert_eq!(
        named,
        [
            ("best-of-n", [1, 4], "overall"),
            ("best-of-n", [1, 4], "hps")
        ]
    );
    assert_snapshot!(tables.text(), @r"
    Overfit (4 prompts, 1 sample each)

    method     N    all  overall   95 % interval
    best-of-n  1  0.750    0.750  0.250 to 1.000
    best-of-n  4  0.500    0.500  0.000 to 1.000
    draft      4  0.750    0.750  0.250 to 1.000

    method     N  score  hps (held out)  clip (held out)
    best-of-n  1  0.250           0.900            0.500
    best-of-n  4  1.000           0.600            0.500
    draft      4  1.000           0.600            0.500

    method     N          against the first  raw images (dear)  against best-of-n at equal cost (dear)  raw images (cheap)  against best-of-n at equal cost (cheap)  GFLOP  images  decodes  scorings  seconds
    best-of-n  1                          -               1.00                                       -                1.00                                        -    1.0       1        0         0     0.00
    best-of-n  4  -0.250 (-0.750 to +0.000)               4.00                                       -                4.00                                        -    4.0       4        0         0     0.00
    draft      4  +0.000 (+0.000 to +0.000)               3.50               +0.226 (+0.000 to +0.678)                2.30                +0.150 (+0.000 to +0.451)    3.0       1        0         0     0.00

    perhaps over-optimised: best-of-n, N = 1 to 4: the search's own score rises by 0.750, but overall falls: -0.250 (-0.750 to +0.000)
    over-optimised: best-of-n, N = 1 to 4: the search's own score rises by 0.750, but hps falls: -0.300 (-0.300 to -0.300)
    ");
    // Where one record lacks a score, there is no mean of it.
    all[0].held_out.clear();
    let lacking = summary(&all);
    assert_eq!(lacking.methods[0].of_held_out("hps"), None);
    assert_eq!(lacking.methods[1].of_held_out("clip"), Some(0.5));
    // The scores of mixes are relative to each search.
    all[0].parts = all[4].held_out.clone();
    assert!(summary(&all).overfits.is_empty());
}

#[test]
fn differences_are_over_the_prompts_that_both_have_images_of() {
    let mut records = [
        records("best-of-n", 1, 2, &counts(0, 1)),
        records("best-of-n", 4, 3, &counts(0, 4)),
        records("draft", 4, 3, &counts(4, 1)),
    ]
    .concat();
    // Of the draft, only images of the two prompts that the first contender gets right, too
    records.retain(|record| record.method != "draft" || record.case < 2);
    let summary = summary(&records);
    let draft = &summary.methods[2];
    assert_eq!((draft.overall, draft.missing), (1.0, 2));
    let gain = draft.gain.as_ref().unwrap();
    assert_eq!((gain.mean, gain.interval), (0.0, (0.0, 0.0)));
    let at_equal_cost = draft.at_equal_cost.as_ref().unwrap();
    assert_eq!(at_equal_cost.mean, 0.0);
    let complete = summary.methods[1].gain.as_ref().unwrap();
    assert_eq!(complete.mean, 0.25);

    // Without common prompts there is no difference.
    records.retain(|record| record.method != "best-of-n" || record.case >= 2);
    assert_eq!(self::summary(&records).methods[2].gain, None);
}
