//! The shipped demo bundle, from prompt to image, and what must not change a picture.

use std::sync::OnceLock;

use proptest::prelude::*;
use ttsvar::{
    options::Options,
    request::Session,
    search::{
        DecodeSize, Finished, Image, Method, Outcome, Pipeline, Plan, PlanOptions, Silent,
        StepCounts, run,
    },
    system::System,
};

fn demo() -> &'static System {
    static DEMO: OnceLock<System> = OnceLock::new();
    DEMO.get_or_init(|| System::builder("demo").open().unwrap())
}

fn options() -> Options {
    let options = Options {
        cfg: Some(2.0.into()),
        tau: Some(0.7.into()),
        ..Options::default()
    };
    demo().resolve(&options).unwrap()
}

/// The demo's generator; `rows_at_once` rows run through the network together.
fn chunked_pipeline(rows_at_once: Option<usize>) -> Box<dyn Pipeline + 'static> {
    demo().pipeline(&options(), rows_at_once).unwrap()
}

fn pipeline() -> Box<dyn Pipeline + 'static> {
    chunked_pipeline(None)
}

fn search(plan: &Plan, prompt: &str, seed: u64) -> Outcome {
    let pipeline = pipeline();
    let search = demo().search(pipeline.as_ref());
    run(&search, &prompt.into(), plan, seed, &mut Silent).unwrap()
}

/// Finished pictures of some rows.
fn paint(pipeline: &dyn Pipeline, rows: usize, seed: u64) -> Vec<Image> {
    let mut rollout = pipeline
        .begin(&"two red stars".into(), 0..rows, seed)
        .unwrap();
    for _ in pipeline.scales() {
        rollout.step().unwrap();
    }
    rollout
        .images(&(0..rows).collect::<Vec<_>>(), DecodeSize::Full)
        .unwrap()
}

#[test]
fn every_tensor_of_the_bundle_is_known() {
    assert_eq!(demo().report().unread, []);
}

#[test]
fn a_word_that_the_demo_does_not_know_is_named() {
    assert_eq!(
        demo().unknown_words("a red dragon above a ring"),
        ["dragon"]
    );
    assert!(
        demo()
            .unknown_words("a photo of three green triangles")
            .is_empty()
    );
}

#[test]
fn a_row_paints_the_same_picture_in_any_company() {
    let pipeline = pipeline();
    let many = paint(pipeline.as_ref(), 5, 7);
    assert_eq!(paint(pipeline.as_ref(), 1, 7), many[..1]);
    assert_eq!(paint(pipeline.as_ref(), 3, 7), many[..3]);
    assert_ne!(many[0], many[1]);
}

#[test]
fn threads_change_no_picture() {
    let pipeline = pipeline();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| paint(pipeline.as_ref(), 2, 3))
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn a_pruned_row_leaves_the_others_as_they_were() {
    let pipeline = pipeline();
    let whole = paint(pipeline.as_ref(), 4, 11);
    let mut rollout = pipeline.begin(&"two red stars".into(), 0..4, 11).unwrap();
    for scale in 0..pipeline.scales().len() {
        rollout.step().unwrap();
        if scale == 2 {
            rollout.gather(&[3, 1, 1]).unwrap();
        }
    }
    let pruned = rollout.images(&[0, 1, 2], DecodeSize::Full).unwrap();
    assert_eq!(pruned[..2], [whole[3].clone(), whole[1].clone()]);
    assert_ne!(
        pruned[2], pruned[1],
        "a second copy draws from a stream of its own"
    );
}

/// A suspended candidate keeps its state, whatever else is computed before it is resumed.
#[test]
fn a_suspended_candidate_ends_in_the_image_that_it_would_have_had() {
    for rows_at_once in [None, Some(1)] {
        let pipeline = chunked_pipeline(rows_at_once);
        let whole = paint(pipeline.as_ref(), 4, 13);
        let mut rollout = pipeline.begin(&"two red stars".into(), 0..4, 13).unwrap();
        for _ in 0..4 {
            rollout.step().unwrap();
        }
        let mut suspended = rollout.fork(&[2, 1]).unwrap();
        rollout.gather(&[0, 3]).unwrap();
        for _ in 4..pipeline.scales().len() {
            rollout.step().unwrap();
        }
        drop(rollout);
        for _ in 4..pipeline.scales().len() {
            suspended.step().unwrap();
        }
        let images = suspended.images(&[0, 1], DecodeSize::Full).unwrap();
        assert_eq!(images, [whole[2].clone(), whole[1].clone()]);
    }
}

