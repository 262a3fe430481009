//! FlexAR and FlexTok, from prompt to image, and what must not change an image.

use std::sync::OnceLock;

use tempfile::TempDir;
use ttsvar::{
    loading::Dtype,
    options::{Options, Preview},
    request::Session,
    search::{Cost, DecodeSize, Image, Method, Outcome, Pipeline, Rollout, Silent},
    system::System,
};

use crate::support::flexar;

const PROMPT: &str = "a red circle above a blue square";

fn open(transformer: &str, dtype: Dtype) -> (TempDir, System) {
    let folder = tempfile::tempdir().unwrap();
    flexar::write_bundle(folder.path(), transformer);
    let system = System::builder(folder.path().to_str().unwrap());
    let system = system.dtype(dtype).open().unwrap();
    (folder, system)
}

fn texts() -> &'static System {
    static SYSTEM: OnceLock<(TempDir, System)> = OnceLock::new();
    &SYSTEM.get_or_init(|| open("t2i", Dtype::F32)).1
}

fn classes() -> &'static System {
    static SYSTEM: OnceLock<(TempDir, System)> = OnceLock::new();
    &SYSTEM.get_or_init(|| open("c2i", Dtype::F32)).1
}

fn prompt(system: &System) -> String {
    match system.classes() {
        Some(classes) => classes.prompt(3),
        None => PROMPT.to_owned(),
    }
}

fn pipeline<'s>(
    system: &'s System,
    options: &Options,
    rows_at_once: Option<usize>,
) -> Box<dyn Pipeline + 's> {
    let options = system.resolve(options).unwrap();
    system.pipeline(&options, rows_at_once).unwrap()
}

fn finish(mut rollout: Box<dyn Rollout + '_>, steps: usize) -> Vec<Image> {
    for _ in 0..steps {
        rollout.step().unwrap();
    }
    let rows: Vec<usize> = (0..rollout.rows()).collect();
    rollout.images(&rows, DecodeSize::Full).unwrap()
}

fn generate(pipeline: &dyn Pipeline, prompt: &str, rows: usize, seed: u64) -> Vec<Image> {
    let rollout = pipeline.begin(&prompt.into(), 0..rows, seed).unwrap();
    finish(rollout, pipeline.scales().len())
}

/// Settings that take every path: no guidance at the last scales, truncation, the released drawing,
/// a decoder without guidance.
fn variants() -> [Options; 4] {
    [
        Options::default(),
        Options {
            cfg: Some("3,3,3,1".parse().unwrap()),
            top_k: Some(20),
            top_p: Some(0.9.into()),
            ..Options::default()
        },
        Options {
            as_released: Some(true),
            tau: Some(0.5.into()),
            ..Options::default()
        },
        Options {
            decoder_cfg: Some(1.0),
            decoder_steps: Some(3),
            ..Options::default()
        },
    ]
}

#[test]
fn every_tensor_of_the_bundle_is_known() {
    for system in [texts(), classes()] {
        assert_eq!(system.report().unread, []);
        assert_eq!(system.report().notes, Vec::<String>::new());
    }
}

#[test]
fn scales_are_the_doublings_of_the_prefix() {
    let pipeline = pipeline(texts(), &Options::default(), None);
    let tokens: Vec<usize> = pipeline
        .scales()
        .iter()
        .map(|scale| scale.tokens())
        .collect();
    assert_eq!(tokens, [1, 1, 2, 4, 2]);
}

#[test]
fn a_bundle_may_have_other_prefixes() {
    let folder = tempfile::tempdir().unwrap();
    flexar::write_bundle(folder.path(), "t2i");
    let path = folder.path().join("bundle.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    let toml = toml.replace("[generator]", "[generator]\nprefixes = [4, 8, 10]");
    std::fs::write(&path, toml).unwrap();
    let system = System::builder(folder.path().to_str().unwrap());
    let system = system.open().unwrap();
    let options = Options {
        method: Some(Method::Beam),
        n: Some(3),
        ..Options::default()
    };
    let outcome = search(&system, options);
    assert_eq!(outcome.trace.scales, [[1, 4], [1, 4], [1, 2]]);
}

#[test]
fn an_image_depends_on_neither_batch_nor_chunks_nor_threads() {
    for system in [texts(), classes()] {
        let prompt = prompt(system);
        for options in variants() {
            let whole = generate(pipeline(system, &options, None).as_ref(), &prompt, 4, 7);
            assert_ne!(whole[0], whole[1]);
            for rows_at_once in [None, Some(1), Some(3)] {
                let pipeline = pipeline(system, &options, rows_at_once);
                assert_eq!(generate(pipeline.as_ref(), &prompt, 1, 7), whole[..1]);
                assert_eq!(generate(pipeline.as_ref(), &prompt, 3, 7), whole[..3]);
            }
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let pool = pool.build().unwrap();
                let pipeline = pipeline(system, &options, None);
                let images = pool.install(|| generate(pipeline.as_ref(), &prompt, 2, 7));
                assert_eq!(images, whole[..2]);
            }
        }
    }
}

