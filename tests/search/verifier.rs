//! The demo's latent verifier in a search: nothing is decoded before the end, the search does not
//! depend on batches or memory, and what does not fit is refused or reported.

use std::sync::OnceLock;

use ttsvar::{
    options::Options,
    report::Album,
    request::Session,
    search::{
        Drafts, FeatureMap, Latent, Method, Outcome, Pipeline, Plan, Select, Silent, Stage,
        Verifier, Warning, run,
    },
    system::{DEMO, MemoryLimit, System},
};

const PROMPT: &str = "a red circle and a blue square";

fn demo() -> &'static System {
    static DEMO_SYSTEM: OnceLock<System> = OnceLock::new();
    DEMO_SYSTEM.get_or_init(|| System::builder(DEMO).open().unwrap())
}

fn pipeline() -> Box<dyn Pipeline + 'static> {
    let options = demo().resolve(&Options::default()).unwrap();
    demo().pipeline(&options, None).unwrap()
}

fn search(plan: &Plan) -> Outcome {
    let pipeline = pipeline();
    let search = demo().search(pipeline.as_ref());
    run(&search, &PROMPT.into(), plan, 3, &mut Silent).unwrap()
}

fn stage(scale: usize, width: usize, select: Select) -> Stage {
    Stage {
        verifier: Verifier::Latent,
        ..Stage::new(scale, width, select)
    }
}

#[test]
fn the_demo_says_how_its_drafts_are_scored() {
    let drafts = demo().drafts();
    assert_eq!(drafts.verifier, Verifier::Latent);
    let scale = drafts.scale.unwrap();
    let description = demo().description().verifier.as_ref().unwrap();
    assert_eq!(description.scales.first(), Some(&scale));
    assert_eq!(drafts.above, description.above);
}

#[test]
fn nothing_is_decoded_before_the_end() {
    let drafts = demo().drafts();
    let plan = Method::Auto.plan_for(7, 8, drafts).unwrap();
    let outcome = search(&plan);
    let cost = &outcome.trace.cost;
    assert_eq!(cost.decodes, outcome.finished.len());
    assert_eq!(cost.scorings, outcome.finished.len());
    assert!(cost.verifications >= outcome.finished.len());
    assert!(cost.flops.verifier > 0.0);
    let selection = outcome.trace.selection(plan.stages()[0].scale).unwrap();
    assert_eq!(selection.reached, cost.verifications);
    assert_eq!(selection.scores.len(), selection.reached);
    assert_eq!(selection.continuing, outcome.finished.len());
    assert!(
        outcome.trace.warnings.is_empty(),
        "{:?}",
        outcome.trace.warnings
    );
}

#[test]
fn a_report_shows_what_was_suspended_at_no_cost_for_the_search() {
    let plan = Method::Auto.plan_for(7, 8, demo().drafts()).unwrap();
    let alone = search(&plan);
    let pipeline = pipeline();
    let mut album = Album::default();
    let shown = run(
        &demo().search(pipeline.as_ref()),
        &PROMPT.into(),
        &plan,
        3,
        &mut album,
    )
    .unwrap();
    assert_eq!(shown.winner().image, alone.winner().image);
    let shown = shown.trace.cost;
    let alone = alone.trace.cost;
    assert_eq!(shown.previews, alone.verifications);
    assert_eq!(shown.decodes, alone.decodes);
    assert_eq!(alone.previews, 0);
    assert!(shown.flops.previews > 0.0);
    assert_eq!(shown.flops.total(), alone.flops.total());
}

#[test]
fn scales_without_training_are_reported() {
    let trained = demo().description().verifier.clone().unwrap().scales;
    let plan = Plan::new(4, vec![stage(1, 2, Select::Top { k: 2 })]).unwrap();
    let warnings = search(&plan).trace.warnings;
    let expected = Warning::UntrainedScale { scale: 1, trained };
    assert!(warnings.contains(&expected), "{warnings:?}");
}

