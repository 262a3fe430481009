//! The search on a toy: what holds for every plan, seed and score.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use ttsvar::search::{
    Draw, Event, Extractor, Features, Image, Listener, Matrix, Method, Outcome, Plan, PlanOptions,
    Potential, Prompt, Result, Schedule, Scorer, Search, Select, Silent, Stage, Trace, Warning,
    diverse::diverse, kmeans::kmeans, resample, rng::Stream, run, top, trace::SCHEMA,
};

use crate::support::toy::{Judge, Toy, brightness, extractors, greys};

const SCALES: usize = 13;

fn follow_with(
    scorer: &dyn Scorer,
    scales: usize,
    plan: &Plan,
    seed: u64,
    listener: &mut dyn Listener,
) -> Result<Outcome> {
    let (pipeline, extractors) = (Toy::new(scales), extractors());
    run(
        &Search::new(&pipeline, scorer, &extractors),
        &Prompt::from("light"),
        plan,
        seed,
        listener,
    )
}

fn follow(scales: usize, plan: &Plan, seed: u64) -> Outcome {
    follow_with(&Judge(brightness), scales, plan, seed, &mut Silent).unwrap()
}

fn judged(judge: impl Fn(usize, &[u8]) -> f32 + Send + Sync, plan: &Plan) -> Outcome {
    follow_with(&Judge(judge), SCALES, plan, 0, &mut Silent).unwrap()
}

fn features() -> impl Strategy<Value = Features> {
    prop_oneof![
        Just(Features::Pca),
        Just(Features::PcaRaw),
        Just(Features::PcaAll),
        Just(Features::Pool)
    ]
}

fn resampling() -> impl Strategy<Value = Select> {
    let potential = prop_oneof![
        Just(Potential::Value),
        Just(Potential::Diff),
        Just(Potential::Max),
        Just(Potential::Sum)
    ];
    let draw = prop_oneof![Just(Draw::Multinomial), Just(Draw::Systematic)];
    let select = |(potential, lambda, draw)| Select::Resample {
        potential,
        lambda,
        draw,
    };
    (potential, 0.0..50.0, draw).prop_map(select)
}

/// A stage that fits the rows that come: `size` and `growth` are turned into a width that it may
/// have.
fn stage(scale: usize, rows: usize, (kind, features, resample, size, growth): Choice) -> Stage {
    let few = 1 + size % rows;
    let (width, select) = match kind {
        0 => (few, Select::Cluster { features }),
        1 => (few, resample),
        2 => (few, Select::Drop),
        _ => (few + growth, Select::Top { k: few }),
    };
    Stage::new(scale, width, select)
}

type Choice = (u8, Features, Select, usize, usize);