#[test]
fn selection_and_suspension_leave_a_candidate_as_it_was() {
    for options in variants() {
        let pipeline = pipeline(texts(), &options, Some(2));
        let scales = pipeline.scales().len();
        let whole = generate(pipeline.as_ref(), PROMPT, 4, 11);
        let mut rollout = pipeline.begin(&PROMPT.into(), 0..4, 11).unwrap();
        for _ in 0..3 {
            rollout.step().unwrap();
        }
        let suspended = rollout.fork(&[2, 0]).unwrap();
        rollout.gather(&[3, 1, 1]).unwrap();
        let gathered = finish(rollout, scales - 3);
        assert_eq!(gathered[..2], [whole[3].clone(), whole[1].clone()]);
        let resumed = finish(suspended, scales - 3);
        assert_eq!(resumed, [whole[2].clone(), whole[0].clone()]);
    }
}

/// Copies draw every token of a scale by themselves, or with `as_released` the last one alone.
#[test]
fn copies_branch_at_every_token_or_at_the_last() {
    let states = |as_released: bool| {
        let options = Options {
            as_released: Some(as_released),
            tau: Some(4.0.into()), // so that draws differ
            ..Options::default()
        };
        let pipeline = pipeline(texts(), &options, None);
        let mut rollout = pipeline.begin(&PROMPT.into(), 0..1, 3).unwrap();
        for _ in 0..3 {
            rollout.step().unwrap();
        }
        rollout.gather(&[0; 8]).unwrap();
        // The network runs once for all copies as long as their tokens are the same.
        let states = rollout.step().unwrap().states;
        let latents = rollout.latents(&[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
        let mut latents: Vec<Vec<f32>> = latents.into_iter().map(|one| one.map.values).collect();
        latents.dedup();
        (states, latents.len() > 1)
    };
    assert_eq!(states(true), (1, true));
    let (several, differ) = states(false);
    assert!(several > 4 && differ, "{several}");
}

/// The descendants of a candidate keep its noise; others have their own.
#[test]
fn images_of_a_lineage_share_their_noise() {
    let options = Options {
        top_k: Some(1), // the same tokens for all
        ..Options::default()
    };
    let pipeline = pipeline(texts(), &options, None);
    let mut rollout = pipeline.begin(&PROMPT.into(), 0..2, 3).unwrap();
    for _ in 0..2 {
        rollout.step().unwrap();
    }
    rollout.gather(&[0, 0, 1]).unwrap();
    rollout.step().unwrap();
    let images = rollout.images(&[0, 1, 2], DecodeSize::Full).unwrap();
    assert_eq!(images[0], images[1]);
    assert_ne!(images[0], images[2]);
}

#[test]
fn previews_may_take_fewer_steps() {
    let images = |preview_steps: Option<usize>| {
        let options = Options {
            preview_steps,
            ..Options::default()
        };
        let pipeline = pipeline(texts(), &options, None);
        let mut rollout = pipeline.begin(&PROMPT.into(), 0..1, 3).unwrap();
        for _ in 1..pipeline.scales().len() {
            rollout.step().unwrap();
        }
        let before = rollout.flops();
        let preview = rollout.images(&[0], DecodeSize::Full).unwrap();
        let cost = rollout.flops() - before;
        (preview, cost, finish(rollout, 1))
    };
    let (usual, usual_cost, finished) = images(None);
    let (quick, quick_cost, same) = images(Some(1));
    assert_ne!(usual, quick);
    assert!(quick_cost < usual_cost, "{quick_cost} {usual_cost}");
    assert_eq!(finished, same, "finished images take all steps");
}

fn search(system: &System, options: Options) -> Outcome {
    let session = Session::new(system, &options).unwrap();
    session.run(&prompt(system), 2, &mut Silent).unwrap()
}

#[test]
fn methods_run_from_prompt_to_image() {
    for system in [texts(), classes()] {
        for (method, n) in [
            (Method::TtsVar, 1),
            (Method::BestOfN, 3),
            (Method::Beam, 2),
            (Method::Lookahead, 2),
            (Method::Auto, 3),
        ] {
            let outcome = search(
                system,
                Options {
                    method: Some(method),
                    n: Some(n),
                    preview: Some(Preview(DecodeSize::Preview(40))),
                    preview_steps: Some(2),
                    token_statistics: Some(true),
                    ..Options::default()
                },
            );
            let image = &outcome.winner().image;
            assert_eq!((image.width(), image.height()), (80, 80));
            let Cost { flops, decodes, .. } = &outcome.trace.cost;
            assert!(flops.generator > 0.0 && *decodes > 0);
        }
    }
}

#[test]
fn the_estimated_cost_is_that_of_the_search() {
    for cfg in ["3", "1"] {
        let options = Options {
            method: Some(Method::BestOfN),
            n: Some(1),
            cfg: Some(cfg.parse().unwrap()),
            ..Options::default()
        };
        let session = Session::new(texts(), &options).unwrap();
        let estimate = session.estimate().generator_flops;
        let found = search(texts(), options).trace.cost.flops.generator;
        // The estimate is for a prompt of usual length.
        assert!((found / estimate - 1.0).abs() < 0.02, "{found} {estimate}");
    }
}

#[test]
fn classes_guide_by_no_class_or_as_released_by_class_0() {
    let image = |as_released: bool| {
        let options = Options {
            as_released: Some(as_released),
            ..Options::default()
        };
        let pipeline = pipeline(classes(), &options, None);
        generate(pipeline.as_ref(), &prompt(classes()), 2, 5)
    };
    assert_ne!(image(false), image(true));
}

#[test]
fn bf16_generates_too() {
    let (_folder, system) = open("t2i", Dtype::Bf16);
    let pipeline = pipeline(&system, &Options::default(), None);
    let images = generate(pipeline.as_ref(), PROMPT, 2, 1);
    assert_ne!(images[0], images[1]);
}
