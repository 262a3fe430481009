//! Steering to layouts, with the demo.

use std::sync::OnceLock;

use proptest::prelude::*;
use serde_json::json;
use ttsvar::{
    Error, ErrorKind,
    options::{Options, Steer},
    request::Session,
    search::{Event, Latent, Listener, Pipeline, Silent, Trace},
    system::System,
};

const SCALES: usize = 7;

/// The scale of the demo with 4 x 4 tokens.
const STEERED: usize = 3;

const PROMPT: &str = "a photo of a star left of a ring";

fn demo() -> &'static System {
    static DEMO: OnceLock<System> = OnceLock::new();
    DEMO.get_or_init(|| System::builder("demo").open().unwrap())
}

fn steered(steer: &serde_json::Value) -> Options {
    Options {
        steer: Some(Steer::from_json(steer).unwrap()),
        ..Options::default()
    }
}

fn pipeline(options: &Options, rows_at_once: Option<usize>) -> Box<dyn Pipeline> {
    let options = demo().resolve(options).unwrap();
    demo().pipeline(&options, rows_at_once).unwrap()
}

/// The latents of candidates after each scale.
fn latents(pipeline: &dyn Pipeline, prompt: &str, rows: usize) -> Vec<Vec<Latent>> {
    let mut rollout = pipeline.begin(&prompt.into(), 0..rows, 4).unwrap();
    let all: Vec<usize> = (0..rows).collect();
    let mut latents = vec![];
    for _ in 0..SCALES {
        rollout.step().unwrap();
        latents.push(rollout.latents(&all).unwrap());
    }
    latents
}