#[test]
fn predictions_correlate_with_final_scores() {
    let pipeline = pipeline();
    let search = demo().search(pipeline.as_ref());
    let verifier = search.verifier.unwrap();
    let scale = verifier.scales()[0];
    let rows: Vec<usize> = (0..24).collect();
    let mut right = 0;
    let mut pairs = 0;
    for (seed, prompt) in (0..).zip(["a star left of a ring", "a red ring and a blue star"]) {
        let mut rollout = pipeline.begin(&prompt.into(), 0..rows.len(), seed).unwrap();
        for _ in 0..=scale {
            rollout.step().unwrap();
        }
        let latents = rollout.latents(&rows).unwrap();
        let predicted = verifier.predict(prompt, scale, &latents).unwrap();
        for _ in scale + 1..pipeline.scales().len() {
            rollout.step().unwrap();
        }
        let images = rollout
            .images(&rows, ttsvar::search::DecodeSize::Full)
            .unwrap();
        let scores = demo().scorer().unwrap().score(prompt, &images).unwrap();
        for a in 0..rows.len() {
            for b in a + 1..rows.len() {
                pairs += 1;
                right += usize::from((predicted[a] > predicted[b]) == (scores[a] > scores[b]));
            }
        }
    }
    let share = f64::from(u32::try_from(right).unwrap()) / f64::from(u32::try_from(pairs).unwrap());
    println!("{right} of {pairs} pairs are in the right order");
    assert!(share > 0.55, "{share}");
}

#[test]
fn a_memory_limit_evicts_the_verifier_and_changes_no_image() {
    let bound = System::builder(DEMO).evict().open().unwrap();
    let options = Options {
        method: Some(Method::Auto),
        n: Some(4),
        ..Options::default()
    };
    let mut session = Session::new(&bound, &options).unwrap();
    let free = Session::new(demo(), &options).unwrap();
    let mut limit = free.estimate().peak_bytes;
    while let Ok(plan) = session.fit_memory(MemoryLimit::single(limit)) {
        if plan.evicted.len() > 1 {
            assert_eq!(
                plan.evicted,
                ["text encoder", "scorer", "verifier", "features"]
            );
            let small = session.run(PROMPT, 5, &mut Silent).unwrap();
            let large = free.run(PROMPT, 5, &mut Silent).unwrap();
            assert_eq!(small.winner().image, large.winner().image);
            return;
        }
        limit -= limit / 50;
    }
    panic!("no limit evicts the verifier");
}

/// A latent on a square grid, with hidden states as the demo's verifier reads them.
fn latent(channels: usize, side: usize, values: Vec<f32>) -> Latent {
    Latent {
        map: FeatureMap::new(channels, side, side, values).unwrap(),
        hidden: Some(FeatureMap::new(128, 4, 4, vec![0.5; 128 * 16]).unwrap()),
    }
}

#[test]
fn hidden_states_are_those_of_the_block_that_the_verifier_reads() {
    let options = demo().resolve(&Options::default()).unwrap();
    let pipeline = demo().pipeline(&options, None).unwrap();
    let mut rollout = pipeline.begin(&PROMPT.into(), 0..2, 3).unwrap();
    for scale in pipeline.scales() {
        rollout.step().unwrap();
        let latents = rollout.latents(&[0, 1]).unwrap();
        let hidden = latents[0].hidden.as_ref().unwrap();
        assert_eq!(hidden.shape(), [128, scale.height, scale.width]);
        let verifier = demo().verifier().unwrap();
        let mut without = latents[1].clone();
        without.hidden = None;
        let error = verifier.predict(PROMPT, 3, &[without]).unwrap_err();
        let expected = "expects hidden states of 128 channels, found none";
        assert!(error.to_string().contains(expected), "{error}");
    }
    let other = System::builder("demo").open().unwrap().with_hidden_block(7);
    let error = other.pipeline(&options, None).err().unwrap();
    let expected = "hidden states of block 7: the transformer has blocks 1 to 6";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn another_scorer_or_a_wrong_latent_is_refused() {
    let verifier = demo().verifier().unwrap();
    let scale = verifier.scales()[0];
    let wrong = latent(8, 2, vec![0.0; 32]);
    let error = verifier.predict(PROMPT, scale, &[wrong]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("expects latents of 16 channels, found 8"),
        "{error}"
    );
    let zeros = latent(16, 8, vec![0.0; 1024]);
    let error = verifier
        .predict(PROMPT, 7, std::slice::from_ref(&zeros))
        .unwrap_err();
    assert!(
        error.to_string().contains("cannot predict after scale 7"),
        "{error}"
    );
    let damaged = latent(16, 8, vec![f32::NAN; 1024]);
    let error = verifier.predict(PROMPT, scale, &[damaged]).unwrap_err();
    assert!(
        error.to_string().contains("expected finite numbers"),
        "{error}"
    );
}

#[test]
fn callers_who_bring_a_scorer_get_drafts_of_images() {
    let options = Options {
        method: Some(Method::Auto),
        n: Some(4),
        ..Options::default()
    };
    let session = Session::with_drafts(demo(), &options, Drafts::default()).unwrap();
    let stages = session.plan().stages().iter();
    assert!(stages.clone().count() > 0);
    assert!(
        stages
            .map(|stage| stage.verifier)
            .all(|verifier| verifier == Verifier::Image)
    );
}