#[test]
fn a_search_with_suspension_finds_a_row_of_best_of_n() {
    let scales = pipeline().scales().len();
    let rows = search(&Plan::best_of_n(scales, 6).unwrap(), "two red stars", 4);
    let never = PlanOptions {
        above: Some(9.0),
        enough: Some(9.0),
        finish: Some(6),
        ..PlanOptions::default()
    };
    let plan = Method::Auto
        .plan(scales, 6)
        .unwrap()
        .with(never, scales)
        .unwrap();
    let auto = search(&plan, "two red stars", 4);
    // All were suspended, and all were resumed in the order of their scores.
    assert_eq!(auto.finished.len(), 6);
    assert_eq!(auto.winner().image, rows.winner().image);
    for finished in &auto.finished {
        let same = |row: &&Finished| row.image == finished.image && row.score == finished.score;
        assert_eq!(rows.finished.iter().filter(same).count(), 1);
    }
    assert_eq!(auto.trace.cost.rows, [6; 7]);
}

#[test]
fn rows_that_share_a_state_are_computed_once() {
    let pipeline = pipeline();
    let mut rollout = pipeline.begin(&"a ring".into(), 0..6, 0).unwrap();
    let mut counts = || {
        let StepCounts { states, passes } = rollout.step().unwrap();
        assert_eq!(passes, 2 * states, "one pass per branch of guidance");
        states
    };
    assert_eq!((counts(), counts()), (1, 6));
    rollout.gather(&[0, 0, 4, 0]).unwrap();
    assert_eq!(rollout.step().unwrap().states, 2);
}

#[test]
fn a_search_records_its_cost_four_ways() {
    let scales = pipeline().scales().len();
    let outcome = search(
        &Method::TtsVar.plan(scales, 1).unwrap(),
        "a red circle and a blue square",
        1,
    );
    let cost = &outcome.trace.cost;
    assert!(cost.images >= 1 && cost.decodes <= 21 && cost.scorings > 0 && cost.extractions > 0);
    assert!(cost.flops.generator > 1e8 && cost.flops.scorer > 1e6 && cost.flops.features > 1e6);
    assert!(cost.seconds.total > 0.0 && cost.seconds.transformer.len() == scales);
}

#[test]
fn the_official_plan_of_13_scales_decodes_at_most_21_images() {
    let grids: Vec<(usize, usize)> = [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8]
        .map(|side| (side, side))
        .to_vec();
    let system = System::builder("demo").grids(grids, (8, 8)).open().unwrap();
    let pipeline = system.pipeline(&options(), None).unwrap();
    let search = system.search(pipeline.as_ref());
    let plan = Method::TtsVar.plan(13, 1).unwrap();
    let outcome = run(&search, &"a green cross".into(), &plan, 5, &mut Silent).unwrap();
    assert_eq!(
        outcome.trace.cost.rows,
        [8, 8, 8, 6, 6, 6, 4, 2, 2, 2, 1, 1, 1]
    );
    assert!(
        outcome.trace.cost.decodes <= 21,
        "{} decodes",
        outcome.trace.cost.decodes
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn best_of_n_never_falls_as_n_grows(seed in any::<u64>()) {
        let scales = pipeline().scales().len();
        let score = |n| search(&Plan::best_of_n(scales, n).unwrap(), "a blue star", seed).winner().score;
        let scores = [1, 2, 4].map(score);
        prop_assert!(scores.is_sorted(), "{scores:?}");
    }

    #[test]
    fn chunks_change_no_picture(seed in any::<u64>(), rows_at_once in 1usize..5) {
        let whole = pipeline();
        let chunked = chunked_pipeline(Some(rows_at_once));
        prop_assert_eq!(paint(whole.as_ref(), 4, seed), paint(chunked.as_ref(), 4, seed));
    }
}

#[test]
fn a_search_can_be_ended_within_a_scale() {
    let system = System::builder("demo").open().unwrap();
    let session = Session::new(&system, &Options::default()).unwrap();
    let calls = std::rc::Rc::new(std::cell::Cell::new(0));
    let counted = calls.clone();
    let check = move || {
        counted.set(counted.get() + 1);
        match counted.get() {
            20 => Err(ttsvar::search::Error::Interrupted),
            _ => Ok(()),
        }
    };
    let found = ttsvar::interrupt::with_check(check, || session.run("a ring", 1, &mut Silent));
    assert!(found.is_err_and(|error| error.is_interrupted()));
    assert_eq!(calls.get(), 20);
}