/// Any number of scales and any plan for it.
fn plans() -> impl Strategy<Value = (usize, Plan)> {
    let choice = (0u8..4, features(), resampling(), 0usize..64, 0usize..5);
    (
        1usize..9,
        prop::collection::vec(prop::option::of(choice), 1..15),
    )
        .prop_map(|(start, choices)| {
            let (mut rows, mut stages) = (start, vec![]);
            let scales = choices.len();
            for (scale, choice) in choices.into_iter().enumerate() {
                let Some(choice) = choice else { continue };
                stages.push(stage(scale, rows, choice));
                rows = stages[stages.len() - 1].width;
            }
            (scales, Plan::new(start, stages).unwrap())
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_runs_as_it_says((scales, plan) in plans(), seed: u64) {
        let outcome = follow(scales, &plan, seed);
        let trace = &outcome.trace;
        let end = plan.stages().last().map_or(plan.start(), |stage| stage.width);
        prop_assert_eq!(outcome.finished.len(), end);
        prop_assert_eq!(&trace.cost.rows, &plan.widths(scales));
        prop_assert_eq!(trace.cost.decodes, plan.decodes(scales).iter().sum::<usize>());
        prop_assert_eq!(trace.stages.len(), plan.stages().len());
        prop_assert!(outcome.finished.iter().all(|finished| finished.score <= outcome.winner().score));
        prop_assert_eq!(outcome.winner().id, trace.winner);
        for (choice, stage) in trace.stages.iter().zip(plan.stages()) {
            prop_assert_eq!(choice.kept.len(), stage.width);
            prop_assert_eq!(choice.children.len(), stage.width);
        }
    }

    #[test]
    fn histories_follow_lineage((scales, plan) in plans(), seed: u64) {
        let trace = follow(scales, &plan, seed).trace;
        for (id, candidate) in trace.candidates.iter().enumerate() {
            prop_assert_eq!(candidate.id, id);
            if let Some(parent) = candidate.parent {
                prop_assert!(parent < id);
                let parent = &trace.candidates[parent];
                prop_assert!(candidate.history.starts_with(&parent.history) && parent.scale < candidate.scale);
            }
            prop_assert!(candidate.history.is_sorted_by_key(|scored| scored.scale));
        }
        prop_assert_eq!(trace.lineage(trace.winner).last().unwrap().parent, None);
    }

    /// Where nothing was copied, a finished row is what the same start row becomes in a search that
    /// prunes nothing.
    #[test]
    fn pruning_does_not_change_what_survivors_draw((scales, plan) in plans(), seed: u64) {
        let pruned = follow(scales, &plan, seed);
        let whole = follow(scales, &Plan::best_of_n(scales, plan.start()).unwrap(), seed);
        let trace = &pruned.trace;
        let first_copy = |id: usize| {
            let siblings = trace.candidates.iter().filter(|other| other.parent == trace.candidates[id].parent);
            trace.candidates[id].parent.is_none() || siblings.map(|sibling| sibling.id).min() == Some(id)
        };
        for finished in &pruned.finished {
            let line: Vec<_> = trace.lineage(finished.id).collect();
            if line.iter().all(|candidate| first_copy(candidate.id)) {
                let root = line[line.len() - 1].row;
                prop_assert_eq!(&finished.image, &whole.finished[root].image);
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_trace((scales, plan) in plans(), seed: u64) {
        let [a, b] = [(); 2].map(|()| follow(scales, &plan, seed).trace);
        prop_assert_eq!((a.candidates, a.stages, a.finals), (b.candidates, b.stages, b.finals));
    }

    #[test]
    fn plans_survive_their_file((_, plan) in plans()) {
        prop_assert_eq!(&Plan::from_toml(&plan.to_toml()).unwrap(), &plan);
        let json = serde_json::to_string(&plan).unwrap();
        let read: Plan = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(read.widths(15), plan.widths(15));
    }

    #[test]
    fn best_of_n_only_gets_better_with_n(seed: u64, n in 1usize..20, more in 1usize..20) {
        let score = |n| follow(4, &Plan::best_of_n(4, n).unwrap(), seed).winner().score;
        prop_assert!(score(n + more) >= score(n));
    }

    #[test]
    fn weights_sum_to_one_and_do_not_feel_a_shift(
        potentials in prop::collection::vec(-30.0..30.0, 1..20), lambda in 0.0..20.0, shift in -1e3..1e3,
    ) {
        let weights = resample::weights(&potentials, lambda).probabilities;
        prop_assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let shifted: Vec<f64> = potentials.iter().map(|p| p + shift).collect();
        for (a, b) in weights.iter().zip(resample::weights(&shifted, lambda).probabilities) {
            prop_assert!((a - b).abs() < 1e-9);
        }
    }

    #[test]
    fn systematic_draws_are_within_one_of_expectation(
        potentials in prop::collection::vec(-3.0..3.0, 1..20), count in 1usize..40, seed: u64,
    ) {
        let weights = resample::weights(&potentials, 1.0).probabilities;
        let rows = resample::draw(&weights, count, Draw::Systematic, &mut Stream::select(seed, 0, 0));
        for (row, weight) in weights.iter().enumerate() {
            let drawn = rows.iter().filter(|&&drawn| drawn == row).count() as f64;
            prop_assert!((drawn - weight * count as f64).abs() < 1.0 + 1e-9);
        }
    }

    #[test]
    fn kmeans_partitions_and_picks_distinct_rows(
        rows in prop::collection::btree_set(0u32..10_000, 2..24), keep in 1usize..24, seed: u64,
    ) {
        let keep = keep.min(rows.len());
        let data: Vec<f32> = rows.iter().flat_map(|&v| [(v % 100) as f32, (v / 100) as f32]).collect();
        let x = Matrix::new(rows.len(), 2, data);
        let clusters = kmeans(&x, keep, &mut Stream::select(seed, 0, 1));
        let picks: Vec<usize> = clusters.nearest(&x).into_iter().flatten().collect();
        prop_assert_eq!(picks.len(), keep);
        for (cluster, &pick) in picks.iter().enumerate() {
            prop_assert_eq!(clusters.labels[pick], cluster);
        }
    }

    #[test]
    fn different_rows_are_kept_whatever_the_features_are(
        values in prop::collection::vec(prop_oneof![Just(f32::NAN), Just(f32::INFINITY), -2f32..2.0, Just(1.0)], 1..16),
        keep in 1usize..16, seed: u64,
    ) {
        let keep = keep.min(values.len());
        let found = diverse(&Matrix::new(values.len(), 1, values), keep, &mut Stream::select(seed, 0, 0));
        let mut rows = found.rows.clone();
        rows.sort_unstable();
        rows.dedup();
        prop_assert_eq!((found.rows.len(), rows.len()), (keep, keep));
    }
}

fn mean(plan: &Plan) -> f32 {
    (0..200)
        .map(|seed| follow(SCALES, plan, seed).winner().score)
        .sum::<f32>()
        / 200.0 // standard error .005
}

#[test]
fn every_method_beats_one_sample() {
    let raw = mean(&Method::Raw.plan(SCALES, 1).unwrap());
    for method in &Method::ALL[1..] {
        let score = mean(
            &method
                .plan(SCALES, 3)
                .unwrap()
                .with(
                    PlanOptions {
                        lambda: Some(30.0),
                        ..PlanOptions::default()
                    },
                    SCALES,
                )
                .unwrap(),
        );
        println!("{method}: {score:.3} (raw {raw:.3})");
        assert!(score > raw + 0.02, "{method}: {score}, raw {raw}");
    }
}

#[test]
fn the_released_plan_decodes_21_images() {
    let plan = Plan::tts_var(SCALES, 1, Schedule::Released).unwrap();
    assert_eq!(plan.widths(SCALES), [8, 8, 8, 6, 6, 6, 4, 2, 2, 2, 1, 1, 1]);
    let cost = follow(SCALES, &plan, 0).trace.cost;
    assert_eq!(
        (cost.decodes, cost.extractions, cost.scorings, cost.images),
        (21, 14, 7, 1)
    );
}

#[test]
fn the_schedule_fits_any_number_of_scales() {
    let places = |scales, schedule| -> Vec<usize> {
        Plan::tts_var(scales, 1, schedule)
            .unwrap()
            .stages()
            .iter()
            .map(|stage| stage.scale)
            .collect()
    };
    for (scales, expected) in [
        (7, [2, 3, 4, 5]),
        (10, [2, 5, 6, 8]),
        (12, [2, 5, 6, 9]),
        (13, [2, 5, 6, 9]),
    ] {
        assert_eq!(
            places(scales, Schedule::Released),
            expected,
            "{scales} scales"
        );
    }
    assert_eq!(
        Plan::tts_var(13, 1, Schedule::Paper).unwrap().widths(13),
        [8, 8, 6, 6, 6, 4, 2, 2, 2, 1, 1, 1, 1]
    );
    assert_eq!(places(25, Schedule::Released), [4, 10, 12, 18]);
    for scales in 1..40 {
        for (schedule, n) in [(Schedule::Released, 1), (Schedule::Paper, 3)] {
            let plan = Plan::tts_var(scales, n, schedule).unwrap();
            plan.check(scales).unwrap();
            assert_eq!(plan.widths(scales)[scales - 1], n, "{scales} scales");
        }
    }
}

#[test]
fn images_of_the_last_scale_are_decoded_and_scored_once() {
    let plan = Plan::importance(SCALES, 5).unwrap();
    let cost = follow(SCALES, &plan, 3).trace.cost;
    assert_eq!((cost.decodes, cost.scorings, cost.images), (5, 5, 5));
}

#[test]
fn nan_scores_get_no_weight_and_are_named() {
    let plan = Plan::tts_var(SCALES, 1, Schedule::Released).unwrap();
    let outcome = judged(
        |i, greys| {
            if i == 0 {
                f32::NAN
            } else {
                brightness(i, greys)
            }
        },
        &plan,
    );
    let choice = outcome
        .trace
        .stages
        .iter()
        .find(|choice| !choice.weights.is_empty())
        .unwrap();
    assert_eq!(choice.weights[0], 0.0);
    assert!(choice.kept.iter().all(|&row| row != 0));
    assert_eq!(
        choice.warnings,
        [Warning::LostScores {
            scale: choice.scale,
            ids: vec![choice.ids[0]]
        }]
    );
}

#[test]
fn without_any_number_the_draw_is_even_and_says_so() {
    let plan = Plan::tts_var(SCALES, 1, Schedule::Released).unwrap();
    for bad in [f32::NAN, f32::NEG_INFINITY] {
        let outcome = judged(|_, _| bad, &plan);
        let choice = &outcome.trace.stages[2];
        assert_eq!(choice.weights, [0.25; 4]);
        assert!(
            choice
                .warnings
                .contains(&Warning::AllWeightsZero { scale: 6 })
        );
        assert!(matches!(
            outcome.trace.warnings.last(),
            Some(Warning::LostScores { scale: 12, .. })
        ));
        let json = outcome.trace.to_json();
        assert_eq!(Trace::from_json(&json).unwrap().to_json(), json);
    }
}

#[test]
fn infinite_scores_share_all_weight() {
    let plan = Plan::tts_var(SCALES, 1, Schedule::Released).unwrap();
    let outcome = judged(
        |i, greys| {
            if i % 2 == 1 {
                f32::INFINITY
            } else {
                brightness(i, greys)
            }
        },
        &plan,
    );
    let choice = &outcome.trace.stages[2];
    assert_eq!(choice.weights, [0.0, 0.5, 0.0, 0.5]);
    let ids = vec![choice.ids[1], choice.ids[3]];
    assert_eq!(choice.warnings, [Warning::InfiniteScores { scale: 6, ids }]);
    // Also where nothing is drawn.
    let outcome = judged(
        |i, _| if i == 2 { f32::INFINITY } else { 0.0 },
        &Plan::best_of_n(SCALES, 4).unwrap(),
    );
    assert_eq!(
        outcome.trace.warnings,
        [Warning::InfiniteScores {
            scale: 12,
            ids: vec![2]
        }]
    );
}

/// Sees the same in every image.
struct Blind(f32);

impl Extractor for Blind {
    fn extract(&self, images: &[Image]) -> Result<Matrix> {
        Ok(Matrix::new(images.len(), 1, vec![self.0; images.len()]))
    }

    fn flops(&self, _: usize) -> f64 {
        0.0
    }
}

#[test]
fn images_without_a_difference_go_on_in_order_and_say_so() {
    let plan = Plan::tts_var(SCALES, 1, Schedule::Released).unwrap();
    let few = |distinct| Warning::FewDistinct {
        scale: 2,
        distinct,
        clusters: 6,
    };
    let lost = Warning::LostFeatures {
        scale: 2,
        ids: (0..8).collect(),
    };
    for (feature, expected) in [(3.0, vec![few(1)]), (f32::NAN, vec![lost, few(0)])] {
        let blind = BTreeMap::from([(
            Features::Pca,
            Box::new(Blind(feature)) as Box<dyn Extractor>,
        )]);
        let (pipeline, judge) = (Toy::new(SCALES), Judge(brightness));
        let outcome = run(
            &Search::new(&pipeline, &judge, &blind),
            &"light".into(),
            &plan,
            0,
            &mut Silent,
        )
        .unwrap();
        let choice = &outcome.trace.stages[0];
        assert_eq!(choice.kept, [0, 1, 2, 3, 4, 5]);
        assert_eq!(choice.warnings, expected);
    }
}

#[test]
fn every_kind_of_image_goes_on_before_any_goes_twice() {
    let x = Matrix::new(4, 1, vec![2.0, 2.0, 5.0, 2.0]);
    let found = diverse(&x, 3, &mut Stream::select(0, 0, 0));
    assert_eq!((found.rows, found.distinct), (vec![0, 2, 1], 2));
    assert_eq!(found.clusters, [Some(0), Some(0), Some(1), Some(0)]);
}

#[test]
fn images_with_broken_features_fill_up_last() {
    let x = Matrix::new(4, 1, vec![f32::NAN, 1.0, 1.0, f32::INFINITY]);
    let keep = |count| diverse(&x, count, &mut Stream::select(0, 0, 0)).rows;
    assert_eq!((keep(2), keep(3)), (vec![1, 2], vec![1, 2, 0]));
}

#[test]
fn ranking_puts_nan_last_and_keeps_equal_rows_in_order() {
    assert_eq!(
        top::ranking(&[1.0, f32::NAN, 2.0, 2.0, f32::NEG_INFINITY]),
        [2, 3, 0, 1, 4]
    );
    assert_eq!(top::top(&[0.1, 0.9, 0.5], 2, 5), [1, 2, 1, 2, 1]);
}

#[test]
fn a_listener_hears_everything_and_may_stop() {
    let plan = Plan::tts_var(SCALES, 1, Schedule::Released).unwrap();
    let mut heard = vec![];
    let mut listen = |event: &Event<'_>| {
        heard.push(
            format!("{event:?}")
                .split(|c: char| !c.is_alphanumeric())
                .next()
                .unwrap()
                .to_owned(),
        );
        Ok(())
    };
    follow_with(&Judge(brightness), SCALES, &plan, 0, &mut listen).unwrap();
    let count = |name| heard.iter().filter(|heard| *heard == name).count();
    assert_eq!(
        (
            count("Started"),
            count("ScaleBegun"),
            count("ScaleDone"),
            count("Finished")
        ),
        (1, 13, 13, 1)
    );
    assert_eq!(
        (count("Decoded"), count("Scored"), count("Selected")),
        (5, 3, 4)
    );

    let mut stop = |event: &Event<'_>| match event {
        Event::ScaleBegun { scale: 4, .. } => Err(ttsvar::search::Error::Interrupted),
        _ => Ok(()),
    };
    let stopped = follow_with(&Judge(brightness), SCALES, &plan, 0, &mut stop);
    assert!(matches!(stopped, Err(ttsvar::search::Error::Interrupted)));
}

#[test]
fn a_listener_that_wants_images_gets_them_and_its_decodes_count_apart() {
    struct Curious(usize);
    impl Listener for Curious {
        fn on(&mut self, event: &Event<'_>) -> Result<()> {
            if let Event::Decoded { images, .. } = event {
                self.0 += images.len();
            }
            Ok(())
        }
        fn wants_images(&self, scale: usize) -> bool {
            scale < 2
        }
    }
    let plan = Plan::tts_var(SCALES, 1, Schedule::Released).unwrap();
    let mut curious = Curious(0);
    let outcome = follow_with(&Judge(brightness), SCALES, &plan, 0, &mut curious).unwrap();
    let watched = outcome.trace.cost;
    assert_eq!(curious.0, 21 + 16);
    assert_eq!((watched.decodes, watched.previews), (21, 16));
    let alone = follow_with(&Judge(brightness), SCALES, &plan, 0, &mut Silent).unwrap();
    let alone = alone.trace.cost;
    assert_eq!((alone.decodes, alone.previews), (21, 0));
    assert_eq!(watched.flops.total(), alone.flops.total());
    assert!(watched.seconds.previews > 0.0 && alone.seconds.previews == 0.0);
}

#[test]
fn a_trace_survives_its_json() {
    let trace = follow(SCALES, &Plan::beam(SCALES, 4).unwrap(), 1).trace;
    let json = trace.to_json();
    assert_eq!(Trace::from_json(&json).unwrap().to_json(), json);
    let other = json.replacen("ttsvar.trace/1", "ttsvar.trace/9", 1);
    assert!(
        Trace::from_json(&other)
            .unwrap_err()
            .to_string()
            .contains("ttsvar.trace/9")
    );
    assert!(Trace::from_json("{}").is_err());
}

fn drawn(scale: usize, entropy: f64, log_likelihood: f64) -> Value {
    json!({ "scale": scale, "entropy": entropy, "log_likelihood": log_likelihood })
}

/// The answers to one question about a candidate.
fn answers(scale: usize, id: usize, probabilities: &[f32]) -> Value {
    json!({
        "scorer": "s",
        "scale": scale,
        "questions": [{ "question": "Is it?", "answer": "Yes" }],
        "candidates": [{ "id": id, "probabilities": probabilities }],
    })
}

#[test]
fn a_trace_that_contradicts_itself_is_refused() {
    let plan = Plan::tts_var(SCALES, 1, Schedule::Released).unwrap();
    let trace = follow(SCALES, &plan, 1).trace;
    let whole: Value = serde_json::from_str(&trace.to_json()).unwrap();
    let last = trace.candidates.len() - 1;
    let damages = [
        ("/plan/start", json!(0)),
        ("/plan/start", json!(1_000_000_000)),
        ("/plan/start", json!(3)),
        ("/scales", json!([])),
        ("/scales", json!({ "length": 1_000_000_000 })),
        ("/scales", json!(vec![[1, 1]; 100_000])),
        ("/scales/3", json!([0, 4])),
        ("/scales/3", json!([u64::MAX, u64::MAX])),
        ("/preview", json!(0)),
        ("/candidates", json!([])),
        ("/candidates/3/id", json!(4)),
        (&format!("/candidates/{last}/parent"), json!(last)),
        ("/candidates/8/parent", json!(9)),
        ("/candidates/8/parent", json!(null)),
        ("/candidates/8/scale", json!(0)),
        ("/candidates/8/scale", json!(u64::MAX)),
        ("/candidates/0/scale", json!(2)),
        ("/candidates/0/row", json!(u64::MAX)),
        (
            "/candidates/0/history",
            json!([{ "scale": 99, "score": 1.0 }]),
        ),
        ("/candidates/8/tokens", json!([drawn(0, 0.5, -0.5)])),
        ("/candidates/0/tokens", json!([drawn(99, 0.5, -0.5)])),
        (
            "/candidates/0/tokens",
            json!([drawn(1, 0.5, -0.5), drawn(1, 0.5, -0.5)]),
        ),
        ("/candidates/0/tokens", json!([drawn(0, -0.1, -0.5)])),
        ("/candidates/0/tokens", json!([drawn(0, 65.0, -0.5)])),
        ("/candidates/0/tokens", json!([drawn(0, 0.5, 0.1)])),
        ("/candidates/0/tokens", json!([drawn(0, 0.5, -1001.0)])),
        (
            "/candidates/0/tokens",
            json!([{ "scale": 0, "entropy": "nan", "log_likelihood": 0 }]),
        ),
        ("/stages/0/scale", json!(99)),
        ("/stages/0/ids/0", json!(999)),
        ("/stages/0/ids/0", json!(1)),
        ("/stages/1/ids/0", json!(0)),
        ("/stages/0/clusters", json!([0])),
        ("/stages/0/clusters/0", json!(u64::MAX)),
        ("/stages/2/scores", json!([1.0])),
        ("/stages/2/weights/0", json!(-0.5)),
        ("/stages/0/kept/0", json!(99)),
        ("/stages/0/kept", json!([0])),
        ("/stages/0/children/0", json!(0)),
        ("/stages/0/children/0", json!(999)),
        ("/finals", json!([])),
        ("/finals/0/id", json!(999)),
        ("/winner", json!(0)),
        ("/winner", json!(999)),
        ("/answers", json!([answers(99, 0, &[0.5])])),
        ("/answers", json!([answers(0, 999, &[0.5])])),
        ("/answers", json!([answers(0, 0, &[0.5, 0.5])])),
        ("/answers", json!([answers(0, 0, &[])])),
        ("/cost/decodes", json!(u64::MAX)),
        ("/cost/rows/0", json!(u64::MAX)),
        ("/cost/seconds/total", json!(-1.0)),
        ("/cost/flops/generator", json!(1e300)),
    ];
    for (place, value) in damages {
        let mut damaged = whole.clone();
        let (part, key) = place.rsplit_once('/').unwrap();
        match damaged.pointer_mut(part).unwrap() {
            Value::Object(part) => drop(part.insert(key.to_owned(), value.clone())),
            part => part[key.parse::<usize>().unwrap()] = value.clone(),
        }
        let error = Trace::from_json(&damaged.to_string());
        let error = error.expect_err(&format!("{place} = {value}"));
        assert!(
            error.to_string().starts_with("not a search trace"),
            "{error}"
        );
    }
    let mut answered = whole;
    answered["answers"] = json!([answers(0, 0, &[0.25])]);
    let answered = Trace::from_json(&answered.to_string()).unwrap();
    let (scorer, found) = answered.answers_of(0).pop().unwrap();
    assert_eq!(
        (scorer, found[0].to_string()),
        ("s", "Is it? Yes: 0.25".to_owned())
    );
    assert!(found[0].is_wrong());
}

#[test]
fn the_lineage_of_a_circle_ends() {
    let plan = Plan::tts_var(SCALES, 1, Schedule::Released).unwrap();
    let mut trace = follow(SCALES, &plan, 1).trace;
    let last = trace.candidates.len() - 1;
    trace.candidates[last].parent = Some(last);
    assert_eq!(trace.lineage(last).count(), 1);
    trace.candidates[last].parent = Some(last - 1);
    trace.candidates[last - 1].parent = Some(last);
    assert_eq!(trace.lineage(last).count(), 2);
    assert_eq!(trace.lineage(usize::MAX).count(), 0);
}

#[test]
fn the_documented_trace_is_one() {
    let text = include_str!("../../docs/trace.md");
    let json = text
        .split("```json\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let trace = Trace::from_json(json).unwrap();
    assert_eq!(trace.schema, SCHEMA);
    assert_eq!(
        trace
            .lineage(trace.winner)
            .map(|candidate| candidate.id)
            .collect::<Vec<_>>(),
        [5, 3, 1]
    );
}

#[test]
fn a_search_draws_what_the_image_shows() {
    let outcome = follow(5, &Plan::raw(5).unwrap(), 9);
    let score = brightness(0, &greys(&outcome.winner().image));
    assert_eq!(outcome.winner().score, score);
}

#[test]
fn missing_features_are_named() {
    let (pipeline, none) = (Toy::new(SCALES), Default::default());
    let search = Search::new(&pipeline, &Judge(brightness), &none);
    let plan = Plan::tts_var(SCALES, 1, Schedule::Released).unwrap();
    let error = run(&search, &"light".into(), &plan, 0, &mut Silent).unwrap_err();
    assert_eq!(error.to_string(), "scale 2: there are no features `pca`");
}

#[test]
fn rounds_belong_to_a_plan_file() {
    let plan = Plan::tts_var(SCALES, 1, Schedule::Released)
        .unwrap()
        .until(3, 0.5)
        .unwrap();
    assert_eq!(Plan::from_toml(&plan.to_toml()).unwrap(), plan);
    let repeated = Plan::from_toml("start = 1\nrounds = 3\n").unwrap();
    assert_eq!((repeated.rounds(), repeated.enough()), (3, None));
    assert!(
        Plan::from_toml("start = 1\nenough = 3.0\n")
            .unwrap_err()
            .hint()
            .unwrap()
            .contains("rounds")
    );
    assert!(plan.clone().until(0, 0.5).is_err() && plan.clone().until(3, f32::NAN).is_err());
    let trace = follow(SCALES, &plan.until(3, 2.0).unwrap(), 1).trace;
    assert_eq!(
        (trace.stages.len(), trace.finals.len(), trace.cost.decodes),
        (3 * 4, 3, 3 * 21)
    );
}
