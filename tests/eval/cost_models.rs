//! The cost models in the program: their numbers are those of the program's own counters.

use std::{fs, path::Path};

use serde_json::Value;
use ttsvar::{
    eval::{CostModel, Counts},
    hub::released,
    loading::Dtype,
    options::Options,
    request::Session,
    search::{DecodeSize, Scorer, Workload},
    system::{self, ReleasedOutline, System},
};

/// The largest relative difference that rounding in the files explains.
const ROUNDING: f64 = 2e-3;

/// The file of a cost model as TOML.
fn file(name: &str) -> toml::Table {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/eval/cost_models");
    let text = fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
    text.parse().unwrap()
}

/// Prices from the counters, in operations.
struct Counted {
    prompt: f64,
    /// Of each scale.
    scales: Vec<f64>,
    unfinished_decode: f64,
    final_decode: f64,
    scoring: f64,
    verification: f64,
    extraction: f64,
}

impl Counted {
    /// Prices of a generator from its estimates.
    fn new(scales: usize, size: DecodeSize, estimate: impl Fn(&Workload) -> f64) -> Self {
        let nothing = Workload {
            widths: vec![0; scales],
            suspended: vec![0; scales],
            decodes: vec![0; scales],
            size,
        };
        let prompt = estimate(&nothing);
        let added = |change: &dyn Fn(&mut Workload)| {
            let mut workload = nothing.clone();
            change(&mut workload);
            estimate(&workload) - prompt
        };
        Self {
            prompt,
            scales: (0..scales)
                .map(|scale| added(&|workload| workload.widths[scale] = 1))
                .collect(),
            unfinished_decode: added(&|workload| workload.decodes[0] = 1),
            final_decode: added(&|workload| workload.decodes[scales - 1] = 1),
            scoring: 0.0,
            verification: 0.0,
            extraction: 0.0,
        }
    }

    /// Compares them with a file whose unit is `unit` operations.
    fn check(&self, name: &str, unit: f64) {
        let file = file(name);
        let number = |key: &str| file[key].as_float().unwrap();
        let close = |key: &str, found: f64, expected: f64| {
            assert!(
                (found / expected - 1.0).abs() < ROUNDING,
                "{name}: {key} is {found}, counted {expected}"
            );
        };
        let transformer: f64 = self.scales.iter().sum();
        for (key, counted) in [
            ("prompt", self.prompt),
            ("transformer", transformer),
            ("unfinished_decode", self.unfinished_decode),
            ("final_decode", self.final_decode),
            ("scoring", self.scoring),
            ("verification", self.verification),
            ("extraction", self.extraction),
        ] {
            close(key, number(key), counted / unit);
        }
        let shares = file["shares"].as_array().unwrap();
        assert_eq!(shares.len(), self.scales.len());
        for (share, flops) in shares.iter().zip(&self.scales) {
            let share = share.as_float().unwrap();
            // The smallest shares have few digits.
            assert!(
                (share - flops / transformer).abs() < 1e-5,
                "{name}: {share}"
            );
        }
    }
}

#[test]
fn the_demo_costs_what_the_counters_count() {
    let system = System::builder("demo").open().unwrap();
    let session = Session::new(&system, &Options::default()).unwrap();
    let pipeline = session.pipeline();
    let estimate = |workload: &Workload| pipeline.estimate(workload).flops;
    let mut counted = Counted::new(pipeline.scales().len(), DecodeSize::Full, estimate);
    counted.scoring = system.scorers()[0].flops(1);
    counted.extraction = system.extractors().values().next().unwrap().flops(1);
    counted.verification = system.verifier().unwrap().flops(1);
    counted.check("demo", 1e9);
}

#[test]
fn infinity_costs_what_the_counters_count() {
    let description = released::description("infinity-2b").unwrap();
    let family = system::family(description.generator.family);
    let options = family
        .resolve(Options::default(), &description.defaults)
        .unwrap();
    let outline = ReleasedOutline::new(&description, &options, Dtype::Bf16).unwrap();
    let scales = outline.generator.scales().len();
    let estimate = |workload: &Workload| outline.estimate(workload, 0).flops;
    let mut counted = Counted::new(scales, DecodeSize::Preview(256), estimate);
    counted.scoring = outline.scorer_flops(1);
    counted.extraction = outline.feature_flops(1);
    counted.verification = outline.verifier_flops(1);
    counted.check("infinity-2b", 1e12);
}

/// The counts of a search of the demo, and its operations relative to those of a raw image.
fn searched(system: &System, options: &Value) -> (Counts, f64) {
    let cost = |options: Options| {
        let session = Session::new(system, &options).unwrap();
        let prompt = "a photo of a red circle and a blue square";
        let run = session.run(prompt, 1, &mut ttsvar::search::Silent);
        run.unwrap().trace
    };
    let raw = cost(serde_json::from_value(serde_json::json!({"method": "raw"})).unwrap());
    let trace = cost(serde_json::from_value(options.clone()).unwrap());
    (
        Counts::of(&trace),
        trace.cost.flops.total() / raw.cost.flops.total(),
    )
}

#[test]
fn the_demo_model_prices_searches_as_their_operations_do() {
    let system = System::builder("demo").open().unwrap();
    let demo = CostModel::find("demo").unwrap();
    let infinity = CostModel::find("infinity-2b").unwrap();
    for options in [
        serde_json::json!({"method": "raw"}),
        serde_json::json!({"method": "best-of-n", "n": 3}),
        serde_json::json!({"method": "beam", "n": 3}),
        serde_json::json!({"method": "draft", "n": 5}),
        serde_json::json!({"method": "draft", "n": 5, "verifier": "image"}),
        serde_json::json!({"method": "auto", "n": 4}),
        serde_json::json!({"method": "tts-var", "n": 1}),
    ] {
        let (counts, measured) = searched(&system, &options);
        let price = demo.price(&counts);
        // The prices are for prompts of 20 tokens, and this one is shorter.
        assert!(
            (price / measured - 1.0).abs() < 0.02,
            "{options}: {price} and {measured}: {counts:?}"
        );
        assert_eq!(counts.finished_decodes, counts.finished_scorings);
        // Drafts are cheap where decodes of unfinished images are.
        if options["verifier"] == "image" {
            assert!(infinity.price(&counts) < 0.6 * price, "{counts:?}");
        }
    }
}