/// The first scale after which two courses differ.
fn first_difference(a: &[Vec<Latent>], b: &[Vec<Latent>]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[test]
fn steering_acts_from_the_4x4_grid_on() {
    let plain = latents(pipeline(&Options::default(), None).as_ref(), PROMPT, 2);
    let of = |steer| latents(pipeline(&steered(&steer), None).as_ref(), PROMPT, 2);
    assert_eq!(first_difference(&plain, &of(json!("auto"))), STEERED);
    assert_eq!(first_difference(&plain, &of(json!({ "scales": [2] }))), 2);
    assert_eq!(of(json!("off")), plain);
    let soft = of(json!({ "edge": 0.5 }));
    assert_eq!(first_difference(&soft, &of(json!("auto"))), STEERED);
}

#[test]
fn a_prompt_without_a_certain_place_is_generated_as_ever() {
    let prompt = "a photo of a star and a ring";
    let plain = latents(pipeline(&Options::default(), None).as_ref(), prompt, 2);
    let auto = latents(pipeline(&steered(&json!("auto")), None).as_ref(), prompt, 2);
    assert_eq!(auto, plain);
}

#[test]
fn a_file_with_the_layout_of_auto_has_its_images() {
    let file = json!({ "concept": [
        { "text": "a star", "box": [0.0, 0.0, 0.5, 1.0] },
        { "text": "a ring", "box": [0.5, 0.0, 1.0, 1.0] },
    ] });
    let of = |steer| latents(pipeline(&steered(&steer), None).as_ref(), PROMPT, 1);
    assert_eq!(of(file), of(json!("auto")));
}

#[test]
fn steering_needs_no_guidance_branch() {
    let unguided = Options {
        cfg: Some(1.0.into()),
        ..Options::default()
    };
    let auto = Options {
        cfg: Some(1.0.into()),
        ..steered(&json!("auto"))
    };
    let plain = latents(pipeline(&unguided, None).as_ref(), PROMPT, 1);
    let auto = latents(pipeline(&auto, None).as_ref(), PROMPT, 1);
    assert_eq!(first_difference(&plain, &auto), STEERED);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever is beside a candidate, its layout and its latents are the same bits.
    #[test]
    fn batches_change_no_steered_candidate(
        rows in 1usize..5,
        at_once in 1usize..4,
        edge in prop::sample::select(vec![0.0, 0.3]),
        share in prop::sample::select(vec![0.5, 1.0]),
        prompt in prop::sample::select(vec![PROMPT, "two stars", "a red ring and a cross"]),
    ) {
        let options = steered(&json!({ "places": "drawn", "edge": edge, "share": share }));
        let whole = latents(pipeline(&options, None).as_ref(), prompt, 5);
        let part = latents(pipeline(&options, Some(at_once)).as_ref(), prompt, rows);
        for (whole, part) in whole.iter().zip(&part) {
            prop_assert_eq!(&whole[..rows], &part[..]);
        }
    }
}

#[test]
fn bf16_is_steered_alike_in_any_batch() {
    let demo = System::builder("demo")
        .dtype(ttsvar::loading::Dtype::Bf16)
        .open()
        .unwrap();
    let options = demo.resolve(&steered(&json!({ "edge": 0.2 }))).unwrap();
    let one = latents(
        demo.pipeline(&options, Some(1)).unwrap().as_ref(),
        PROMPT,
        1,
    );
    let three = latents(demo.pipeline(&options, None).unwrap().as_ref(), PROMPT, 3);
    for (one, three) in one.iter().zip(&three) {
        assert_eq!(one[..], three[..1]);
    }
}

#[test]
fn copies_of_a_candidate_keep_its_layout() {
    let pipeline = pipeline(&steered(&json!({ "places": "drawn" })), None);
    let mut rollout = pipeline
        .begin(&"a star and a ring".into(), 0..6, 1)
        .unwrap();
    let layouts = rollout.layouts();
    assert!(layouts.iter().all(Option::is_some));
    assert!(
        layouts.iter().any(|layout| *layout != layouts[0]),
        "{layouts:?}"
    );
    // All candidates share a state at scale 0, which is not steered.
    assert_eq!(rollout.step().unwrap().states, 1);
    rollout.gather(&[5, 2, 2]).unwrap();
    assert_eq!(rollout.layouts(), [layouts[5], layouts[2], layouts[2]]);
    assert_eq!(rollout.fork(&[1]).unwrap().layouts(), [layouts[2]]);
}

/// Keeps the events of steering.
#[derive(Default)]
struct Steered(Vec<serde_json::Value>);

impl Listener for Steered {
    fn on(&mut self, event: &Event<'_>) -> ttsvar::search::Result<()> {
        if event.name() == "steering" {
            self.0.push(event.to_json());
        }
        Ok(())
    }
}

#[test]
fn the_trace_records_layouts_and_who_has_them() {
    let options = Options {
        method: Some(ttsvar::search::Method::BestOfN),
        n: Some(4),
        ..steered(&json!({ "share": 0.5 }))
    };
    let session = Session::new(demo(), &options).unwrap();
    let mut events = Steered::default();
    let trace = session.run(PROMPT, 7, &mut events).unwrap().trace;
    let expected = json!({ "scales": [STEERED], "layouts": [[
        { "text": "a star", "box": [0.0, 0.0, 0.5, 1.0] },
        { "text": "a ring", "box": [0.5, 0.0, 1.0, 1.0] },
    ]] });
    assert_eq!(events.0.len(), 1);
    assert_eq!(events.0[0], expected);
    assert_eq!(json!(trace.steering), expected);
    let layouts: Vec<_> = trace.candidates.iter().map(|one| one.layout).collect();
    assert_eq!(layouts[..4], [None, Some(0), None, Some(0)]);
    let read = Trace::from_json(&trace.to_json()).unwrap();
    assert_eq!(read.candidates, trace.candidates);
    let mut damaged = trace;
    damaged.candidates[1].layout = Some(1);
    let error = Trace::from_json(&damaged.to_json()).unwrap_err();
    assert!(
        error.to_string().contains("candidates[1].layout"),
        "{error}"
    );
}

#[test]
fn steering_costs_little_and_is_counted() {
    let flops = |options: &Options| {
        let pipeline = pipeline(options, None);
        let mut rollout = pipeline.begin(&PROMPT.into(), 0..1, 4).unwrap();
        for _ in 0..SCALES {
            rollout.step().unwrap();
        }
        rollout.flops()
    };
    let plain = flops(&Options::default());
    let auto = flops(&steered(&json!("auto")));
    assert!(plain < auto && auto < 1.05 * plain, "{plain} {auto}");
    let estimate = |options: &Options| Session::new(demo(), options).unwrap().estimate();
    let plain = estimate(&Options::default());
    let auto = estimate(&steered(&json!("auto")));
    assert!(plain.generator_flops < auto.generator_flops);
    assert!(plain.peak_bytes < auto.peak_bytes);
}

#[test]
fn a_layout_that_does_not_fit_is_refused_before_anything_is_generated() {
    let concept = |text: &str, bounds: [f64; 4]| json!({ "text": text, "box": bounds });
    let whole = [0.0, 0.0, 1.0, 1.0];
    for (concepts, expected) in [
        (vec![concept("a cat", whole)], "not in the prompt: `a cat`"),
        (
            vec![concept("a star", [0.0, 0.0, 0.1, 1.0])],
            "`a star` fills no cell of the steered 4 x 4 grid",
        ),
        (
            vec![concept("a star", whole); 17],
            "17 concepts, but the steered grid has 4 x 4 cells",
        ),
    ] {
        let options = steered(&json!({ "concept": concepts }));
        let session = Session::new(demo(), &options).unwrap();
        let error = session.run(PROMPT, 1, &mut Silent).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.hint().is_some());
        assert_eq!(error.kind(), ErrorKind::Input);
    }
    let error = Session::new(demo(), &steered(&json!({ "scales": [7] })))
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(&error, Error::Input { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("scale 7, but the model has 7 scales"),
        "{error}"
    );
}
